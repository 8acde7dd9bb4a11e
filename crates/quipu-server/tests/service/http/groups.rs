use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Reply, World};

async fn happen(world: &World, stream: &str) -> u64 {
    let path = format!("/streams/{stream}");
    let appended = world.post(&path, &json!({"type": "T", "data": 1})).await;
    appended.is(201)["last"].as_u64().unwrap()
}

async fn delete(world: &World, path: &str) -> Reply {
    world.send("DELETE", path, &[], b"").await
}

/// A member's place in a group, by its path.
struct Member<'a> {
    world: &'a World,
    path: String,
}

impl<'a> Member<'a> {
    async fn join(world: &'a World, group: &str, wish: Value) -> Self {
        let joined = world.post(&format!("/groups/{group}/members"), &wish).await.is(201);
        assert_eq!(joined["silence_max_s"], 60);
        let member = joined["member"].as_str().unwrap();
        Self { world, path: format!("/groups/{group}/members/{member}") }
    }

    /// The next events, at least one.
    async fn receive(&self) -> Vec<Value> {
        for _ in 0..10 {
            let answer = self.world.get(&format!("{}/events?wait=30", self.path)).await.is(200);
            match answer["events"].as_array() {
                Some(events) if !events.is_empty() => return events.clone(),
                _ => {}
            }
        }
        panic!("no event came");
    }

    async fn answer(&self, said: Value) -> Value {
        self.world.post(&format!("{}/answers", self.path), &said).await.is(200)["count"].clone()
    }
}

fn streams(events: &[Value]) -> Vec<&str> {
    events.iter().map(|own| own["event"]["stream"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_group_is_created_looked_at_changed_and_deleted() {
    let world = World::new().await;
    let wish = json!({
        "queries": ["category:order", "tag:\"two words\""], "after": 7, "key_tag": "account",
        "retries": 2, "timeout_ms": 0,
    });

    let created = world.post("/groups/a%2Fb%20c", &wish).await.is(201);

    let expected = json!({
        "name": "a/b c", "queries": wish["queries"], "after": 7, "key_tag": "account",
        "strategy": "by-key", "timeout_ms": null, "retries": 2, "backoff_first_ms": 100,
        "backoff_max_ms": 30_000, "give_up": "park", "in_flight_max": created["in_flight_max"],
        "parked_max": 10_000, "member_count_max": 0,
    });
    assert_eq!(created, expected);
    assert_eq!(world.get("/groups").await.is(200), json!({"groups": [expected]}));
    world.post("/groups/a%2Fb%20c", &wish).await.is_problem(409, "group-exists");

    let settings = br#"{"strategy":"pinned","give_up":"skip","member_count_max":3}"#;
    let kind = [("Content-Type", "application/json")];
    let changed = world.send("PATCH", "/groups/a%2Fb%20c", &kind, settings).await;

    let changed = changed.is(200);
    assert_eq!((&changed["strategy"], &changed["give_up"]), (&json!("pinned"), &json!("skip")));
    assert_eq!((&changed["retries"], &changed["after"]), (&json!(2), &json!(7)));
    let status = world.get("/groups/a%2Fb%20c").await.is(200);
    assert_eq!(status["config"], changed);
    assert_eq!((&status["checkpoint"], &status["running"]), (&json!(7), &Value::Null));

    assert_eq!(delete(&world, "/groups/a%2Fb%20c").await.status, 204);
    world.get("/groups/a%2Fb%20c").await.is_problem(404, "not-found");
}

#[tokio::test]
async fn members_get_events_and_say_what_became_of_each() {
    let world = World::new().await;
    for stream in ["a-1", "a-1", "b-1", "c-1", "d-1"] {
        happen(&world, stream).await;
    }
    world.post("/groups/g", &json!({"queries": [""], "backoff_first_ms": 0})).await.is(201);

    let member = Member::join(&world, "g", json!({"name": "worker", "capacity": 10})).await;
    let got = member.receive().await;

    assert_eq!(streams(&got), ["a-1", "b-1", "c-1", "d-1"], "one of each key");
    assert_eq!((&got[0]["key"], &got[0]["retry_count"]), (&json!("a-1"), &json!(0)));
    let running = world.get("/groups/g").await.is(200)["running"].clone();
    assert_eq!(running["members"][0]["name"], "worker");
    assert_eq!(running["in_flight"], 4);

    let number = |index: usize| got[index]["number"].clone();
    let said = json!({
        "ack": [number(0)], "retry": [number(1)], "park": [number(2)], "skip": [number(3), 999],
        "cause": "no luck",
    });
    assert_eq!(member.answer(said).await, 4, "nobody gave out 999");
    let mut again = Vec::new();
    while again.len() < 2 {
        again.extend(member.receive().await);
    }
    again.sort_by_key(|own| own["event"]["stream"].to_string());
    assert_eq!(streams(&again), ["a-1", "b-1"]);
    assert_eq!((&again[0]["event"]["revision"], &again[1]["retry_count"]), (&json!(1), &json!(1)));

    let parked = world.get("/groups/g/parked").await.is(200);
    assert_eq!(parked, json!({"parked": [{"position": 4, "key": "c-1", "cause": "no luck"}]}));
    let replayed = world.post("/groups/g/parked/replay?position=4", &Value::Null).await.is(200);
    assert_eq!(replayed, json!({"count": 1}));
    let third = member.receive().await;
    assert_eq!(streams(&third), ["c-1"]);
    member.answer(json!({"park": [third[0]["number"]]})).await;
    assert_eq!(delete(&world, "/groups/g/parked").await.is(200), json!({"count": 1}));
}

#[tokio::test]
async fn what_a_member_had_goes_to_others_when_it_leaves() {
    let world = World::new().await;
    world.post("/groups/g", &json!({"queries": [""], "from": "end"})).await.is(201);
    let first = Member::join(&world, "g", json!({})).await;
    happen(&world, "a-1").await;
    let had = first.receive().await;

    assert_eq!(delete(&world, &first.path).await.status, 204);

    let second = Member::join(&world, "g", json!({"capacity": 1})).await;
    let got = second.receive().await;
    assert_eq!(got[0]["event"], had[0]["event"]);
    world.get(&format!("{}/events", first.path)).await.is_problem(404, "member-gone");
    world.get("/groups/g/members/nobody/events").await.is_problem(404, "member-gone");
    let other = second.path.replace("/g/", "/other/");
    world.get(&format!("{other}/events")).await.is_problem(404, "member-gone");
}

#[tokio::test]
async fn a_request_that_waits_gets_what_comes() {
    let world = World::new().await;
    world.post("/groups/g", &json!({"queries": [""]})).await.is(201);
    let member = Member::join(&world, "g", json!({})).await;
    assert_eq!(world.get(&format!("{}/events", member.path)).await.is(200), json!({"events": []}));

    let (got, _) = tokio::join!(member.receive(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        happen(&world, "a-1").await
    });

    assert_eq!(streams(&got), ["a-1"]);
}

#[tokio::test]
async fn members_are_told_that_their_group_is_gone() {
    let world = World::new().await;
    world.post("/groups/g", &json!({"queries": [""]})).await.is(201);
    let member = Member::join(&world, "g", json!({})).await;
    assert_eq!(delete(&world, "/groups/g").await.status, 204);

    let told = world.get(&format!("{}/events?wait=30", member.path)).await;

    // Whichever is looked at first: the member, or its group.
    assert_eq!(told.status, 404, "{}", told.text());
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_member() {
    let world = World::new().await;
    world.post("/groups/g", &json!({"queries": [""]})).await.is(201);
    let member = Member::join(&world, "g", json!({})).await;
    let address = world.address;
    let path = format!("{}/events?wait=30", member.path);
    let waiting = tokio::spawn(async move {
        let close = [("Connection", "close")];
        let request = super::client::request("GET", &path, &close, b"");
        super::client::exchange(address, &request).await
    });
    // It may be heard too late on a machine that is busy, and then gets no answer.
    tokio::time::sleep(Duration::from_millis(500)).await;

    let begun = Instant::now();
    world.stop().await;

    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let told = waiting.await.unwrap();
    assert!(told.is_empty() || Reply::parse(&told).status == 503, "{told:?}");
}

#[tokio::test]
async fn what_no_group_can_be_is_refused_with_what_it_could_be() {
    let world = World::new().await;
    world.post("/groups/g", &json!({"queries": [""]})).await.is(201);
    let cases = [
        ("/groups/h", json!({"queries": []}), "1 to 100 queries"),
        ("/groups/h", json!({"queries": [""], "strategy": "fair"}), "no strategy"),
        ("/groups/h", json!({"queries": [""], "give_up": "cry"}), "no give_up"),
        ("/groups/h", json!({"queries": [""], "from": "end", "after": 1}), "not both"),
        ("/groups/h", json!({"queries": [""], "from": "middle"}), "start or end"),
        ("/groups/h", json!({"queries": [""], "timeout_ms": 1}), "10 ms"),
        ("/groups/h", json!({"queries": [""], "colour": 1}), "colour"),
        ("/groups/h%00", json!({"queries": [""]}), "control characters"),
        ("/groups/g/members", json!({"capacity": 0}), "1 to 10,000"),
        ("/groups/g/members", json!({"name": "n".repeat(256)}), "255 bytes"),
    ];

    for (path, body, reason) in cases {
        let problem = world.post(path, &body).await.is(400);

        assert!(problem.to_string().contains(reason), "{problem}");
    }
    world
        .post("/groups/h", &json!({"queries": ["tagg:x"]}))
        .await
        .is_problem(400, "malformed-query");
    world.post("/groups/h/members", &json!({})).await.is_problem(404, "not-found");
}
