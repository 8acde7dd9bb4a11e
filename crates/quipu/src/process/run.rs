//! Starting processes, and what runs then.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ComponentKind, EventType, Position, QueryItem, SubscribeFrom, Timestamp};
use quipu_groups::{OnError, RunError, Runner, RunnerStatus, Running};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::handler::Instances;
use super::wheel::Wheel;
use super::{Process, assert_name, record};
use crate::app::Quipu;

/// The longest time between two looks at the clock while a timer is set.
const TICK: Duration = Duration::from_secs(1);

impl Quipu {
    /// Runs a process: takes its inputs, executes its commands, serves its timers.
    ///
    /// Of all instances of the program one runs it, the others wait for their turn. Inputs of one
    /// instance are taken in the order of the log, those of different ones side by side. An input
    /// that cannot be handled, since an event cannot be read or the code now reacts otherwise than
    /// what is left to finish, is tried again and then parked, with the later inputs of its instance
    /// behind it: that instance stops, the others go on. A store that is not there is waited for.
    pub fn process<P: Process>(&self) -> RunProcess<P> {
        const { assert_name(P::NAME) };
        let handler = Instances::<P>::new(self.clone());
        let handler = handler.expect("the name was checked as the code was compiled");
        let mut query = self.query_of::<P::Event>();
        query.items.push(own_inputs(P::NAME));
        let store = Arc::clone(self.store());
        let runner = Runner::new(store, ComponentKind::Process, P::NAME, Arc::new(handler))
            .query(query)
            .on_error(OnError::retry(5).then_park());
        RunProcess { app: self.clone(), runner, tick: TICK, of: PhantomData }
    }
}

/// What comes to a process from its own streams.
fn own_inputs(process: &str) -> QueryItem {
    let types = [record::FIRED, record::REJECTED].map(EventType::new);
    let types = types.into_iter().collect::<Result<_, _>>();
    QueryItem {
        types: types.expect("the names are valid constants"),
        tags: record::tags(process).expect("the name was checked as the code was compiled"),
        ..QueryItem::default()
    }
}

/// A process that is about to run. See [`Quipu::process`].
#[must_use = "nothing runs until it is spawned"]
pub struct RunProcess<P> {
    app: Quipu,
    runner: Runner,
    tick: Duration,
    of: PhantomData<fn(P)>,
}

impl<P: Process> RunProcess<P> {
    /// The same with that many partitions, 1 by default: so many inputs are handled at a time.
    pub fn partitions(self, count: NonZeroU16) -> Self {
        self.with_runner(|runner| runner.partitions(count))
    }

    /// The same with this answer to inputs that cannot be handled.
    pub fn on_error(self, on_error: OnError) -> Self {
        self.with_runner(|runner| runner.on_error(on_error))
    }

    /// The same beginning there when it runs for the first time. By default it begins at the log's
    /// first event, and reacts to all that ever happened.
    pub fn from(self, from: SubscribeFrom<Position>) -> Self {
        self.with_runner(|runner| runner.from(from))
    }

    /// The same looking at the application's clock that often while a timer is set, every second by
    /// default.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick.max(Duration::from_millis(1));
        self
    }

    /// The same, with its runner changed by `change`: lease, owner, batches, and so on.
    pub fn with_runner(mut self, change: impl FnOnce(Runner) -> Runner) -> Self {
        self.runner = change(self.runner);
        self
    }

    /// Starts to run, in tasks of the present tokio runtime, which must have timers.
    pub fn spawn(self) -> RunningProcess {
        let (status, timers) = watch::channel(TimerStatus::default());
        let wheel = Wheel::new(self.app.clone(), P::NAME, self.tick, status);
        let wheel = WheelTask(tokio::spawn(wheel.turn()));
        RunningProcess { app: self.app, running: self.runner.spawn(), timers, _wheel: wheel }
    }
}

impl<P: Process> fmt::Debug for RunProcess<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunProcess").field("name", &P::NAME).finish_non_exhaustive()
    }
}

/// A process at work. Dropping it ends it abruptly, as a crash would.
#[derive(Debug)]
pub struct RunningProcess {
    app: Quipu,
    running: Running,
    timers: watch::Receiver<TimerStatus>,
    _wheel: WheelTask,
}

/// How the timers of a process are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimerStatus {
    /// How many are set.
    pub count: usize,
    /// When the first of them is due.
    pub next_due: Option<Timestamp>,
    /// The place in the log up to which they are known.
    pub position: Position,
    /// Why they are not served for the time being.
    pub last_error: Option<String>,
}

#[derive(Debug)]
struct WheelTask(JoinHandle<()>);

impl Drop for WheelTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RunningProcess {
    /// How it is.
    pub fn status(&self) -> RunnerStatus {
        self.running.status()
    }

    /// How its timers are.
    pub fn timers(&self) -> TimerStatus {
        self.timers.borrow().clone()
    }

    /// Waits until the status is one that `is_wanted`. Answers it.
    ///
    /// # Errors
    ///
    /// [`RunError::Ended`] if it ends before.
    pub async fn wait_until(
        &mut self,
        is_wanted: impl FnMut(&RunnerStatus) -> bool,
    ) -> Result<RunnerStatus, RunError> {
        self.running.wait_until(is_wanted).await
    }

    /// Waits until every input at or before `position` is handled: taken, with its commands
    /// executed, or parked.
    ///
    /// # Errors
    ///
    /// [`RunError::Ended`] if it ends before.
    pub async fn wait_for(&mut self, position: Position) -> Result<(), RunError> {
        self.running.wait_for(position).await
    }

    /// Waits until there is nothing left to do for the time being: all that is in the log is
    /// handled, also what its own commands appended meanwhile, and no timer is due.
    ///
    /// # Errors
    ///
    /// [`RunError::Ended`] if it ends before, or the store can no longer be read.
    pub async fn settle(&mut self) -> Result<(), RunError> {
        let mut handled = None;
        loop {
            let frontier = self.app.store().frontier().await.map_err(|_| RunError::Ended)?;
            if handled == Some(frontier) {
                return Ok(());
            }
            self.running.wait_for(frontier).await?;
            let app = &self.app;
            let is_served = |status: &TimerStatus| {
                let is_due = status.next_due.is_some_and(|due| due <= app.now());
                status.position >= frontier && !is_due
            };
            self.timers.wait_for(is_served).await.map_err(|_| RunError::Ended)?;
            handled = Some(frontier);
        }
    }

    /// Stops: lets the inputs under way end and gives the lease back.
    ///
    /// # Errors
    ///
    /// The [`RunError`] that ended it before.
    pub async fn stop(self) -> Result<(), RunError> {
        self.running.stop().await
    }
}
