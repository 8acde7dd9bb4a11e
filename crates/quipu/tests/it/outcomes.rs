//! What the caller hears when the store fails, and what is in the log then.

use quipu::core::{Append, EventStore, NewEvent};
use quipu::{ExecuteError, Position, Retry, StreamName, Unavailable};

use crate::bank::{Account, deposit, id, open, withdraw};
use crate::faulty::{Fault, FaultyStore};

async fn opened() -> FaultyStore {
    let store = FaultyStore::new();
    store.app().execute(open("a")).await.unwrap();
    store.app().execute(deposit("a", 100)).await.unwrap();
    store.take_reads();
    store
}

/// A deposit that somebody else makes.
fn deposited(cents: u64) -> Append {
    let data = format!(r#"{{"account":"a","cents":{cents}}}"#);
    let event = NewEvent::json("bank.funds-deposited", data).unwrap();
    let event = event.with_tag("account:a").unwrap();
    Append::new().event(StreamName::new("account-a").unwrap(), event)
}

async fn frontier(store: &FaultyStore) -> u64 {
    store.memory().frontier().await.unwrap().get()
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_nothing_appended_twice() {
    for command in [true, false] {
        let store = opened().await;
        store.fail([Fault::LoseAnswer]);

        let done = if command {
            store.app().execute(deposit("a", 1)).await.unwrap()
        } else {
            store.app().execute(withdraw("a", 1)).await.unwrap()
        };

        assert_eq!((done.attempts, done.position), (1, Position::new(3)));
        assert_eq!(frontier(&store).await, 3);
    }
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_told_so() {
    let store = opened().await;
    store.fail([Fault::LoseRequest, Fault::LoseRequest, Fault::LoseAnswer]);

    let error = store.app().execute(deposit("a", 1)).await.unwrap_err();

    assert!(matches!(error, ExecuteError::OutcomeUnknown(_)), "{error:?}");
    assert_eq!(frontier(&store).await, 3, "it did happen");
}

#[tokio::test]
async fn with_a_key_the_ledger_settles_what_is_unknown() {
    let store = opened().await;
    store.fail([Fault::LoseRequest, Fault::LoseRequest, Fault::LoseAnswer]);

    let done = store.app().execute(deposit("a", 1)).idempotency_key("k").await.unwrap();

    assert!(!done.replayed, "it was this very execution");
    assert_eq!(done.value::<u64>().unwrap(), Some(101));
    assert_eq!(frontier(&store).await, 4, "one deposit and its ledger event");

    store.fail([Fault::LoseRequest, Fault::LoseRequest, Fault::LoseRequest]);
    let next = store.app().execute(deposit("a", 1)).idempotency_key("l").await.unwrap();
    assert_eq!((next.attempts, next.replayed), (2, false));
    assert_eq!(store.app().load(Account::of(id("a"))).await.unwrap().balance, 102);
}

#[tokio::test]
async fn a_store_that_closes_behind_a_lost_answer_leaves_the_outcome_unknown() {
    let store = opened().await;
    store.fail([Fault::LoseAnswer, Fault::Close]);

    let error = store.app().execute(deposit("a", 1)).await.unwrap_err();

    assert!(matches!(error, ExecuteError::OutcomeUnknown(_)), "{error:?}");
}

#[tokio::test]
async fn a_closed_store_is_not_available_and_a_busy_one_is_asked_again() {
    let store = opened().await;
    store.fail([Fault::Close]);
    let error = store.app().execute(deposit("a", 1)).await.unwrap_err();
    assert!(
        matches!(error, ExecuteError::Unavailable(Unavailable::Append(_))),
        "nothing was appended: {error:?}"
    );

    store.fail([Fault::Overload, Fault::Overload]);
    let done = store.app().execute(deposit("a", 1)).await.unwrap();

    assert_eq!(done.attempts, 3);
    assert_eq!(frontier(&store).await, 3);
}

#[tokio::test]
async fn a_conflict_is_decided_again_on_what_came_in_between() {
    let store = opened().await;
    store.fail([Fault::Before(deposited(7))]);

    let aggregate = store.app().execute(deposit("a", 1)).await.unwrap();
    let reads = store.take_reads();
    store.fail([Fault::Before(deposited(7))]);
    let model = store.app().execute(withdraw("a", 1)).await.unwrap();

    assert_eq!((aggregate.attempts, model.attempts), (2, 2));
    assert_eq!(aggregate.value::<u64>().unwrap(), Some(108), "it saw the other deposit");
    // The second time the last event that is known is asked for, and what is behind it.
    assert_eq!(reads, ["account-a from start", "account-a from 1"]);
    assert_eq!(store.take_reads(), ["log from 1", "log from 5"]);
}

#[tokio::test]
async fn conflicts_surface_when_the_attempts_are_used_up() {
    let store = opened().await;
    store.fail([Fault::Before(deposited(7))]);
    let none = store.app().execute(deposit("a", 1)).retry(Retry::none()).await.unwrap_err();
    store.fail([Fault::Before(deposited(7)), Fault::Before(deposited(7))]);
    let two = store.app().execute(withdraw("a", 1)).retry(Retry::attempts(2)).await.unwrap_err();

    let ExecuteError::Conflict { attempt_count: 1, violations } = none else {
        panic!("expected a conflict, got {none:?}");
    };
    assert_eq!(violations.len(), 1);
    assert!(matches!(two, ExecuteError::Conflict { attempt_count: 2, .. }), "{two:?}");
    assert_eq!(frontier(&store).await, 5, "only the other deposits are there");
}

#[tokio::test]
async fn a_guard_that_demands_nothing_conflicts_with_nothing() {
    let store = opened().await;
    store.fail([Fault::Before(deposited(7))]);
    let mut command = withdraw("a", 1);
    command.is_unguarded = true;

    let done = store.app().execute(command).await.unwrap();

    assert_eq!(done.attempts, 1);
}
