//! Never-ending reads: what is in the log, then what comes.
//!
//! One rule for every consumer: handle first, checkpoint after. A subscription delivers in order,
//! without gaps or duplicates; a consumer that restarts from its last checkpoint therefore sees
//! every event at least once, and once exactly if it stores the checkpoint with its work.
//!
//! # Rules of every store
//!
//! - A subscription to a stream shows what reads of the stream show when it is pulled: what is
//!   hidden by then is passed over, though it may be shown again later. The stream need not exist;
//!   a deleted one shows nothing until it is revived, and then goes on with the events that revived
//!   it.
//! - Once the stream is tombstoned, what it showed right before that and the subscription has not
//!   delivered yet still comes; then, and at every later pull, comes
//!   [`SubscribeError::StreamTombstoned`]. The tombstone itself is not delivered. It makes no
//!   difference whether the subscription began before the tombstone or after it.
//! - [`Delivery::CaughtUp`] comes once each time the end is reached: after history, be it empty, and
//!   after each [`Delivery::FellBehind`]. It does not come again while the subscription keeps up.
//! - Where a subscription to the log passes over events that do not match, a
//!   [`Delivery::Checkpoint`] tells the consumer so: at the latest when the end is reached, before
//!   `CaughtUp` or before the wait for what comes. Places of checkpoints rise, are not below any
//!   delivered event's, and never beyond the frontier. Subscriptions to a stream have none.
//! - [`Subscribe::All`] after a place beyond the frontier is [`SubscribeError::BeyondEnd`]. After a
//!   revision that the stream has not reached, a subscription waits for the one behind it.

use crate::batch::EventBatch;
use crate::name::StreamName;
use crate::place::{Position, Revision};
use crate::query::Query;
use crate::read::StorageError;
use crate::store::BoxFuture;

/// What to subscribe to, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every store serves each of them")]
pub enum Subscribe {
    /// The events that one stream shows.
    Stream {
        /// The stream. It need not exist yet.
        stream: StreamName,
        /// Where to begin.
        from: SubscribeFrom<Revision>,
    },
    /// The events of the log that match a query.
    All {
        /// Which events. [`Query::all`] for every one.
        query: Query,
        /// Where to begin.
        from: SubscribeFrom<Position>,
    },
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum SubscribeFrom<P> {
    /// At the first event.
    #[default]
    Start,
    /// Behind this place: the place itself was handled already.
    After(P),
    /// Behind what is there when the subscription begins.
    End,
}

/// What a subscription delivers.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "consumers must handle each of them")]
pub enum Delivery {
    /// Events, never none.
    Events(EventBatch),
    /// Everything at or before this place has been delivered or does not match. Resume after it.
    Checkpoint(Position),
    /// All that is in the log was delivered; what follows comes as it is appended.
    CaughtUp,
    /// The consumer was slower than the log: what follows is read from disk again.
    FellBehind,
}

/// A subscription: pull the next delivery, handle it, pull again.
///
/// A consumer that does not pull costs the store no memory; it reads from disk again later.
pub trait Subscription: Send {
    /// Waits for the next delivery. Dropping the future before it is done loses nothing.
    ///
    /// # Errors
    ///
    /// A [`SubscribeError`] ends the subscription.
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, SubscribeError>>;
}

/// Why a subscription ended or could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The place to begin after is beyond the end. The checkpoint is of another log, or of a life
    /// of this log that a restore ended.
    #[error("the place to begin after is {after}, beyond the end of the log at {frontier}")]
    BeyondEnd {
        /// What was asked for.
        after: Position,
        /// Where the log is.
        frontier: Position,
    },
    /// The stream is tombstoned: nothing will ever follow.
    #[error("the stream \"{stream}\" is tombstoned")]
    StreamTombstoned {
        /// The stream.
        stream: StreamName,
    },
    /// The store is closed. Subscribe again after the last checkpoint.
    #[error("the store is closed")]
    Closed,
    /// The store could not read what it holds.
    #[error("the store could not be read")]
    Storage(#[source] StorageError),
}
