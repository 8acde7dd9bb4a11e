//! The machine's clock is set while a relay publishes: forwards and back, by seconds and by days. Nothing
//! is lost, nothing comes twice, and of two relays of one name one publishes at a time.

use std::num::NonZeroU16;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use krafka::admin::ListTopicsOptions;
use quipu_core::{Append, EventStore, NewEvent, Query, ReadAll, StreamName, collect};
use quipu_engine::OpenOptions;
use quipu_groups::Running;
use quipu_postgres::PostgresOptions;
use quipu_relay::Relay;
use quipu_testing::clock::Clock;
use quipu_testing::kafka::{Cluster, ClusterOptions};
use quipu_testing::postgres::Server;

use super::killed::check;
use super::{DIRECTORY, PATIENCE, SERVERS, program, read_committed, sink};

/// The tests that are run as children.
const OF_DIRECTORY: &str = "kafka::clock::two_relays_of_a_directory_by_a_clock_that_is_set";
const OF_DATABASE: &str = "kafka::clock::a_relay_of_a_database_by_a_clock_that_is_set";
const TOPIC: &str = "orders";
const EVENT_COUNT: usize = 400;

const HOUR: i64 = 3_600;
/// What the clock shows beside what is right, in seconds: one after the other.
const JUMPS: [i64; 10] =
    [0, 2 * HOUR, -3 * HOUR, 26 * HOUR, -40 * HOUR, 30, -5, 5 * 24 * HOUR, 1, 0];
/// How long each of them lasts: a little longer than it takes until it is noticed.
const JUMP_TIME: Duration = Duration::from_millis(1_700);

async fn append(store: &dyn EventStore, number: usize) {
    let stream = StreamName::new(format!("order-{}", number % 5)).unwrap();
    let event = NewEvent::json("Counted", number.to_string()).unwrap();
    store.append(Append::new().event(stream, event)).await.unwrap();
}

/// A relay that has its rivals: all of them have one name, and short leases.
fn relay(store: &Arc<dyn EventStore>, servers: &str) -> Running {
    let relay = Relay::new(Arc::clone(store), "clock", Arc::new(sink(servers, TOPIC)));
    relay
        .partitions(NonZeroU16::new(2).unwrap())
        .with_runner(|runner| runner.lease_ttl(Duration::from_millis(600)).batch(10))
        .spawn()
}

/// In the process of a test that sets clocks, this is what goes by the clock: the store as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_of_a_directory_by_a_clock_that_is_set() {
    let (Some(place), Ok(servers)) = (std::env::var_os(DIRECTORY), std::env::var(SERVERS)) else {
        return;
    };
    let store: Arc<dyn EventStore> = Arc::new(OpenOptions::new().create(true).open(place).unwrap());
    let _rivals = [relay(&store, &servers), relay(&store, &servers)];
    // Where a process before it was killed.
    for number in store.frontier().await.unwrap().get()..EVENT_COUNT as u64 {
        append(&*store, number as usize).await;
        tokio::time::sleep(Duration::from_millis(35)).await;
    }
    std::future::pending::<()>().await;
}

/// The same of one of the processes that relay from a database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_of_a_database_by_a_clock_that_is_set() {
    let (Ok(place), Ok(servers)) = (std::env::var(DIRECTORY), std::env::var(SERVERS)) else {
        return;
    };
    if !place.starts_with("postgres://") {
        return;
    }
    let options: PostgresOptions = place.parse().unwrap();
    let store: Arc<dyn EventStore> = Arc::new(options.open().await.unwrap());
    let _relay = relay(&store, &servers);
    std::future::pending::<()>().await;
}

/// A child that goes by a clock. It is killed with its value.
struct Governed(Child);

impl Governed {
    fn start(name: &str, place: &Path, servers: &str, clock: &Clock) -> Self {
        let mut program = program(name, place, servers);
        clock.govern(&mut program);
        Self(program.spawn().unwrap())
    }
}

impl Drop for Governed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A broker takes times that are an hour ahead of its own, and no more: then the relay waits until they
/// are nearer. This one takes any, so that nobody waits for that here.
fn broker_of_any_time() -> Option<Cluster> {
    let any = i64::MAX.to_string();
    let options = ClusterOptions::default().setting("log.message.timestamp.after.max.ms", &any);
    Cluster::start(1, &options)
}

/// Waits until so many messages are there.
async fn wait_for_all(servers: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = read_committed(servers, TOPIC).await.len();
        if count >= EVENT_COUNT {
            return;
        }
        assert!(Instant::now() < deadline, "{count} of {EVENT_COUNT} messages came");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until a topic can be read, so that what follows has something to look at.
async fn wait_for_topic(servers: &str) {
    let kafka = krafka::Kafka::builder(servers).connect().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let topics = || async { kafka.admin().list_topics(ListTopicsOptions::default()).await };
    while !topics().await.is_ok_and(|it| it.iter().any(|it| it == TOPIC)) {
        assert!(Instant::now() < deadline, "the topic was not made");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One machine: the store and two relays of it go by one clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_clock_is_set_publishes_everything_once() {
    let Some(clock) = Clock::new() else { return };
    let Some(cluster) = broker_of_any_time() else { return };
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("store");
    let start = || Governed::start(OF_DIRECTORY, &place, &cluster.servers(), &clock);
    let mut relays = start();
    wait_for_topic(&cluster.servers()).await;

    for (step, seconds) in JUMPS.into_iter().enumerate() {
        if step == 4 {
            // It leaves a lease that would be held for days by the clock as it then is.
            drop(relays);
            clock.set(seconds);
            relays = start();
        }
        clock.set(seconds);
        tokio::time::sleep(JUMP_TIME).await;
    }
    wait_for_all(&cluster.servers()).await;
    drop(relays);

    let store = OpenOptions::new().read_only(true).open(&place).unwrap();
    check(&store, &read_committed(&cluster.servers(), TOPIC).await).await;
    let log = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    let log = collect(log.batches).await.unwrap();
    assert!(log.is_sorted_by_key(|event| event.recorded_at), "times do not go back in the log");
    let spread = log[log.len() - 1].recorded_at.as_micros() - log[0].recorded_at.as_micros();
    assert!(spread > 24 * HOUR * 1_000_000, "the clock was set: {spread} us");
}

/// Three machines whose clocks are set apart: the database's, by which leases are, and those of two
/// processes that relay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_clocks_are_set_apart_publish_everything_once() {
    let (Some(one), Some(two)) = (Clock::new(), Clock::new()) else { return };
    let Some(database) = Server::start() else { return };
    let Some(cluster) = broker_of_any_time() else { return };
    let (url, servers) = (database.url("postgres"), cluster.servers());
    let options: PostgresOptions = url.parse().unwrap();
    let store = options.create(true).open().await.unwrap();
    let place = Path::new(&url);
    append(&store, 0).await;
    let relays = [&one, &two].map(|clock| Governed::start(OF_DATABASE, place, &servers, clock));
    wait_for_topic(&servers).await;

    let mut number = 1;
    for (step, seconds) in JUMPS.into_iter().enumerate() {
        one.set(seconds);
        two.set(JUMPS[(step + 3) % JUMPS.len()]);
        database.sql("postgres", &set_clock(JUMPS[(step + 6) % JUMPS.len()]));
        let end = EVENT_COUNT * (step + 1) / JUMPS.len();
        let pause = JUMP_TIME / (EVENT_COUNT / JUMPS.len()) as u32;
        while number < end {
            append(&store, number).await;
            number += 1;
            tokio::time::sleep(pause).await;
        }
    }
    wait_for_all(&servers).await;
    let epoch = store.leases().get("relay/clock/v1").await.unwrap().unwrap().epoch;
    drop(relays);

    check(&store, &read_committed(&servers, TOPIC).await).await;
    assert!(epoch > 1, "the lease changed hands");
    println!("the lease changed hands {epoch} times");
}

/// The database's clock, so many seconds beside what is right.
fn set_clock(seconds: i64) -> String {
    format!(
        "create or replace function quipu.now_micros() returns bigint language sql volatile as
         $$ select ((extract(epoch from clock_timestamp()) + {seconds}) * 1000000)::bigint $$"
    )
}
