//! What every sink must do: run [`all`] in a sink's own tests.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quipu_core::{
    Append, BoxFuture, EventStore, MemoryStore, NewEvent, Position, StreamName, Timestamp,
};
use serde_json::Value;

use crate::cloud_event::CloudEvent;
use crate::format::write_json;
use crate::relay::Relay;
use crate::sink::{Batch, Sink};

/// A destination that the suite publishes to and looks at.
pub trait Destination: Send + Sync {
    /// Opens a sink to the destination, as a new process would. None from before is in use, though
    /// one may be on its way out: wait for it.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Sink>>;

    /// Everything that has arrived, in the order of arrival where there is one, and of each key in
    /// any case; each cloud event as the JSON format of `CloudEvents` has it.
    fn delivered(&self) -> BoxFuture<'_, Vec<Value>>;
}

/// Runs every case, each against a destination of its own.
///
/// # Panics
///
/// Where the sink does not do what it must.
pub async fn all<D: Destination>(make: impl Fn() -> D) {
    cloud_events_arrive_in_order_with_all_they_say(&make()).await;
    a_batch_that_comes_again_is_known_by_its_ids(&make()).await;
    what_was_published_is_there_after_opening_again(&make()).await;
    nothing_is_missing_or_overtaken_though_the_relay_crashes(&make()).await;
}

fn cloud_event(number: usize) -> CloudEvent {
    CloudEvent {
        id: format!("id-{number}"),
        source: Some("urn:quipu:conform".to_owned()),
        event_type: "com.example.sample".to_owned(),
        subject: Some(format!("sample-{}", number % 2)),
        time: Some(Timestamp::from_micros(1_700_000_000_000_001)),
        data_content_type: Some("application/json".to_owned()),
        data: Some(format!("{{\"number\":{number}}}").into()),
        key: Some(format!("sample-{}", number % 2)),
        extensions: BTreeMap::from([("position".to_owned(), number.to_string())]),
    }
}

/// Messages of every shape that a log can hold.
fn shapes() -> Vec<CloudEvent> {
    let plain = cloud_event(0);
    let octets = CloudEvent {
        data: Some(Bytes::from_static(b"\0\xFF\r\n binary")),
        data_content_type: Some("application/octet-stream".to_owned()),
        ..cloud_event(1)
    };
    let strange = CloudEvent {
        subject: Some("with \"quotes\", 100% ünïcode, 日本 and blanks".to_owned()),
        ..cloud_event(2)
    };
    let lines = cloud_event(3).with_json("{\n  \"text\": \"two\\nlines\"\r\n}");
    let large = cloud_event(4).with_json(format!("\"{}\"", "x".repeat(1 << 20)));
    let none = CloudEvent { data: None, data_content_type: None, time: None, ..cloud_event(5) };
    let traced = cloud_event(6)
        .with_extension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    vec![plain, octets, strange, lines, large, none, traced]
}

fn json(cloud_event: &CloudEvent) -> Value {
    let mut line = Vec::new();
    write_json(cloud_event, &mut line);
    serde_json::from_slice(&line).expect("what was written as JSON is JSON")
}

/// Opens a sink for a relay of that log.
async fn open(destination: &dyn Destination, store: &Arc<dyn EventStore>) -> Arc<dyn Sink> {
    let sink = destination.open().await;
    sink.attach(store, "conform");
    sink
}

fn log() -> Arc<dyn EventStore> {
    Arc::new(MemoryStore::new())
}

async fn publish(sink: &dyn Sink, cloud_events: Vec<CloudEvent>) {
    let batch = Batch { epoch: 1, cloud_events, moves: Vec::new() };
    let published = sink.publish(&batch).await;
    assert!(published.is_ok(), "the sink takes a batch: {published:?}");
}

async fn cloud_events_arrive_in_order_with_all_they_say(destination: &dyn Destination) {
    let sink = open(destination, &log()).await;

    publish(&*sink, shapes()).await;
    publish(&*sink, vec![cloud_event(7)]).await;

    let expected: Vec<Value> = shapes().iter().chain([&cloud_event(7)]).map(json).collect();
    let delivered = destination.delivered().await;
    assert_eq!(delivered.len(), expected.len(), "every cloud event arrives");
    let sorted = |mut values: Vec<Value>| {
        // A stable sort: the order within a key stays.
        values.sort_by_key(|value| value["partitionkey"].to_string());
        values
    };
    for (delivered, expected) in sorted(delivered).into_iter().zip(sorted(expected)) {
        assert_eq!(delivered, expected, "a cloud event arrives as it is, in the order of its key");
    }
}

async fn a_batch_that_comes_again_is_known_by_its_ids(destination: &dyn Destination) {
    let sink = open(destination, &log()).await;

    publish(&*sink, vec![cloud_event(0), cloud_event(2)]).await;
    publish(&*sink, vec![cloud_event(0), cloud_event(2), cloud_event(4)]).await;

    let delivered = destination.delivered().await;
    assert_eq!(first_times(&delivered, "sample-0"), ["id-0", "id-2", "id-4"]);
}

async fn what_was_published_is_there_after_opening_again(destination: &dyn Destination) {
    let log = log();
    let sink = open(destination, &log).await;
    publish(&*sink, vec![cloud_event(0), cloud_event(2)]).await;
    drop(sink);

    let sink = open(destination, &log).await;
    publish(&*sink, vec![cloud_event(4)]).await;

    let delivered = destination.delivered().await;
    assert_eq!(first_times(&delivered, "sample-0"), ["id-0", "id-2", "id-4"]);
}

/// The ids of a key's cloud events, in the order in which each arrived first.
fn first_times(delivered: &[Value], key: &str) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for cloud_event in delivered.iter().filter(|cloud_event| cloud_event["partitionkey"] == key) {
        let id = cloud_event["id"].as_str().unwrap_or_default();
        if !ids.iter().any(|seen| seen == id) {
            ids.push(id.to_owned());
        }
    }
    ids
}

async fn nothing_is_missing_or_overtaken_though_the_relay_crashes(destination: &dyn Destination) {
    const KEYS: u64 = 9;
    let store = log();
    let mut log = BTreeMap::<String, Vec<String>>::new();
    let (crashes, mut is_transactional) = (6, false);
    for crash in 0..=crashes {
        let mut last = Position::START;
        for number in 0..60_u64 {
            // A step that has no factor in common with the keys visits all of them.
            let stream = format!("order-{}", number * 7 % KEYS);
            let name = StreamName::new(&stream).expect("a valid name");
            let event = NewEvent::json("Counted", number.to_string()).expect("a valid type");
            log.entry(stream).or_default().push(event.id.to_string());
            let appended = store.append(Append::new().event(name, event)).await;
            last = appended.expect("the store takes it").last.expect("an event has a place");
        }
        let sink = destination.open().await;
        is_transactional = sink.places().is_some();
        let partitions = NonZeroU16::MIN.saturating_add(crash % 4);
        let relay = Relay::new(Arc::clone(&store), "conform", sink).partitions(partitions);
        let relay = relay.with_runner(move |runner| {
            let short = Duration::from_millis(50);
            runner.batch(3 + usize::from(crash)).lease_ttl(short).save_interval(short / 10)
        });
        let mut running = relay.spawn();
        // Each crash comes at another place of what there is to relay, the last round ends well.
        let missing = u64::from(crashes - crash) * 9;
        let wanted = Position::new(last.get() - missing);
        running.wait_for(wanted).await.expect("the relay goes on");
        if crash == crashes {
            running.stop().await.expect("the relay stops when asked to");
        }
    }

    let delivered = destination.delivered().await;
    if is_transactional {
        let count: usize = log.values().map(Vec::len).sum();
        assert_eq!(delivered.len(), count, "with checkpoints in the sink nothing comes again");
    }
    for (key, ids) in log {
        assert_eq!(first_times(&delivered, &key), ids, "{key} is complete and in order");
    }
}
