//! Runs a handler over a log: owns the component, reads, dispatches, saves, reports.

mod drive;
mod execute;
mod report;
mod session;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    ComponentKey, ComponentKind, ComponentState, EventStore, LeaseError, Position, Query,
    SubscribeError, SubscribeFrom,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::handler::Handler;
use crate::machine::{Settings, StoppedAt};
use crate::places::KeepError;
use crate::policy::OnError;
pub(crate) use execute::describe;

/// Runs a [`Handler`] over the events of a log.
///
/// Of all instances with one kind, name and version one runs, the one that holds the lease; the
/// others wait for it. One that loses the lease, or whose epoch is refused anywhere, drops what it is
/// doing at once and waits again.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use quipu_core::*;
/// use quipu_groups::{HandleError, Handler, Runner, Work};
///
/// #[derive(Default)]
/// struct Count(AtomicUsize);
/// impl Handler for Count {
///     fn handle<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>> {
///         self.0.fetch_add(work.events.len(), Ordering::SeqCst);
///         Box::pin(async { Ok(()) })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new());
/// let placed = NewEvent::json("OrderPlaced", "{}")?;
/// store.append(Append::new().event(StreamName::new("order-1")?, placed)).await?;
///
/// let count = Arc::new(Count::default());
/// let runner = Runner::new(store, ComponentKind::Projection, "count", count.clone());
/// let mut running = runner.spawn();
/// running.wait_for(Position::new(1)).await?;
/// running.stop().await?;
///
/// assert_eq!(count.0.load(Ordering::SeqCst), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runner {
    store: Arc<dyn EventStore>,
    handler: Arc<dyn Handler>,
    options: Options,
}

/// What a runner goes by.
#[derive(Clone, Debug)]
struct Options {
    key: ComponentKey,
    owner: String,
    query: Query,
    from: SubscribeFrom<Position>,
    partitions: NonZeroU16,
    settings: Settings,
    lease_ttl: Duration,
    request_interval: Duration,
    report_interval: Duration,
    stop_timeout: Duration,
}

impl Runner {
    /// A runner of the component with this kind and name, in version 1, over every event. The name
    /// has at most 200 bytes and no control characters.
    pub fn new(
        store: Arc<dyn EventStore>,
        kind: ComponentKind,
        name: &str,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let options = Options {
            key: ComponentKey { kind, name: name.to_owned(), version: 1 },
            owner: format!("process {}", std::process::id()),
            query: Query::all(),
            from: SubscribeFrom::Start,
            partitions: NonZeroU16::MIN,
            settings: Settings::default(),
            lease_ttl: Duration::from_secs(10),
            request_interval: Duration::from_millis(500),
            report_interval: Duration::from_secs(1),
            stop_timeout: Duration::from_secs(10),
        };
        Self { store, handler, options }
    }

    /// The same in this version: versions run side by side, each with its own checkpoints.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.options.key.version = version;
        self
    }

    /// The same under this owner's name, which people see. By default it is the process's id.
    #[must_use]
    pub fn owner(mut self, owner: &str) -> Self {
        owner.clone_into(&mut self.options.owner);
        self
    }

    /// The same over the events that match `query`.
    #[must_use]
    pub fn query(mut self, query: Query) -> Self {
        self.options.query = query;
        self
    }

    /// The same beginning there when it runs for the first time. Later it begins at its checkpoints.
    #[must_use]
    pub fn from(mut self, from: SubscribeFrom<Position>) -> Self {
        self.options.from = from;
        self
    }

    /// The same with that many partitions, 1 by default: that many works run at a time. The number
    /// may be another one each time.
    #[must_use]
    pub fn partitions(mut self, count: NonZeroU16) -> Self {
        self.options.partitions = count;
        self
    }

    /// The same with at most that many events in one work, 500 by default.
    #[must_use]
    pub fn batch(mut self, count: usize) -> Self {
        self.options.settings.batch_max = count.max(1);
        self
    }

    /// The same with this many events waiting in a partition before no more of the log is read.
    #[must_use]
    pub fn queue(mut self, count: usize) -> Self {
        self.options.settings.queue_max = count.max(1);
        self
    }

    /// The same with this answer to events that cannot be handled.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.options.settings.on_error = on_error;
        self
    }

    /// The same with at most that many parked events, 10,000 by default. What would be parked beyond
    /// stops its partition.
    #[must_use]
    pub fn parked_max(mut self, count: usize) -> Self {
        self.options.settings.parked_max = count;
        self
    }

    /// The same saving a partition's checkpoints that often at most, every 250 ms by default. What
    /// was handled since the last saving is handled again after a crash. With more than 16 partitions
    /// each saves that much more rarely.
    #[must_use]
    pub fn save_interval(mut self, interval: Duration) -> Self {
        self.options.settings.save_interval = interval;
        self
    }

    /// The same with a lease of that length, 10 s by default: so long nobody runs after a crash.
    #[must_use]
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.options.lease_ttl = ttl;
        self
    }

    /// The same looking for requests that often, every 500 ms by default.
    #[must_use]
    pub fn request_interval(mut self, interval: Duration) -> Self {
        self.options.request_interval = interval;
        self
    }

    /// Starts to run, in a task of the present tokio runtime, which must have timers.
    pub fn spawn(self) -> Running {
        let (stop, stopping) = watch::channel(false);
        let (tell, status) = watch::channel(RunnerStatus::default());
        let task = tokio::spawn(async move {
            let outcome = session::run(&self, stopping, &tell).await;
            tell.send_modify(|status| status.phase = Phase::Ended);
            outcome
        });
        Running { stop, status, task }
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("options", &self.options).finish_non_exhaustive()
    }
}

/// How a runner in this process is. What other processes see is in the store's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct RunnerStatus {
    /// Whether it runs.
    pub phase: Phase,
    /// The epoch under which it runs or ran last; 0 before it ever did.
    pub epoch: u64,
    /// What it is doing.
    pub state: ComponentState,
    /// The position up to which everything is handled, parked or skipped.
    pub position: Position,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How many events are parked.
    pub parked_count: usize,
    /// The partitions that do not go on.
    pub stopped: Vec<StoppedAt>,
}

impl Default for RunnerStatus {
    fn default() -> Self {
        Self {
            phase: Phase::Waiting,
            epoch: 0,
            state: ComponentState::CatchingUp,
            position: Position::START,
            last_error: None,
            parked_count: 0,
            stopped: Vec::new(),
        }
    }
}

/// Whether a runner runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum Phase {
    /// Another instance runs, or the store does not answer.
    Waiting,
    /// It owns the component.
    Running,
    /// It was stopped, or cannot go on.
    Ended,
}

/// A runner at work. Dropping it ends it abruptly, as a crash would: the lease is left to expire, and
/// what was not checkpointed is handled again.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    status: watch::Receiver<RunnerStatus>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// How it is.
    pub fn status(&self) -> RunnerStatus {
        self.status.borrow().clone()
    }

    /// How it is, at any time from now on, also for others than its owner.
    pub fn watch(&self) -> watch::Receiver<RunnerStatus> {
        self.status.clone()
    }

    /// Waits until the status is one that `is_wanted`. Answers it.
    ///
    /// # Errors
    ///
    /// [`RunError::Ended`] if the runner ends before.
    pub async fn wait_until(
        &mut self,
        mut is_wanted: impl FnMut(&RunnerStatus) -> bool,
    ) -> Result<RunnerStatus, RunError> {
        let found = self.status.wait_for(|it| is_wanted(it) || it.phase == Phase::Ended).await;
        let status = found.map_err(|_| RunError::Ended)?.clone();
        if is_wanted(&status) { Ok(status) } else { Err(RunError::Ended) }
    }

    /// Waits until everything at or before `position` is handled, parked or skipped.
    ///
    /// # Errors
    ///
    /// [`RunError::Ended`] if the runner ends before.
    pub async fn wait_for(&mut self, position: Position) -> Result<(), RunError> {
        self.wait_until(|status| status.position >= position).await.map(drop)
    }

    /// Stops: lets the works under way end, saves the checkpoints and gives the lease back.
    ///
    /// # Errors
    ///
    /// The [`RunError`] that ended it before.
    pub async fn stop(self) -> Result<(), RunError> {
        self.stop.send_replace(true);
        self.ended().await
    }

    /// Waits until it cannot go on.
    ///
    /// # Errors
    ///
    /// The [`RunError`] that ended it.
    pub async fn ended(mut self) -> Result<(), RunError> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RunError::Ended),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a runner does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The name is not valid, or the store is open for reading only.
    #[error("the component could not be owned")]
    Lease(#[source] LeaseError),
    /// The log could not be subscribed to: its checkpoint is beyond the log's end, or the store is
    /// closed.
    #[error("the log could not be read")]
    Subscribe(#[source] SubscribeError),
    /// The checkpoints, or what is parked, cannot be used.
    #[error("what the component keeps cannot be used")]
    Keep(#[source] KeepError),
    /// The runner has ended.
    #[error("the runner has ended")]
    Ended,
}
