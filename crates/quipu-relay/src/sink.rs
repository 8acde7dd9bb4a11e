//! Where cloud events go.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{BoxFuture, EventStore};
use quipu_groups::{Move, PlaceKeeper};

use crate::cloud_event::CloudEvent;

/// Messages of one partition, in order.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests of sinks build it")]
pub struct Batch {
    /// The epoch under which the relay works. A sink that can fence presents it.
    pub epoch: u64,
    /// The cloud events. None only where the sink keeps the checkpoints and there are moves to
    /// make.
    pub cloud_events: Vec<CloudEvent>,
    /// The checkpoints that move with the cloud events. For sinks that keep them: carry these out
    /// in the transaction of the cloud events.
    pub moves: Vec<Move>,
}

/// Takes cloud events and does not forget them.
///
/// Batches of one key come one after the other; batches of different partitions may come at the
/// same time. A batch may come again, as a whole or from any cloud event on.
pub trait Sink: Send + Sync {
    /// Tells the sink whose cloud events come: of which log, and of which of its relays. Called in a
    /// tokio runtime, before anything is published.
    fn attach(&self, _store: &Arc<dyn EventStore>, _relay: &str) {}

    /// Publishes the cloud events in order. On `Ok` all of them are as durable as the sink makes
    /// them.
    ///
    /// Where the future is dropped before it is done, any part of the batch may be published, but
    /// no cloud event before one that precedes it.
    ///
    /// # Errors
    ///
    /// See [`SinkError`].
    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>>;

    /// Where the sink keeps checkpoints, if it moves them in one transaction with the cloud events.
    /// With such a sink nothing is published twice, but for a parked cloud event whose retry a
    /// crash cut short.
    fn places(&self) -> Option<&dyn PlaceKeeper> {
        None
    }
}

/// Why cloud events were not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A cloud event was refused and would be refused again.
    #[error("a cloud event was refused")]
    Rejected {
        /// How many cloud events before it were published.
        published: usize,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It did not work this time.
    #[error("the sink did not take the cloud events for the time being")]
    Unavailable {
        /// How many cloud events were published, the first ones.
        published: usize,
        /// The least time to wait, where the sink asks for one.
        retry_after: Option<Duration>,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A younger instance publishes. The relay steps down.
    #[error("another instance has taken over")]
    Fenced,
}
