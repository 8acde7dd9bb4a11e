//! Read models in a real `PostgreSQL`, started for each test.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quipu::core::{ComponentRequest, ComponentState, EventStore, MemoryStore};
use quipu::projection::{ApplyError, Generation, PgDocuments, ProjectInto, Projection};
use quipu::view::Question;
use quipu::{Phase, Position, Quipu, Recorded, events};
use quipu_testing::postgres::{Server, USER};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};

use super::documents::{Linked, Links};
use super::sample::{append, deposit, retry, row, steal_lease, tuned, withdraw};
use crate::bank::AccountEvent;

pub(super) async fn pool(server: &Server) -> PgPool {
    let options = PgConnectOptions::new_without_pgpass()
        .socket(server.socket())
        .port(server.port())
        .username(USER)
        .database("postgres");
    let pool = PgPoolOptions::new().max_connections(10);
    pool.acquire_timeout(Duration::from_secs(2)).connect_with(options).await.unwrap()
}

/// The balances in `PostgreSQL`. A withdrawal is poison until it is cured.
#[derive(Clone, Debug, Default)]
struct Balances<const VERSION: u32> {
    is_cured: Arc<AtomicBool>,
}

impl<const VERSION: u32> Projection for Balances<VERSION> {
    type Event = AccountEvent;
    type Conn = PgConnection;
    const NAME: &'static str = "balances";
    const VERSION: u32 = VERSION;

    async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
        let sql = own.sql(
            "CREATE TABLE {balances} (account TEXT PRIMARY KEY, cents BIGINT NOT NULL,
             event_count BIGINT NOT NULL, last BIGINT NOT NULL)",
        );
        sqlx::query(sql).execute(conn).await?;
        Ok(())
    }

    async fn apply(
        &self,
        event: &Recorded<AccountEvent>,
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        let (account, cents) = match &event.event {
            AccountEvent::Opened(opened) => (&opened.account, 0),
            AccountEvent::Deposited(deposited) => {
                (&deposited.account, deposited.cents.cast_signed())
            }
            AccountEvent::Withdrawn(withdrawn) if self.is_cured.load(Ordering::SeqCst) => {
                (&withdrawn.account, 0)
            }
            // A statement that fails, so that the transaction is broken too.
            AccountEvent::Withdrawn(withdrawn) => (&withdrawn.account, i64::MAX),
        };
        let sql = own.stmt(
            "INSERT INTO {balances} AS own VALUES ($1, $2::bigint + 1 - 1, 1, $3)
             ON CONFLICT (account) DO UPDATE SET cents = own.cents + $2,
             event_count = own.event_count + 1, last = $3 WHERE own.last < $3",
        );
        let position = event.position.get().cast_signed();
        let done = sqlx::query(sql).bind(&account.0).bind(cents).bind(position);
        let done = done.execute(conn).await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err("out of order".into()) }
    }
}

struct All;

impl<const VERSION: u32> Question<Balances<VERSION>> for All {
    type Answer = Vec<(String, i64, i64)>;

    async fn ask(
        self,
        conn: &mut PgConnection,
        own: &Generation,
    ) -> Result<Self::Answer, sqlx::Error> {
        let sql = own.sql("SELECT account, cents, event_count FROM {balances} ORDER BY account");
        sqlx::query_as(sql).fetch_all(conn).await
    }
}

fn balances<const VERSION: u32>(app: &Quipu, pool: &PgPool) -> ProjectInto<Balances<VERSION>> {
    tuned(app.project(Balances::default()).into(pool.clone()))
}

const PARTITIONS: NonZeroU16 = NonZeroU16::new(4).unwrap();

#[tokio::test]
async fn postgres_has_every_event_once_across_restarts_and_versions() {
    let Some(server) = Server::start() else { return };
    let (app, pool) = (Quipu::in_memory(), pool(&server).await);
    let mut end = Position::START;
    for number in 0..100_u64 {
        end = deposit(&app, &(number % 10).to_string(), number).await;
    }
    let first = balances::<1>(&app, &pool).partitions(PARTITIONS).batch(7).spawn().await.unwrap();
    app.wait_for::<Balances<1>>(end).await.unwrap();
    first.stop().await.unwrap();
    end = deposit(&app, "0", 1_000).await;

    let old = balances::<1>(&app, &pool).spawn().await.unwrap();
    let new = balances::<2>(&app, &pool).partitions(PARTITIONS).spawn().await.unwrap();
    app.wait_for::<Balances<1>>(end).await.unwrap();
    app.wait_for::<Balances<2>>(end).await.unwrap();
    let before = old.view().ask(All).await.unwrap();
    new.promote().await.unwrap();
    new.rebuild().await.unwrap();
    end = deposit(&app, "0", 1).await;
    app.wait_for::<Balances<2>>(end).await.unwrap();

    assert_eq!(before.len(), 10);
    assert_eq!(before[0], row("0", 450 + 1_000, 11));
    let mut running = new;
    running.wait_until(|it| it.position >= end).await.unwrap();
    let after = running.view().ask(All).await.unwrap();
    assert_eq!(after[0], row("0", 450 + 1_001, 12));
    assert_eq!(after[1..], before[1..]);
    let sum: i64 = sqlx::query_scalar("SELECT sum(cents)::bigint FROM balances")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(sum, (0..100).sum::<i64>() + 1_001, "also by its own name");
    old.stop().await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_parks_what_a_statement_refuses() {
    let Some(server) = Server::start() else { return };
    let (app, pool) = (Quipu::in_memory(), pool(&server).await);
    deposit(&app, "b", 2).await;
    withdraw(&app, "a", 1).await;
    deposit(&app, "a", 7).await;
    let end = deposit(&app, "b", 2).await;
    let projection = Balances::<1>::default();
    let into = tuned(app.project(projection.clone()).into(pool)).on_error(retry(1).then_park());
    let mut running = into.spawn().await.unwrap();
    running.wait_until(|it| it.position >= end && it.parked_count == 2).await.unwrap();
    let without = running.view().ask(All).await.unwrap();

    projection.is_cured.store(true, Ordering::SeqCst);
    running.request(ComponentRequest::Retry(None)).await.unwrap();
    running.wait_until(|it| it.parked_count == 0).await.unwrap();

    assert_eq!(without, [row("b", 4, 2)]);
    assert_eq!(running.view().ask(All).await.unwrap(), [row("a", 7, 2), row("b", 4, 2)]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_may_be_down_for_a_while() {
    let Some(server) = Server::start() else { return };
    let (app, pool) = (Quipu::in_memory(), pool(&server).await);
    let first = deposit(&app, "a", 1).await;
    let mut running = balances::<1>(&app, &pool).partitions(PARTITIONS).spawn().await.unwrap();
    running.wait_until(|it| it.position >= first).await.unwrap();

    server.stop();
    let mut end = first;
    for cents in 2..=20 {
        end = deposit(&app, "a", cents).await;
    }
    let is_down = |it: &quipu::RunnerStatus| it.state == ComponentState::Retrying;
    let down = running.wait_until(is_down).await.unwrap();
    let lag = running.progress().await.unwrap().lag();
    server.resume();
    running.wait_until(|it| it.position >= end).await.unwrap();

    assert!(down.last_error.is_some() && down.stopped.is_empty(), "{down:?}");
    assert_eq!(lag, end.get() - first.get(), "it shows as lag");
    assert_eq!(running.view().ask(All).await.unwrap(), [row("a", 210, 20)]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_refuses_the_fenced_one() {
    let Some(server) = Server::start() else { return };
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let (left, right) = (Quipu::over(Arc::clone(&store)), Quipu::over(Arc::clone(&store)));
    let pool = pool(&server).await;
    let ttl = Duration::from_mins(10);
    let mut first = balances::<1>(&left, &pool).lease_ttl(ttl).spawn().await.unwrap();
    let mut end = deposit(&left, "a", 1).await;
    first.wait_until(|it| it.position >= end).await.unwrap();

    steal_lease(&*store, "balances", 1).await;
    let mut second = balances::<1>(&right, &pool).lease_ttl(ttl).spawn().await.unwrap();
    // Events come while one takes over from the other.
    for cents in 2..=50 {
        end = deposit(&left, "a", cents).await;
    }
    second.wait_until(|it| it.position >= end).await.unwrap();
    deposit(&left, "a", 0).await;
    first.wait_until(|it| it.phase == Phase::Waiting).await.unwrap();

    let all = right.view::<Balances<1>>().unwrap().ask(All).await.unwrap();
    assert_eq!(all[0].1, (1..=50).sum::<i64>());
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test]
async fn partitions_that_change_one_document_lose_no_change() {
    let Some(server) = Server::start() else { return };
    let (app, pool) = (Quipu::in_memory(), pool(&server).await);
    let mut end = Position::START;
    for number in 0..200 {
        // Each goes by its own stream, and all of them have the hub.
        let linked = Linked { one: format!("spoke {number}"), other: "hub".into() };
        end = append(&app, events![linked]).await;
    }

    let documents = tuned(app.project(PgDocuments::<Links>::new()).into(pool));
    let running = documents.partitions(PARTITIONS).batch(3).spawn().await.unwrap();
    app.wait_for::<PgDocuments<Links>>(end).await.unwrap();

    let view = app.view::<PgDocuments<Links>>().unwrap();
    assert_eq!(view.get("hub").await.unwrap().map(|links| links.count), Some(200));
    assert_eq!(view.page("", 1_000).await.unwrap().len(), 201);
    running.stop().await.unwrap();
}
