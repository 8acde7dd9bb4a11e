//! A read model follows the log.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use quipu::core::{ComponentKind, ComponentState, EventStore, MemoryStore};
use quipu::projection::{ProjectError, Projection, WaitError};
use quipu::view::ViewError;
use quipu::{Position, Quipu, RunError};

use super::sample::{All, Balances, balances, database, deposit, open, row, tuned};
use crate::stores::on_every_store;

#[tokio::test]
async fn what_a_command_appended_can_be_waited_for_and_read() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let running = balances(&app, &pool).spawn().await.unwrap();

        open(&app, "a").await;
        let position = deposit(&app, "a", 5).await;
        app.wait_for::<Balances>(position).await.unwrap();

        let all = app.view::<Balances>().unwrap().ask(All).await.unwrap();
        assert_eq!(all, [row("a", 5, 2)]);
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn history_is_read_first_and_a_restart_goes_on_where_it_was() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let end = deposit(&app, "a", 1).await;
        let first = balances(&app, &pool).spawn().await.unwrap();
        app.wait_for::<Balances>(end).await.unwrap();
        first.stop().await.unwrap();
        let end = deposit(&app, "b", 2).await;

        let second = balances(&app, &pool).partitions(NonZeroU16::new(7).unwrap()).spawn().await;
        app.wait_for::<Balances>(end).await.unwrap();

        let all = app.view::<Balances>().unwrap().ask(All).await.unwrap();
        assert_eq!(all, [row("a", 1, 1), row("b", 2, 1)]);
        second.unwrap().stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn partitions_keep_the_order_of_each_tag() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let mut end = Position::START;
        for number in 0..200_u64 {
            end = deposit(&app, &format!("{}", number % 20), number).await;
        }

        let running =
            balances(&app, &pool).partitions(NonZeroU16::new(8).unwrap()).by_tag("account");
        let running = running.batch(7).spawn().await.unwrap();
        app.wait_for::<Balances>(end).within(Duration::from_secs(20)).await.unwrap();

        // The projection itself refuses an event of an account that comes out of order.
        let all = app.view::<Balances>().unwrap().ask(All).await.unwrap();
        assert_eq!(all.len(), 20);
        assert!(all.iter().all(|(_, _, event_count)| *event_count == 10), "{all:?}");
        assert_eq!(all.iter().map(|(_, cents, _)| cents).sum::<i64>(), (0..200).sum::<i64>());
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn another_process_reads_and_waits_by_the_database_alone() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let (writer, reader) = (Quipu::over(Arc::clone(&store)), Quipu::over(store));
    let (_directory, pool) = database().await;
    let view = reader.project(Balances::default()).into(pool.clone()).view().unwrap();
    let early = view.ask(All).await;
    let running = balances(&writer, &pool).spawn().await.unwrap();

    let position = deposit(&writer, "a", 5).await;
    reader.wait_for::<Balances>(position).await.unwrap();

    assert!(matches!(early, Err(ViewError::NotServing { stage: "not begun", .. })), "{early:?}");
    assert_eq!(view.ask(All).await.unwrap(), [row("a", 5, 1)]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_run_here_is_neither_read_nor_waited_for() {
    on_every_store(|app| async move {
        let waited = app.wait_for::<Balances>(Position::FIRST).await;

        assert!(matches!(
            app.view::<Balances>(),
            Err(ViewError::Unknown { projection: "balances" })
        ));
        assert!(matches!(waited, Err(WaitError::Unknown { projection: "balances" })), "{waited:?}");
    })
    .await;
}

#[tokio::test]
async fn a_wait_ends_in_time() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let running = balances(&app, &pool).spawn().await.unwrap();

        let wait = app.wait_for::<Balances>(Position::new(1_000)).within(Duration::from_millis(20));
        let waited = wait.await;

        assert!(matches!(waited, Err(WaitError::TooLate { .. })), "{waited:?}");
        running.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_registry_tells_how_it_is() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;
        let position = deposit(&app, "a", 5).await;
        let mut running = balances(&app, &pool).owner("host 7").spawn().await.unwrap();
        running.wait_until(|it| it.position >= position).await.unwrap();
        running.stop().await.unwrap();

        let components = app.store().registry().components().await.unwrap();

        let status = &components[0];
        assert_eq!(components.len(), 1);
        assert_eq!((status.key.kind, status.key.version), (ComponentKind::Projection, 1));
        assert_eq!((status.key.name.as_str(), status.owner.as_str()), ("balances", "host 7"));
        assert_eq!((status.position, status.lag, status.parked_count), (position, 0, 0));
        assert_ne!(status.state, ComponentState::Stopped);
    })
    .await;
}

#[tokio::test]
async fn a_read_model_of_another_log_is_left_alone() {
    let (own, other) = (Quipu::in_memory(), Quipu::in_memory());
    let (_directory, pool) = database().await;
    let position = deposit(&own, "a", 5).await;
    let running = balances(&own, &pool).spawn().await.unwrap();
    own.wait_for::<Balances>(position).await.unwrap();
    running.stop().await.unwrap();
    deposit(&other, "a", 7).await;

    let ended = balances(&other, &pool).spawn().await.unwrap().ended().await;

    assert!(matches!(ended, Err(RunError::Keep(_))), "{ended:?}");
    assert_eq!(own.view::<Balances>().unwrap().ask(All).await.unwrap(), [row("a", 5, 1)]);
}

/// Has a name that cannot be part of a statement.
#[derive(Debug)]
struct Misnamed;

impl Projection for Misnamed {
    type Event = crate::bank::AccountEvent;
    type Conn = sqlx::SqliteConnection;
    const NAME: &'static str = "balances; DROP TABLE x";

    async fn setup(
        &self,
        _: &mut Self::Conn,
        _: &quipu::projection::Generation,
    ) -> Result<(), quipu::projection::ApplyError> {
        Ok(())
    }

    async fn apply(
        &self,
        _: &quipu::Recorded<Self::Event>,
        _: &mut Self::Conn,
        _: &quipu::projection::Generation,
    ) -> Result<(), quipu::projection::ApplyError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_before_anything_runs() {
    on_every_store(|app| async move {
        let (_directory, pool) = database().await;

        let misnamed = tuned(app.project(Misnamed).into(pool.clone())).spawn().await;
        let mistagged = balances(&app, &pool).by_tag("new\nline").spawn().await;

        assert!(matches!(misnamed, Err(ProjectError::Name { .. })), "{misnamed:?}");
        assert!(matches!(mistagged, Err(ProjectError::Tag(_))), "{mistagged:?}");
    })
    .await;
}
