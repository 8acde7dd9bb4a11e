//! The relay killed, the network cut, the broker stopped: everything arrives once and in order.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use krafka::ConsumerRecord;
use quipu_core::{
    Append, EventStore, MemoryStore, NewEvent, Position, Query, ReadAll, StreamName, collect,
};
use quipu_engine::OpenOptions;
use quipu_groups::Running;
use quipu_relay::{KafkaSink, Relay};
use quipu_testing::kafka::{Cluster, ClusterOptions};
use tokio::sync::mpsc;

use super::proxy::{Proxy, STEPS, Side};
use super::{DIRECTORY, SERVERS, child, header, read_committed, sink};

/// The test that is run as the child.
const CHILD: &str = "kafka::killed::a_relay_that_is_to_be_killed";
const TOPIC: &str = "orders";

/// Opens the directory's store, appends as many events, and relays them.
pub(super) async fn relay_from(
    directory: &Path,
    sink: KafkaSink,
    count: u64,
) -> (Arc<dyn EventStore>, Running, Position) {
    let options = OpenOptions::new().create(true);
    let store: Arc<dyn EventStore> = Arc::new(options.open(directory.join("store")).unwrap());
    for number in 0..count {
        let stream = StreamName::new(format!("order-{}", number % 5)).unwrap();
        let event = NewEvent::json("Counted", number.to_string()).unwrap();
        store.append(Append::new().event(stream, event)).await.unwrap();
    }
    let last = store.frontier().await.unwrap();
    let relay = Relay::new(Arc::clone(&store), "killed", Arc::new(sink))
        .partitions(NonZeroU16::new(2).unwrap())
        .with_runner(|runner| runner.lease_ttl(Duration::from_millis(500)));
    (store, relay.spawn(), last)
}

/// Every event of the log is in the topic once, each stream's in their order.
pub(super) async fn check(store: &dyn EventStore, records: &[ConsumerRecord]) {
    let read = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    let mut log = BTreeMap::<String, Vec<String>>::new();
    for event in collect(read.batches).await.unwrap() {
        if !event.stream.as_str().starts_with('$') {
            log.entry(event.stream.to_string()).or_default().push(event.id.to_string());
        }
    }
    let mut arrived = BTreeMap::<String, Vec<String>>::new();
    for record in records {
        let key = String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap();
        arrived.entry(key).or_default().push(header(record, "ce_id").unwrap());
    }
    assert_eq!(arrived.len(), log.len());
    for (key, ids) in log {
        assert_eq!(arrived.get(&key), Some(&ids), "{key} arrived once and in order");
    }
}

/// In the process of the test that kills, this is what is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_to_be_killed() {
    let (Some(directory), Ok(servers)) = (std::env::var_os(DIRECTORY), std::env::var(SERVERS))
    else {
        return;
    };
    let sink = sink(&servers, TOPIC);
    let (_store, mut running, last) = relay_from(Path::new(&directory), sink, 20).await;
    running.wait_for(last).await.unwrap();
    // The parent may have gone.
    writeln!(std::io::stdout(), "all of it went out").ok();
    std::future::pending::<()>().await;
}

/// A broker whose clients go through a proxy.
async fn proxied() -> Option<(Cluster, super::proxy::Running, String)> {
    let proxy = Proxy::bind().await;
    let port = proxy.port();
    let options = ClusterOptions::default().listener_behind("PROXIED", port);
    let cluster = Cluster::start(1, &options)?;
    let running = proxy.before(cluster.servers_of("PROXIED"));
    Some((cluster, running, format!("127.0.0.1:{port}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_once_though_the_relay_is_killed_between_any_two_steps() {
    let Some((cluster, proxy, servers)) = proxied().await else { return };
    let directory = tempfile::tempdir().unwrap();
    // The first time, the topics are made, which is not what is looked at.
    let (store, mut running, last) = relay_from(directory.path(), sink(&servers, TOPIC), 1).await;
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();
    drop(store);

    let mut kills = 0;
    for (step, (key, name)) in STEPS.into_iter().enumerate() {
        let occurrence = STEPS.iter().take(step + 1).filter(|(own, _)| *own == key).count();
        for side in [Side::Before, Side::After] {
            let (tell, mut told) = mpsc::unbounded_channel();
            let mut count = 0;
            proxy.set_trap(move |own, at| {
                if own == key && at == side {
                    count += 1;
                }
                let is_held = own == key && at == side && count >= occurrence;
                if is_held {
                    // Only the first one is waited for.
                    tell.send(()).ok();
                }
                is_held
            });
            let mut child = child(CHILD, directory.path(), &servers);
            let came = tokio::time::timeout(Duration::from_mins(1), told.recv()).await;
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(came.is_ok(), "{name} comes ({side:?})");
            kills += 1;
        }
    }
    proxy.set_trap(|_, _| false);

    let (store, mut running, last) = relay_from(directory.path(), sink(&servers, TOPIC), 1).await;
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();
    check(&*store, &read_committed(&cluster.servers(), TOPIC).await).await;
    println!("{kills} kills");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_once_though_the_network_is_cut_and_the_broker_stands_still() {
    let Some((cluster, proxy, servers)) = proxied().await else { return };
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let relay = Relay::new(Arc::clone(&store), "cut", Arc::new(sink(&servers, TOPIC)))
        .partitions(NonZeroU16::new(3).unwrap())
        .with_runner(|runner| runner.batch(10));
    let mut running = relay.spawn();
    let mut last = Position::START;
    for round in 0..60_u64 {
        for number in 0..20 {
            let stream = StreamName::new(format!("order-{}", number % 7)).unwrap();
            let event = NewEvent::json("Counted", number.to_string()).unwrap();
            let appended = store.append(Append::new().event(stream, event)).await.unwrap();
            last = appended.last.unwrap();
        }
        match round {
            10 | 20 | 30 => {
                proxy.cut();
                tokio::time::sleep(Duration::from_millis(200 * (round - 9))).await;
                proxy.mend();
            }
            40 => {
                cluster.pause(0);
                tokio::time::sleep(Duration::from_secs(3)).await;
                cluster.resume(0);
            }
            // A commit whose answer is lost: it is done, and nobody knows.
            50 => {
                let (tell, mut told) = mpsc::unbounded_channel();
                proxy.set_trap(move |key, side| {
                    let is_held = key == 26 && side == Side::After;
                    if is_held {
                        tell.send(()).ok();
                    }
                    is_held
                });
                told.recv().await.unwrap();
                proxy.set_trap(|_, _| false);
                proxy.cut();
                proxy.mend();
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();

    check(&*store, &read_committed(&cluster.servers(), TOPIC).await).await;
}
