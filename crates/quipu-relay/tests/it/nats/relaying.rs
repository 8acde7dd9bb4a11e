//! What a relay to NATS publishes, and what becomes of what it cannot publish.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use quipu_core::{Append, ComponentState, EventStore, MemoryStore, NewEvent, Position, StreamName};
use quipu_groups::{OnError, RunnerStatus, Running};
use quipu_relay::{NatsSink, Relay};
use quipu_testing::nats::Nats;

use super::{PATIENCE, header, jetstream, read, server, sink, unique};

fn store() -> Arc<dyn EventStore> {
    Arc::new(MemoryStore::new())
}

async fn append(store: &Arc<dyn EventStore>, stream: &str, data: &str) -> Position {
    let event = NewEvent::json("Counted", data.to_owned()).unwrap();
    let append = Append::new().event(StreamName::new(stream).unwrap(), event);
    store.append(append).await.unwrap().last.unwrap()
}

/// Waits for a status, and says how the relay is where it does not come.
async fn until(
    running: &mut Running,
    is_wanted: impl FnMut(&RunnerStatus) -> bool,
) -> RunnerStatus {
    let waited = tokio::time::timeout(PATIENCE, running.wait_until(is_wanted)).await;
    waited.unwrap_or_else(|_| panic!("{:?}", running.status())).unwrap()
}

/// What arrived of a key, in order.
async fn values(server: &Nats, stream: &str, key: &str) -> Vec<String> {
    let messages = read(server, stream).await;
    let subject = format!("{stream}.{key}");
    let own = messages.iter().filter(|message| *message.subject == *subject);
    own.map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_says_all_of_its_cloud_event() {
    let Some(server) = server() else { return };
    let (store, stream) = (store(), unique("orders"));
    let metadata = r#"{"$correlationId":"c","traceparent":"00-1-2-01"}"#;
    let event = NewEvent::json("OrderPaid", r#"{"cents":1200}"#).unwrap().with_metadata(metadata);
    let id = event.id;
    let append = Append::new().event(StreamName::new("order-7").unwrap(), event);
    let last = store.append(append).await.unwrap().last.unwrap();

    let mut running = Relay::new(store, "said", Arc::new(sink(server, &stream))).spawn();
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();

    let messages = read(server, &stream).await;
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(*message.subject, *format!("{stream}.order-7"));
    assert_eq!(message.payload.as_ref(), br#"{"cents":1200}"#);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-type", "OrderPaid"),
        ("ce-subject", "order-7"),
        ("ce-position", "1"),
        ("ce-correlationid", "c"),
        ("ce-datacontenttype", "application/json"),
        ("traceparent", "00-1-2-01"),
        ("Nats-Msg-Id", &format!("said/{id}")),
    ] {
        assert_eq!(header(message, name).as_deref(), Some(value), "{name}");
    }
}

/// The relay's place is saved later than what it published: what comes again after a crash is in the
/// stream once, since the server knows it by its id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_again_is_in_the_stream_once() {
    let Some(server) = server() else { return };
    let (store, stream) = (store(), unique("orders"));
    let mut expected = BTreeMap::<String, Vec<String>>::new();
    for crash in 0..6_u64 {
        let mut last = Position::START;
        for number in 0..40_u64 {
            let (key, data) = (format!("order-{}", number % 7), format!("{crash}{number:02}"));
            last = append(&store, &key, &data).await;
            expected.entry(key).or_default().push(data);
        }
        let relay = Relay::new(Arc::clone(&store), "again", Arc::new(sink(server, &stream)));
        let mut running = relay
            .partitions(NonZeroU16::new(3).unwrap())
            .with_runner(|runner| {
                let short = Duration::from_millis(50);
                runner.batch(7).lease_ttl(short).save_interval(Duration::from_mins(1))
            })
            .spawn();
        running.wait_for(last).await.unwrap();
        // Without a goodbye: its place is where it began.
        drop(running);
    }

    for (key, values_of_key) in expected {
        assert_eq!(values(server, &stream, &key).await, values_of_key, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_once_and_in_order_though_the_server_is_killed_and_stands_still() {
    let Some(mut server) = Nats::start("") else { return };
    let (store, stream) = (store(), "orders");
    let relay = Relay::new(Arc::clone(&store), "killed", Arc::new(sink(&server, stream)));
    let mut running = relay
        .partitions(NonZeroU16::new(3).unwrap())
        .with_runner(|runner| runner.batch(10))
        .spawn();
    let mut expected = BTreeMap::<String, Vec<String>>::new();
    let mut last = Position::START;
    for round in 0..60_u64 {
        for number in 0..20_u64 {
            let (key, data) = (format!("order-{}", number % 7), format!("{round}{number:02}"));
            last = append(&store, &key, &data).await;
            expected.entry(key).or_default().push(data);
        }
        match round {
            10 | 30 => {
                server.kill();
                tokio::time::sleep(Duration::from_millis(300)).await;
                server.restart();
            }
            20 | 40 => {
                server.pause();
                tokio::time::sleep(Duration::from_secs(2)).await;
                server.resume();
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    let waited = tokio::time::timeout(PATIENCE, running.wait_for(last)).await;
    waited.unwrap_or_else(|_| panic!("{:?}", running.status())).unwrap();
    running.stop().await.unwrap();

    for (key, values_of_key) in expected {
        assert_eq!(values(&server, stream, &key).await, values_of_key, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_parks_its_key_and_the_others_go_out_once() {
    let Some(server) = server() else { return };
    // The stream takes little, and the server little more than any event of a shop has.
    for (stream_max, size) in [(10_000, 20_000), (-1, 9 << 20)] {
        let (store, stream) = (store(), unique("orders"));
        let config = Config {
            name: stream.clone(),
            subjects: vec![format!("{stream}.>")],
            max_message_size: stream_max,
            ..Config::default()
        };
        jetstream(server).await.create_stream(config).await.unwrap();
        let mut last = Position::START;
        for number in 0..30_u64 {
            let large = format!("\"{}\"", "x".repeat(size));
            let data = if number == 9 { large } else { number.to_string() };
            last = append(&store, &format!("order-{}", number % 3), &data).await;
        }

        let sink = Arc::new(sink(server, &stream));
        let on_error = OnError::retry(1).then_park();
        let relay = Relay::new(Arc::clone(&store), &stream, sink).on_error(on_error);
        let mut running = relay.spawn();
        let status = until(&mut running, |it| it.parked_count == 7).await;
        running.wait_for(last).await.unwrap();
        running.stop().await.unwrap();

        let cause = status.last_error.unwrap();
        assert!(cause.contains("exceed"), "{cause}");
        assert_eq!(values(server, &stream, "order-0").await, ["0", "3", "6"]);
        for rest in [1, 2] {
            let expected: Vec<String> =
                (0..30).filter(|n| n % 3 == rest).map(|n: u64| n.to_string()).collect();
            assert_eq!(values(server, &stream, &format!("order-{rest}")).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stream_is_named_and_waited_for() {
    let Some(server) = server() else { return };
    let (store, stream) = (store(), unique("orders"));
    let last = append(&store, "order-1", "1").await;

    let subject = format!("{stream}.{{category}}");
    let sink = NatsSink::new(&server.url(), &stream, &subject).unwrap();
    let mut running = Relay::new(store, &stream, Arc::new(sink)).spawn();
    let status = until(&mut running, |it| it.state == ComponentState::Retrying).await;
    let cause = status.last_error.unwrap();
    let how = format!("nats stream add {stream} --subjects '{stream}.>'");
    assert!(cause.contains(&how), "{cause}");

    // A stream of that name that the subject does not belong to is not enough.
    let config = |subject: &str| Config {
        name: stream.clone(),
        subjects: vec![format!("{stream}.{subject}")],
        ..Config::default()
    };
    let jetstream = jetstream(server).await;
    jetstream.create_stream(config("other")).await.unwrap();
    let is_told = |it: &RunnerStatus| {
        it.last_error.as_ref().is_some_and(|cause| cause.contains("does not belong"))
    };
    until(&mut running, is_told).await;

    jetstream.update_stream(config("order")).await.unwrap();
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(values(server, &stream, "order").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_gives_no_subject_is_refused_and_says_why() {
    let Some(server) = server() else { return };
    let (store, stream) = (store(), unique("orders"));
    append(&store, "order-a b", "1").await;
    let last = append(&store, "order-2", "2").await;

    let relay = Relay::new(Arc::clone(&store), &stream, Arc::new(sink(server, &stream)));
    let mut running = relay.on_error(OnError::retry(0).then_park()).spawn();
    let status = until(&mut running, |it| it.parked_count == 1).await;
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();

    let cause = status.last_error.unwrap();
    assert!(cause.contains("no subject for the cloud event"), "{cause}");
    assert_eq!(values(server, &stream, "order-2").await, ["2"]);
}
