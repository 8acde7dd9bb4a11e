//! What a consumer does with events.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{BoxFuture, EventRef, Position, RecordedEvent};

use crate::machine::Item;
use crate::parking::Parking;
use crate::places::{Move, PlaceKeeper};

/// Events of one partition, to be handled in order.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests of handlers build it")]
pub struct Work {
    /// The epoch under which the runner works. Present it with every effect that can be fenced.
    pub epoch: u64,
    /// The events, at least one.
    pub events: Arc<[Item<Arc<RecordedEvent>>]>,
    /// The checkpoints that move with the work. For handlers that keep them: carry these out in
    /// the transaction of the work.
    pub moves: Vec<Move>,
    /// Where the events come from.
    pub origin: Origin,
}

/// Where the events of a [`Work`] come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Origin {
    /// From the log, in its order.
    Log,
    /// One event that was parked. A handler with a [`Parking`] of its own forgets in the transaction
    /// of the work that it was parked.
    Parked,
}

/// Handles the events of a log, wherever a runner puts it.
///
/// Events of one key come in the order of the log, one work at a time; works of other keys run beside
/// it. An event may come again after a crash, unless the handler keeps checkpoints with its work.
pub trait Handler: Send + Sync {
    /// The key within which the event's order is kept; `None` if it is of no interest.
    ///
    /// An event's key must never change: where it did, its order would be lost at that place. By
    /// default it is the event's stream, and events of reserved streams are of no interest.
    fn key(&self, event: EventRef<'_>) -> Option<Arc<str>> {
        let stream = event.stream();
        (!stream.starts_with('$')).then(|| stream.into())
    }

    /// Handles events, in order. On `Ok` the effects are durable.
    ///
    /// # Errors
    ///
    /// See [`HandleError`].
    fn handle<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>>;

    /// Where the handler keeps its checkpoints, if it moves them together with its work. Otherwise
    /// the runner keeps them in the store, and moves them after the work.
    fn places(&self) -> Option<&dyn PlaceKeeper> {
        None
    }

    /// Where the handler keeps parked events. Otherwise they are kept in a stream of the store.
    fn parking(&self) -> Option<&dyn Parking> {
        None
    }

    /// Lets this version serve. Called when an operator asks for it.
    ///
    /// # Errors
    ///
    /// See [`HandleError`]; the request is dropped.
    fn promote(&self, _epoch: u64) -> BoxFuture<'_, Result<(), HandleError>> {
        Box::pin(async { Ok(()) })
    }

    /// Makes ready to handle everything after `position` again. Nothing is under way then; the runner
    /// moves the checkpoints afterwards.
    ///
    /// # Errors
    ///
    /// See [`HandleError`]; the request is dropped, and the consumer goes on where it was.
    fn replay_from(
        &self,
        _epoch: u64,
        _position: Position,
    ) -> BoxFuture<'_, Result<(), HandleError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Why a work was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// An event is at fault. Attempts are counted; what happens then is [`OnError`](crate::OnError)'s.
    #[error("an event could not be handled")]
    Failed {
        /// How many of the work's events were handled durably, the first ones; the next one is at
        /// fault. 0 where all of the work was undone: the runner then finds the one at fault by
        /// handling them one by one.
        handled: usize,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The world is at fault: a database or a broker is not there. It is tried again for as long as
    /// it takes.
    #[error("events could not be handled for the time being")]
    Unavailable {
        /// How many of the work's events were handled durably, the first ones.
        handled: usize,
        /// The least time to wait before the next attempt.
        retry_after: Option<Duration>,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A younger instance has taken over. The runner steps down.
    #[error("another instance has taken over")]
    Fenced,
}

impl HandleError {
    /// The work's first event, or one of its events, is at fault and nothing of it was done.
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { handled: 0, source: cause.into() }
    }

    /// The world is at fault and nothing of the work was done.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable { handled: 0, retry_after: None, source: cause.into() }
    }
}
