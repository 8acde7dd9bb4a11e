//! Projections under test: on a database in memory, crashed wherever it can be.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quipu_core::{Append, ComponentKind, EventId, EventStore, MemoryStore, NewEvent, Position};
use serde_json::{Map, Value};
use sqlx::sqlite::{SqlitePoolOptions, SqliteRow};
use sqlx::{Column, Row, SqliteConnection, SqlitePool, TypeInfo, ValueRef};
use tokio::sync::mpsc;

use crate::app::Quipu;
use crate::command::{Events, PendingEvent};
use crate::metadata::Metadata;
use crate::projection::{Projection, RunningProjection, Step};
use crate::upcast::Upcasters;

/// Begins a test of a projection.
///
/// ```
/// use quipu::projection::{ApplyError, Generation, Projection};
/// use quipu::testing::project;
/// use quipu::{Event, Recorded, events};
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "door.opened")]
/// struct Opened { #[tag] door: String }
///
/// struct Doors;
///
/// impl Projection for Doors {
///     type Event = Opened;
///     type Conn = sqlx::SqliteConnection;
///     const NAME: &'static str = "doors";
///
///     async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
///         let sql = own.sql("CREATE TABLE {doors} (door TEXT PRIMARY KEY, opened INTEGER)");
///         sqlx::query(sql).execute(conn).await?;
///         Ok(())
///     }
///
///     async fn apply(
///         &self,
///         opened: &Recorded<Opened>,
///         conn: &mut Self::Conn,
///         own: &Generation,
///     ) -> Result<(), ApplyError> {
///         let sql = own.stmt(
///             "INSERT INTO {doors} VALUES (?1, 1) ON CONFLICT DO UPDATE SET opened = opened + 1",
///         );
///         sqlx::query(sql).bind(&opened.event.door).execute(conn).await?;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let opened = || Opened { door: "front".into() };
///
/// project(Doors)
///     .sqlite_memory()
///     .given(events![opened(), opened()])
///     .crash_after_each()
///     .then_rows("SELECT door, opened FROM {doors}", json!([{ "door": "front", "opened": 2 }]))
///     .await;
/// # }
/// ```
pub fn project<P: Projection>(projection: P) -> ProjectionTest<P> {
    ProjectionTest { projection: Arc::new(projection) }
}

/// A projection that is to be tested.
#[must_use = "nothing is checked yet"]
pub struct ProjectionTest<P> {
    projection: Arc<P>,
}

impl<P: Projection<Conn = SqliteConnection>> ProjectionTest<P> {
    /// On a database in memory.
    pub fn sqlite_memory(self) -> GivenProjection<P> {
        GivenProjection {
            projection: self.projection,
            upcasters: Upcasters::new(),
            events: Vec::new(),
            crashes: false,
        }
    }
}

/// A projection, and what has happened.
#[must_use = "nothing is checked yet"]
pub struct GivenProjection<P> {
    projection: Arc<P>,
    upcasters: Upcasters,
    events: Vec<PendingEvent>,
    crashes: bool,
}

impl<P: Projection<Conn = SqliteConnection>> GivenProjection<P> {
    /// With these events in the log, behind those that were given before.
    ///
    /// # Panics
    ///
    /// If an event cannot be encoded.
    pub fn given(mut self, events: Events) -> Self {
        match events.into_parts() {
            Ok((events, _)) => self.events.extend(events),
            Err(error) => panic!("a given event cannot be appended: {error}"),
        }
        self
    }

    /// Reads the events through these upcasters.
    pub fn upcasters(mut self, upcasters: Upcasters) -> Self {
        self.upcasters = upcasters;
        self
    }

    /// Crashes the runner at each step of each event, one transaction an event: as its transaction
    /// begins, when it is applied, when the checkpoint is moved, and when it is durable. Each time
    /// another instance goes on.
    pub fn crash_after_each(mut self) -> Self {
        self.crashes = true;
        self
    }

    /// Checks what a statement reads once all events were applied: an array with an object for each
    /// row.
    ///
    /// # Panics
    ///
    /// If it is something else, or an event could not be applied.
    pub async fn then_rows(self, sql: &str, expected: Value) {
        let rows = self.rows(sql).await;
        assert!(
            rows == expected,
            "the rows are not as expected\nexpected: {expected:#}\nfound: {rows:#}"
        );
    }

    /// What a statement reads once all events were applied.
    ///
    /// # Panics
    ///
    /// If an event could not be applied.
    pub async fn rows(self, sql: &str) -> Value {
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let app = Quipu::over(Arc::clone(&store));
        let app = app.with_upcasters(self.upcasters.clone()).expect("a test's upcasters lead on");
        let end = append(&*store, &self.events).await;
        // One connection: each further one would have a database of its own.
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None);
        let pool = pool.max_lifetime(None).connect("sqlite::memory:").await;
        let pool = pool.expect("a database in memory can be opened");
        let (crash, mut crashes) = mpsc::unbounded_channel();
        let plan = Arc::new(Plan { done: Mutex::default(), crash, is_on: self.crashes });
        loop {
            let mut running = self.spawn(&app, &pool, &plan).await;
            tokio::select! {
                status = running.wait_until(|it| it.position >= end || !it.stopped.is_empty()) => {
                    let status = status.expect("the runner goes on until it is dropped");
                    if let Some(at) = status.stopped.first() {
                        panic!("the projection stopped at position {}: {}", at.position, at.cause);
                    }
                    break;
                }
                _step = crashes.recv() => {
                    drop(running);
                    release_lease::<P>(&*store).await;
                }
            }
        }
        let view = app.view::<Shared<P>>().expect("the projection was run");
        let mut reading = view.open().await.expect("the first version serves");
        let sql = reading.sql(sql);
        let rows = sqlx::query(sql).fetch_all(reading.conn()).await;
        Value::Array(rows.expect("the statement can be run").iter().map(object).collect())
    }

    async fn spawn(
        &self,
        app: &Quipu,
        pool: &SqlitePool,
        plan: &Arc<Plan>,
    ) -> RunningProjection<Shared<P>> {
        let plan = Arc::clone(plan);
        let watch = Arc::new(move |step| plan.watch(step));
        let shared = Shared(Arc::clone(&self.projection));
        let batch = if self.crashes { 1 } else { 500 };
        let into = app.project(shared).into(pool.clone()).batch(batch).watch(watch);
        let on_error = quipu_groups::OnError::retry(0);
        into.on_error(on_error).spawn().await.expect("the projection's name is valid")
    }
}

/// Crashes each step once.
struct Plan {
    /// The steps at which it crashed already, with the event before.
    done: Mutex<BTreeSet<String>>,
    crash: mpsc::UnboundedSender<Step>,
    is_on: bool,
}

impl Plan {
    fn watch(&self, step: Step) -> quipu_core::BoxFuture<'static, ()> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        // A transaction's beginning is told apart by how many there were.
        let crash_count = done.len();
        let name = match step {
            Step::Begun => format!("begun {}", crash_count / 4),
            other => format!("{other:?}"),
        };
        if !self.is_on || !done.insert(name) || self.crash.send(step).is_err() {
            return Box::pin(async {});
        }
        Box::pin(std::future::pending())
    }
}

/// Lets another instance go on at once, as if the lease had expired.
async fn release_lease<P: Projection>(store: &dyn EventStore) {
    let kind = ComponentKind::Projection.as_str();
    let name = format!("{kind}/{}/v{}", P::NAME, P::VERSION);
    if let Ok(Some(lease)) = store.leases().get(&name).await {
        store.leases().release(&lease).await.ok();
    }
}

async fn append(store: &dyn EventStore, events: &[PendingEvent]) -> Position {
    let mut end = Position::START;
    for event in events {
        let new = NewEvent {
            id: EventId::generate(),
            event_type: event.event_type.clone(),
            tags: event.tags.clone(),
            content_type: event.content_type.clone(),
            data: event.data.clone(),
            metadata: Metadata::default().to_bytes(event.version),
            recorded_at: None,
        };
        let appended = store.append(Append::new().event(event.stream.clone(), new)).await;
        end = appended.expect("an event can be appended").last.unwrap_or(end);
    }
    end
}

fn object(row: &SqliteRow) -> Value {
    let mut object = Map::new();
    for column in row.columns() {
        object.insert(column.name().to_owned(), value(row, column.ordinal()));
    }
    Value::Object(object)
}

fn value(row: &SqliteRow, index: usize) -> Value {
    let raw = row.try_get_raw(index).expect("the column is one of the row's");
    if raw.is_null() {
        return Value::Null;
    }
    let kind = raw.type_info();
    match kind.name() {
        "INTEGER" | "BOOLEAN" => row.get_unchecked::<i64, _>(index).into(),
        "REAL" => row.get_unchecked::<f64, _>(index).into(),
        "BLOB" => row.get_unchecked::<Vec<u8>, _>(index).into(),
        _ => row.get_unchecked::<String, _>(index).into(),
    }
}

/// The test's projection, which outlives the runners that crash.
struct Shared<P>(Arc<P>);

impl<P: Projection> Projection for Shared<P> {
    type Event = P::Event;
    type Conn = P::Conn;
    const NAME: &'static str = P::NAME;
    const VERSION: u32 = P::VERSION;

    async fn setup(
        &self,
        conn: &mut Self::Conn,
        own: &crate::projection::Generation,
    ) -> Result<(), crate::projection::ApplyError> {
        self.0.setup(conn, own).await
    }

    async fn apply(
        &self,
        event: &crate::Recorded<Self::Event>,
        conn: &mut Self::Conn,
        own: &crate::projection::Generation,
    ) -> Result<(), crate::projection::ApplyError> {
        self.0.apply(event, conn, own).await
    }

    async fn apply_erased(
        &self,
        event: &crate::Recorded<crate::Erased>,
        conn: &mut Self::Conn,
        own: &crate::projection::Generation,
    ) -> Result<(), crate::projection::ApplyError> {
        self.0.apply_erased(event, conn, own).await
    }
}

impl<P: Projection> fmt::Debug for ProjectionTest<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionTest").field("name", &P::NAME).finish_non_exhaustive()
    }
}

impl<P: Projection> fmt::Debug for GivenProjection<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenProjection")
            .field("name", &P::NAME)
            .field("event_count", &self.events.len())
            .finish_non_exhaustive()
    }
}
