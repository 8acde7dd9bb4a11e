//! The same account on cqrs-es 0.5 and its store in `SQLite`, sqlite-es 0.5.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{GenericQuery, PersistedEventStore, QueryReplay};
use cqrs_es::{Aggregate, AggregateError, CqrsFramework, DomainEvent, EventEnvelope, View};
use serde::{Deserialize, Serialize};
use sqlite_es::{SqliteEventRepository, SqliteViewRepository};
use sqlx_08::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::Result;

/// The tables that sqlite-es asks for.
const TABLES: &str = "
CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
  sequence integer CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL,
  event_version text NOT NULL, payload text NOT NULL, metadata text NOT NULL,
  PRIMARY KEY (aggregate_type, aggregate_id, sequence)) STRICT;
CREATE TABLE snapshots (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
  last_sequence integer CHECK (last_sequence >= 0) NOT NULL,
  current_snapshot integer CHECK (current_snapshot >= 0) NOT NULL, payload text NOT NULL,
  PRIMARY KEY (aggregate_type, aggregate_id, last_sequence)) STRICT;
CREATE TABLE balances (view_id text NOT NULL, version integer CHECK (version >= 0) NOT NULL,
  payload text NOT NULL, PRIMARY KEY (view_id)) STRICT;";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    Deposited { account: String, cents: u64, purpose: String },
    Closed { account: String },
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Deposited { .. } => "bank.money-deposited".to_owned(),
            Self::Closed { .. } => "bank.account-closed".to_owned(),
        }
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Account {
    cents: u64,
    count: u64,
    is_closed: bool,
}

/// A deposit into the account with this id.
pub(crate) struct Deposit(String);

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = Deposit;
    type Event = AccountEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: Deposit,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> std::result::Result<(), Infallible> {
        if !self.is_closed {
            sink.write(deposited(command.0), self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Deposited { cents, .. } => {
                self.cents += cents;
                self.count += 1;
            }
            AccountEvent::Closed { .. } => self.is_closed = true,
        }
    }
}

fn deposited(account: String) -> AccountEvent {
    AccountEvent::Deposited { account, cents: 5, purpose: crate::PURPOSE.to_owned() }
}

/// Opens a database as durable as Quipu's log is: a sync for each commit.
pub(crate) async fn open(directory: &Path) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(directory.join("cqrs-es.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePoolOptions::new().max_connections(10).connect_with(options).await?;
    sqlx_08::raw_sql(TABLES).execute(&pool).await?;
    Ok(pool)
}

/// Puts deposits into an account, past the framework.
pub(crate) async fn load(pool: &SqlitePool, account: &str, count: u64) -> Result<()> {
    let payload = serde_json::to_string(&deposited(account.to_owned()))?;
    let mut open = pool.begin().await?;
    for sequence in 1..=count {
        sqlx_08::query("INSERT INTO events VALUES (?, ?, ?, ?, '1', ?, '{}')")
            .bind(Account::TYPE)
            .bind(account)
            .bind(sequence.cast_signed())
            .bind("bank.money-deposited")
            .bind(&payload)
            .execute(&mut *open)
            .await?;
    }
    open.commit().await?;
    Ok(())
}

pub(crate) type Sqlite =
    CqrsFramework<Account, PersistedEventStore<SqliteEventRepository, Account>>;

/// Without snapshots.
pub(crate) fn replayed(pool: &SqlitePool) -> Sqlite {
    let repository = SqliteEventRepository::new(pool.clone());
    CqrsFramework::new(PersistedEventStore::new_event_store(repository), Vec::new(), ())
}

/// With a snapshot every 100 events.
pub(crate) fn kept(pool: &SqlitePool) -> Sqlite {
    let repository = SqliteEventRepository::new(pool.clone());
    CqrsFramework::new(PersistedEventStore::new_snapshot_store(repository, 100), Vec::new(), ())
}

/// Deposits into an account, again as long as others are first: callers see to that here.
pub(crate) async fn deposit(framework: &Sqlite, account: &str) -> Result<()> {
    loop {
        match framework.execute(account, Deposit(account.to_owned())).await {
            Err(AggregateError::AggregateConflict) => {}
            // A database that is busy is tried again too: writers of SQLite are in each other's way.
            Err(error) if error.to_string().contains("locked") => {}
            Err(error) => return Err(error.to_string().into()),
            Ok(()) => return Ok(()),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Balance {
    cents: u64,
}

impl View<Account> for Balance {
    fn update(&mut self, event: &EventEnvelope<Account>) {
        if let AccountEvent::Deposited { cents, .. } = &event.payload {
            self.cents += cents;
        }
    }
}

/// Builds the read model from all events, each in a transaction of its own: it has no others.
pub(crate) async fn replay_view(pool: &SqlitePool) -> Result<()> {
    let views = SqliteViewRepository::<Balance, Account>::new("balances", pool.clone());
    let query = GenericQuery::new(Arc::new(views));
    let repository = SqliteEventRepository::new(pool.clone());
    let replay = QueryReplay::new(repository, query);
    replay.replay_all().await.map_err(|error| error.to_string().into())
}
