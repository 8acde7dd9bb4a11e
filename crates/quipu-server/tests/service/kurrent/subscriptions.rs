//! Persistent subscriptions: what clients do not ask, or ask in ways of their own.

use std::time::{Duration, Instant};

use quipu_core::{Append, EventStore, ExpectedRevision, NewEvent};
use quipu_kurrent::proto::event_store::client::{
    RecordedEvent, persistent_subscriptions as groups,
};

use super::wire::{Consumer, GROUPS, World, identifier, name};
use crate::http::client::{Reply, exchange, request};

/// Waits until something is so that the server comes to by itself.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < Duration::from_mins(1), "it did not come to be");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<RecordedEvent> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(consumer.event().await.unwrap().0);
    }
    taken
}

/// What an event of a stream of links or names says.
fn text(event: &RecordedEvent) -> (String, u64, String) {
    let event_type = event.metadata.iter().find(|own| own.key == "type").unwrap();
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&event_type.value), event.stream_revision, text(&event.data))
}

#[tokio::test]
async fn parked_events_are_in_the_metrics() {
    let world = World::open().await;
    world.append("s", 3).await;
    world.create("s", |_| {}).await.unwrap();
    let mut consumer = world.join("s", 10).await.unwrap();
    let events = take(&mut consumer, 3).await;

    consumer.nack(events.into_iter().take(2).filter_map(|event| event.id).collect(), "no").await;

    until(async || {
        let bytes = request("GET", "/metrics", &[("Connection", "close")], b"");
        let metrics = Reply::parse(&exchange(world.address(), &bytes).await).text();
        metrics.contains("quipu_consumer_group_parked{group=\"s::g\"} 2")
    })
    .await;
}

/// More than are brought back at a time.
#[tokio::test]
async fn a_replay_brings_back_all_that_was_parked_before_it_and_nothing_twice() {
    const COUNT: i64 = 2_500;
    let world = World::open().await;
    world.append("s", usize::try_from(COUNT).unwrap()).await;
    world.create("s", |_| {}).await.unwrap();
    let mut consumer = world.join("s", 100).await.unwrap();
    let ids = |events: Vec<RecordedEvent>| events.into_iter().filter_map(|event| event.id);
    for _ in 0..COUNT / 100 {
        let events = take(&mut consumer, 100).await;
        consumer.nack(ids(events).collect(), "no").await;
    }
    let count = async || world.info("s").await.unwrap().parked_message_count;
    until(async || count().await == COUNT).await;

    let mut revisions = Vec::new();
    for (stop_at, replayed) in [(Some(1_200), 1_200), (None, 1_300)] {
        world.replay("s", stop_at).await.unwrap();
        for round in 0..replayed / 100 {
            let events = take(&mut consumer, 100).await;
            revisions.extend(events.iter().map(|event| event.stream_revision));
            let mut ids: Vec<_> = ids(events).collect();
            // One is parked again long before the replay of all is over, which does not mean it.
            if stop_at.is_none() && round == 0 {
                consumer.nack(ids.split_off(99), "no").await;
            }
            consumer.ack(ids).await;
        }
        let left = if stop_at.is_some() { 1_300 } else { 1 };
        until(async || count().await == left).await;
    }

    revisions.sort_unstable();
    assert_eq!(revisions, (0..2_500).collect::<Vec<u64>>());
    world.append("s", 1).await;
    assert_eq!(take(&mut consumer, 1).await[0].stream_revision, 2_500);
}

/// No client calls it yet.
#[tokio::test]
async fn parked_events_are_dropped_up_to_a_place_among_them() {
    use groups::truncate_parked_req::options::{StopAtOption, StreamOption};
    let world = World::open().await;
    world.append("s", 3).await;
    world.create("s", |_| {}).await.unwrap();
    let mut consumer = world.join("s", 10).await.unwrap();
    let events = take(&mut consumer, 3).await;
    consumer.nack(events.into_iter().filter_map(|event| event.id).collect(), "no").await;
    let count = async || world.info("s").await.unwrap().parked_message_count;
    until(async || count().await == 3).await;

    for (until, left) in [(StopAtOption::StopAt(1), 2), (StopAtOption::NoLimit(()), 0)] {
        let options = groups::truncate_parked_req::Options {
            group_name: "g".to_owned(),
            stream_option: Some(StreamOption::StreamIdentifier(identifier("s"))),
            stop_at_option: Some(until),
        };
        let request = groups::TruncateParkedReq { options: Some(options) };
        let path = format!("{GROUPS}TruncateParked");
        let _: groups::TruncateParkedResp = world.ask(&path, request).await.unwrap();
        assert_eq!(count().await, left);
    }
}

/// The store does not number these: they are counted along the log.
#[tokio::test]
async fn streams_that_are_counted_along_the_log_are_sources_too() {
    let world = World::open().await;
    for (stream, correlation) in [("a-1", "x"), ("b-1", "y"), ("a-2", "x"), ("a-1", "x")] {
        let metadata = format!(r#"{{"$correlationId": "{correlation}"}}"#);
        let event = NewEvent::json("Made", "{}").unwrap().with_metadata(metadata);
        let append = Append::to_stream(name(stream), ExpectedRevision::Any, [event]);
        world.store.append(append).await.unwrap();
    }
    for stream in ["$bc-x", "$category-a"] {
        world.create(stream, |_| {}).await.unwrap();
    }

    let mut correlated = world.join("$bc-x", 10).await.unwrap();
    let link = |ordinal, target: &str| ("$>".to_owned(), ordinal, target.to_owned());
    let links = take(&mut correlated, 3).await;
    let told: Vec<_> = links.iter().map(text).collect();
    assert_eq!(told, [link(0, "0@a-1"), link(1, "0@a-2"), link(2, "1@a-1")]);

    let mut names = world.join("$category-a", 10).await.unwrap();
    let told: Vec<_> = take(&mut names, 2).await.iter().map(text).collect();
    let reference = |ordinal, stream: &str| ("$@".to_owned(), ordinal, stream.to_owned());
    assert_eq!(told, [reference(0, "a-1"), reference(1, "a-2")]);

    // What is parked is found again by its ordinal, and what is appended later comes.
    let ids = |event: &RecordedEvent| event.id.clone().into_iter().collect();
    correlated.ack(ids(&links[0])).await;
    correlated.nack(ids(&links[1]), "not now").await;
    correlated.ack(ids(&links[2])).await;
    until(async || world.info("$bc-x").await.unwrap().parked_message_count == 1).await;
    world.replay("$bc-x", None).await.unwrap();
    let again = take(&mut correlated, 1).await;
    assert_eq!(text(&again[0]), link(1, "0@a-2"));
    world.append("a-3", 1).await;
    assert_eq!(text(&take(&mut names, 1).await[0]), reference(2, "a-3"));
}
