//! Many commands on one boundary at once.

use std::sync::Arc;

use quipu::core::MemoryStore;
use quipu::{Quipu, Retry};

use crate::bank::{Account, BankError, Transfer, deposit, id, open, withdraw};

const TASK_COUNT: u64 = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_on_a_contended_aggregate_gets_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Quipu::open(directory.path().join("race.quipu")).await.unwrap();
    for app in [Quipu::in_memory(), engine] {
        app.execute(open("a")).await.unwrap();

        let tasks: Vec<_> = (0..TASK_COUNT)
            .map(|_| {
                let app = app.clone();
                tokio::spawn(async move {
                    for _ in 0..5 {
                        app.execute(deposit("a", 1)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }

        let account = app.load(Account::of(id("a"))).await.unwrap();
        assert_eq!(account.balance, TASK_COUNT * 5);
        app.settle_snapshots().await;
    }
}

/// Handles of their own share no queue: only the store keeps them apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_money_is_made_or_lost_whoever_wins() {
    let store = Arc::new(MemoryStore::new());
    let app = Quipu::over(store.clone());
    for account in ["a", "b"] {
        app.execute(open(account)).await.unwrap();
        app.execute(deposit(account, 10)).await.unwrap();
    }

    let tasks: Vec<_> = (0..TASK_COUNT)
        .map(|task| {
            let app = Quipu::over(store.clone());
            let (from, to) = if task % 2 == 0 { ("a", "b") } else { ("b", "a") };
            tokio::spawn(async move {
                let transfer = Transfer { from: id(from), to: id(to), cents: 3 };
                app.execute(transfer).retry(Retry::attempts(1_000).jitter()).await
            })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => {}
            Err(error) => {
                let rejection = error.rejection();
                assert!(matches!(rejection, Some(BankError::Insufficient { .. })), "{error:?}");
                refused += 1;
            }
        }
    }

    let (a, b) = (
        app.load(Account::of(id("a"))).await.unwrap(),
        app.load(Account::of(id("b"))).await.unwrap(),
    );
    assert_eq!(a.balance + b.balance, 20);
    let events = a.event_count + b.event_count;
    assert_eq!(events, 4 + 2 * (TASK_COUNT - refused));
}

/// Two who want the last money: exactly one gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_item_goes_to_one() {
    for _ in 0..50 {
        let store = Arc::new(MemoryStore::new());
        let app = Quipu::over(store.clone());
        app.execute(open("a")).await.unwrap();
        app.execute(deposit("a", 10)).await.unwrap();
        let other = Quipu::over(store);

        let (one, two) = tokio::join!(
            tokio::spawn(async move { app.execute(withdraw("a", 10)).await }),
            tokio::spawn(async move { other.execute(withdraw("a", 10)).await }),
        );

        let outcomes = [one.unwrap(), two.unwrap()];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let refusal = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap();
        assert_eq!(refusal.rejection(), Some(&BankError::Insufficient { balance: 0 }));
    }
}
