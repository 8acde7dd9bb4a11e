//! Snapshots: replay gets shorter, and nothing else changes.

use std::sync::Arc;

use quipu::core::{EventStore, ExpectedRevision, MemoryStore, Snapshot};
use quipu::{DecisionModel, Evolve, Position, Quipu, StreamName};
use serde::{Deserialize, Serialize};

use crate::bank::{Account, AccountEvent, AccountId, Balance, deposit, id, open, withdraw};
use crate::faulty::FaultyStore;
use crate::stores::on_every_store;

/// An application that has nothing in memory, over the same store.
fn restarted(app: &Quipu) -> Quipu {
    Quipu::over(Arc::clone(app.store()))
}

/// An account with so many events.
async fn fill(app: &Quipu, count: u64) {
    app.execute(open("a")).await.unwrap();
    fill_on(app, count - 1).await;
}

/// So many more.
async fn fill_on(app: &Quipu, count: u64) {
    for _ in 0..count {
        app.execute(deposit("a", 1)).await.unwrap();
        app.settle_snapshots().await;
    }
}

#[tokio::test]
async fn a_load_replays_only_what_is_behind_the_snapshot() {
    let store = FaultyStore::new();
    let app = store.app();
    fill(&app, 25).await;
    app.load(Balance::of(id("a"))).await.unwrap();
    app.settle_snapshots().await;
    store.take_reads();

    let app = store.app();
    let account = app.load(Account::of(id("a"))).await.unwrap();
    let balance = app.load(Balance::of(id("a"))).await.unwrap();

    assert_eq!((account.balance, balance.cents), (24, 24));
    // The snapshots are of revisions 9 and 19, and of position 25.
    assert_eq!(store.take_reads(), ["account-a from 19", "log from 26"]);
}

#[tokio::test]
async fn a_load_reads_only_what_is_new_since_the_last_one() {
    let store = FaultyStore::new();
    let app = store.app();
    fill(&app, 5).await;
    app.load((Balance::of(id("a")), Account::of(id("a")))).await.unwrap();
    app.execute(deposit("a", 1)).await.unwrap();
    store.take_reads();

    let account = app.load(Account::of(id("a"))).await.unwrap();
    let balance = app.load(Balance::of(id("a"))).await.unwrap();

    assert_eq!((account.balance, account.event_count, balance.cents), (5, 6, 5));
    // The last event that is known is read again, to see that it is still there.
    assert_eq!(store.take_reads(), ["account-a from 4", "log from 6"]);
}

#[tokio::test]
async fn a_state_as_of_a_moment_is_not_taken_from_a_later_one() {
    on_every_store(async |app| {
        fill(&app, 5).await;
        let then = app.store().frontier().await.unwrap();
        fill_on(&app, 3).await;
        app.load(Account::of(id("a"))).await.unwrap();

        let account = app.load(Account::of(id("a"))).as_of(then).await.unwrap();

        assert_eq!((account.balance, account.event_count), (4, 5));
        assert_eq!(app.load(Account::of(id("a"))).await.unwrap().event_count, 8);
    })
    .await;
}

#[tokio::test]
async fn snapshots_are_as_frequent_as_without_states_in_memory() {
    let store = FaultyStore::new();
    let app = store.app();

    fill(&app, 9).await;
    assert!(store.snapshot_keys().is_empty(), "a snapshot is due every ten events");
    fill_on(&app, 3).await;

    assert_eq!(store.snapshot_keys().len(), 1);
}

#[tokio::test]
async fn states_are_the_same_with_and_without_snapshots() {
    on_every_store(async |app| {
        fill(&app, 57).await;
        app.execute(withdraw("a", 20)).await.unwrap();

        let app = restarted(&app);
        let account = app.load(Account::of(id("a"))).await.unwrap();
        let balance = app.load((Balance::of(id("a")), Account::of(id("a")))).await.unwrap();

        assert_eq!((account.balance, account.event_count), (36, 58));
        assert_eq!((balance.0.cents, balance.1.event_count), (36, 58));
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_that_is_no_state_is_a_miss() {
    let store = FaultyStore::new();
    let app = store.app();
    fill(&app, 25).await;
    assert_eq!(store.snapshot_keys().len(), 1);
    for data in [&b""[..], b"1234567", b"12345678{", b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFnull"] {
        for key in store.snapshot_keys() {
            let snapshot = Snapshot { position: Position::new(25), data: data.to_vec().into() };
            store.snapshots().put(&key, snapshot).await.unwrap();
        }

        let account = restarted(&app).load(Account::of(id("a"))).await.unwrap();

        assert_eq!(account.event_count, 25, "{data:?}");
    }
}

/// The same model with another meaning: its version says so.
#[derive(DecisionModel, Clone, Serialize, Deserialize)]
#[model(events = AccountEvent, name = "Balance", snapshot(every = 10, version = 2))]
struct CentsTwice {
    #[key]
    account: AccountId,
    is_open: bool,
    cents: u64,
}

impl Evolve for CentsTwice {
    fn evolve(&mut self, event: &AccountEvent) {
        if let AccountEvent::Deposited(deposited) = event {
            self.cents += 2 * deposited.cents;
        }
    }
}

#[tokio::test]
async fn a_snapshot_of_another_version_is_not_used() {
    on_every_store(async |app| {
        fill(&app, 25).await;
        app.load(Balance::of(id("a"))).await.unwrap();
        app.settle_snapshots().await;

        let twice = restarted(&app).load(CentsTwice::of(id("a"))).await.unwrap();

        assert_eq!(twice.cents, 48);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_stream_has_no_state_whatever_snapshots_say() {
    on_every_store(async |app| {
        fill(&app, 20).await;
        let stream = StreamName::new("account-a").unwrap();
        app.store().delete(stream, ExpectedRevision::Any).await.unwrap();

        for app in [app.clone(), restarted(&app)] {
            let deleted = app.load(Account::of(id("a"))).await.unwrap();
            assert_eq!((deleted.event_count, deleted.revision()), (0, None));
            app.execute(open("a")).await.unwrap();
            let revived = app.load(Account::of(id("a"))).await.unwrap();
            assert_eq!(revived.event_count, 1, "what was before the delete is not counted");
            let stream = StreamName::new("account-a").unwrap();
            app.store().delete(stream, ExpectedRevision::Any).await.unwrap();
        }
    })
    .await;
}

/// A restore can leave a log shorter than its snapshots.
#[tokio::test]
async fn a_snapshot_of_another_life_of_the_log_is_not_used() {
    let store = MemoryStore::new();
    let app = Quipu::over(Arc::new(store.clone()));
    fill(&app, 20).await;
    app.load(Balance::of(id("a"))).await.unwrap();
    app.settle_snapshots().await;

    store.restore_as_new_life();

    for app in [app.clone(), restarted(&app)] {
        assert_eq!(app.load(Balance::of(id("a"))).await.unwrap().cents, 19);
        assert_eq!(app.load(Account::of(id("a"))).await.unwrap().balance, 19);
    }
}

#[tokio::test]
async fn snapshots_need_no_runtime() {
    // A thread of its own has no runtime, even while the test has.
    let balance = std::thread::spawn(|| {
        futures_lite::future::block_on(async {
            let app = Quipu::in_memory();
            fill(&app, 30).await;
            app.load(Account::of(id("a"))).await.unwrap().balance
        })
    });

    assert_eq!(balance.join().unwrap(), 29);
}
