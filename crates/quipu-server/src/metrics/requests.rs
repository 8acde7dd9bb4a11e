//! Requests, by operation and by how they ended.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::buckets;
use crate::security::PERMISSIONS;

/// How a request ended, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Done,
    Invalid,
    Refused,
    Conflict,
    Unavailable,
    Failed,
    Cancelled,
}

impl Ending {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::Invalid,
        Self::Refused,
        Self::Conflict,
        Self::Unavailable,
        Self::Failed,
        Self::Cancelled,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What an HTTP status means.
    pub(crate) const fn of_status(status: u16) -> Self {
        match status {
            0..=399 => Self::Done,
            401 | 403 => Self::Refused,
            409 | 410 | 412 => Self::Conflict,
            429 | 503 | 507 => Self::Unavailable,
            400..=499 => Self::Invalid,
            _ => Self::Failed,
        }
    }

    /// What a gRPC code means.
    pub(crate) const fn of_code(code: u32) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Cancelled,
            7 | 16 => Self::Refused,
            6 | 10 => Self::Conflict,
            4 | 8 | 14 => Self::Unavailable,
            3 | 5 | 9 | 11 | 12 => Self::Invalid,
            _ => Self::Failed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    operation: &'static str,
}

/// What is counted of one operation, from its first request on.
#[derive(Debug, Default)]
struct Operation {
    counts: [OnceLock<Counter>; Ending::ALL.len()],
    duration: OnceLock<Histogram>,
}

/// Counts and times requests.
#[derive(Debug)]
pub(crate) struct Requests {
    counts: Family<Ended, Counter>,
    durations: Family<Named, Histogram>,
    /// One for each entry of the permission table, and one for what is not in it: a request finds
    /// its own without looking it up in the families, which have locks.
    operations: Vec<Operation>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            counts: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(buckets())),
            operations: (0..=PERMISSIONS.len()).map(|_| Operation::default()).collect(),
        }
    }

    pub(super) fn register(&self, to: &mut Registry) {
        to.register("requests", "Requests, by operation and outcome", self.counts.clone());
        to.register_with_unit(
            "request_duration",
            "Time from a request to the end of its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
    }

    /// A request to this entry of the permission table, or to none, is over.
    pub(crate) fn count(&self, operation: Option<usize>, ending: Ending, took: Duration) {
        let name = operation.map_or("unknown", |number| PERMISSIONS[number].operation);
        let own = &self.operations[operation.unwrap_or(PERMISSIONS.len())];
        let counter = own.counts[ending as usize].get_or_init(|| {
            self.counts.get_or_create_owned(&Ended { operation: name, outcome: ending.as_str() })
        });
        counter.inc();
        let duration = own
            .duration
            .get_or_init(|| self.durations.get_or_create_owned(&Named { operation: name }));
        duration.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_its_own_place() {
        for (index, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, index, "{ending:?}");
        }
    }

    #[test]
    fn http_and_grpc_agree_on_what_ended_how() {
        let pairs =
            [(200, 0), (400, 3), (401, 16), (403, 7), (404, 5), (409, 10), (503, 14), (500, 13)];
        for (status, code) in pairs {
            assert_eq!(Ending::of_status(status), Ending::of_code(code), "{status} {code}");
        }
    }
}
