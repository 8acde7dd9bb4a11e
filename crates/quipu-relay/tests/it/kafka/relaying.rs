//! What a relay to Kafka publishes, and what becomes of what it cannot publish.

use std::sync::Arc;
use std::time::{Duration, Instant};

use krafka::admin::{CreatePartitionsOptions, CreateTopicsOptions, DeleteTopicsOptions, NewTopic};
use quipu_core::{
    Append, ComponentKey, ComponentKind, ComponentRequest, ComponentState, EventStore,
    ExpectedRevision, MemoryStore, NewEvent, Position, StreamName,
};
use quipu_groups::{GiveUp, OnError, RunError, RunnerStatus, Running};
use quipu_relay::{KafkaSink, KafkaTopics, Relay, Sink, SinkError};

use uuid::Uuid;

use super::{broker, header, read_committed, sink, unique};

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
    let patience = Duration::from_mins(1);
    let waited = tokio::time::timeout(patience, running.wait_until(is_wanted)).await;
    waited.unwrap_or_else(|_| panic!("{:?}", running.status())).unwrap()
}

/// What arrived of a key, in order.
async fn values(servers: &str, topic: &str, key: &str) -> Vec<String> {
    let records = read_committed(servers, topic).await;
    let own = records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes()));
    own.map(|record| String::from_utf8(record.value.as_ref().unwrap().to_vec()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_the_stream_as_its_key_and_says_all_of_its_cloud_event() {
    let Some(cluster) = broker() else { return };
    let (store, topic) = (store(), unique("orders"));
    let metadata = r#"{"$correlationId":"c","traceparent":"00-1-2-01"}"#;
    let event = NewEvent::json("OrderPaid", r#"{"cents":1200}"#).unwrap().with_metadata(metadata);
    let append = Append::new().event(StreamName::new("order-7").unwrap(), event);
    let last = store.append(append).await.unwrap().last.unwrap();

    let relay = Relay::new(store, &topic, Arc::new(sink(&cluster.servers(), &topic)));
    let mut running = relay.source("https://example.com").spawn();
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();

    let records = read_committed(&cluster.servers(), &topic).await;
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(record.key.as_deref(), Some(&b"order-7"[..]));
    assert_eq!(record.value.as_deref(), Some(&br#"{"cents":1200}"#[..]));
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_type", "OrderPaid"),
        ("ce_source", "https://example.com"),
        ("ce_subject", "order-7"),
        ("ce_position", "1"),
        ("ce_correlationid", "c"),
        ("content-type", "application/json"),
        ("traceparent", "00-1-2-01"),
    ] {
        assert_eq!(header(record, name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_goes_on_where_its_checkpoint_in_kafka_is() {
    let Some(cluster) = broker() else { return };
    let (store, topic) = (store(), unique("orders"));
    for round in 0..3 {
        append(&store, "order-1", &round.to_string()).await;
        let last = append(&store, "order-2", &round.to_string()).await;
        let sink = Arc::new(sink(&cluster.servers(), &topic));
        let mut running = Relay::new(Arc::clone(&store), &topic, sink).spawn();
        running.wait_for(last).await.unwrap();
        running.stop().await.unwrap();
    }

    for key in ["order-1", "order-2"] {
        assert_eq!(values(&cluster.servers(), &topic, key).await, ["0", "1", "2"]);
    }
}

/// The zombie was taken for dead while it stood still; somebody else publishes in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_is_fenced() {
    let Some(cluster) = broker() else { return };
    let (store, topic) = (store(), unique("orders"));
    let zombie = sink(&cluster.servers(), &topic);
    zombie.attach(&store, &topic);
    let places = zombie.places().unwrap();
    let loaded = places.load().await.unwrap();
    places.claim(1, &loaded, &[]).await.unwrap();

    let younger = sink(&cluster.servers(), &topic);
    younger.attach(&store, &topic);
    let places = younger.places().unwrap();
    let loaded = places.load().await.unwrap();
    places.claim(2, &loaded, &[]).await.unwrap();

    let batch = |epoch| quipu_relay::Batch {
        epoch,
        cloud_events: vec![
            quipu_relay::CloudEvent {
                id: epoch.to_string(),
                source: Some("x".to_owned()),
                ..quipu_relay::CloudEvent::new("T")
            }
            .with_key("k")
            .with_json(epoch.to_string()),
        ],
        moves: Vec::new(),
    };
    let refused = zombie.publish(&batch(1)).await;
    assert!(matches!(refused, Err(SinkError::Fenced)), "{refused:?}");
    // It may even connect again: its epoch is stale all the same.
    let refused = zombie.publish(&batch(1)).await;
    assert!(matches!(refused, Err(SinkError::Fenced)), "{refused:?}");
    // That took the transactional id over, for a moment.
    let refused = younger.publish(&batch(2)).await;
    assert!(matches!(refused, Ok(()) | Err(SinkError::Fenced)), "{refused:?}");
    younger.publish(&batch(2)).await.unwrap();

    let values = values(&cluster.servers(), &topic, "k").await;
    assert!(values.iter().all(|value| value == "2"), "{values:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_parks_its_key_and_the_others_go_out_once() {
    let Some(cluster) = broker() else { return };
    let (store, topic) = (store(), unique("orders"));
    // What the broker refuses: the topic takes 10 kB at most.
    let admin = krafka::Kafka::builder(cluster.servers()).connect().await.unwrap().admin();
    let small = NewTopic::new(&topic, 2, 1).unwrap();
    let small = small.with_config("max.message.bytes", "10000");
    admin.create_topics([small], CreateTopicsOptions::default()).await.unwrap();
    let mut last = Position::START;
    for number in 0..30_u64 {
        // It must not be small when it is compressed.
        let noise: String = (0..2_000).map(|_| Uuid::new_v4().simple().to_string()).collect();
        let data = if number == 9 { format!("\"{noise}\"") } else { number.to_string() };
        last = append(&store, &format!("order-{}", number % 3), &data).await;
    }

    let sink = Arc::new(sink(&cluster.servers(), &topic));
    let on_error = OnError::retry(1).then_park();
    assert_eq!(on_error.give_up, GiveUp::Park);
    let mut running = Relay::new(Arc::clone(&store), &topic, sink).on_error(on_error).spawn();
    let status = until(&mut running, |it| it.parked_count == 7).await;
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();

    let cause = status.last_error.unwrap();
    assert!(cause.contains("MessageTooLarge"), "{cause}");
    let servers = cluster.servers();
    assert_eq!(values(&servers, &topic, "order-0").await, ["0", "3", "6"]);
    for rest in [1, 2] {
        let expected: Vec<String> =
            (0..30).filter(|n| n % 3 == rest).map(|n: u64| n.to_string()).collect();
        assert_eq!(values(&servers, &topic, &format!("order-{rest}")).await, expected);
    }
}

/// There is no topic for it, and there never will be: its key waits, and others go on.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_gives_no_topic_parks_its_key_and_says_why() {
    let Some(cluster) = broker() else { return };
    let (store, prefix) = (store(), unique("by"));
    append(&store, "order-1", "1").await;
    append(&store, "caf\u{e9}-1", "2").await;
    let last = append(&store, "order-1", "3").await;

    let sink = sink(&cluster.servers(), &format!("{prefix}.{{category}}"));
    let sink = sink.checkpoint_topic(&format!("{prefix}.checkpoint"));
    let relay = Relay::new(Arc::clone(&store), &prefix, Arc::new(sink));
    let mut running = relay.on_error(OnError::retry(0).then_park()).spawn();
    let status = until(&mut running, |it| it.parked_count == 1).await;
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();

    let cause = status.last_error.unwrap();
    assert!(cause.contains(&format!("{prefix}.caf\u{e9}")), "{cause}");
    let topic = format!("{prefix}.order");
    assert_eq!(values(&cluster.servers(), &topic, "order-1").await, ["1", "3"]);
}

/// On a compacted topic a deleted stream's key goes: its last message has no value.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_streams_key_is_emptied_on_a_compacted_topic() {
    let Some(cluster) = broker() else { return };
    let (store, topic) = (store(), unique("orders"));
    for stream in ["order-1", "order-2"] {
        append(&store, stream, "1").await;
    }
    store.delete(StreamName::new("order-1").unwrap(), ExpectedRevision::Any).await.unwrap();
    let last = append(&store, "order-2", "2").await;

    let topics = KafkaTopics::default().create().partitions(1).compacted();
    let sink = Arc::new(sink(&cluster.servers(), &topic).topics(topics));
    let mut running = Relay::new(Arc::clone(&store), &topic, sink).tombstones("order").spawn();
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();

    let told: Vec<_> = read_committed(&cluster.servers(), &topic)
        .await
        .iter()
        .map(|it| (it.key.as_deref().unwrap().to_vec(), it.value.is_some()))
        .collect();
    let told: Vec<_> = told.iter().map(|(key, has)| (key.as_slice(), *has)).collect();
    let (one, two) = (&b"order-1"[..], &b"order-2"[..]);
    assert_eq!(told, [(one, true), (two, true), (one, false), (two, true)]);
}

/// Whoever sees the registry has it in hand, wherever the relay runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_paused_resumed_and_replayed_through_the_registry() {
    let Some(cluster) = broker() else { return };
    let (store, topic) = (store(), unique("orders"));
    let first = append(&store, "order-1", "1").await;
    let own = Arc::new(sink(&cluster.servers(), &topic));
    let relay = Relay::new(Arc::clone(&store), &topic, own);
    let mut running = relay.spawn();
    running.wait_for(first).await.unwrap();
    let key = ComponentKey { kind: ComponentKind::Relay, name: topic.clone(), version: 1 };
    let ask = async |request| store.registry().request(&key, request).await.unwrap();

    ask(ComponentRequest::Pause).await;
    until(&mut running, |it| it.state == ComponentState::Paused).await;
    let last = append(&store, "order-1", "2").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let while_paused = values(&cluster.servers(), &topic, "order-1").await;
    ask(ComponentRequest::Resume).await;
    running.wait_for(last).await.unwrap();
    let resumed = values(&cluster.servers(), &topic, "order-1").await;
    ask(ComponentRequest::ReplayFrom(first)).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut replayed = Vec::new();
    while replayed.len() < 3 {
        assert!(Instant::now() < deadline, "{replayed:?}, {:?}", running.status());
        tokio::time::sleep(Duration::from_millis(200)).await;
        replayed = values(&cluster.servers(), &topic, "order-1").await;
    }
    running.stop().await.unwrap();

    assert_eq!(while_paused, ["1"]);
    assert_eq!(resumed, ["1", "2"]);
    assert_eq!(replayed, ["1", "2", "2"], "what is behind the position comes again");
    let status = store.registry().components().await.unwrap();
    let own = status.iter().find(|it| it.key == key).unwrap();
    assert_eq!((own.position, own.lag), (last, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_and_waited_for() {
    let Some(cluster) = broker() else { return };
    let (store, topic) = (store(), unique("orders"));
    let last = append(&store, "order-1", "1").await;
    let sink = KafkaSink::new(&cluster.servers(), &topic).unwrap();
    let sink = sink.topics(KafkaTopics::default().partitions(3));

    let mut running = Relay::new(Arc::clone(&store), &topic, Arc::new(sink)).spawn();
    let is_retrying = |state| state == ComponentState::Retrying;
    let status = until(&mut running, |it| is_retrying(it.state)).await;
    let cause = status.last_error.unwrap();
    assert!(cause.contains(&format!("--create --topic {topic} --partitions 3")), "{cause}");

    // One that is too small is named too.
    let admin = krafka::Kafka::builder(cluster.servers()).connect().await.unwrap().admin();
    let new = NewTopic::new(&topic, 1, 1).unwrap();
    admin.create_topics([new], CreateTopicsOptions::default()).await.unwrap();
    let is_small = |it: &str| it.contains("has 1 partitions, 3 are asked for");
    until(&mut running, |it| it.last_error.as_deref().is_some_and(is_small)).await;

    admin.create_partitions([(&topic, 3)], CreatePartitionsOptions::default()).await.unwrap();
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(values(&cluster.servers(), &topic, "order-1").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_log_is_refused() {
    let Some(cluster) = broker() else { return };
    let topic = unique("orders");
    for is_other in [false, true] {
        let store = store();
        append(&store, "order-1", "1").await;
        let sink = Arc::new(sink(&cluster.servers(), &topic));
        let mut running = Relay::new(store, &topic, sink).spawn();
        if is_other {
            let ended = running.ended().await;
            assert!(matches!(ended, Err(RunError::Keep(_))), "{ended:?}");
        } else {
            running.wait_for(Position::new(1)).await.unwrap();
            running.stop().await.unwrap();
        }
    }
}

/// Without its checkpoint the relay would publish everything again.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_checkpoint_was_deleted_does_not_begin_again_by_itself() {
    let Some(cluster) = broker() else { return };
    let (store, topic) = (store(), unique("orders"));
    let last = append(&store, "order-1", "1").await;
    let own = Arc::new(sink(&cluster.servers(), &topic));
    let mut running = Relay::new(Arc::clone(&store), &topic, own).spawn();
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();
    let admin = krafka::Kafka::builder(cluster.servers()).connect().await.unwrap().admin();
    let checkpoints = format!("{topic}.checkpoint");
    admin.delete_topics([checkpoints], DeleteTopicsOptions::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    let sink = Arc::new(sink(&cluster.servers(), &topic));
    let running = Relay::new(Arc::clone(&store), &topic, sink).spawn();
    let watch = running.watch();
    let ended = running.ended().await;

    assert!(matches!(ended, Err(RunError::Keep(_))), "{ended:?}");
    let cause = watch.borrow().last_error.clone().unwrap();
    assert!(cause.contains("has no checkpoint of it"), "{cause}");
}
