//! Appending in the caller's own transaction.

use std::time::Duration;

use quipu_core::{
    Append, AppendError, EventStore, ExpectedRevision, NewEvent, Query, ReadAll, ReadStream,
    Revision, StreamName, StreamState, collect,
};
use quipu_postgres::PostgresStore;
use sqlx::PgPool;

use crate::support::{fresh, open, server};

async fn set_up() -> Option<(PostgresStore, PgPool)> {
    let server = server()?;
    let store = open(fresh(server)).await;
    let pool = PgPool::connect(&server.socket_url("postgres")).await.unwrap();
    sqlx::query("create table if not exists orders (number int)").execute(&pool).await.unwrap();
    Some((store, pool))
}

fn order(number: u32) -> StreamName {
    StreamName::new(format!("order-{number}")).unwrap()
}

fn place(number: u32) -> Append {
    let event = NewEvent::json("OrderPlaced", "{}").unwrap().with_tag("order").unwrap();
    Append::to_stream(order(number), ExpectedRevision::NoStream, [event])
}

async fn log(store: &PostgresStore) -> usize {
    let read = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    collect(read.batches).await.unwrap().len()
}

#[tokio::test]
async fn rows_and_events_commit_together() {
    let Some((store, pool)) = set_up().await else { return };

    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("insert into orders values (4711)").execute(&mut *transaction).await.unwrap();
    let appended = store.append_in(&mut transaction, place(1)).await.unwrap();
    let before = store.read_stream(ReadStream::new(order(1))).await.unwrap().state;
    transaction.commit().await.unwrap();

    assert_eq!(before, StreamState::Absent);
    store.wait_visible(appended.last.unwrap()).await.unwrap();
    assert_eq!(log(&store).await, 1);
    let rows: i64 = sqlx::query_scalar("select count(*) from orders where number = 4711")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn what_is_rolled_back_never_was() {
    let Some((store, pool)) = set_up().await else { return };

    let mut transaction = pool.begin().await.unwrap();
    store.append_in(&mut transaction, place(1)).await.unwrap();
    transaction.rollback().await.unwrap();
    let kept = store.append(place(2)).await.unwrap();

    store.wait_visible(kept.last.unwrap()).await.unwrap();
    assert_eq!(log(&store).await, 1);
    assert_eq!(kept.streams[0].revision, Revision::FIRST);
}

/// Readers stop before an open transaction's events, and before all that came after them: were they
/// shown what came after, they would pass over the transaction's events for ever.
#[tokio::test]
async fn an_open_transaction_holds_readers_back() {
    let Some((store, pool)) = set_up().await else { return };

    let mut transaction = pool.begin().await.unwrap();
    store.append_in(&mut transaction, place(1)).await.unwrap();
    let later = store.append(place(2)).await.unwrap();
    let held = log(&store).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let held_back = store.held_back().await.unwrap();
    transaction.commit().await.unwrap();

    assert_eq!(held, 0, "although the second append was acknowledged");
    assert!(held_back >= Duration::from_millis(20), "{held_back:?}");
    store.wait_visible(later.last.unwrap()).await.unwrap();
    assert_eq!(log(&store).await, 2);
    assert_eq!(store.held_back().await.unwrap(), Duration::ZERO);
}

#[tokio::test]
async fn an_append_that_waits_for_a_transaction_does_not_fail_those_that_go_with_it() {
    let Some((store, pool)) = set_up().await else { return };
    let mut transaction = pool.begin().await.unwrap();
    store.append_in(&mut transaction, place(1)).await.unwrap();

    // The first goes alone, the others together behind it.
    let mut appending: Vec<_> = [2, 1, 3, 4, 5]
        .map(|number| {
            let (store, event) = (store.clone(), NewEvent::json("OrderNoted", "{}").unwrap());
            tokio::spawn(
                async move { store.append(Append::new().event(order(number), event)).await },
            )
        })
        .into();
    let held = appending.remove(1);
    for append in appending {
        append.await.unwrap().unwrap();
    }
    assert!(!held.is_finished(), "it waits for the transaction");
    transaction.commit().await.unwrap();

    held.await.unwrap().unwrap();
}

/// Somebody appended and went to lunch: the database ends the transaction, and readers go on.
#[tokio::test]
async fn a_transaction_that_does_nothing_is_ended_and_readers_go_on() {
    let Some((store, pool)) = set_up().await else { return };
    let mut idle = pool.begin().await.unwrap();
    store.append_in(&mut idle, place(1)).await.unwrap();
    let later = store.append(place(2)).await.unwrap().last.unwrap();

    let visible = tokio::time::timeout(Duration::from_mins(1), store.wait_visible(later)).await;

    visible.expect("readers are not held back for ever").unwrap();
    assert_eq!(log(&store).await, 1, "what was not committed never was");
    assert!(idle.commit().await.is_err(), "whoever comes back is told");
    store.append(place(1)).await.unwrap();
}

#[tokio::test]
async fn a_conflict_leaves_the_transaction_to_the_caller() {
    let Some((store, pool)) = set_up().await else { return };
    store.append(place(1)).await.unwrap();

    let mut transaction = pool.begin().await.unwrap();
    let conflict = store.append_in(&mut transaction, place(1)).await;
    store.append_in(&mut transaction, place(2)).await.unwrap();
    transaction.commit().await.unwrap();

    assert!(matches!(conflict, Err(AppendError::Conflict { .. })), "{conflict:?}");
    let state = store.read_stream(ReadStream::new(order(2))).await.unwrap().state;
    assert_eq!(state, StreamState::Live { last: Revision::FIRST });
}

#[tokio::test]
async fn a_transaction_that_sees_the_past_is_refused() {
    let Some((store, pool)) = set_up().await else { return };

    let mut transaction = pool.begin().await.unwrap();
    let level = "set transaction isolation level repeatable read";
    sqlx::query(level).execute(&mut *transaction).await.unwrap();
    let refused = store.append_in(&mut transaction, place(1)).await.unwrap_err();

    let AppendError::Storage(cause) = refused else { panic!("{refused}") };
    let cause = std::error::Error::source(&cause).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("read committed"), "{cause}");
}

#[tokio::test]
async fn an_append_of_another_waits_for_the_condition_of_a_transaction() {
    let Some((store, pool)) = set_up().await else { return };
    let query: Query = "tag:order".parse().unwrap();

    let mut transaction = pool.begin().await.unwrap();
    let guarded = place(1).fail_if(query.clone(), None);
    store.append_in(&mut transaction, guarded).await.unwrap();
    let rival = store.clone();
    let late = tokio::spawn(async move { rival.append(place(2).fail_if(query, None)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    transaction.commit().await.unwrap();

    let late = late.await.unwrap();
    assert!(matches!(late, Err(AppendError::Conflict { .. })), "{late:?}");
}
