use serde_json::{Value, json};

use super::client::World;

const ID: &str = "018c2e65-4b7d-7000-8000-000000000001";

fn placed(cents: u64) -> Value {
    json!({"type": "OrderPlaced", "data": {"total_cents": cents}})
}

#[tokio::test]
async fn an_append_answers_the_places_of_its_events() {
    let world = World::new().await;

    let one = world.post("/streams/order-1", &placed(1)).await;
    let two = world.post("/streams/order-1", &json!([placed(2), placed(3)])).await;

    let expected = json!({"first": 1, "last": 1, "replayed": false,
        "streams": [{"stream": "order-1", "position": 1, "revision": 0}]});
    assert_eq!(one.is(201), expected);
    let expected = json!({"first": 2, "last": 3, "replayed": false,
        "streams": [{"stream": "order-1", "position": 3, "revision": 2}]});
    assert_eq!(two.is(201), expected);
    assert_eq!(two.header("etag"), Some("\"2\""));
}

#[tokio::test]
async fn a_retry_with_the_same_ids_is_answered_as_the_first_time() {
    let world = World::new().await;
    let mut event = placed(1);
    event["id"] = json!(ID);

    let first = world.post("/streams/order-1?expect=none", &event).await.is(201);
    let again = world.post("/streams/order-1?expect=none", &event).await.is(200);

    assert_eq!(again["streams"], first["streams"]);
    assert_eq!(again["replayed"], true);
    assert_eq!(world.get("/frontier").await.is(200)["frontier"], 1);
}

#[tokio::test]
async fn json_lines_are_one_append() {
    let world = World::new().await;
    let kind = [("Content-Type", "application/x-ndjson; charset=utf-8")];
    let lines = b"{\"type\":\"A\",\"data\":1}\n\n{\"type\":\"B\",\"data_base64\":\"/w==\"}\r\n";

    world.send("POST", "/streams/s", &kind, lines).await.is(201);
    let broken = b"{\"type\":\"C\"}\n\n {\"type\":\"\"}\n";
    let refused = world.send("POST", "/streams/s", &kind, broken).await;

    let problem = refused.is_problem(400, "malformed-json");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(3), &json!(11)), "{problem}");
    assert_eq!(problem["index"], 1);
    let page = world.get("/streams/s").await.is(200);
    assert_eq!(page["events"].as_array().unwrap().len(), 2, "all or nothing");
    assert_eq!(page["events"][1]["data_base64"], "/w==");
    assert_eq!(page["events"][1]["content_type"], "application/octet-stream");
}

#[tokio::test]
async fn data_and_metadata_are_kept_byte_for_byte() {
    let world = World::new().await;
    let body = br#"{"type":"T","data":{"b" : 1.0e0,"a":[1,  2]},"metadata":{ "x":null}}"#;
    let kind = [("Content-Type", "application/json")];

    world.send("POST", "/streams/s", &kind, body).await.is(201);

    let text = world.get("/streams/s").await.text();
    assert!(text.contains(r#""data":{"b" : 1.0e0,"a":[1,  2]}"#), "{text}");
    assert!(text.contains(r#""metadata":{ "x":null}"#), "{text}");
}

#[tokio::test]
async fn what_is_expected_of_the_stream_holds_or_it_is_a_conflict() {
    let world = World::new().await;
    world.post("/streams/order-1?expect=none", &placed(1)).await.is(201);
    world.post("/streams/order-1?expect=0", &placed(2)).await.is(201);
    world.post("/streams/order-1?expect=exists", &placed(3)).await.is(201);
    world.post("/streams/order-1?expect=any", &placed(4)).await.is(201);

    for (expect, expected) in
        [("none", json!("none")), ("1", json!(1)), ("deleted", json!("deleted"))]
    {
        let reply = world.post(&format!("/streams/order-1?expect={expect}"), &placed(5)).await;

        let problem = reply.is_problem(409, "conflict");
        let violations = json!([{"stream": "order-1", "expected": expected,
            "found": {"state": "live", "last": 3}}]);
        assert_eq!(problem["violations"], violations);
        assert_eq!(problem["retryable"], false);
    }
    assert_eq!(world.get("/frontier").await.is(200)["frontier"], 4);
}

#[tokio::test]
async fn a_demand_in_a_header_is_a_precondition() {
    let world = World::new().await;
    let body = placed(1).to_string();
    let send = async |header: (&str, &str)| {
        let headers = [("Content-Type", "application/json"), header];
        world.send("POST", "/streams/order-1", &headers, body.as_bytes()).await
    };

    send(("If-Match", "*")).await.is_problem(412, "precondition-failed");
    let created = send(("If-None-Match", "*")).await;
    created.is(201);
    send(("If-None-Match", "*")).await.is_problem(412, "precondition-failed");
    send(("If-Match", created.header("etag").unwrap())).await.is(201);
    let problem = send(("If-Match", "\"0\"")).await.is_problem(412, "precondition-failed");

    assert_eq!(problem["violations"][0]["found"]["last"], 1);
    send(("If-Match", "W/\"1\"")).await.is_problem(400, "malformed-request");
    send(("If-None-Match", "\"1\"")).await.is_problem(400, "malformed-request");
    let both = [("Content-Type", "application/json"), ("If-Match", "\"1\"")];
    let both = world.send("POST", "/streams/order-1?expect=1", &both, body.as_bytes()).await;
    both.is_problem(400, "malformed-request");
}

#[tokio::test]
async fn a_whole_append_goes_to_many_streams_or_to_none() {
    let world = World::new().await;
    let event = |stream: &str| json!({"stream": stream, "type": "Moved", "tags": ["unit:7"]});
    let append = json!({
        "events": [event("a"), event("b"), event("a")],
        "expect": {"a": "none", "b": "none", "c": "none"},
        "fail_if": [{"query": "tag:unit:7"}],
    });

    let done = world.post("/append", &append).await.is(201);
    let again = world.post("/append", &append).await.is_problem(409, "conflict");

    let streams = json!([{"stream": "a", "position": 3, "revision": 1},
        {"stream": "b", "position": 2, "revision": 0}]);
    assert_eq!(done["streams"], streams);
    let violations = again["violations"].as_array().unwrap();
    assert_eq!(violations.len(), 3, "{again}");
    assert_eq!(violations[2], json!({"condition": 0, "position": 1}));
    assert_eq!(world.get("/frontier").await.is(200)["frontier"], 3);
}

#[tokio::test]
async fn a_condition_counts_what_came_after_the_frontier_that_was_read() {
    let world = World::new().await;
    let claim = json!({"stream": "user-1", "type": "Claimed", "tags": ["name:ada"]});
    world.post("/append", &json!({"events": [claim]})).await.is(201);
    let frontier = world.get("/events?query=tag:name:ada").await.is(200)["frontier"].clone();
    let next = json!({"events": [claim], "fail_if": [
        {"query": ["type:Other", "type:Claimed tag:name:ada"], "after": frontier}]});

    world.post("/append", &next).await.is(201);
    let problem = world.post("/append", &next).await.is_problem(409, "conflict");

    assert_eq!(problem["violations"], json!([{"condition": 0, "position": 2}]));
    let beyond = json!({"fail_if": [{"query": "", "after": 99}]});
    let problem = world.post("/append", &beyond).await.is_problem(400, "invalid-append");
    assert_eq!(problem["frontier"], 2);
}

#[tokio::test]
async fn an_append_without_events_only_checks() {
    let world = World::new().await;

    let check = json!({"expect": {"a": "none"}});
    let answer = world.post("/append", &check).await.is(200);
    world.post("/streams/a?expect=exists", &json!([])).await.is_problem(409, "conflict");

    assert_eq!(answer, json!({"first": null, "last": null, "streams": [], "replayed": false}));
}

#[tokio::test]
async fn what_was_read_can_be_sent_again() {
    let world = World::new().await;
    let event = json!({"type": "A", "data": {"x": 1}, "tags": ["t"], "metadata": {"m": 1}});
    world.post("/streams/s", &event).await.is(201);
    let lines = world.send("GET", "/streams/s", &[("Accept", "application/x-ndjson")], b"").await;
    let other = World::new().await;

    let kind = [("Content-Type", "application/x-ndjson")];
    other.send("POST", "/streams/s", &kind, &lines.body).await.is(201);
    let elsewhere = other.send("POST", "/streams/t", &kind, &lines.body).await;

    let copy = other.get("/streams/s").await.is(200)["events"][0].clone();
    let mut original: Value = serde_json::from_slice(&lines.body).unwrap();
    original["time"] = copy["time"].clone();
    assert_eq!(copy, original);
    let problem = elsewhere.is_problem(400, "malformed-json");
    assert!(problem["detail"].as_str().unwrap().contains("names the stream \"s\""), "{problem}");
}

#[tokio::test]
async fn reserved_names_are_refused() {
    let world = World::new().await;

    let problem = world.post("/streams/$mine", &placed(1)).await.is_problem(400, "invalid-append");

    assert_eq!(problem["name"], "$mine");
}
