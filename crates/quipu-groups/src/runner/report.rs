//! What the registry is told.

use std::time::Duration;

use quipu_core::{
    ComponentKey, ComponentStatus, EventStore, PARKED_ITEMS_MAX, ParkedItem, RegistryError,
    Timestamp,
};
use tokio::time::Instant;

use super::{Runner, RunnerStatus};

/// A component that has nothing new to say says so every so often.
const SILENCE_MAX: Duration = Duration::from_secs(10);

pub(super) struct Reporter {
    key: ComponentKey,
    owner: String,
    epoch: u64,
    interval: Duration,
    told: Option<RunnerStatus>,
    told_at: Instant,
    told_lag: u64,
    is_due: bool,
}

/// A younger instance reports.
pub(super) struct Fenced;

impl Reporter {
    pub(super) fn new(runner: &Runner, epoch: u64, now: Instant) -> Self {
        let options = &runner.options;
        Self {
            key: options.key.clone(),
            owner: options.owner.clone(),
            epoch,
            interval: options.report_interval,
            told: None,
            told_at: now,
            told_lag: 0,
            is_due: true,
        }
    }

    /// Lets the next report be made at once.
    pub(super) fn report_soon(&mut self) {
        self.is_due = true;
    }

    /// Reports, if there is something to say and it is time to.
    pub(super) async fn report(
        &mut self,
        store: &dyn EventStore,
        status: &RunnerStatus,
        parked: impl Fn() -> Vec<ParkedItem>,
    ) -> Result<(), Fenced> {
        let now = Instant::now();
        // A change of state is worth a report at any time.
        let is_new_state = self.told.as_ref().is_none_or(|told| {
            told.state != status.state || told.parked_count != status.parked_count
        });
        if !self.is_due && !is_new_state && now - self.told_at < self.interval {
            return Ok(());
        }
        let frontier = store.frontier().await.unwrap_or(status.position);
        let lag = frontier.get().saturating_sub(status.position.get());
        let is_news = self.is_due || self.told.as_ref() != Some(status) || self.told_lag != lag;
        if !is_news && now - self.told_at < SILENCE_MAX {
            return Ok(());
        }
        let mut items = parked();
        items.truncate(PARKED_ITEMS_MAX);
        let report = ComponentStatus {
            key: self.key.clone(),
            owner: self.owner.clone(),
            epoch: self.epoch,
            state: status.state,
            position: status.position,
            lag,
            last_error: status.last_error.clone(),
            parked_count: status.parked_count as u64,
            parked: items,
            reported_at: Timestamp::now(),
        };
        match store.registry().report(report).await {
            Ok(()) => {
                self.told = Some(status.clone());
                (self.told_at, self.told_lag, self.is_due) = (now, lag, false);
                Ok(())
            }
            Err(RegistryError::StaleEpoch { .. }) => Err(Fenced),
            // The work does not depend on the report: it is made again at the next look.
            Err(_) => Ok(()),
        }
    }
}
