//! Events that cannot be applied, and databases that do not answer.

use std::sync::atomic::Ordering;

use quipu::core::{ComponentRequest, ComponentState};
use quipu::projection::WaitError;
use sqlx::Connection;

use super::sample::{All, Balances, balances, database, deposit, retry, row, tuned, withdraw};
use crate::stores::on_every_store;

#[tokio::test]
async fn a_poison_event_stops_its_partition_and_says_which_it_is() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        deposit(&app, "a", 5).await;
        let poison = withdraw(&app, "a", 1).await;
        let after = deposit(&app, "a", 7).await;
        let mut running = balances(&app, &pool).spawn().await.unwrap();

        let status = running.wait_until(|it| !it.stopped.is_empty()).await.unwrap();
        let waited = app.wait_for::<Balances>(after).await;

        let at = &status.stopped[0];
        assert_eq!((at.position, at.key.as_str()), (poison, "account-a"));
        assert!(at.cause.contains("bank.funds-withdrawn"), "{}", at.cause);
        assert!(at.cause.contains("there are no withdrawals"), "{}", at.cause);
        assert!(matches!(waited, Err(WaitError::Stopped { position, .. }) if position == poison));
        let all = app.view::<Balances>().unwrap().ask(All).await.unwrap();
        assert_eq!(all, [row("a", 5, 1)], "nothing after it was applied");
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_cured_projection_goes_on_after_a_retry() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        deposit(&app, "a", 5).await;
        let poison = withdraw(&app, "a", 1).await;
        let end = deposit(&app, "a", 7).await;
        let projection = Balances::default();
        let mut running = tuned(app.project(projection.clone()).into(pool)).spawn().await.unwrap();
        running.wait_until(|it| !it.stopped.is_empty()).await.unwrap();

        projection.is_cured.store(true, Ordering::SeqCst);
        running.request(ComponentRequest::Retry(Some(poison))).await.unwrap();
        running.wait_until(|it| it.position >= end).await.unwrap();

        assert_eq!(running.view().ask(All).await.unwrap(), [row("a", 12, 3)]);
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn parked_events_wait_in_order_and_in_the_projections_database() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        withdraw(&app, "a", 1).await;
        deposit(&app, "a", 7).await;
        let end = deposit(&app, "b", 2).await;
        let projection = Balances::default();
        let into = tuned(app.project(projection.clone()).into(pool.clone()));
        let mut running = into.on_error(retry(0).then_park()).spawn().await.unwrap();
        running.wait_until(|it| it.position >= end && it.parked_count == 2).await.unwrap();
        let without = running.view().ask(All).await.unwrap();
        let parked: Vec<(i64, String)> =
            sqlx::query_as("SELECT position, cause FROM quipu_parked ORDER BY position")
                .fetch_all(&pool)
                .await
                .unwrap();

        projection.is_cured.store(true, Ordering::SeqCst);
        running.request(ComponentRequest::Retry(None)).await.unwrap();
        running.wait_until(|it| it.parked_count == 0).await.unwrap();

        assert_eq!(without, [row("b", 2, 1)], "other keys went on");
        assert_eq!(parked.len(), 2);
        assert!(parked[0].1.contains("there are no withdrawals"), "{parked:?}");
        // The projection itself refuses an event that comes out of order.
        assert_eq!(running.view().ask(All).await.unwrap(), [row("a", 7, 2), row("b", 2, 1)]);
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_is_dropped_or_skipped_is_on_record() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let dropped = withdraw(&app, "a", 1).await;
        let into = balances(&app, &pool).on_error(retry(0).then_park());
        let mut running = into.spawn().await.unwrap();
        running.wait_until(|it| it.parked_count == 1).await.unwrap();
        running.request(ComponentRequest::Drop(Some(dropped))).await.unwrap();
        running.wait_until(|it| it.parked_count == 0).await.unwrap();
        running.stop().await.unwrap();
        let skipped = withdraw(&app, "b", 1).await;
        let end = deposit(&app, "b", 2).await;

        let into = balances(&app, &pool).on_error(retry(0).then_skip());
        let mut running = into.spawn().await.unwrap();
        running.wait_until(|it| it.position >= end).await.unwrap();

        let record: Vec<(i64, String, String, i64)> = sqlx::query_as(
            "SELECT position, reason, event_key, epoch FROM quipu_left_out ORDER BY position",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        let expected = [
            (dropped.get().cast_signed(), "dropped".to_owned(), "account-a".to_owned(), 1),
            (skipped.get().cast_signed(), "skipped".to_owned(), "account-b".to_owned(), 2),
        ];
        assert_eq!(record, expected);
        assert_eq!(running.view().ask(All).await.unwrap(), [row("b", 2, 1)]);
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_waited_for() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let first = deposit(&app, "a", 5).await;
        let mut running = balances(&app, &pool).spawn().await.unwrap();
        running.wait_until(|it| it.position >= first).await.unwrap();
        // Somebody else writes and does not come to an end.
        let mut other = pool.acquire().await.unwrap();
        let hog = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let second = deposit(&app, "a", 7).await;

        let is_down = |it: &quipu::RunnerStatus| it.state == ComponentState::Retrying;
        let down = running.wait_until(is_down).await.unwrap();
        hog.rollback().await.unwrap();
        running.wait_until(|it| it.position >= second).await.unwrap();

        assert!(down.position < second && down.stopped.is_empty(), "{down:?}");
        assert!(down.last_error.unwrap().contains("locked"));
        assert_eq!(running.view().ask(All).await.unwrap(), [row("a", 12, 2)]);
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_database_that_was_never_there_shows_in_the_registry() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        pool.close().await;
        let end = deposit(&app, "a", 5).await;

        let mut running = balances(&app, &pool).spawn().await.unwrap();
        running.wait_until(|it| it.state == ComponentState::Retrying).await.unwrap();
        let reported = loop {
            let components = app.store().registry().components().await.unwrap();
            if let Some(found) = components.into_iter().next() {
                break found;
            }
            tokio::task::yield_now().await;
        };

        assert_eq!((reported.state, reported.lag), (ComponentState::Retrying, end.get()));
        assert!(reported.last_error.unwrap().contains("closed"));
        drop(running);
    })
    .await;
}
