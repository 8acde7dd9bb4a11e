//! Loan applications: the events of the foreign log that are read here, and the funnel.
//!
//! The log was written by another program, under its own names, and is read as it is. Nothing is
//! appended under these types, so that the stream they name is never used; the loan is in the name
//! of the stream that an event was recorded in.

use std::collections::BTreeMap;

use quipu::{DecisionModel, Event, EventSet, Evolve};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "ApplicationSubmitted", stream = "loan")]
pub(crate) struct Submitted {
    pub(crate) amount_requested: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "ApplicationPreaccepted", stream = "loan")]
pub(crate) struct Preaccepted {}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "ApplicationAccepted", stream = "loan")]
pub(crate) struct Accepted {}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "ApplicationFinalized", stream = "loan")]
pub(crate) struct Finalized {}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "ApplicationApproved", stream = "loan")]
pub(crate) struct Approved {}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "ApplicationDeclined", stream = "loan")]
pub(crate) struct Declined {}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "ApplicationCancelled", stream = "loan")]
pub(crate) struct Cancelled {}

/// The log has some twenty types; what is not here is not even read.
#[derive(EventSet)]
pub(crate) enum LoanEvent {
    Submitted(Submitted),
    Preaccepted(Preaccepted),
    Accepted(Accepted),
    Finalized(Finalized),
    Approved(Approved),
    Declined(Declined),
    Cancelled(Cancelled),
}

/// How far an application has come. It reaches each stage at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Submitted,
    Preaccepted,
    Accepted,
    Finalized,
    Approved,
    Declined,
    Cancelled,
}

impl Stage {
    pub(crate) const ALL: [Self; 7] = [
        Self::Submitted,
        Self::Preaccepted,
        Self::Accepted,
        Self::Finalized,
        Self::Approved,
        Self::Declined,
        Self::Cancelled,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Preaccepted => "preaccepted",
            Self::Accepted => "accepted",
            Self::Finalized => "finalized",
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
        }
    }
}

impl LoanEvent {
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Submitted(_) => Stage::Submitted,
            Self::Preaccepted(_) => Stage::Preaccepted,
            Self::Accepted(_) => Stage::Accepted,
            Self::Finalized(_) => Stage::Finalized,
            Self::Approved(_) => Stage::Approved,
            Self::Declined(_) => Stage::Declined,
            Self::Cancelled(_) => Stage::Cancelled,
        }
    }
}

/// How many applications reached each stage. It has no key: it is folded from all of them.
#[derive(DecisionModel, Clone, Debug)]
#[model(events = LoanEvent)]
pub(crate) struct Funnel {
    counts: BTreeMap<Stage, u64>,
    /// The sum of the amounts that were asked for.
    pub(crate) requested: u64,
}

impl Evolve for Funnel {
    fn evolve(&mut self, event: &LoanEvent) {
        *self.counts.entry(event.stage()).or_default() += 1;
        if let LoanEvent::Submitted(submitted) = event {
            self.requested += submitted.amount_requested;
        }
    }
}

impl Funnel {
    pub(crate) fn count(&self, stage: Stage) -> u64 {
        self.counts.get(&stage).copied().unwrap_or(0)
    }

    /// How many applications are not at an end.
    pub(crate) fn open_count(&self) -> u64 {
        let ended = [Stage::Approved, Stage::Declined, Stage::Cancelled];
        let ended: u64 = ended.into_iter().map(|stage| self.count(stage)).sum();
        self.count(Stage::Submitted).saturating_sub(ended)
    }
}
