//! The Kafka sink, judged by real brokers.

mod chaos;
mod clock;
mod consumers;
mod killed;
mod proxy;
mod relaying;
mod security;
mod suite;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use krafka::admin::DescribeMetadataQuorumOptions;
use krafka::consumer::{AutoOffsetReset, IsolationLevel};
use krafka::{ConsumerRecord, Kafka};
use quipu_relay::{KafkaSink, KafkaTopics};
use quipu_testing::kafka::{Cluster, ClusterOptions};

/// How long anything of a cluster may take. Generous: machines that test are busy.
const PATIENCE: Duration = Duration::from_mins(2);

/// Tells a test that is run as a child, to be killed, which store it relays from, and where to.
const DIRECTORY: &str = "QUIPU_RELAY_KAFKA_DIRECTORY";
const SERVERS: &str = "QUIPU_RELAY_KAFKA_SERVERS";

/// Runs a test of this binary, by its name, as a child that relays.
fn child(name: &str, directory: &Path, servers: &str) -> Child {
    program(name, directory, servers).spawn().unwrap()
}

/// What runs such a child.
fn program(name: &str, directory: &Path, servers: &str) -> Command {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", name, "--nocapture"]).stdout(Stdio::piped());
    program.env(DIRECTORY, directory).env(SERVERS, servers);
    program
}

/// One broker, for all tests that do not harm it.
fn broker() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    let options = ClusterOptions::default().setting("message.max.bytes", "20971520");
    SHARED.get_or_init(|| Cluster::start(1, &options)).as_ref()
}

/// A name that no other test uses.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}.{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A sink to a topic that is made when it is missing.
fn sink(servers: &str, topic: &str) -> KafkaSink {
    KafkaSink::new(servers, topic)
        .unwrap()
        .topics(KafkaTopics::default().create())
        .checkpoint_topic(&format!("{topic}.checkpoint"))
}

/// A header's value, as text.
fn header(record: &ConsumerRecord, name: &str) -> Option<String> {
    let found = record.headers.iter().find(|(own, _)| own == name)?;
    Some(String::from_utf8(found.1.as_ref()?.to_vec()).unwrap())
}

/// Which broker leads the controllers.
async fn controller(cluster: &Cluster) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let options = DescribeMetadataQuorumOptions::default();
    loop {
        if let Ok(kafka) = Kafka::builder(cluster.servers()).connect().await
            && let Ok(quorum) = kafka.admin().describe_metadata_quorum(options.clone()).await
            && let Some(leader) = usize::try_from(quorum.leader_id).ok().filter(|id| *id > 0)
        {
            return leader - 1;
        }
        assert!(Instant::now() < deadline, "no controller was elected");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Everything in the topic that is committed, each partition in order.
async fn read_committed(servers: &str, topic: &str) -> Vec<ConsumerRecord> {
    let kafka = Kafka::builder(servers).connect().await.unwrap();
    let consumer = kafka
        .consumer_without_group()
        .isolation_level(IsolationLevel::ReadCommitted)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .max_poll_records(10_000)
        .build()
        .await
        .unwrap();
    consumer.subscribe([topic]).await.unwrap();
    let partitions = consumer.assignment().await.remove(topic).unwrap_or_default();
    let mut ends = Vec::new();
    for partition in partitions {
        let (_, end) = consumer.fetch_watermarks(topic, partition).await.unwrap();
        ends.push((partition, end));
    }
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let polled = consumer.poll(Duration::from_millis(100)).await.unwrap();
        records.extend(polled);
        let mut is_done = true;
        for (partition, end) in &ends {
            let position = consumer.position(topic, *partition).await.unwrap_or(0);
            is_done &= position >= *end;
        }
        if is_done {
            return records;
        }
        assert!(Instant::now() < deadline, "the end of \"{topic}\" was not reached");
    }
}
