//! Projections that take many events with one statement.

use std::sync::{Arc, Mutex};

use quipu::projection::{ApplyError, Generation, Projection};
use quipu::testing::project;
use quipu::{Phase, Quipu, Recorded, events};
use serde_json::json;
use sqlx::SqliteConnection;

use super::sample::{database, deposit, retry, tuned, withdraw};
use crate::bank::{AccountEvent, FundsDeposited, id};
use crate::stores::on_every_store;

/// Adds up what each account got. A withdrawal is poison.
#[derive(Debug, Default)]
struct Sums {
    batches: Arc<Mutex<Vec<usize>>>,
}

impl Projection for Sums {
    type Event = AccountEvent;
    type Conn = SqliteConnection;
    const NAME: &'static str = "sums";

    async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
        let sql = own.sql("CREATE TABLE {sums} (account TEXT PRIMARY KEY, cents INTEGER NOT NULL)");
        sqlx::query(sql).execute(conn).await?;
        Ok(())
    }

    async fn apply(
        &self,
        event: &Recorded<AccountEvent>,
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        self.apply_batch(std::slice::from_ref(event), conn, own).await
    }

    async fn apply_batch(
        &self,
        events: &[Recorded<AccountEvent>],
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        self.batches.lock().unwrap().push(events.len());
        let mut rows = Vec::new();
        for event in events {
            match &event.event {
                AccountEvent::Opened(opened) => rows.push((&opened.account.0, 0)),
                AccountEvent::Deposited(own) => rows.push((&own.account.0, own.cents)),
                AccountEvent::Withdrawn(_) => return Err("there are no withdrawals".into()),
            }
        }
        let sql = own.stmt(
            "INSERT INTO {sums} SELECT value ->> 0, sum(value ->> 1) FROM json_each(?1)
             WHERE true GROUP BY value ->> 0
             ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents",
        );
        sqlx::query(sql).bind(serde_json::to_string(&rows)?).execute(conn).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_batch_is_applied_at_once() {
    let (_directory, pool) = database().await;
    let app = Quipu::in_memory();
    let mut end = deposit(&app, "a", 1).await;
    for _ in 0..24 {
        end = deposit(&app, "a", 1).await;
    }
    let sums = Sums::default();
    let batches = Arc::clone(&sums.batches);

    let running = tuned(app.project(sums).into(pool.clone())).batch(10).spawn().await.unwrap();
    app.wait_for::<Sums>(end).await.unwrap();
    running.stop().await.unwrap();

    assert_eq!(*batches.lock().unwrap(), [10, 10, 5]);
    let cents: i64 =
        sqlx::query_scalar("SELECT cents FROM sums_v1").fetch_one(&pool).await.unwrap();
    assert_eq!(cents, 25);
}

#[tokio::test]
async fn of_a_batch_that_fails_only_the_event_at_fault_is_parked() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        deposit(&app, "a", 1).await;
        deposit(&app, "b", 2).await;
        let poison = withdraw(&app, "b", 1).await;
        deposit(&app, "b", 4).await;
        let end = deposit(&app, "a", 8).await;

        let into = app.project(Sums::default()).into(pool.clone()).on_error(retry(1).then_park());
        let mut running = into.spawn().await.unwrap();
        running.wait_until(|it| it.position >= end && it.phase == Phase::Running).await.unwrap();
        running.stop().await.unwrap();

        let sums: Vec<(String, i64)> = sqlx::query_as("SELECT * FROM sums_v1 ORDER BY account")
            .fetch_all(&pool)
            .await
            .unwrap();
        assert_eq!(sums, [("a".to_owned(), 9), ("b".to_owned(), 2)], "b's later event waits");
        let (position, cause): (i64, String) =
            sqlx::query_as("SELECT position, cause FROM quipu_parked ORDER BY position LIMIT 1")
                .fetch_one(&pool)
                .await
                .unwrap();
        assert_eq!(position, poison.get().cast_signed());
        assert!(cause.contains("there are no withdrawals"), "{cause}");
        assert!(cause.contains("bank.funds-withdrawn"), "the cause names the event: {cause}");
    })
    .await;
}

#[tokio::test]
async fn crashes_make_no_difference_to_batches() {
    let deposited = |account: &str, cents| FundsDeposited { account: id(account), cents };

    project(Sums::default())
        .sqlite_memory()
        .given(events![deposited("a", 1), deposited("b", 2), deposited("a", 4)])
        .crash_after_each()
        .then_rows(
            "SELECT account, cents FROM {sums} ORDER BY account",
            json!([{ "account": "a", "cents": 5 }, { "account": "b", "cents": 2 }]),
        )
        .await;
}
