use std::collections::BTreeSet;

use quipu_core::{Append, EventStore, ExpectedRevision, MemoryStore, NewEvent, StreamName};
use quipu_server::config::Limits;
use serde_json::{Value, json};

use super::client::{Flow, PATIENCE, World};

async fn add(store: &MemoryStore, stream: &str, number: u64) {
    let event = NewEvent::json("Counted", number.to_string()).unwrap();
    let stream = StreamName::new(stream).unwrap();
    store.append(Append::to_stream(stream, ExpectedRevision::Any, [event])).await.unwrap();
}

#[tokio::test]
async fn history_comes_first_and_then_what_is_appended() {
    let world = World::new().await;
    add(&world.store, "s", 1).await;
    add(&world.store, "other", 2).await;

    let mut flow = Flow::subscribe(&world, "/streams/s/subscribe", &[]).await;
    let retry = flow.next().await.unwrap();
    let first = flow.next().await.unwrap();
    let caught_up = flow.next().await.unwrap();
    add(&world.store, "s", 3).await;
    let second = flow.next().await.unwrap();

    let kind = flow.headers.iter().find(|(name, _)| name == "content-type");
    assert_eq!(kind.unwrap().1, "text/event-stream");
    assert_eq!(retry.kind, "retry");
    assert_eq!((first.kind.as_str(), first.id), ("event", Some(0)));
    assert_eq!(serde_json::from_str::<Value>(&first.data).unwrap()["data"], 1);
    assert_eq!((caught_up.kind.as_str(), caught_up.id), ("caught-up", None));
    assert_eq!((second.kind.as_str(), second.id), ("event", Some(1)));
    assert_eq!(serde_json::from_str::<Value>(&second.data).unwrap()["position"], 3);
}

#[tokio::test]
async fn a_query_passes_over_what_does_not_match_and_says_how_far_it_is() {
    let world = World::new().await;
    add(&world.store, "order-1", 1).await;
    add(&world.store, "parcel-1", 2).await;
    add(&world.store, "order-2", 3).await;
    add(&world.store, "parcel-2", 4).await;

    let path = "/subscribe?query=stream:order-1&query=stream:order-2";
    let mut flow = Flow::subscribe(&world, path, &[]).await;

    assert_eq!(flow.next_of("event").await.id, Some(1));
    assert_eq!(flow.next_of("event").await.id, Some(3));
    let checkpoint = flow.next_of("checkpoint").await;
    assert_eq!((checkpoint.id, checkpoint.data.as_str()), (Some(4), "{\"position\":4}"));
    assert_eq!(flow.next().await.unwrap().kind, "caught-up");
}

#[tokio::test]
async fn a_subscription_begins_where_it_is_told_to() {
    let world = World::new().await;
    for number in 1..=5 {
        add(&world.store, "s", number).await;
    }
    let first = async |path: &str, headers: &[(&str, &str)]| {
        let mut flow = Flow::subscribe(&world, path, headers).await;
        flow.next_of("retry").await;
        let next = flow.next().await.unwrap();
        (next.kind, next.id)
    };

    let event = |id: u64| ("event".to_owned(), Some(id));
    let caught_up = ("caught-up".to_owned(), None);
    assert_eq!(first("/subscribe", &[]).await, event(1));
    assert_eq!(first("/subscribe?from=start", &[]).await, event(1));
    assert_eq!(first("/subscribe?after=3", &[]).await, event(4));
    assert_eq!(first("/subscribe?from=end", &[]).await, caught_up);
    assert_eq!(first("/subscribe?after=1", &[("Last-Event-ID", "4")]).await, event(5));
    assert_eq!(first("/streams/s/subscribe?after=3", &[]).await, event(4));
    assert_eq!(first("/streams/s/subscribe?from=end", &[("Last-Event-ID", "1")]).await, event(2));
    assert_eq!(first("/streams/none/subscribe", &[]).await, caught_up);
}

#[tokio::test]
async fn a_place_that_cannot_be_begun_at_is_a_problem() {
    let world = World::new().await;
    add(&world.store, "s", 1).await;
    add(&world.store, "over", 2).await;
    world.send("DELETE", "/streams/over?hard=true", &[], b"").await.is(201);

    let beyond = world.get("/subscribe?after=99").await.is_problem(400, "beyond-end");
    let over = world.get("/streams/over/subscribe?after=7").await;

    assert_eq!((&beyond["after"], &beyond["frontier"]), (&json!(99), &json!(3)));
    over.is_problem(410, "tombstoned");
    for path in ["/subscribe?after=x", "/subscribe?from=middle", "/subscribe?from=end&after=1"] {
        world.get(path).await.is_problem(400, "malformed-request");
    }
    let last = [("Last-Event-ID", "yesterday")];
    world.send("GET", "/subscribe", &last, b"").await.is_problem(400, "malformed-request");
    world.get("/subscribe?query=x").await.is_problem(400, "malformed-query");
}

/// A client that loses its connection again and again, at any place, and comes back with the last id
/// that it saw, sees every event once and in order, while appends run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_with_the_last_id_misses_nothing_and_sees_nothing_twice() {
    const COUNT: u64 = 2_000;
    let world = World::new().await;
    let store = world.store.clone();
    let writer = tokio::spawn(async move {
        for number in 0..COUNT {
            add(&store, &format!("{}-1", if number % 3 == 0 { "skip" } else { "keep" }), number)
                .await;
            tokio::task::yield_now().await;
        }
    });

    let mut seen = Vec::new();
    let mut last = None;
    let mut lives = 0;
    let expected: Vec<u64> = (0..COUNT).filter(|number| number % 3 != 0).collect();
    while seen.len() < expected.len() {
        let id = last.map(|id: u64| id.to_string());
        let headers: Vec<_> = id.iter().map(|id| ("Last-Event-ID", id.as_str())).collect();
        let mut flow = Flow::subscribe(&world, "/subscribe?query=category:keep", &headers).await;
        lives += 1;
        for _ in 0..lives % 90 + 2 {
            let sent = flow.next().await.unwrap();
            last = sent.id.or(last);
            if sent.kind == "event" {
                let event: Value = serde_json::from_str(&sent.data).unwrap();
                seen.push(event["data"].as_u64().unwrap());
            }
            if seen.len() == expected.len() {
                break;
            }
        }
    }
    writer.await.unwrap();

    assert_eq!(seen, expected);
    assert!(lives > 20, "it came back {lives} times");
}

#[tokio::test]
async fn a_server_that_stops_ends_its_subscriptions_with_a_word() {
    let world = World::new().await;
    add(&world.store, "s", 1).await;
    let mut one = Flow::subscribe(&world, "/subscribe", &[]).await;
    let mut other = Flow::subscribe(&world, "/streams/s/subscribe", &[]).await;
    one.next_of("caught-up").await;
    other.next_of("caught-up").await;

    world.stop().await;

    for flow in [&mut one, &mut other] {
        let last = flow.next().await.unwrap();
        assert!(last.comment.contains("the server stops"), "{last:?}");
        assert_eq!(flow.next().await, None, "the body has a proper end");
    }
}

#[tokio::test]
async fn a_stream_that_is_tombstoned_ends_its_subscriptions() {
    let world = World::new().await;
    add(&world.store, "s", 1).await;
    let mut flow = Flow::subscribe(&world, "/streams/s/subscribe", &[]).await;
    flow.next_of("caught-up").await;

    world.send("DELETE", "/streams/s?hard=true", &[], b"").await.is(201);

    let last = flow.next().await.unwrap();
    assert!(last.comment.contains("is tombstoned"), "{last:?}");
    assert_eq!(flow.next().await, None);
}

#[tokio::test]
async fn a_caller_has_so_many_subscriptions_and_no_more() {
    let limits = Limits { subscription_count_max: 2, ..Limits::default() };
    let world = World::with_limits(limits).await;
    let mut first = Flow::subscribe(&world, "/subscribe", &[]).await;
    let mut second = Flow::subscribe(&world, "/subscribe", &[]).await;
    first.next_of("caught-up").await;
    second.next_of("caught-up").await;

    let refused = world.get("/subscribe").await;

    let problem = refused.is_problem(429, "too-many-subscriptions");
    assert_eq!((&problem["count_max"], &problem["retryable"]), (&json!(2), &json!(true)));
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(first);
    // The server notices when it next looks at the connection.
    let again = async {
        while world.probe("/subscribe").await == 429 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("a place that was given back is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_subscribers_see_the_same() {
    let world = World::new().await;
    let mut flows = Vec::new();
    for _ in 0..50 {
        flows.push(Flow::subscribe(&world, "/subscribe?from=end", &[]).await);
    }

    for number in 0..20 {
        add(&world.store, "s", number).await;
    }

    let mut answers = BTreeSet::new();
    for flow in &mut flows {
        let mut ids = Vec::new();
        while ids.len() < 20 {
            ids.extend(flow.next_of("event").await.id);
        }
        answers.insert(ids);
    }
    assert_eq!(answers, BTreeSet::from([(1..=20).collect::<Vec<u64>>()]));
}

#[tokio::test]
async fn the_stores_own_events_are_sent_only_when_asked_for() {
    let world = World::new().await;
    for stream in ["a-1", "$quipu.own-1", "a-1", "$quipu.own-1"] {
        world.post(&format!("/streams/{stream}"), &json!({"type": "T"})).await.is(201);
    }
    let sent = async |path: &str| {
        let mut flow = Flow::subscribe(&world, path, &[]).await;
        let mut sent = Vec::new();
        loop {
            let next = flow.next().await.unwrap();
            match next.kind.as_str() {
                "caught-up" => return sent,
                "event" | "checkpoint" => sent.push((next.kind, next.id.unwrap())),
                _ => {}
            }
        }
    };
    let event = |id| ("event".to_owned(), id);

    assert_eq!(sent("/subscribe").await, [event(1), event(3), ("checkpoint".to_owned(), 4)]);
    assert_eq!(sent("/subscribe?system=true").await, [1, 2, 3, 4].map(event));
    assert_eq!(sent("/subscribe?query=category:$quipu.own").await, [event(2), event(4)]);
    world.get("/subscribe?system=1").await.is_problem(400, "malformed-request");
}
