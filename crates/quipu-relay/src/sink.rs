//! Where messages go.

use std::error::Error;
use std::time::Duration;

use quipu_core::BoxFuture;
use quipu_groups::{Move, PlaceKeeper};

use crate::message::Message;

/// Messages of one partition, in order.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests of sinks build it")]
pub struct Batch {
    /// The epoch under which the relay works. A sink that can fence presents it.
    pub epoch: u64,
    /// The messages. None only where the sink keeps the checkpoints and there are moves to make.
    pub messages: Vec<Message>,
    /// The checkpoints that move with the messages. For sinks that keep them: carry these out in the
    /// transaction of the messages.
    pub moves: Vec<Move>,
}

/// Takes messages and does not forget them.
///
/// Batches of one key come one after the other; batches of different partitions may come at the same
/// time. A batch may come again, as a whole or from any message on.
pub trait Sink: Send + Sync {
    /// Publishes the messages in order. On `Ok` all of them are as durable as the sink makes them.
    ///
    /// Where the future is dropped before it is done, any part of the batch may be published, but no
    /// message before one that precedes it.
    ///
    /// # Errors
    ///
    /// See [`SinkError`].
    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>>;

    /// Where the sink keeps checkpoints, if it moves them in one transaction with the messages. With
    /// such a sink nothing is published twice, but for a parked message whose retry a crash cut short.
    fn places(&self) -> Option<&dyn PlaceKeeper> {
        None
    }
}

/// Why messages were not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A message was refused and would be refused again.
    #[error("a message was refused")]
    Rejected {
        /// How many messages before it were published.
        published: usize,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It did not work this time.
    #[error("the sink did not take the messages for the time being")]
    Unavailable {
        /// How many messages were published, the first ones.
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
