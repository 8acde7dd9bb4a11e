//! What an append asks for, what it answers, and why it is refused.

use bytes::Bytes;

use crate::event::{EventId, NewEvent};
use crate::name::StreamName;
use crate::place::{Position, Revision, Timestamp};
use crate::query::Query;
use crate::read::{StorageError, StreamState};

/// What an append demands of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "every store decides each of them")]
pub enum ExpectedRevision {
    /// Nothing. Written out, since an append without a check is rarely meant.
    Any,
    /// The stream has no events, or was soft-deleted.
    NoStream,
    /// The stream has events or metadata, and is not deleted.
    StreamExists,
    /// The stream's last event has this revision.
    Exactly(Revision),
    /// The stream is soft-deleted.
    Deleted,
    /// The stream is tombstoned. A check only: nothing can be written to such a stream.
    Tombstoned,
}

/// What an append demands of the log: no event after `after` matches `query`.
///
/// Read with a query, decide, then append with the same query and the frontier that the read
/// answered: the append then fails if anything the decision rests on has changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct AppendCondition {
    /// What must not have happened.
    pub query: Query,
    /// Events at or before this place do not count. It must be a frontier that a read answered;
    /// `None` means that the whole log counts.
    pub after: Option<Position>,
}

/// One atomic batch of events with all that must hold for it.
///
/// All demands hold and all events are appended in the order given, or nothing is.
///
/// ```
/// use quipu_core::{Append, ExpectedRevision, NewEvent, StreamName};
///
/// let order = StreamName::new("order-1")?;
/// let placed = NewEvent::json("OrderPlaced", "{}")?;
/// let append = Append::to_stream(order, ExpectedRevision::NoStream, [placed]);
/// assert_eq!(append.events.len(), 1);
/// # Ok::<(), quipu_core::NameError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Append {
    /// The events and their streams, in the order the log gets them. None: only check.
    pub events: Vec<(StreamName, NewEvent)>,
    /// What streams must be like, also streams that nothing is written to. Each stream at most
    /// once; a stream that is not here may be anything.
    pub expectations: Vec<(StreamName, ExpectedRevision)>,
    /// What must not have happened in the log.
    pub conditions: Vec<AppendCondition>,
}

impl Append {
    /// An append that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Events for one stream that must be as expected.
    pub fn to_stream(
        stream: StreamName,
        expected: ExpectedRevision,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        let events = events.into_iter().map(|event| (stream.clone(), event)).collect();
        Self { events, expectations: vec![(stream, expected)], conditions: Vec::new() }
    }

    /// The same append with one more event.
    #[must_use]
    pub fn event(mut self, stream: StreamName, event: NewEvent) -> Self {
        self.events.push((stream, event));
        self
    }

    /// The same append with one more demand of a stream.
    #[must_use]
    pub fn expect(mut self, stream: StreamName, expected: ExpectedRevision) -> Self {
        self.expectations.push((stream, expected));
        self
    }

    /// The same append with one more demand of the log.
    #[must_use]
    pub fn fail_if(mut self, query: Query, after: Option<Position>) -> Self {
        self.conditions.push(AppendCondition { query, after });
        self
    }

    /// The bytes of data and metadata in all events.
    pub fn size(&self) -> usize {
        self.events.iter().map(|(_, event)| event.size()).sum()
    }

    /// What is demanded of `stream`.
    pub fn expectation(&self, stream: &StreamName) -> ExpectedRevision {
        let own = self.expectations.iter().find(|(name, _)| name == stream);
        own.map_or(ExpectedRevision::Any, |(_, expected)| *expected)
    }
}

/// Everything that changes a log. All of it goes the way of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every store decides each of them")]
pub enum Change {
    /// Append events.
    Append(Append),
    /// Soft-delete a stream: its events are hidden, a later append revives it.
    Delete {
        /// The stream to hide.
        stream: StreamName,
        /// What the stream must be like.
        expected: ExpectedRevision,
        /// The id of the event that records it; a retry gives the same one.
        id: EventId,
    },
    /// Tombstone a stream: nothing can ever be appended to it again.
    Tombstone {
        /// The stream to end.
        stream: StreamName,
        /// What the stream must be like.
        expected: ExpectedRevision,
        /// The id of the event that records it; a retry gives the same one.
        id: EventId,
    },
    /// Replace a stream's metadata.
    SetMetadata {
        /// The stream whose metadata it is.
        stream: StreamName,
        /// What the stream's **metadata stream** must be like.
        expected: ExpectedRevision,
        /// The id of the event that records it; a retry gives the same one.
        id: EventId,
        /// The metadata: a JSON object, see [`StreamMetadata`](crate::StreamMetadata).
        metadata: Bytes,
    },
}

impl From<Append> for Change {
    fn from(append: Append) -> Self {
        Self::Append(append)
    }
}

/// Where an append's events are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct Appended {
    /// For each stream written to, in the order of first mention: its last event of the append.
    pub streams: Vec<AppendedStream>,
    /// The first event's place, or `None` where the append had no events.
    pub first: Option<Position>,
    /// The last event's place, or `None` where the append had no events.
    pub last: Option<Position>,
    /// Whether the events were in the log already, from an earlier attempt with the same ids.
    pub replayed: bool,
    /// How many events' `recorded_at` was raised to that of the event before them.
    pub clamped_count: usize,
}

/// The last event that an append wrote to one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct AppendedStream {
    /// The stream.
    pub stream: StreamName,
    /// The last event's place in the log.
    pub position: Position,
    /// The last event's place in the stream.
    pub revision: Revision,
}

/// A demand that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an append demands things of streams and of the log")]
pub enum Violation {
    /// A stream is not as expected, cannot be written to, or has some of the append's event ids
    /// but not all of them.
    Stream {
        /// The stream.
        stream: StreamName,
        /// What was expected of it.
        expected: ExpectedRevision,
        /// What it is like.
        found: StreamState,
    },
    /// An event matches an append condition.
    Query {
        /// Which of the append's conditions, counted from 0.
        index: usize,
        /// The first event after the condition's `after` that matches.
        position: Position,
    },
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream {
                stream,
                expected: ExpectedRevision::Any,
                found: found @ (StreamState::Live { .. } | StreamState::Deleted { .. }),
            }
            | Self::Stream {
                stream,
                expected: ExpectedRevision::StreamExists,
                found: found @ StreamState::Live { .. },
            } => write!(
                f,
                "stream \"{stream}\": some of the event ids are there already and others are \
                 not, found {found}"
            ),
            Self::Stream { stream, expected, found } => {
                write!(f, "stream \"{stream}\": expected {expected}, found {found}")
            }
            Self::Query { index, position } => {
                write!(f, "condition {index}: the event at position {position} matches")
            }
        }
    }
}

impl std::fmt::Display for ExpectedRevision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::NoStream => f.write_str("no stream"),
            Self::StreamExists => f.write_str("an existing stream"),
            Self::Exactly(revision) => write!(f, "revision {revision}"),
            Self::Deleted => f.write_str("a soft-deleted stream"),
            Self::Tombstoned => f.write_str("a tombstoned stream"),
        }
    }
}

/// Why an append, a delete or a change of metadata did not succeed.
///
/// Every variant but [`OutcomeUnknown`](Self::OutcomeUnknown) promises that nothing was appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A demand does not hold. Read again, decide again, then append again.
    #[error("{}", list_violations(violations))]
    Conflict {
        /// Every demand that does not hold: streams in the order of mention, then conditions.
        violations: Vec<Violation>,
    },
    /// The append itself is wrong and will never succeed.
    #[error("the append is not valid")]
    Invalid(#[source] InvalidAppend),
    /// More appends wait than the store queues. Try again after the ones under way are answered.
    #[error("the store has too many appends under way")]
    Overloaded,
    /// The disk is full. Reads go on; appends succeed again once there is space.
    #[error("the disk is full")]
    DiskFull,
    /// The store was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store is closed, or stopped after a failure. Open it again.
    #[error("the store is closed")]
    Closed,
    /// The store stopped before it knew whether the events are durable. Retry with the same ids:
    /// what was appended is found and not appended twice.
    #[error("the outcome of the append is not known")]
    OutcomeUnknown(#[source] StorageError),
    /// The store could not check the append's demands.
    #[error("the store failed before it appended anything")]
    Storage(#[source] StorageError),
}

impl AppendError {
    /// The demands that do not hold, if that is why the append failed.
    pub fn violations(&self) -> Option<&[Violation]> {
        if let Self::Conflict { violations } = self { Some(violations) } else { None }
    }
}

fn list_violations(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What is wrong with an append, whatever the log holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAppend {
    /// An event is over [`EVENT_SIZE_MAX`](crate::limits::EVENT_SIZE_MAX) bytes. Split it, or keep
    /// the large part elsewhere and refer to it.
    #[error("event {index} has {size} bytes of data and metadata, at most {size_max} are allowed")]
    EventTooLarge {
        /// Which event, counted from 0.
        index: usize,
        /// Its bytes.
        size: usize,
        /// The most allowed.
        size_max: usize,
    },
    /// The append is over [`APPEND_SIZE_MAX`](crate::limits::APPEND_SIZE_MAX) bytes.
    #[error("the append has {size} bytes of data and metadata, at most {size_max} are allowed")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// The most allowed.
        size_max: usize,
    },
    /// The append has more than [`APPEND_COUNT_MAX`](crate::limits::APPEND_COUNT_MAX) events.
    #[error("the append has {count} events, at most {count_max} are allowed")]
    TooManyEvents {
        /// Its events.
        count: usize,
        /// The most allowed.
        count_max: usize,
    },
    /// An event has more than [`TAG_COUNT_MAX`](crate::limits::TAG_COUNT_MAX) tags.
    #[error("event {index} has {count} tags, at most {count_max} are allowed")]
    TooManyTags {
        /// Which event, counted from 0.
        index: usize,
        /// Its tags.
        count: usize,
        /// The most allowed.
        count_max: usize,
    },
    /// A name begins with `$`: it is the store's own and takes system rights to write.
    #[error("the name \"{name}\" is reserved")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A metadata stream has no metadata, and is neither deleted nor tombstoned.
    #[error("\"{stream}\" holds the metadata of another stream and has none of its own")]
    MetadataStream {
        /// The stream.
        stream: StreamName,
    },
    /// A stream's name is too long to have metadata beside it.
    #[error("the name \"{stream}\" is too long to have a metadata stream")]
    NameTooLong {
        /// The stream.
        stream: StreamName,
    },
    /// A stream is in the list of expectations twice.
    #[error("the stream \"{stream}\" has two expectations")]
    TwoExpectations {
        /// The stream.
        stream: StreamName,
    },
    /// An event claims to be recorded later than now by the store's clock.
    #[error("event {index} claims to be recorded in the future, at {} µs", recorded_at.as_micros())]
    RecordedInFuture {
        /// Which event, counted from 0.
        index: usize,
        /// What it claims.
        recorded_at: Timestamp,
    },
    /// A condition's `after` is beyond the frontier: no read answered it.
    #[error("condition {index} is after position {after}, beyond the frontier {frontier}")]
    AfterBeyondFrontier {
        /// Which condition, counted from 0.
        index: usize,
        /// What it says.
        after: Position,
        /// The frontier.
        frontier: Position,
    },
    /// Stream metadata is not a JSON object, or a known key has a value of the wrong kind.
    #[error("the metadata is not a JSON object with valid values")]
    MalformedMetadata,
}
