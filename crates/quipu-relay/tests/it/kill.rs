//! A relay whose process is killed, again and again.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{Append, EventStore, NewEvent, Position, Query, ReadAll, StreamName, collect};
use quipu_engine::OpenOptions;
use quipu_relay::{FileSink, Relay};

use crate::file::lines;

/// Where the child finds its store; set by the test that kills it.
const DIRECTORY: &str = "QUIPU_RELAY_KILL_DIRECTORY";
const KILLS: u64 = 20;
/// A lease that nobody loses on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// Appends events and relays them, round after round, and tells after each round.
async fn append_and_relay(
    directory: &Path,
    rounds: u64,
    lease_ttl: Duration,
    mut tell: impl FnMut(),
) {
    let options = OpenOptions::new().create(true).segment_size(256 << 10);
    let store: Arc<dyn EventStore> = Arc::new(options.open(directory.join("store")).unwrap());
    let sink = Arc::new(FileSink::open(directory.join("cloud_events.jsonl")).unwrap());
    let relay = Relay::new(Arc::clone(&store), "killed", sink)
        .partitions(NonZeroU16::new(3).unwrap())
        .with_runner(move |runner| {
            runner.batch(4).lease_ttl(lease_ttl).save_interval(Duration::from_millis(5))
        });
    let mut running = relay.spawn();
    let mut last = Position::START;
    for round in 0..rounds {
        for number in 0..5 {
            let stream = StreamName::new(format!("order-{}", (round * 5 + number) % 7)).unwrap();
            let event = NewEvent::json("Counted", number.to_string()).unwrap();
            let appended = store.append(Append::new().event(stream, event)).await.unwrap();
            last = appended.last.unwrap();
        }
        // Wait for all of it now and then, so that the relay is killed both far behind and close.
        if round % 4 == 0 {
            running.wait_for(last).await.unwrap();
        }
        tell();
    }
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();
}

/// Everything in the log is in the file, and each stream's events came in their order; what came
/// twice is known by its id. Answers how many lines came again.
async fn check(directory: &Path) -> usize {
    let options = OpenOptions::new().segment_size(256 << 10);
    let store = options.open(directory.join("store")).unwrap();
    let read = store.read_all(ReadAll::new("category:order".parse::<Query>().unwrap())).await;
    let mut log = BTreeMap::<String, Vec<String>>::new();
    for event in collect(read.unwrap().batches).await.unwrap() {
        log.entry(event.stream.to_string()).or_default().push(event.id.to_string());
    }
    let lines = lines(&directory.join("cloud_events.jsonl"));
    let mut published = BTreeMap::<String, Vec<String>>::new();
    for line in &lines {
        let ids = published.entry(line["subject"].as_str().unwrap().to_owned()).or_default();
        let id = line["id"].as_str().unwrap().to_owned();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    assert_eq!(published, log);
    lines.len() - log.values().map(Vec::len).sum::<usize>()
}

/// In the process of the test that kills, this is what is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_not_killed_publishes_every_event_once() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        append_and_relay(Path::new(&directory), u64::MAX, Duration::from_millis(40), || {
            // The parent closes the pipe when it is done with it.
            let _ended = writeln!(std::io::stdout(), "round");
        })
        .await;
    }
    let directory = tempfile::tempdir().unwrap();

    append_and_relay(directory.path(), 20, LONG, || {}).await;

    assert_eq!(check(directory.path()).await, 0, "nothing came again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_or_overtaken_however_often_the_relay_is_killed() {
    let seed = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(()));
    println!("replay with QUIPU_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let mut chance = seed;

    for _ in 0..KILLS {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        kill_after(directory.path(), 1 + (chance >> 33) % 12);
    }
    append_and_relay(directory.path(), 1, LONG, || {}).await;

    let again = check(directory.path()).await;
    println!("{again} cloud events came again after {KILLS} kills");
}

/// Runs the child and kills it in the middle of the round after `rounds`.
fn kill_after(directory: &Path, rounds: u64) {
    let name = "kill::a_relay_that_is_not_killed_publishes_every_event_once";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let count = told.filter(|line| line.contains("round")).take(rounds as usize).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(count as u64, rounds, "the child lived until it was killed");
}
