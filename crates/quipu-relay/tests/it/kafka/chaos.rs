//! A cluster of three that loses brokers while a real log is relayed by a process that is killed: from
//! a directory, and from a database that crashes as well.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quipu_core::{Append, EventId, EventStore, NewEvent, StreamName};
use quipu_engine::OpenOptions;
use quipu_postgres::PostgresOptions;
use quipu_relay::{KafkaSink, KafkaTopics, Relay};
use quipu_testing::kafka::{Cluster, ClusterOptions};
use quipu_testing::postgres::Server;

use uuid::Uuid;

use super::killed::check;
use super::{DIRECTORY, SERVERS, child, controller, header, read_committed};

/// The test that is run as the child.
const CHILD: &str = "kafka::chaos::a_relay_of_the_loans_that_is_to_be_killed";
const TOPIC: &str = "loans";
const EVENT_COUNT: usize = 262_200;

/// The real log; `None`, and a line that says so, where it is not at hand.
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn loans() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().map(|it| it.join("shared/data/loans.jsonl.gz"));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: there is no shared/data/loans.jsonl.gz in or above the workspace");
    }
    found
}

async fn import(loans: &Path, store: &dyn EventStore) {
    let mut lines = String::new();
    let file = std::fs::File::open(loans).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut lines).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    for chunk in lines.chunks(5_000) {
        let mut append = Append::new();
        for line in chunk {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let stream = StreamName::new(line["stream"].as_str().unwrap()).unwrap();
            let data = line["data"].to_string();
            let mut event = NewEvent::json(line["type"].as_str().unwrap(), data).unwrap();
            event.id = EventId::from_uuid(Uuid::try_parse(line["id"].as_str().unwrap()).unwrap());
            append = append.event(stream, event);
        }
        store.append(append).await.unwrap();
    }
}

/// The store at a directory or a URL.
async fn open(place: &OsStr) -> Arc<dyn EventStore> {
    match place.to_str().filter(|text| text.starts_with("postgres://")) {
        Some(url) => {
            let options: PostgresOptions = url.parse().unwrap();
            Arc::new(options.open().await.unwrap())
        }
        None => Arc::new(OpenOptions::new().open(place).unwrap()),
    }
}

/// In the process of the test that kills, this is what is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_of_the_loans_that_is_to_be_killed() {
    let (Some(place), Ok(servers)) = (std::env::var_os(DIRECTORY), std::env::var(SERVERS)) else {
        return;
    };
    let store = open(&place).await;
    let last = store.frontier().await.unwrap();
    let topics = KafkaTopics::default().create().partitions(6).replication(3);
    let sink = KafkaSink::new(&servers, TOPIC).unwrap().topics(topics);
    let relay = Relay::new(store, "loans", Arc::new(sink))
        .partitions(NonZeroU16::new(4).unwrap())
        .with_runner(|runner| runner.lease_ttl(Duration::from_secs(1)));
    let mut running = relay.spawn();
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();
    println!("all of it went out");
}

/// Does its worst until all of it went out, and in each round what `harm` does to the store. Answers how
/// often it killed the relay.
async fn rage(cluster: &mut Cluster, place: &Path, harm: impl Fn(usize)) -> u32 {
    let servers = cluster.servers();
    let mut kills = 0;
    for round in 0_usize.. {
        let mut child = child(CHILD, place, &servers);
        let told = BufReader::new(child.stdout.take().unwrap());
        let is_done = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&is_done);
        let listener = std::thread::spawn(move || {
            let mut lines = told.lines().map_while(Result::ok);
            tell.store(lines.any(|it| it.contains("all of it went out")), Ordering::SeqCst);
        });
        let pause = |millis| tokio::time::sleep(Duration::from_millis(millis));
        pause(1_500).await;
        harm(round);
        match round {
            0 => {
                let before = controller(cluster).await;
                cluster.kill(before);
                pause(2_000).await;
                let after = controller(cluster).await;
                assert_ne!(after, before, "the controller moved");
                child.kill().unwrap();
                cluster.restart(before);
            }
            1 => {
                cluster.pause(1);
                pause(4_000).await;
                cluster.resume(1);
                pause(500).await;
                child.kill().unwrap();
            }
            2 => {
                cluster.kill(2);
                pause(1_000).await;
                child.kill().unwrap();
                cluster.restart(2);
            }
            3..=7 => child.kill().unwrap(),
            _ => {
                let deadline = Instant::now() + Duration::from_mins(4);
                while child.try_wait().unwrap().is_none() {
                    assert!(Instant::now() < deadline, "the relay comes to the log's end");
                    pause(100).await;
                }
            }
        }
        child.wait().unwrap();
        listener.join().unwrap();
        if is_done.load(Ordering::SeqCst) {
            return kills;
        }
        assert!(round <= 8, "the relay that was not killed came to the log's end");
        kills += 1;
    }
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_log_arrives_once_and_in_order_while_relays_and_brokers_are_killed() {
    let Some(loans) = loans() else { return };
    let Some(mut cluster) = Cluster::start(3, &ClusterOptions::default()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let store = OpenOptions::new().create(true).open(directory.path()).unwrap();
    import(&loans, &store).await;
    drop(store);

    let kills = rage(&mut cluster, directory.path(), |_| {}).await;

    let store = OpenOptions::new().read_only(true).open(directory.path()).unwrap();
    all_of_it_arrived(&cluster, &store).await;
    println!("all of it, after {kills} kills of the relay");
}

/// The same from a database: it crashes, too, while the relay reads from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_postgresql_arrives_once_and_in_order_while_relays_brokers_and_it_are_killed() {
    let Some(loans) = loans() else { return };
    let Some(database) = Server::start() else { return };
    let Some(mut cluster) = Cluster::start(3, &ClusterOptions::default()) else { return };
    let url = database.url("postgres");
    let options: PostgresOptions = url.parse().unwrap();
    let store = options.create(true).open().await.unwrap();
    import(&loans, &store).await;

    let kills = rage(&mut cluster, Path::new(&url), |round| {
        if matches!(round, 3 | 5) {
            database.stop();
            database.resume();
        }
    })
    .await;

    all_of_it_arrived(&cluster, &store).await;
    println!("all of it, after {kills} kills of the relay");
}

async fn all_of_it_arrived(cluster: &Cluster, store: &dyn EventStore) {
    let records = read_committed(&cluster.servers(), TOPIC).await;
    assert_eq!(records.len(), EVENT_COUNT);
    check(store, &records).await;
    // Apache Kafka's own client sees the same.
    let own = records.iter().map(|record| {
        let key = record.key.as_ref().map(|key| String::from_utf8(key.to_vec()).unwrap());
        (key.unwrap(), header(record, "ce_id").unwrap())
    });
    assert_eq!(by_key(cluster.judge(TOPIC)), by_key(own));
}

/// The ids of each key, in their order.
fn by_key(all: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut keys = BTreeMap::<String, Vec<String>>::new();
    for (key, id) in all {
        keys.entry(key).or_default().push(id);
    }
    keys
}
