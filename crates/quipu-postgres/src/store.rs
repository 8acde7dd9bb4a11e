//! The handle: where the contract meets the database.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quipu_core::{
    AppendError, Appended, BoxFuture, Change, Checkpoints, EventStore, Incarnation, IndexRead,
    Leases, ListStreams, LogId, LogIdentity, LogRead, Position, ReadAll, ReadError, ReadIndex,
    ReadStream, Registry, Rights, Snapshots, StreamInfo, StreamName, StreamRead, Subscribe,
    SubscribeError, Subscription, Timestamp,
};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{Connection as _, Row as _};
use uuid::Uuid;

use crate::error::{Again, DatabaseError, OpenError, late};
use crate::group::Queue;
use crate::life::Life;
use crate::migrate;
use crate::options::PostgresOptions;
use crate::rows::{position_of, u64_of};
use crate::sql::Sql;
use crate::subscription::PostgresSubscription;
use crate::watch::{Counters, Watch};

/// An event store in a schema of a `PostgreSQL` database.
///
/// Clones are handles to one pool of connections. Its futures need the tokio runtime that it was
/// opened in. A dropped append may or may not have happened, as after
/// [`AppendError::OutcomeUnknown`].
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rights: Rights,
}

/// What all handles share.
pub(crate) struct Shared {
    pub(crate) sql: Sql,
    pub(crate) pool: PgPool,
    /// Where to hear other nodes: a connection that is not of the pool.
    pub(crate) listening: PgPool,
    pub(crate) patience: Duration,
    answer_time: Duration,
    pub(crate) counters: Arc<Counters>,
    pub(crate) watch: Watch,
    pub(crate) queue: Queue,
    /// What keeps the locks of stores in one database apart: the id of this one's table of events.
    pub(crate) table: u32,
    known: Arc<Known>,
    target: String,
}

/// Which log it is: looked at again with every connection that is made.
struct Known {
    sql: Sql,
    log: LogId,
    name: String,
    /// Nothing is awaited while it is locked.
    life: RwLock<Life>,
    /// The highest frontier seen. One that was seen is one for as long as the log's life lasts.
    frontier: AtomicU64,
}

impl Known {
    fn set(&self, life: Life) {
        let mut own = self.life.write().unwrap_or_else(PoisonError::into_inner);
        if own.lives.current() != life.lives.current() {
            // The later life may have begun before it.
            self.frontier.store(0, Ordering::SeqCst);
        }
        *own = life;
    }

    fn get(&self) -> Life {
        self.life.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where the log is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// Nothing can appear at or below it.
    pub(crate) frontier: Position,
    /// The last event that is there, which may be above the frontier.
    pub(crate) last: Position,
    /// The database's time.
    pub(crate) now: Timestamp,
}

impl PostgresStore {
    pub(crate) async fn open(options: PostgresOptions) -> Result<Self, OpenError> {
        let sql = Sql::new(&options.schema);
        let mut connection = migrate::connect(&options).await?;
        migrate::check(&sql, &options, &mut connection).await?;
        let failed = |cause| OpenError::Database(sql.read_store.failed(cause));
        let row = sqlx::query(sql.read_store.text()).fetch_one(&mut connection).await;
        let row = row.map_err(failed)?;
        let log = LogId::from_uuid(row.try_get::<Uuid, _>(0).map_err(failed)?);
        let name = row.try_get(1).map_err(failed)?;
        let table = u64_of(row.try_get(2).map_err(failed)?) as u32;
        let life = Life::find(&sql, &mut connection, log).await.map_err(OpenError::Database)?;
        connection.close().await.ok();
        let known = Sql::new(&options.schema);
        let known = Arc::new(Known {
            sql: known,
            log,
            name,
            life: RwLock::new(life),
            frontier: AtomicU64::new(0),
        });
        let pool = pool(&options, &known);
        let listening =
            PgPoolOptions::new().max_connections(1).connect_lazy_with(options.connect.clone());
        let counters = Arc::new(Counters::default());
        let shared = Shared {
            sql,
            pool,
            listening,
            patience: options.patience,
            answer_time: options.answer_time,
            watch: Watch::default(),
            queue: Queue::default(),
            table,
            known,
            counters,
            target: options.to_string(),
        };
        let store = Self { shared: Arc::new(shared), rights: options.rights };
        Watch::start(&store.shared);
        Ok(store)
    }

    /// A handle to the same log with these rights.
    #[must_use]
    pub fn with_rights(&self, rights: Rights) -> Self {
        Self { shared: Arc::clone(&self.shared), rights }
    }

    /// Closes all connections. What is under way is finished before; what comes later is refused.
    pub async fn close(&self) {
        self.shared.watch.stop();
        self.shared.pool.close().await;
        self.shared.listening.close().await;
    }

    /// What was counted since the store was opened.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// How long the oldest transaction that holds readers back is open. Where it is longer than an
    /// append takes, somebody appended in a transaction of their own and does something else.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn held_back(&self) -> Result<Duration, ReadError> {
        self.shared.held_back().await.map_err(crate::error::read_error)
    }

    /// How many connections are in use, and how many are not.
    pub fn connection_counts(&self) -> (u32, u32) {
        let idle = u32::try_from(self.shared.pool.num_idle()).unwrap_or(u32::MAX);
        (self.shared.pool.size().saturating_sub(idle), idle)
    }

    /// Begins another life of the log at its end, as a failover does by itself. For whoever put an
    /// older copy of the database in its place in a way that leaves its timeline as it was: from a
    /// dump, or from a snapshot of the disk.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn begin_life(&self) -> Result<LogIdentity, ReadError> {
        let sql = &self.shared.sql;
        let failed = |cause| crate::error::read_error(sql.begin_life.failed(cause));
        let mut connection = self.shared.pool.acquire().await.map_err(failed)?;
        let life = Life::begin(sql, &mut connection, self.shared.known.log).await;
        self.shared.known.set(life.map_err(crate::error::read_error)?);
        Ok(self.identity())
    }
}

/// A connection that nobody used for so long may be broken by now.
const IDLE: Duration = Duration::from_secs(1);

/// The pool of connections. Each finds out which life of the log it is in before it is used.
fn pool(options: &PostgresOptions, known: &Arc<Known>) -> PgPool {
    let known = Arc::clone(known);
    let waiting = format!("{}ms", options.answer_time.as_millis() / 2);
    PgPoolOptions::new()
        .max_connections(options.connections.get())
        .acquire_timeout(options.patience)
        // A connection that is in use need not be asked whether it still works.
        .test_before_acquire(false)
        .before_acquire(|connection, known| {
            Box::pin(async move {
                let was_idle = known.idle_for > IDLE;
                Ok(!was_idle || sqlx::Connection::ping(connection).await.is_ok())
            })
        })
        .after_connect(move |connection, _| {
            let (known, waiting) = (Arc::clone(&known), waiting.clone());
            Box::pin(async move {
                let prepared = sqlx::query(known.sql.prepare_session.text()).bind(waiting);
                prepared.execute(&mut *connection).await?;
                let life = Life::find(&known.sql, connection, known.log).await;
                known.set(life.map_err(DatabaseError::into_cause)?);
                Ok(())
            })
        })
        .connect_lazy_with(options.connect.clone())
}

/// Lets go of a connection on which no answer came: it must not wait for one in the pool.
pub(crate) fn hung(mut connection: PoolConnection<Postgres>) -> sqlx::Error {
    connection.close_on_drop();
    late()
}

/// A statement with what is bound to it.
pub(crate) type Bound<'q> = Query<'q, Postgres, PgArguments>;

impl Shared {
    /// The log's lives, as far as is known.
    pub(crate) fn life(&self) -> Life {
        self.known.get()
    }

    pub(crate) fn log(&self) -> LogId {
        self.known.log
    }

    /// The life of the log that it is in, as far as is known.
    pub(crate) fn incarnation(&self) -> Incarnation {
        let life = self.known.life.read().unwrap_or_else(PoisonError::into_inner);
        life.lives.current()
    }

    pub(crate) fn identity(&self) -> LogIdentity {
        self.life().identity(self.known.log, &self.known.name)
    }

    /// Looks which life of the log it is.
    pub(crate) async fn find_life(&self) -> Result<(), DatabaseError> {
        let failed = |cause| self.sql.read_lives.failed(cause);
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let life = Life::find(&self.sql, &mut connection, self.known.log);
        match self.in_time(life).await {
            Some(life) => self.known.set(life?),
            None => return Err(failed(hung(connection))),
        }
        Ok(())
    }

    /// Where the log is now.
    pub(crate) async fn end(&self) -> Result<End, DatabaseError> {
        let failed = |cause| self.sql.frontier.failed(cause);
        let mut again = Again::default();
        let row = loop {
            match self.fetch_one(sqlx::query(self.sql.frontier.text())).await.map_err(failed) {
                Ok(row) => break row,
                Err(error) if again.helps(&error).await => {}
                Err(error) => return Err(error),
            }
        };
        let read = || -> Result<_, sqlx::Error> {
            let now = Timestamp::from_micros(row.try_get(2)?);
            Ok((position_of(row.try_get(0)?), position_of(row.try_get(1)?), now))
        };
        let (frontier, last, now) = read().map_err(failed)?;
        let seen = self.known.frontier.fetch_max(frontier.get(), Ordering::SeqCst);
        Ok(End { frontier: frontier.max(Position::new(seen)), last, now })
    }

    /// Waits for what the database answers; `None` if it takes too long.
    pub(crate) async fn in_time<F: Future>(&self, asked: F) -> Option<F::Output> {
        tokio::time::timeout(self.answer_time, asked).await.ok()
    }

    /// Runs a statement on a connection of the pool. All the rows that it answers, if they come in
    /// time.
    pub(crate) async fn fetch(&self, statement: Bound<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        match self.in_time(statement.fetch_all(&mut *connection)).await {
            Some(rows) => rows,
            None => Err(hung(connection)),
        }
    }

    /// The first row that a statement answers, if there is one.
    pub(crate) async fn fetch_optional(
        &self,
        statement: Bound<'_>,
    ) -> Result<Option<PgRow>, sqlx::Error> {
        Ok(self.fetch(statement).await?.into_iter().next())
    }

    /// The row that a statement answers.
    pub(crate) async fn fetch_one(&self, statement: Bound<'_>) -> Result<PgRow, sqlx::Error> {
        self.fetch_optional(statement).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Runs a statement that changes something, and answers how many rows it changed.
    pub(crate) async fn execute(&self, statement: Bound<'_>) -> Result<u64, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        match self.in_time(statement.execute(&mut *connection)).await {
            Some(done) => Ok(done?.rows_affected()),
            None => Err(hung(connection)),
        }
    }

    /// How long the oldest transaction that holds readers back is open.
    pub(crate) async fn held_back(&self) -> Result<Duration, DatabaseError> {
        let statement = &self.sql.held_back;
        let row = self.fetch_one(sqlx::query(statement.text())).await;
        let millis = row.and_then(|row| row.try_get(0));
        Ok(Duration::from_millis(u64_of(millis.map_err(|cause| statement.failed(cause))?)))
    }

    /// The highest frontier that was seen.
    pub(crate) fn seen(&self) -> Position {
        Position::new(self.known.frontier.load(Ordering::SeqCst))
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("target", &self.shared.target)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

impl EventStore for PostgresStore {
    fn identity(&self) -> LogIdentity {
        self.shared.identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(self.apply(change))
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        Box::pin(self.begin_stream_read(read))
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        Box::pin(self.begin_log_read(read))
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
        Box::pin(self.read_term(read))
    }

    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(async { Ok(self.shared.end().await.map_err(crate::error::read_error)?.frontier) })
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(self.find_time(time))
    }

    fn wait_visible(&self, position: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(self.wait_until_visible(position))
    }

    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        Box::pin(self.list(list))
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        Box::pin(self.describe(stream))
    }

    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(async move {
            let subscription = PostgresSubscription::begin(&self.shared, subscribe).await?;
            Ok(Box::new(subscription) as Box<dyn Subscription>)
        })
    }

    fn snapshots(&self) -> &dyn Snapshots {
        self
    }

    fn checkpoints(&self) -> &dyn Checkpoints {
        self
    }

    fn leases(&self) -> &dyn Leases {
        self
    }

    fn registry(&self) -> &dyn Registry {
        self
    }
}
