//! A read model of balances, the databases it is in, and what can go wrong with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quipu::core::{ComponentKind, EventStore};
use quipu::projection::{ApplyError, Generation, ProjectInto, Projection};
use quipu::view::Question;
use quipu::{Backoff, OnError, Position, Quipu, Recorded, events};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{SqliteConnection, SqlitePool};
use tempfile::TempDir;

use crate::bank::{AccountEvent, AccountOpened, FundsDeposited, id};

/// Adds up what each account got, and how many events there were. A withdrawal is poison.
#[derive(Clone, Debug, Default)]
pub(crate) struct Balances {
    /// Lets withdrawals be applied all the same.
    pub(crate) is_cured: Arc<AtomicBool>,
}

impl Projection for Balances {
    type Event = AccountEvent;
    type Conn = SqliteConnection;
    const NAME: &'static str = "balances";

    async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
        let sql = own.sql(
            "CREATE TABLE {balances} (account TEXT PRIMARY KEY, cents INTEGER NOT NULL,
             event_count INTEGER NOT NULL, last INTEGER NOT NULL)",
        );
        sqlx::query(sql).execute(&mut *conn).await?;
        let sql = own.sql("CREATE INDEX {balances_by_cents} ON {balances} (cents)");
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
            AccountEvent::Deposited(deposited) => (&deposited.account, deposited.cents),
            AccountEvent::Withdrawn(withdrawn) => {
                if !self.is_cured.load(Ordering::SeqCst) {
                    return Err("there are no withdrawals".into());
                }
                (&withdrawn.account, 0)
            }
        };
        let sql = own.stmt(
            "INSERT INTO {balances} VALUES (?1, ?2, 1, ?3) ON CONFLICT (account) DO UPDATE
             SET cents = cents + ?2, event_count = event_count + 1, last = ?3 WHERE last < ?3",
        );
        let position = event.position.get().cast_signed();
        let done = sqlx::query(sql).bind(&account.0).bind(cents.cast_signed()).bind(position);
        let done = done.execute(conn).await?;
        // An event that came after a later one of its key, or for a second time, would be here.
        if done.rows_affected() == 1 { Ok(()) } else { Err("out of order".into()) }
    }
}

/// Account, cents and number of events of every account, in the order of their names.
pub(crate) struct All;

impl Question<Balances> for All {
    type Answer = Vec<(String, i64, i64)>;

    async fn ask(
        self,
        conn: &mut SqliteConnection,
        own: &Generation,
    ) -> Result<Self::Answer, sqlx::Error> {
        let sql = own.sql("SELECT account, cents, event_count FROM {balances} ORDER BY account");
        sqlx::query_as(sql).fetch_all(conn).await
    }
}

pub(crate) fn row(account: &str, cents: i64, event_count: i64) -> (String, i64, i64) {
    (account.to_owned(), cents, event_count)
}

/// A database in a file, and the directory that it is in.
pub(crate) async fn database() -> (TempDir, SqlitePool) {
    let directory = tempfile::tempdir().unwrap();
    let pool = open_database(directory.path()).await;
    (directory, pool)
}

pub(crate) async fn open_database(directory: &std::path::Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(directory.join("read.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_millis(500));
    SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap()
}

pub(crate) fn balances(app: &Quipu, pool: &SqlitePool) -> ProjectInto<Balances> {
    tuned(app.project(Balances::default()).into(pool.clone()))
}

/// The same, quick to try again and to look for requests.
pub(crate) fn tuned<P: Projection>(into: ProjectInto<P>) -> ProjectInto<P> {
    into.on_error(retry(1)).request_interval(Duration::from_millis(5))
}

pub(crate) fn retry(retries: u32) -> OnError {
    let (first, max) = (Duration::from_millis(1), Duration::from_millis(20));
    OnError::retry(retries).backoff(Backoff { first, max })
}

pub(crate) async fn open(app: &Quipu, account: &str) -> Position {
    append(app, events![AccountOpened { account: id(account), owner: "Ana".into() }]).await
}

pub(crate) async fn deposit(app: &Quipu, account: &str, cents: u64) -> Position {
    append(app, events![FundsDeposited { account: id(account), cents }]).await
}

pub(crate) async fn withdraw(app: &Quipu, account: &str, cents: u64) -> Position {
    append(app, events![crate::bank::FundsWithdrawn { account: id(account), cents }]).await
}

/// A command that decides what it is told to, whatever was before.
struct Tell(std::sync::Mutex<Option<quipu::Events>>);

impl quipu::Command for Tell {
    type Model = Nothing;
    type Error = std::convert::Infallible;

    fn model(&self) -> Nothing {
        Nothing::of("nothing".to_owned())
    }

    fn decide(&self, _: &Nothing, _: &quipu::Ctx) -> Result<quipu::Events, Self::Error> {
        Ok(self.0.lock().unwrap().take().unwrap_or_default())
    }
}

#[derive(quipu::DecisionModel, Clone)]
#[model(events = AccountEvent)]
struct Nothing {
    #[key]
    account: String,
}

impl quipu::Evolve for Nothing {
    fn evolve(&mut self, _: &AccountEvent) {}
}

pub(crate) async fn append(app: &Quipu, events: quipu::Events) -> Position {
    app.execute(Tell(std::sync::Mutex::new(Some(events)))).await.unwrap().position
}

/// Takes the lease from whoever holds it, as if it had expired without that one's knowledge.
pub(crate) async fn steal_lease(store: &dyn EventStore, name: &str, version: u32) {
    let name = format!("{}/{name}/v{version}", ComponentKind::Projection.as_str());
    let lease = store.leases().get(&name).await.unwrap().unwrap();
    store.leases().release(&lease).await.unwrap();
}
