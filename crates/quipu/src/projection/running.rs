//! A projection at work, and what is seen to beside it: promotion and retirement.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ComponentKey, ComponentKind, ComponentRequest, Position, RegistryError};
use quipu_groups::{KeepError, Phase, RunError, RunnerStatus, Running};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Projection;
use super::books::ReadModel;
use super::lifecycle::Stage;
use crate::app::Quipu;
use crate::view::View;

/// A projection that an application knows.
pub(crate) struct Known<P: Projection> {
    pub(crate) model: Arc<ReadModel<P>>,
    /// How its runner is, if it runs in this process.
    pub(crate) status: Option<watch::Receiver<RunnerStatus>>,
}

/// What is seen to beside the work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tending {
    /// The lag at which this version is promoted.
    pub(super) promote_below: Option<u64>,
    /// How long a retired version is kept.
    pub(super) grace: Duration,
}

/// How often to look whether there is something to see to.
const TEND_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time between two looks for versions to drop.
const DROP_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// A projection at work. Dropping it ends it abruptly, as a crash would; that loses nothing, but
/// another instance waits for the lease to expire.
pub struct RunningProjection<P: Projection> {
    app: Quipu,
    known: Arc<Known<P>>,
    running: Running,
    /// Ends with this, whichever way that ends.
    tending: JoinSet<()>,
}

/// How far a projection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct Progress {
    /// Everything at or before this place is in the read model, parked or skipped.
    pub position: Position,
    /// The end of the log.
    pub frontier: Position,
}

impl Progress {
    /// How many positions there are still to go.
    pub fn lag(self) -> u64 {
        self.frontier.get().saturating_sub(self.position.get())
    }

    /// The part that is done, from 0 to 100.
    pub fn percent(self) -> u64 {
        let done = self.position.get().min(self.frontier.get());
        // In 128 bits, as a place may be any number of 64.
        let percent = u128::from(done) * 100 / u128::from(self.frontier.get().max(1));
        if self.frontier == Position::START { 100 } else { percent as u64 }
    }
}

impl<P: Projection> RunningProjection<P> {
    pub(super) fn new(
        app: Quipu,
        known: Arc<Known<P>>,
        running: Running,
        tending: Tending,
    ) -> Self {
        let model = Arc::clone(&known.model);
        let mut tasks = JoinSet::new();
        tasks.spawn(tend(app.clone(), model, running.watch(), tending));
        Self { app, known, running, tending: tasks }
    }

    /// How it is: what it does, how far it has come, and which partitions stopped at which event.
    pub fn status(&self) -> RunnerStatus {
        self.running.status()
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

    /// How far it has come: after [`rebuild`](Self::rebuild), for instance.
    ///
    /// # Errors
    ///
    /// A [`ReadError`](quipu_core::ReadError) if the log cannot be read.
    pub async fn progress(&self) -> Result<Progress, quipu_core::ReadError> {
        // First how far it has come: the log may only be further by then.
        let position = self.status().position;
        let frontier = self.app.store().frontier().await?;
        Ok(Progress { position, frontier })
    }

    /// Its read model.
    pub fn view(&self) -> View<P> {
        View::new(Arc::clone(&self.known))
    }

    /// Lets this version serve. The one that served before is kept for a while, and then dropped.
    ///
    /// # Errors
    ///
    /// A [`KeepError`] if it does not run, or the database refuses it; the other one goes on serving.
    pub async fn promote(&self) -> Result<(), KeepError> {
        self.known.model.promote(self.status().epoch).await
    }

    /// Builds the read model anew, from the log's first event. Readers see it grow.
    ///
    /// # Errors
    ///
    /// A [`RegistryError`] if the request cannot be left with the runner.
    pub async fn rebuild(&self) -> Result<(), RegistryError> {
        self.request(ComponentRequest::ReplayFrom(Position::START)).await
    }

    /// Leaves a request with whichever instance runs: to pause, to resume, to retry or drop parked
    /// events. It is carried out soon.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`].
    pub async fn request(&self, request: ComponentRequest) -> Result<(), RegistryError> {
        let name = P::NAME.to_owned();
        let key = ComponentKey { kind: ComponentKind::Projection, name, version: P::VERSION };
        self.app.store().registry().request(&key, request).await
    }

    /// Stops: lets what is under way end, and gives the lease back.
    ///
    /// # Errors
    ///
    /// The [`RunError`] that ended it before.
    pub async fn stop(mut self) -> Result<(), RunError> {
        self.tending.abort_all();
        self.running.stop().await
    }

    /// Waits until it cannot go on.
    ///
    /// # Errors
    ///
    /// The [`RunError`] that ended it.
    pub async fn ended(self) -> Result<(), RunError> {
        self.running.ended().await
    }
}

impl<P: Projection> fmt::Debug for RunningProjection<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningProjection")
            .field("model", &self.known.model)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// Promotes this version when it is time to, and drops those that were retired.
async fn tend<P: Projection>(
    app: Quipu,
    model: Arc<ReadModel<P>>,
    status: watch::Receiver<RunnerStatus>,
    tending: Tending,
) {
    let drop_interval = (tending.grace / 4).clamp(TEND_INTERVAL, DROP_INTERVAL_MAX);
    let mut drop_at = Instant::now();
    let mut is_promoted = tending.promote_below.is_none();
    loop {
        sleep(TEND_INTERVAL).await;
        let now = status.borrow().clone();
        match now.phase {
            Phase::Waiting => continue,
            Phase::Ended => return,
            Phase::Running => {}
        }
        if let Some(lag) = tending.promote_below
            && !is_promoted
            && now.stopped.is_empty()
            && let Ok(frontier) = app.store().frontier().await
            && frontier.get().saturating_sub(now.position.get()) <= lag
        {
            is_promoted = match model.stage().await {
                Ok(Some(Stage::Building)) => model.promote(now.epoch).await.is_ok(),
                Ok(Some(_)) => true,
                // Looked at again, as what failed may work then.
                Ok(None) | Err(_) => false,
            };
        }
        if Instant::now() >= drop_at {
            drop_at = Instant::now() + drop_interval;
            // Tried again at the next look.
            model.drop_retired(now.epoch, tending.grace).await.ok();
        }
    }
}
