//! What is measured of the relays that run here.

use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use quipu_groups::{Phase, RunnerStatus};
use tokio::sync::watch::Receiver;

use super::signed;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    relay: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    relay: String,
    state: &'static str,
}

/// What a relay counts as it publishes.
#[derive(Clone, Debug, Default)]
pub struct PublishCounts {
    pub(crate) published: Counter,
    pub(crate) failed: Counter,
}

/// How the relays are that run here.
#[derive(Debug, Default)]
pub(super) struct OfRelays {
    published: Family<Name, Counter>,
    failed: Family<Name, Counter>,
    lag: Family<Name, Gauge>,
    parked: Family<Name, Gauge>,
    state: Family<State, Gauge>,
    running: Mutex<Vec<(String, Receiver<RunnerStatus>)>>,
}

impl OfRelays {
    pub(super) fn register(&self, to: &mut Registry) {
        let published = "Messages that a relay has published";
        to.register("relay_published", published, self.published.clone());
        let failed = "Attempts of a relay to publish that failed";
        to.register("relay_failures", failed, self.failed.clone());
        let lag = "Positions between what a relay has settled and the frontier";
        to.register("relay_lag", lag, self.lag.clone());
        to.register("relay_parked", "Events that a relay parked", self.parked.clone());
        let state = "1 for the state that a relay is in";
        to.register("relay_state", state, self.state.clone());
    }

    /// What the relay of this name counts.
    pub(super) fn counts(&self, relay: &str) -> PublishCounts {
        let name = Name { relay: relay.to_owned() };
        PublishCounts {
            published: self.published.get_or_create_owned(&name),
            failed: self.failed.get_or_create_owned(&name),
        }
    }

    /// From now on that relay is measured.
    pub(super) fn add(&self, relay: &str, status: Receiver<RunnerStatus>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.push((relay.to_owned(), status));
    }

    pub(super) fn set(&self, frontier: u64) {
        self.state.clear();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for (relay, status) in &*running {
            let status = status.borrow();
            let name = Name { relay: relay.clone() };
            let lag = frontier.saturating_sub(status.position.get());
            self.lag.get_or_create(&name).set(signed(lag));
            self.parked.get_or_create(&name).set(signed(status.parked_count as u64));
            let state = match status.phase {
                Phase::Waiting => "waiting",
                Phase::Running => status.state.as_str(),
                Phase::Ended => "ended",
            };
            self.state.get_or_create(&State { relay: relay.clone(), state }).set(1);
        }
    }
}
