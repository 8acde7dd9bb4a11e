//! A database whose disk is full: of the tables, and of its write-ahead log.

use std::time::Duration;

use quipu_core::{
    Append, AppendError, Delivery, EventId, EventRef, EventStore, NewEvent, Query, ReadAll,
    StreamName, Subscribe, SubscribeFrom, collect,
};
use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_testing::postgres::{OnSmallDisk, Server};
use uuid::Uuid;

/// Text that the database cannot make shorter.
fn noise(size: usize) -> String {
    let mut noise = String::with_capacity(size + 32);
    while noise.len() < size {
        noise.push_str(&Uuid::new_v4().simple().to_string());
    }
    format!("\"{noise}\"")
}

fn large() -> Append {
    let event = NewEvent::json("A", noise(256 << 10)).unwrap();
    Append::new().event(StreamName::new("a-1").unwrap(), event)
}

fn id(append: &Append) -> EventId {
    append.events[0].1.id
}

/// Appends until that fails. Answers what was acknowledged, the append that was not, and why.
async fn fill(store: &PostgresStore) -> (Vec<EventId>, Append, AppendError) {
    let mut acknowledged = Vec::new();
    loop {
        let append = large();
        match store.append(append.clone()).await {
            Ok(_) => acknowledged.push(id(&append)),
            Err(error) => return (acknowledged, append, error),
        }
        assert!(acknowledged.len() < 1_000, "the disk never was full");
    }
}

async fn log(store: &PostgresStore) -> Vec<EventId> {
    let last = store.frontier().await.unwrap();
    store.wait_visible(last).await.unwrap();
    let read = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    collect(read.batches).await.unwrap().iter().map(|event| event.id).collect()
}

/// Reads and subscriptions go on, and appends too as soon as there is space.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_appends_go_on_when_there_is_space() {
    let settings = ["fsync=off", "max_wal_size=64MB"];
    let server = Server::start_with_small_disk("32m", OnSmallDisk::Tablespace, &settings);
    let Some(server) = server else { return };
    let place = server.small_disk().display();
    server.sql("postgres", &format!("create tablespace small location '{place}'"));
    server.sql("postgres", "create database shop tablespace small");
    let options: PostgresOptions = server.url("shop").parse().unwrap();
    let store = options.create(true).open().await.unwrap();
    let follow = Subscribe::All { query: Query::all(), from: SubscribeFrom::Start };
    let mut following = store.subscribe(follow).await.unwrap();

    let (mut acknowledged, refused, full) = fill(&store).await;
    let again = store.append(refused.clone()).await;
    let seen = log(&store).await;
    server.grow_small_disk("200m");
    let appended = store.append(refused.clone()).await.unwrap();

    assert!(matches!(full, AppendError::DiskFull), "{full:?}");
    assert!(matches!(again, Err(AppendError::DiskFull)), "{again:?}");
    assert!(!acknowledged.is_empty());
    assert_eq!(seen, acknowledged, "all that was acknowledged, and nothing else");
    assert!(!appended.replayed, "nothing of it was there");
    acknowledged.push(id(&refused));
    assert_eq!(log(&store).await, acknowledged);
    let mut delivered = Vec::new();
    while delivered.len() < acknowledged.len() {
        let next = tokio::time::timeout(Duration::from_mins(1), following.next()).await;
        if let Delivery::Events(batch) = next.expect("it goes on").unwrap() {
            delivered.extend(batch.iter().map(EventRef::id));
        }
    }
    assert_eq!(delivered, acknowledged, "nobody who follows was cut off");
}

/// A database that cannot write its log stops itself: it has to be started again by whoever runs it. The
/// store goes on by itself then, and what was acknowledged is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stopped_at_a_full_disk_is_found_again() {
    let settings = ["max_wal_size=256MB", "min_wal_size=2MB", "shared_buffers=32MB"];
    let server = Server::start_with_small_disk("40m", OnSmallDisk::WriteAheadLog, &settings);
    let Some(server) = server else { return };
    let options: PostgresOptions = server.url("postgres").parse().unwrap();
    let store = options.create(true).patience(Duration::from_secs(2)).open().await.unwrap();

    let (mut acknowledged, unsure, full) = fill(&store).await;
    let begun = std::time::Instant::now();
    let down = store.append(large()).await;
    let waited = begun.elapsed();
    server.grow_small_disk("400m");
    let mut appended = store.append(unsure.clone()).await;
    for _ in 0..300 {
        if appended.is_ok() {
            break;
        }
        if !server.is_running() {
            server.resume();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        appended = store.append(unsure.clone()).await;
    }
    appended.unwrap();

    let is_told = |error: &AppendError| {
        matches!(
            error,
            AppendError::DiskFull
                | AppendError::Overloaded
                | AppendError::OutcomeUnknown(_)
                | AppendError::Storage(_)
        )
    };
    assert!(is_told(&full), "{full:?}");
    println!("it was told: {full:?}, then {:?} after {waited:?}", down.as_ref().err());
    assert!(!acknowledged.is_empty());
    // What is not in this list was never acknowledged, and came to nothing.
    if down.is_ok() {
        // There was room for it after all.
        assert_eq!(log(&store).await.len(), acknowledged.len() + 2);
        return;
    }
    acknowledged.push(id(&unsure));
    let log = log(&store).await;
    for id in &acknowledged {
        assert_eq!(log.iter().filter(|it| *it == id).count(), 1, "once each");
    }
}
