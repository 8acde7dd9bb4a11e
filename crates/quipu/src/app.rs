//! [`Quipu`]: the handle that an application holds.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use quipu_core::{EventStore, MemoryStore, Query, Timestamp};
use tokio::sync::{Mutex, MutexGuard};

use crate::cache::StateCache;
use crate::command::Command;
use crate::event::EventSet;
use crate::execute::Execute;
use crate::history::History;
use crate::load::Load;
use crate::model::{Evolve, Model};
use crate::private;
use crate::snapshot::SnapshotWriter;
use crate::upcast::{UpcasterError, Upcasters};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use {
    crate::projection::{Known, Project, Projection, WaitFor},
    crate::view::{View, ViewError},
    quipu_core::Position,
    std::any::{Any, TypeId},
    std::collections::HashMap,
    std::sync::PoisonError,
};

/// What an application asks for the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How many queues there are for boundaries that many commands want at once.
const QUEUE_COUNT: usize = 256;

/// How many states of models are kept in memory, unless told otherwise.
const CACHED_STATES: usize = 1_024;

/// An application's way to its events: load models, execute commands, look back.
///
/// It is a store and how its events are read. Clones are handles to the same and cost nothing.
///
/// Of models with a snapshot policy it keeps the 1,024 states in memory that were used last, so that the
/// next command on the same thing reads only what is new since. The log must bear them out as it does
/// snapshots.
///
/// Futures need no particular runtime. Where one of tokio's is there, pauses and snapshots use it,
/// and it must have its timer enabled.
///
/// ```
/// use quipu::{Event, Evolve, Aggregate, Quipu};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "door.opened")]
/// struct Opened { #[tag] door: String }
///
/// #[derive(Aggregate, Clone, Debug)]
/// #[aggregate(events = Opened)]
/// struct Door { #[key] door: String, is_open: bool }
///
/// impl Evolve for Door {
///     fn evolve(&mut self, _opened: &Opened) {
///         self.is_open = true;
///     }
/// }
///
/// # futures_lite::future::block_on(async {
/// let app = Quipu::in_memory();
/// let door = app.load(Door::of("front".to_owned())).await?;
/// assert!(!door.is_open);
/// assert_eq!(door.revision(), None, "nothing has happened to it yet");
/// # Ok::<(), quipu::LoadError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Quipu {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    store: Arc<dyn EventStore>,
    upcasters: Arc<Upcasters>,
    clock: Clock,
    snapshots: Arc<SnapshotWriter>,
    states: Arc<StateCache>,
    /// Commands that lost against others queue here, by boundary, so that each loses once. Held
    /// over one read, decision and append; nothing else is waited for meanwhile.
    queues: Arc<[Mutex<()>]>,
    /// The projections that were run or viewed here, by their types. Held for a look only.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    projections: Arc<std::sync::Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>,
}

impl Quipu {
    /// Opens the store in a directory; makes it where there is none.
    ///
    /// # Errors
    ///
    /// See [`OpenError`](quipu_engine::OpenError).
    ///
    /// ```
    /// # futures_lite::future::block_on(async {
    /// # let directory = tempfile::tempdir()?;
    /// let app = quipu::Quipu::open(directory.path().join("bank.quipu")).await?;
    /// assert_eq!(app.store().frontier().await?.get(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[cfg(feature = "embedded")]
    #[expect(clippy::unused_async, reason = "other stores are opened over a network")]
    pub async fn open(
        directory: impl AsRef<std::path::Path>,
    ) -> Result<Self, quipu_engine::OpenError> {
        let directory = directory.as_ref();
        let name = directory.file_stem().map(|name| name.to_string_lossy().into_owned());
        let engine = quipu_engine::OpenOptions::new()
            .create(true)
            .name(name.as_deref().unwrap_or("quipu"))
            .open(directory)?;
        Ok(Self::over(Arc::new(engine)))
    }

    /// Opens the store in a `PostgreSQL` database; makes it where there is none. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`OpenError`](quipu_postgres::OpenError).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let app = quipu::Quipu::on_postgres("postgres://shop@db/shop".parse()?).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "postgres-store")]
    pub async fn on_postgres(
        options: quipu_postgres::PostgresOptions,
    ) -> Result<Self, quipu_postgres::OpenError> {
        Ok(Self::over(Arc::new(options.create(true).open().await?)))
    }

    /// A store in memory: for tests. Nothing outlives it.
    pub fn in_memory() -> Self {
        Self::over(Arc::new(MemoryStore::new()))
    }

    /// Works on any store.
    pub fn over(store: Arc<dyn EventStore>) -> Self {
        let queues = (0..QUEUE_COUNT).map(|_| Mutex::new(())).collect();
        let inner = Inner {
            store,
            upcasters: Arc::new(Upcasters::new()),
            clock: Arc::new(Timestamp::now),
            snapshots: Arc::new(SnapshotWriter::default()),
            states: Arc::new(StateCache::new(CACHED_STATES)),
            queues,
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            projections: Arc::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same application, which reads old events through these upcasters.
    ///
    /// # Errors
    ///
    /// An [`UpcasterError`] if a chain of them leads nowhere.
    pub fn with_upcasters(self, upcasters: Upcasters) -> Result<Self, UpcasterError> {
        upcasters.check()?;
        // Other upcasters make other events of the same data, and so other states.
        let states = Arc::new(StateCache::new(CACHED_STATES));
        let inner = Inner { upcasters: Arc::new(upcasters), states, ..(*self.inner).clone() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same application, going by this clock instead of the machine's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        let inner = Inner { clock, ..(*self.inner).clone() };
        Self { inner: Arc::new(inner) }
    }

    /// Loads a model: its latest snapshot, and then the rest.
    pub fn load<M: Model>(&self, model: M) -> Load<M> {
        Load::new(self.clone(), model)
    }

    /// Executes a command: load, decide, append, and again if another append came first.
    pub fn execute<C: Command>(&self, command: C) -> Execute<C> {
        Execute::new(self.clone(), command)
    }

    /// Reads what happened to a model: each event with who, when and why.
    pub fn history<M: Evolve>(&self, model: M) -> History<M> {
        History::new(self.clone(), model)
    }

    /// The store underneath.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.inner.store
    }

    /// How old events are read.
    pub fn upcasters(&self) -> &Upcasters {
        &self.inner.upcasters
    }

    /// The time by the application's clock.
    pub fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    /// The query that finds every event of a set, also those that upcasters make of others.
    pub fn query_of<E: EventSet>(&self) -> Query {
        let types = private::types::<E>().expect("derives accept only names as event types");
        let item = quipu_core::QueryItem { types, ..quipu_core::QueryItem::default() };
        self.upcasters().widen(item.into())
    }

    /// Builds a read model: say into which database.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn project<P: Projection>(&self, projection: P) -> Project<P> {
        Project::new(self.clone(), projection)
    }

    /// The read model of a projection that was run or viewed here.
    ///
    /// # Errors
    ///
    /// [`ViewError::Unknown`] if it was not.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn view<P: Projection>(&self) -> Result<View<P>, ViewError> {
        let known = self.known::<P>().ok_or(ViewError::Unknown { projection: P::NAME })?;
        Ok(View::new(known))
    }

    /// Waits until a read model has everything at or before `position`: what a command of one's own
    /// appended, for instance. Parked and skipped events count as there.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn wait_for<P: Projection>(&self, position: Position) -> WaitFor<P> {
        WaitFor::new(self.clone(), position)
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn know<P: Projection>(&self, known: &Arc<Known<P>>) {
        let mut projections = self.inner.projections.lock().unwrap_or_else(PoisonError::into_inner);
        projections.insert(TypeId::of::<P>(), Arc::<Known<P>>::clone(known));
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn known<P: Projection>(&self) -> Option<Arc<Known<P>>> {
        let projections = self.inner.projections.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(projections.get(&TypeId::of::<P>())?).downcast().ok()
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn shared_upcasters(&self) -> Arc<Upcasters> {
        Arc::clone(&self.inner.upcasters)
    }

    /// Waits until no snapshot is being written, so that a test or a shutdown can go on.
    pub async fn settle_snapshots(&self) {
        self.inner.snapshots.settle().await;
    }

    pub(crate) fn states(&self) -> &StateCache {
        &self.inner.states
    }

    pub(crate) fn snapshots(&self) -> &Arc<SnapshotWriter> {
        &self.inner.snapshots
    }

    /// A place in the queue for a boundary, at once or after waiting for it.
    pub(crate) fn queue(&self, boundary: &Query) -> Queue<'_> {
        let mut hasher = DefaultHasher::new();
        boundary.hash(&mut hasher);
        let index = hasher.finish() as usize % QUEUE_COUNT;
        Queue(self.inner.queues.get(index).expect("the index is below the count"))
    }
}

impl fmt::Debug for Quipu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quipu")
            .field("store", &self.inner.store.identity())
            .field("upcasters", &self.inner.upcasters)
            .finish_non_exhaustive()
    }
}

/// Where the commands wait that lost against others.
pub(crate) struct Queue<'a>(&'a Mutex<()>);

impl<'a> Queue<'a> {
    /// Waits only if others do: the first command of a boundary that nobody wants goes ahead.
    pub(crate) async fn pass(&self) -> Option<MutexGuard<'a, ()>> {
        match self.0.try_lock() {
            Ok(_free) => None,
            Err(_busy) => Some(self.0.lock().await),
        }
    }

    /// Waits for its turn.
    pub(crate) async fn enter(&self) -> MutexGuard<'a, ()> {
        self.0.lock().await
    }
}
