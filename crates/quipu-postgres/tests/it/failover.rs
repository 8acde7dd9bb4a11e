//! A primary that dies under load, and its synchronous standby that takes over: nothing that was
//! acknowledged is lost, and consumers of the life before are told where it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quipu_core::{
    Append, Checkpoint, CheckpointError, EventId, EventStore, ExpectedRevision, Incarnation,
    NewEvent, Position, Query, ReadAll, Revision, StreamName, SwapCheckpoint, collect,
};
use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_testing::postgres::Server;

use crate::proxy::Proxy;

const WRITER_COUNT: usize = 6;
const APPEND_COUNT: usize = 80;

/// Appends one after the other at the revision it expects, each again until it is acknowledged.
async fn write(
    store: PostgresStore,
    number: usize,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<EventId> {
    let stream = StreamName::new(format!("w-{number}")).unwrap();
    let mut ids = Vec::new();
    for count in 0..APPEND_COUNT as u64 {
        let event = NewEvent::json("Written", "{}").unwrap().with_tag("written").unwrap();
        let expected = match count.checked_sub(1) {
            None => ExpectedRevision::NoStream,
            Some(last) => ExpectedRevision::Exactly(Revision::new(last)),
        };
        let append = Append::to_stream(stream.clone(), expected, [event]);
        // What came of an attempt may not be known: the same ids tell.
        while let Err(error) = store.append(append.clone()).await {
            assert!(error.violations().is_none(), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ids.push(append.events[0].1.id);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    ids
}

async fn open(proxy: &Proxy) -> PostgresStore {
    let options: PostgresOptions = proxy.url("postgres").parse().unwrap();
    options.create(true).patience(Duration::from_secs(5)).open().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_nothing_that_was_acknowledged() {
    let Some(primary) = Server::start() else { return };
    let standby = primary.standby(&["fsync=off", "hot_standby=on"]);
    primary.sql("postgres", "alter system set synchronous_standby_names = '*'");
    primary.sql("postgres", "select pg_reload_conf()");
    let state = "select count(*) from pg_stat_replication where sync_state = 'sync'";
    primary.wait_for("postgres", state, "1");
    let proxy = Proxy::to(primary.port()).await;
    let (one, two) = (open(&proxy).await, open(&proxy).await);
    let before = one.identity();

    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITER_COUNT)
        .map(|number| {
            let store = if number % 2 == 0 { &one } else { &two };
            tokio::spawn(write(store.clone(), number, Arc::clone(&acknowledged)))
        })
        .collect();
    while acknowledged.load(Ordering::SeqCst) < WRITER_COUNT * APPEND_COUNT / 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seen = one.frontier().await.unwrap();
    let (primary, standby) = tokio::task::spawn_blocking(move || {
        primary.stop();
        standby.promote();
        (primary, standby)
    })
    .await
    .unwrap();
    proxy.switch(standby.port());
    let mut ids = Vec::new();
    for writer in writers {
        ids.extend(writer.await.unwrap());
    }

    let last = one.frontier().await.unwrap();
    one.wait_visible(last).await.unwrap();
    let log = one.read_all(ReadAll::new(Query::all())).await.unwrap();
    let log = collect(log.batches).await.unwrap();
    assert_eq!(log.len(), WRITER_COUNT * APPEND_COUNT, "nothing lost, nothing twice");
    assert!(ids.iter().all(|id| log.iter().any(|event| event.id == *id)));

    let after = one.identity();
    assert_eq!(after.log, before.log);
    assert_eq!(after.incarnation, Incarnation::new(before.incarnation.get() + 1));
    assert_eq!(two.identity(), after, "every node knows");
    let checkpoint = |position| SwapCheckpoint {
        name: "consumer".to_owned(),
        epoch: 0,
        old: None,
        new: Checkpoint::new(position, &before),
    };
    let ahead = one.checkpoints().swap(checkpoint(last)).await;
    assert!(matches!(ahead, Err(CheckpointError::OtherLife { .. })), "{ahead:?}");
    one.checkpoints().swap(checkpoint(seen.min(Position::new(1)))).await.unwrap();
    drop(primary);
}

/// An asynchronous standby lacks what the primary acknowledged last. That cannot be undone, but nobody
/// goes on as if nothing had happened: it is another life of the log, and who is ahead of it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_events_is_another_life_and_says_so() {
    let Some(primary) = Server::start() else { return };
    let standby = primary.standby(&["fsync=off", "hot_standby=on"]);
    let proxy = Proxy::to(primary.port()).await;
    let store = open(&proxy).await;
    let append = |number: u32| {
        let stream = StreamName::new(format!("w-{number}")).unwrap();
        Append::new().event(stream, NewEvent::json("Written", "{}").unwrap())
    };
    let kept = store.append(append(1)).await.unwrap().last.unwrap();
    let behind = "select count(*) from pg_stat_replication where replay_lsn = pg_current_wal_lsn()";
    primary.wait_for("postgres", behind, "1");
    let before = store.identity();

    let (primary, standby) = tokio::task::spawn_blocking(move || {
        standby.stop();
        (primary, standby)
    })
    .await
    .unwrap();
    let lost = store.append(append(2)).await.unwrap().last.unwrap();
    let standby = tokio::task::spawn_blocking(move || {
        primary.stop();
        standby.resume();
        standby.promote();
        standby
    })
    .await
    .unwrap();
    proxy.switch(standby.port());
    // The first answers may still be of connections that are gone.
    let third = append(3);
    let mut next = store.append(third.clone()).await;
    for _ in 0..100 {
        if next.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        next = store.append(third.clone()).await;
    }

    let next = next.unwrap().last.unwrap();
    store.wait_visible(next).await.unwrap();
    let log = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    let log = collect(log.batches).await.unwrap();
    let streams: Vec<_> = log.iter().map(|event| event.stream.as_str()).collect();
    assert_eq!(streams, ["w-1", "w-3"], "what the standby did not have is gone");
    let after = store.identity();
    assert_eq!(after.incarnation, Incarnation::new(before.incarnation.get() + 1));
    let checkpoint = |name: &str, position| SwapCheckpoint {
        name: name.to_owned(),
        epoch: 0,
        old: None,
        new: Checkpoint::new(position, &before),
    };
    let ahead = store.checkpoints().swap(checkpoint("ahead", lost)).await;
    assert!(matches!(ahead, Err(CheckpointError::OtherLife { .. })), "{ahead:?}");
    store.checkpoints().swap(checkpoint("behind", kept)).await.unwrap();
}

/// The commit is done, and its answer lost: the store finds by the ids what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_is_lost_is_found_by_its_ids() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port()).await;
    let store = open(&proxy).await;
    let append = |expected| {
        let event = NewEvent::json("A", "{}").unwrap();
        Append::to_stream(StreamName::new("lost-1").unwrap(), expected, [event])
    };
    store.append(append(ExpectedRevision::NoStream)).await.unwrap();

    for last in 0..3 {
        proxy.swallow_answer_to(b"lost-1");
        let expected = ExpectedRevision::Exactly(Revision::new(last));
        let appended = store.append(append(expected)).await.unwrap();
        assert_eq!(appended.streams[0].revision, Revision::new(last + 1));
        assert!(appended.replayed, "the first attempt had done it");
    }

    let log = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    assert_eq!(collect(log.batches).await.unwrap().len(), 4);
    assert!(store.counters().cuts_retried() >= 3);
}
