//! The relay to Kafka beside the same client producing from memory, on real brokers of this machine.
//!
//! `cargo xtask bench relay`. Prints events per second, and how long an event takes from its append to
//! a consumer that reads what is committed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that fails ends")]

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use krafka::consumer::{AutoOffsetReset, IsolationLevel};
use krafka::{Compression, Kafka, Record};
use quipu_core::{Append, EventStore, NewEvent, Position, StreamName};
use quipu_engine::OpenOptions;
use quipu_relay::{KafkaSink, KafkaTopics, Relay};
use quipu_testing::kafka::{Cluster, ClusterOptions};

const EVENT_COUNT: u32 = 200_000;
const STREAM_COUNT: usize = 1_000;
const DATA_SIZE: usize = 256;
const TOPIC_PARTITIONS: u16 = 6;
/// As many messages as a transaction of the baseline has; about what the relay's have.
const TRANSACTION_COUNT: usize = 4_000;
const SAMPLE_COUNT: usize = 200;
/// How many parts of the log the relay carries side by side.
const PARTITIONS: [u16; 2] = [1, 4];
/// All take turns so often; the medians count.
const ROUND_COUNT: usize = 5;

#[tokio::main]
async fn main() {
    let Some(cluster) = Cluster::start(1, &ClusterOptions::default()) else { return };
    let servers = cluster.servers();
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn EventStore> =
        Arc::new(OpenOptions::new().create(true).open(directory.path()).unwrap());
    println!("{EVENT_COUNT} events of {DATA_SIZE} bytes in {STREAM_COUNT} streams, one broker");
    let last = fill(&*store).await;

    // Once unmeasured: the broker and the topics are warm then.
    relay(&store, &servers, "warm", last, 4).await;
    let (mut memory, mut relayed) = (Vec::new(), PARTITIONS.map(|_| Vec::new()));
    for round in 0..ROUND_COUNT {
        memory.push(from_memory(&servers, &format!("memory-{round}")).await);
        for (partitions, rates) in PARTITIONS.into_iter().zip(&mut relayed) {
            let topic = format!("relayed-{round}-{partitions}");
            rates.push(relay(&store, &servers, &topic, last, partitions).await);
        }
    }
    let memory = median(memory);
    println!("{memory:>10.0} events/s  the client from memory, in transactions");
    for (partitions, rates) in PARTITIONS.into_iter().zip(relayed) {
        let relayed = median(rates);
        let share = relayed / memory;
        println!(
            "{relayed:>10.0} events/s  the relay exactly once, {partitions} partitions: \
             {share:.2} of it"
        );
    }
    let mut latencies = latencies(&store, &servers).await;
    latencies.sort();
    let at = |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap();
    println!("from append to consumer: p50 {:?}, p95 {:?}, p99 {:?}", at(50), at(95), at(99));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn data(number: usize) -> String {
    // Not all alike, as data is not.
    let mut text = format!("{{\"number\":{number},\"text\":\"");
    let mut chance = number as u64;
    while text.len() < DATA_SIZE - 2 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push(char::from(b'a' + (chance >> 60) as u8));
    }
    text + "\"}"
}

async fn fill(store: &dyn EventStore) -> Position {
    let numbers: Vec<usize> = (0..EVENT_COUNT as usize).collect();
    for chunk in numbers.chunks(5_000) {
        let mut append = Append::new();
        for number in chunk {
            let stream = StreamName::new(format!("order-{}", number % STREAM_COUNT)).unwrap();
            append = append.event(stream, NewEvent::json("OrderPlaced", data(*number)).unwrap());
        }
        store.append(append).await.unwrap();
    }
    store.frontier().await.unwrap()
}

fn sink(servers: &str, topic: &str) -> KafkaSink {
    let topics = KafkaTopics::default().create().partitions(TOPIC_PARTITIONS);
    KafkaSink::new(servers, topic).unwrap().topics(topics)
}

/// How many events a second the relay publishes, from its beginning to the log's end.
async fn relay(
    store: &Arc<dyn EventStore>,
    servers: &str,
    topic: &str,
    last: Position,
    partitions: u16,
) -> f64 {
    let relay = Relay::new(Arc::clone(store), topic, Arc::new(sink(servers, topic)))
        .partitions(NonZeroU16::new(partitions).unwrap())
        .with_runner(|runner| runner.batch(4_000).queue(16_000));
    let begin = Instant::now();
    let mut running = relay.spawn();
    running.wait_for(last).await.unwrap();
    let rate = f64::from(EVENT_COUNT) / begin.elapsed().as_secs_f64();
    running.stop().await.unwrap();
    rate
}

/// How many messages a second the client produces that were made before.
async fn from_memory(servers: &str, topic: &str) -> f64 {
    let kafka = Kafka::builder(servers).connect().await.unwrap();
    let new = krafka::admin::NewTopic::new(topic, i32::from(TOPIC_PARTITIONS), 1).unwrap();
    let options = krafka::admin::CreateTopicsOptions::default();
    kafka.admin().create_topics([new], options).await.unwrap();
    let producer = kafka
        .producer()
        .compression(Compression::Lz4)
        .batch_size(256 << 10)
        .buffer_memory(64 << 20)
        .transaction_timeout(Duration::from_mins(1))
        .delivery_timeout(Duration::from_mins(1))
        .build_transactional(topic)
        .await
        .unwrap();
    let records: Vec<Record> =
        (0..EVENT_COUNT as usize).map(|number| record(topic, number)).collect();
    let begin = Instant::now();
    let mut records = records.into_iter().peekable();
    while records.peek().is_some() {
        producer.begin().unwrap();
        for record in records.by_ref().take(TRANSACTION_COUNT) {
            let _handle = producer.enqueue(record).await.unwrap();
        }
        producer.commit().await.unwrap();
    }
    f64::from(EVENT_COUNT) / begin.elapsed().as_secs_f64()
}

/// A message like the relay's.
fn record(topic: &str, number: usize) -> Record {
    let stream = format!("order-{}", number % STREAM_COUNT);
    let position = number.to_string();
    let mut record = Record::new(topic, data(number)).key(stream.clone());
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_id", "4000d4e9-32ed-5d13-a2ca-ba9245cc3b97"),
        ("ce_source", "urn:uuid:4000d4e9-32ed-5d13-a2ca-ba9245cc3b97"),
        ("ce_type", "OrderPlaced"),
        ("ce_subject", &stream),
        ("ce_time", "2026-11-30T00:00:00.000000Z"),
        ("content-type", "application/json"),
        ("ce_partitionkey", &stream),
        ("ce_position", &position),
    ] {
        record = record.header(name, value.to_owned());
    }
    record
}

/// How long single events take, at a low rate.
async fn latencies(store: &Arc<dyn EventStore>, servers: &str) -> Vec<Duration> {
    let topic = "latency";
    let relay = Relay::new(Arc::clone(store), topic, Arc::new(sink(servers, topic)));
    let frontier = store.frontier().await.unwrap();
    let running = relay.from(quipu_core::SubscribeFrom::After(frontier)).spawn();
    let kafka = Kafka::builder(servers).connect().await.unwrap();
    let consumer = kafka
        .consumer_without_group()
        .isolation_level(IsolationLevel::ReadCommitted)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .await
        .unwrap();
    let mut begun = Vec::new();
    let mut latencies = Vec::new();
    for number in 0..SAMPLE_COUNT {
        let event = NewEvent::json("OrderPlaced", data(number)).unwrap();
        let stream = StreamName::new("order-1").unwrap();
        begun.push(Instant::now());
        store.append(Append::new().event(stream, event)).await.unwrap();
        if number == 0 {
            // The topic is made with the first one.
            while consumer.subscribe([topic]).await.is_err()
                || consumer.assignment().await.is_empty()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        while latencies.len() <= number {
            for _ in consumer.poll(Duration::from_secs(10)).await.unwrap() {
                latencies.push(begun[latencies.len()].elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.stop().await.unwrap();
    // The first one waited for the relay to begin.
    latencies.split_off(1)
}
