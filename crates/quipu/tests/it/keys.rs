//! Idempotency keys: a command is executed once, however often it is sent.

use std::sync::Arc;

use quipu::core::{EventStore, ReadAll, collect};
use quipu::{ExecuteError, LEDGER_TYPE, Query, Quipu};

use crate::bank::{Account, BankError, Transfer, deposit, id, open, withdraw};
use crate::stores::on_every_store;

#[tokio::test]
async fn the_second_sending_answers_what_the_first_did() {
    on_every_store(async |app| {
        app.execute(open("a")).await.unwrap();
        let first = app.execute(deposit("a", 5)).idempotency_key("k").await.unwrap();
        app.execute(deposit("a", 1)).await.unwrap();

        let again = app.execute(deposit("a", 5)).idempotency_key("k").await.unwrap();

        assert_eq!((first.replayed, again.replayed), (false, true));
        assert_eq!((again.position, &again.events), (first.position, &first.events));
        assert_eq!(again.value::<u64>().unwrap(), Some(5), "the value of then, not of now");
        assert_eq!(app.load(Account::of(id("a"))).await.unwrap().balance, 6);
    })
    .await;
}

#[tokio::test]
async fn a_decision_of_nothing_is_remembered_too() {
    on_every_store(async |app| {
        app.execute(open("a")).await.unwrap();
        let first = app.execute(deposit("a", 0)).idempotency_key("k").await.unwrap();
        app.execute(deposit("a", 9)).await.unwrap();

        let again = app.execute(deposit("a", 0)).idempotency_key("k").await.unwrap();

        assert!(first.events.is_empty() && again.replayed);
        assert_eq!(again.value::<u64>().unwrap(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_not_remembered() {
    on_every_store(async |app| {
        let refused = app.execute(deposit("a", 5)).idempotency_key("k").await.unwrap_err();
        app.execute(open("a")).await.unwrap();

        let done = app.execute(deposit("a", 5)).idempotency_key("k").await.unwrap();

        assert_eq!(refused.rejection(), Some(&BankError::NotOpen));
        assert!(!done.replayed);
    })
    .await;
}

#[tokio::test]
async fn another_command_with_the_same_key_is_refused() {
    on_every_store(async |app| {
        app.execute(open("a")).await.unwrap();
        app.execute(deposit("a", 5)).idempotency_key("k").await.unwrap();

        let amount = app.execute(deposit("a", 6)).idempotency_key("k").await.unwrap_err();
        let account = app.execute(open("b")).idempotency_key("k").await.unwrap_err();
        let kind = app.execute(withdraw("a", 5)).idempotency_key("k").await.unwrap_err();

        for error in [amount, account, kind] {
            assert!(matches!(error, ExecuteError::KeyReused { .. }), "{error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_may_be_any_text() {
    on_every_store(async |app| {
        let long = "k".repeat(10_000);
        for (account, key) in [("a", ""), ("b", long.as_str()), ("c", "\0\n$ü")] {
            app.execute(open(account)).idempotency_key(key).await.unwrap();
            let again = app.execute(open(account)).idempotency_key(key).await.unwrap();
            assert!(again.replayed, "{key:?}");
        }
    })
    .await;
}

/// A snapshot lets the model be read from far behind the ledger event, which must be found still.
#[tokio::test]
async fn a_key_is_found_however_long_ago_it_was() {
    on_every_store(async |app| {
        for account in ["a", "b"] {
            app.execute(open(account)).await.unwrap();
        }
        app.execute(deposit("a", 500)).await.unwrap();
        let transfer = || Transfer { from: id("a"), to: id("b"), cents: 1 };
        app.execute(transfer()).idempotency_key("k").await.unwrap();
        for _ in 0..30 {
            app.execute(transfer()).await.unwrap();
            app.settle_snapshots().await;
        }

        let again = app.execute(transfer()).idempotency_key("k").await.unwrap();

        assert!(again.replayed);
    })
    .await;
}

#[tokio::test]
async fn one_key_sent_from_many_sides_at_once_is_executed_once() {
    let store = Arc::new(quipu::core::MemoryStore::new());
    let app = Quipu::over(store.clone());
    app.execute(open("a")).await.unwrap();

    let tasks: Vec<_> = (0..20)
        .map(|_| {
            // Handles of their own share no queue, as other processes would not.
            let app = Quipu::over(store.clone());
            tokio::spawn(
                async move { app.execute(deposit("a", 5)).idempotency_key("k").await.unwrap() },
            )
        })
        .collect();
    let mut fresh = 0;
    for task in tasks {
        fresh += u32::from(!task.await.unwrap().replayed);
    }

    assert_eq!(fresh, 1);
    assert_eq!(app.load(Account::of(id("a"))).await.unwrap().balance, 5);
    let read = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    let events = collect(read.batches).await.unwrap();
    let ledger = events.iter().filter(|event| event.event_type == LEDGER_TYPE).count();
    assert_eq!((events.len(), ledger), (3, 1));
}
