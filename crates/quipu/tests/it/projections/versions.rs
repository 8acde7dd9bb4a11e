//! Versions: built beside the one that serves, promoted, retired; and built again.

#![expect(
    clippy::float_cmp,
    clippy::cast_precision_loss,
    reason = "the sums are of quarters, which are exact"
)]

use std::time::Duration;

use quipu::core::{ComponentKey, ComponentKind, ComponentRequest};
use quipu::projection::{ApplyError, Generation, Projection};
use quipu::view::ViewError;
use quipu::{Position, Recorded, RunError};
use sqlx::{SqliteConnection, SqlitePool};

use super::sample::{All, Balances, balances, database, deposit, row, tuned};
use crate::bank::AccountEvent;
use crate::stores::on_every_store;

/// Version 2 of the balances: in euros.
#[derive(Debug)]
struct Euros;

impl Projection for Euros {
    type Event = AccountEvent;
    type Conn = SqliteConnection;
    const NAME: &'static str = "balances";
    const VERSION: u32 = 2;

    async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
        let sql = own.sql("CREATE TABLE {balances} (euros REAL NOT NULL)");
        sqlx::query(sql).execute(&mut *conn).await?;
        sqlx::query(own.sql("INSERT INTO {balances} VALUES (0)")).execute(conn).await?;
        Ok(())
    }

    async fn apply(
        &self,
        event: &Recorded<AccountEvent>,
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        if let AccountEvent::Deposited(deposited) = &event.event {
            let sql = own.stmt("UPDATE {balances} SET euros = euros + ?1");
            sqlx::query(sql).bind(deposited.cents as f64 / 100.0).execute(conn).await?;
        }
        Ok(())
    }
}

async fn euros(pool: &SqlitePool, table: &'static str) -> Result<f64, sqlx::Error> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT euros FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(pool).await
}

#[tokio::test]
async fn a_new_version_is_built_beside_the_old_one_and_then_promoted() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let end = deposit(&app, "a", 250).await;
        let old = balances(&app, &pool).spawn().await.unwrap();
        app.wait_for::<Balances>(end).await.unwrap();
        let new = tuned(app.project(Euros).into(pool.clone())).spawn().await.unwrap();
        app.wait_for::<Euros>(end).await.unwrap();
        let early = app.view::<Euros>().unwrap().open().await;
        let shown: i64 =
            sqlx::query_scalar("SELECT cents FROM balances").fetch_one(&pool).await.unwrap();

        new.promote().await.unwrap();
        let end = deposit(&app, "a", 50).await;
        app.wait_for::<Balances>(end).await.unwrap();
        app.wait_for::<Euros>(end).await.unwrap();

        assert!(matches!(early, Err(ViewError::NotServing { version: 2, stage: "building", .. })));
        assert_eq!(shown, 250, "until then the view shows version 1");
        assert_eq!(euros(&pool, "balances").await.unwrap(), 3.0, "then version 2");
        let retired = app.view::<Balances>().unwrap().ask(All).await.unwrap();
        assert_eq!(retired, [row("a", 300, 2)], "for a while the old one follows");
        old.stop().await.unwrap();
        new.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_version_that_is_up_to_date_promotes_itself_and_the_old_one_is_dropped() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let end = deposit(&app, "a", 250).await;
        let old = balances(&app, &pool).spawn().await.unwrap();
        app.wait_for::<Balances>(end).await.unwrap();

        let into = tuned(app.project(Euros).into(pool.clone()));
        let new = into.auto_promote(0).keep_retired(Duration::ZERO).spawn().await.unwrap();
        let dropped = loop {
            let view = app.view::<Balances>().unwrap().ask(All).await;
            if let Err(ViewError::NotServing { stage, .. }) = view {
                break stage;
            }
        };
        // The one that runs it notices at the next event.
        let end = deposit(&app, "a", 50).await;
        let ended = old.ended().await;
        app.wait_for::<Euros>(end).await.unwrap();

        assert_eq!(dropped, "dropped");
        assert!(matches!(ended, Err(RunError::Keep(_))), "{ended:?}");
        assert_eq!(euros(&pool, "balances").await.unwrap(), 3.0);
        let left: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_master WHERE name LIKE 'balances%' ORDER BY name",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        assert_eq!(left, ["balances", "balances_v2"]);
        new.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn one_can_go_back_to_the_version_before() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let end = deposit(&app, "a", 250).await;
        let old = balances(&app, &pool).spawn().await.unwrap();
        app.wait_for::<Balances>(end).await.unwrap();
        let new = tuned(app.project(Euros).into(pool.clone())).spawn().await.unwrap();
        app.wait_for::<Euros>(end).await.unwrap();
        new.promote().await.unwrap();

        old.promote().await.unwrap();

        let shown: i64 =
            sqlx::query_scalar("SELECT cents FROM balances").fetch_one(&pool).await.unwrap();
        assert_eq!(shown, 250);
        old.stop().await.unwrap();
        new.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_read_model_that_was_damaged_is_built_again() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let mut end = Position::START;
        for cents in 1..=20 {
            end = deposit(&app, "a", cents).await;
        }
        let mut running = balances(&app, &pool).spawn().await.unwrap();
        running.wait_until(|it| it.position >= end).await.unwrap();
        sqlx::query("UPDATE balances_v1 SET cents = -1, last = 0").execute(&pool).await.unwrap();

        running.rebuild().await.unwrap();
        let is_back = |it: &quipu::RunnerStatus| it.position < end;
        running.wait_until(is_back).await.unwrap();
        running.wait_until(|it| it.position >= end).await.unwrap();

        assert_eq!(running.view().ask(All).await.unwrap(), [row("a", 210, 20)]);
        let shown: i64 =
            sqlx::query_scalar("SELECT cents FROM balances").fetch_one(&pool).await.unwrap();
        assert_eq!(shown, 210, "also by its own name");
        let progress = running.progress().await.unwrap();
        assert_eq!((progress.percent(), progress.lag()), (100, 0));
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_read_model_cannot_go_back_by_a_part() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        deposit(&app, "a", 1).await;
        let end = deposit(&app, "a", 2).await;
        let mut running = balances(&app, &pool).spawn().await.unwrap();
        running.wait_until(|it| it.position >= end).await.unwrap();

        running.request(ComponentRequest::ReplayFrom(Position::FIRST)).await.unwrap();
        let refused = running.wait_until(|it| it.last_error.is_some()).await.unwrap();

        assert!(refused.last_error.unwrap().contains("from position 0"));
        assert_eq!(running.view().ask(All).await.unwrap(), [row("a", 3, 2)]);
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_operator_promotes_through_the_registry() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let end = deposit(&app, "a", 250).await;
        let old = balances(&app, &pool).spawn().await.unwrap();
        app.wait_for::<Balances>(end).await.unwrap();
        let mut new = tuned(app.project(Euros).into(pool.clone())).spawn().await.unwrap();
        new.wait_until(|it| it.position >= end).await.unwrap();
        let name = "balances".to_owned();
        let key = ComponentKey { kind: ComponentKind::Projection, name, version: 2 };

        let registry = app.store().registry();
        registry.request(&key, ComponentRequest::Promote).await.unwrap();
        while app.view::<Euros>().unwrap().open().await.is_err() {
            tokio::task::yield_now().await;
        }

        assert_eq!(euros(&pool, "balances").await.unwrap(), 2.5);
        old.stop().await.unwrap();
        new.stop().await.unwrap();
    })
    .await;
}
