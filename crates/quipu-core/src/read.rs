//! Bounded reads: of a stream, of the log, of an index.

use std::fmt;

use crate::batch::EventBatch;
use crate::metadata::StreamMetadata;
use crate::name::{EventType, StreamName};
use crate::place::{Position, Revision, Timestamp};
use crate::query::Query;
use crate::store::BoxFuture;

/// Which way a read goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Direction {
    /// From older to newer.
    #[default]
    Forward,
    /// From newer to older.
    Backward,
}

/// The moment whose state of the log a read sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every store decides each of them")]
pub enum AsOf {
    /// As it was when this was the last event. Not beyond the frontier.
    Position(Position),
    /// As it was at that time: events recorded later are not there. Not in the future.
    Time(Timestamp),
}

/// A read of one stream.
///
/// It shows what retention leaves of the stream, and of a metadata stream the last event only. As of
/// an earlier moment it shows what a read would have shown then: the metadata is that of the moment,
/// `$maxAge` counts from it (for a position from the time of the last event at or before it), and a
/// later tombstone or delete is not there yet.
///
/// ```
/// use quipu_core::{Direction, ReadStream, Revision, StreamName};
///
/// let last_ten = ReadStream::new(StreamName::new("order-1")?).backward().limit(10);
/// assert_eq!(last_ten.direction, Direction::Backward);
/// # Ok::<(), quipu_core::NameError>(())
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ReadStream {
    /// The stream.
    pub stream: StreamName,
    /// The first revision wanted, inclusive: `None` is the stream's first event, or its last one
    /// when reading backward.
    pub from: Option<Revision>,
    /// Which way.
    pub direction: Direction,
    /// The most events wanted; `None` is all.
    pub limit: Option<u64>,
    /// The moment to read at; `None` is now.
    pub as_of: Option<AsOf>,
}

impl ReadStream {
    /// A read of all that the stream shows, forward.
    pub fn new(stream: StreamName) -> Self {
        Self { stream, from: None, direction: Direction::Forward, limit: None, as_of: None }
    }

    /// The same read from `revision` on, inclusive.
    #[must_use]
    pub fn from(mut self, revision: Revision) -> Self {
        self.from = Some(revision);
        self
    }

    /// The same read backward.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// The same read of at most `limit` events.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The same read of the stream as it was.
    #[must_use]
    pub fn as_of(mut self, as_of: AsOf) -> Self {
        self.as_of = Some(as_of);
        self
    }
}

/// A read of the log.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ReadAll {
    /// Which events.
    pub query: Query,
    /// The first place wanted, inclusive: `None` is the log's first, or its last when backward.
    pub from: Option<Position>,
    /// Which way.
    pub direction: Direction,
    /// The most events wanted; `None` is all.
    pub limit: Option<u64>,
    /// The moment to read at; `None` is now.
    pub as_of: Option<AsOf>,
}

impl ReadAll {
    /// A read of every event that matches `query`, forward.
    pub fn new(query: Query) -> Self {
        Self { query, from: None, direction: Direction::Forward, limit: None, as_of: None }
    }

    /// The same read from `position` on, inclusive.
    #[must_use]
    pub fn from(mut self, position: Position) -> Self {
        self.from = Some(position);
        self
    }

    /// The same read backward.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// The same read of at most `limit` events.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The same read of the log as it was.
    #[must_use]
    pub fn as_of(mut self, as_of: AsOf) -> Self {
        self.as_of = Some(as_of);
        self
    }
}

/// What a stream is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every store decides each of them")]
pub enum StreamState {
    /// It has never had an event.
    Absent,
    /// It has events.
    Live {
        /// Its last event's revision.
        last: Revision,
    },
    /// It is soft-deleted: its events are hidden until an append revives it.
    Deleted {
        /// Its last event's revision; `None` where it had only metadata.
        last: Option<Revision>,
    },
    /// It is tombstoned: over, for good.
    Tombstoned {
        /// The tombstone's revision.
        last: Revision,
    },
}

impl StreamState {
    /// The revision of the last event the stream ever got, hidden ones included.
    pub fn last(self) -> Option<Revision> {
        match self {
            Self::Absent => None,
            Self::Live { last } | Self::Tombstoned { last } => Some(last),
            Self::Deleted { last } => last,
        }
    }
}

impl fmt::Display for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no stream"),
            Self::Live { last } => write!(f, "revision {last}"),
            Self::Deleted { last: Some(last) } => write!(f, "soft-deleted at revision {last}"),
            Self::Deleted { last: None } => f.write_str("soft-deleted without events"),
            Self::Tombstoned { last } => write!(f, "tombstoned at revision {last}"),
        }
    }
}

/// Events on their way from the store, a batch at a time.
pub trait Batches: Send {
    /// The next events, or `None` at the end. A batch is never empty. Dropping the future before
    /// it is done loses no events.
    ///
    /// # Errors
    ///
    /// A [`ReadError`] ends the read.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>>;
}

/// A stream, as a read found it.
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct StreamRead {
    /// What the stream was like when the read began. Guard a decision on it with
    /// [`ExpectedRevision::Exactly`](crate::ExpectedRevision::Exactly).
    pub state: StreamState,
    /// The events the stream showed then. None where it is absent, deleted or tombstoned.
    pub batches: Box<dyn Batches>,
}

/// A part of the log, as a read found it.
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct LogRead {
    /// Nothing can later appear at or below this place, and the read returns nothing above it.
    /// The only thing that is valid as a condition's `after`.
    pub frontier: Position,
    /// The events that match.
    pub batches: Box<dyn Batches>,
}

impl fmt::Debug for StreamRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRead").field("state", &self.state).finish_non_exhaustive()
    }
}

impl fmt::Debug for LogRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogRead").field("frontier", &self.frontier).finish_non_exhaustive()
    }
}

/// Gathers all events of a read.
///
/// # Errors
///
/// The [`ReadError`] that ended the read.
pub async fn collect(
    mut batches: Box<dyn Batches>,
) -> Result<Vec<crate::event::RecordedEvent>, ReadError> {
    let mut events = Vec::new();
    while let Some(batch) = batches.next().await? {
        events.extend(batch.iter().map(crate::batch::EventRef::to_recorded));
    }
    Ok(events)
}

/// A term that events are indexed by, with stable ordinals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "every store indexes each of them")]
pub enum Term {
    /// Events whose stream has this category.
    Category(String),
    /// Events of this type.
    Type(EventType),
    /// The first event of every stream: streams in the order they appeared.
    StreamNames,
}

/// A read of one term's events by ordinal: 0 for the first, then 1, 2, … without gaps.
///
/// An ordinal is assigned once, at or below the frontier, and never changes.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ReadIndex {
    /// The term.
    pub term: Term,
    /// The first ordinal wanted, inclusive: `None` is the first, or the last when backward.
    pub from: Option<u64>,
    /// Which way.
    pub direction: Direction,
    /// The most entries wanted. At most 65,536 come in one answer.
    pub limit: u64,
}

/// Entries of a term.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct IndexRead {
    /// Everything at or below this place that has the term has its ordinal.
    pub frontier: Position,
    /// How many entries the term has.
    pub count: u64,
    /// The entries asked for, in the direction asked for.
    pub entries: Vec<IndexEntry>,
    /// The events of the entries that have one, in the order of the entries.
    pub events: EventBatch,
}

/// One entry of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct IndexEntry {
    /// Its place in the term.
    pub ordinal: u64,
    /// The place of its event in the log.
    pub position: Position,
    /// Where its event is in [`IndexRead::events`]; `None` where it was scavenged.
    pub event: Option<usize>,
}

/// Which streams to list.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ListStreams {
    /// Only streams whose name begins with this.
    pub prefix: String,
    /// Only streams of this category.
    pub category: Option<String>,
    /// Only streams after this one in the order of bytes: the last name of the page before.
    pub after: Option<StreamName>,
    /// The most names wanted. At most 65,536 come in one answer.
    pub limit: usize,
}

/// What is known of one stream.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct StreamInfo {
    /// The stream.
    pub stream: StreamName,
    /// What it is like.
    pub state: StreamState,
    /// The first revision a read shows, if it shows any.
    pub first: Option<Revision>,
    /// Its metadata.
    pub metadata: StreamMetadata,
    /// The revision of its metadata: the last one of its metadata stream.
    pub metadata_revision: Option<Revision>,
    /// How many events a read shows.
    pub count: u64,
    /// Bytes of data and metadata in the events a read shows.
    pub size: u64,
}

/// Why a read did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The moment asked for has not come yet. Ask for an earlier one, or wait.
    #[error("the log is at position {frontier}, it cannot be read as of a later moment")]
    AsOfInFuture {
        /// Where the log is.
        frontier: Position,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The store could not read what it holds.
    #[error("the store could not be read")]
    Storage(#[source] StorageError),
}

/// A failure below the contract: of a disk, a database, a network.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StorageError(Box<dyn std::error::Error + Send + Sync>);

impl StorageError {
    /// Wraps what failed.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }

    /// What failed, if it is of this type.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}
