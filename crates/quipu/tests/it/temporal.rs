//! Looking back: states as they were, and what happened.

use std::sync::Arc;
use std::time::Duration;

use quipu::core::MemoryStore;
use quipu::testing::ManualClock;
use quipu::{Evolve, LoadError, Position, Quipu};

use crate::bank::{Account, AccountEvent, Balance, deposit, id, open, withdraw};
use crate::stores::on_every_store;

#[tokio::test]
async fn a_state_as_of_a_position_is_the_fold_up_to_there() {
    on_every_store(async |app| {
        let mut places = vec![app.execute(open("a")).await.unwrap().position];
        for _ in 1..40 {
            places.push(app.execute(deposit("a", 1)).await.unwrap().position);
            app.settle_snapshots().await;
        }
        app.load(Balance::of(id("a"))).await.unwrap();
        app.settle_snapshots().await;

        for (index, place) in (0..).zip(&places) {
            let account = app.load(Account::of(id("a"))).as_of(*place).await.unwrap();
            let balance = app.load(Balance::of(id("a"))).as_of(*place).await.unwrap();
            assert_eq!((account.balance, balance.cents), (index, index), "as of {place}");
        }
        let nothing = app.load(Account::of(id("a"))).as_of(Position::START).await.unwrap();
        assert!(!nothing.is_open);
        let later = app.load(Balance::of(id("a"))).as_of(Position::MAX).await.unwrap_err();
        assert!(matches!(later, LoadError::AsOfInFuture { .. }), "{later:?}");
    })
    .await;
}

#[tokio::test]
async fn a_state_as_of_a_time_has_what_was_recorded_by_then() {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.as_clock());
    let app = Quipu::over(Arc::new(store)).with_clock(clock.as_clock());
    app.execute(open("a")).await.unwrap();
    clock.advance(Duration::from_mins(1));
    app.execute(deposit("a", 10)).await.unwrap();
    let then = clock.now();
    clock.advance(Duration::from_mins(1));
    app.execute(deposit("a", 10)).await.unwrap();

    let models = (Balance::of(id("a")), Account::of(id("a")));
    let both = app.load(models).as_of_time(then).await.unwrap();
    let alone = app.load(Account::of(id("a"))).as_of_time(then).await.unwrap();
    let future = app.load(Account::of(id("a"))).as_of_time(then.plus(Duration::from_mins(10)));

    assert_eq!((both.0.cents, both.1.balance, alone.balance), (10, 10, 10));
    assert!(matches!(future.await, Err(LoadError::AsOfInFuture { .. })));
}

#[tokio::test]
async fn a_history_tells_who_and_when_and_why() {
    on_every_store(async |app| {
        let opened = app.execute(open("a")).actor("ana").correlation("c").await.unwrap();
        app.execute(open("b")).await.unwrap();
        let done = app
            .execute(deposit("a", 5))
            .actor("bob")
            .tenant("t")
            .causation("request 7")
            .trace("00-ab-cd-01", None)
            .await
            .unwrap();

        let all = app.history(Account::of(id("a"))).await.unwrap();
        let since = app.history(Account::of(id("a"))).since(opened.position).await.unwrap();
        let back = app.history(Account::of(id("a"))).backward().await.unwrap();
        let early =
            app.history(Account::of(id("a"))).as_of(opened.position).collect().await.unwrap();

        assert_eq!(all.len(), 2);
        assert_eq!((all[0].actor(), all[0].correlation()), (Some("ana"), Some("c")));
        assert_eq!((all[1].tenant(), all[1].causation()), (Some("t"), Some("request 7")));
        assert_eq!(all[1].metadata.traceparent.as_deref(), Some("00-ab-cd-01"));
        assert_eq!((all[1].position, all[1].id), (done.position, done.events[0]));
        assert!(matches!(&all[1].event, Some(AccountEvent::Deposited(it)) if it.cents == 5));
        assert_eq!(since, all[1..]);
        assert_eq!(early, all[..1]);
        let backward: Vec<_> = all.iter().rev().cloned().collect();
        assert_eq!(back, backward);
    })
    .await;
}

/// What history lists is what a load folds.
#[tokio::test]
async fn a_history_adds_up_to_the_state() {
    on_every_store(async |app| {
        app.execute(open("a")).await.unwrap();
        for cents in 1..30 {
            app.execute(deposit("a", cents)).await.unwrap();
            app.execute(withdraw("a", 1)).await.unwrap();
        }

        let mut folded = Account::of(id("a"));
        for change in app.history(Account::of(id("a"))).await.unwrap() {
            folded.evolve(&change.event.unwrap());
        }

        let loaded = app.load(Account::of(id("a"))).await.unwrap().into_state();
        assert_eq!(loaded, folded);
    })
    .await;
}
