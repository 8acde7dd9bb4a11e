//! The trait that every store is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use uuid::Uuid;

use crate::append::{Append, AppendError, Appended, Change, ExpectedRevision};
use crate::checkpoint::Checkpoints;
use crate::event::EventId;
use crate::lease::Leases;
use crate::name::StreamName;
use crate::place::{Position, Timestamp};
use crate::read::{
    IndexRead, ListStreams, LogRead, ReadAll, ReadError, ReadIndex, ReadStream, StreamInfo,
    StreamRead,
};
use crate::registry::Registry;
use crate::snapshot::Snapshots;
use crate::subscription::{Subscribe, SubscribeError, Subscription};

/// A future in a box, so that the traits are object safe. It needs no particular runtime.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which log this is. Two logs never have the same id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(Uuid);

impl LogId {
    /// The id of a new log.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id that is this UUID.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id as a UUID.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Which life of a log this is: 1, and one more with every restore or failover.
///
/// Two lives share the log up to the place where the later one began, and may differ after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// A log's first life.
    pub const FIRST: Self = Self(1);

    /// The life with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The life as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which log a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct LogIdentity {
    /// The log.
    pub log: LogId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Its name, for people.
    pub name: String,
}

/// Whether a handle may write names that the store reserves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stores decide each of them")]
pub enum Rights {
    /// Names that begin with `$` are refused, but for `$quipu.` ones.
    #[default]
    Application,
    /// Every name may be written.
    System,
}

/// One log: append to it, read it, subscribe to it.
///
/// Every store keeps the same promises; the contract suite (feature `contract`) holds them to it.
///
/// - **Durable before visible before acknowledged.** What `append` acknowledged survives a crash;
///   what a reader saw survives one too.
/// - An append is atomic, and its demands are decided against the log exactly as it is where the
///   append takes its place.
/// - An acknowledged event is never changed and never moves.
///
/// The futures need no runtime. Unless a method says otherwise, dropping one before it is done has
/// no effect on the store; a dropped append may or may not happen, like any
/// [`AppendError::OutcomeUnknown`].
///
/// ```
/// use quipu_core::{Append, EventStore, ExpectedRevision, MemoryStore, NewEvent, StreamName};
///
/// # futures_lite::future::block_on(async {
/// let store = MemoryStore::new();
/// let order = StreamName::new("order-1")?;
/// let placed = NewEvent::json("OrderPlaced", r#"{"total_cents":1200}"#)?;
///
/// let append = Append::to_stream(order, ExpectedRevision::NoStream, [placed]);
/// let appended = store.append(append.clone()).await?;
/// let again = store.append(append).await?;
///
/// assert!(again.replayed, "the same ids are the same events");
/// assert_eq!(again.last, appended.last);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub trait EventStore: Send + Sync {
    /// Which log this is.
    fn identity(&self) -> LogIdentity;

    /// Makes one change, whichever it is. The other methods that change the log are this one.
    ///
    /// On `Ok` the change is durable, and every read of the stream that starts later sees it.
    ///
    /// # Errors
    ///
    /// See [`AppendError`]; only [`OutcomeUnknown`](AppendError::OutcomeUnknown) leaves it open
    /// whether the change was made.
    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>>;

    /// Appends one atomic batch of events, if all its demands hold.
    ///
    /// An append whose ids are in the log already, at the place it asks for, is answered with the
    /// original positions and marked [`replayed`](Appended::replayed): retrying is safe.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.change(Change::Append(append))
    }

    /// Soft-deletes a stream: reads of it show nothing until a later append revives it.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change); a stream that never existed is a conflict, whatever is expected.
    fn delete(
        &self,
        stream: StreamName,
        expected: ExpectedRevision,
    ) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.change(Change::Delete { stream, expected, id: EventId::generate() })
    }

    /// Ends a stream for good: nothing can be appended to it again, not even after scavenging.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    fn tombstone(
        &self,
        stream: StreamName,
        expected: ExpectedRevision,
    ) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.change(Change::Tombstone { stream, expected, id: EventId::generate() })
    }

    /// Replaces a stream's metadata. `expected` is of its metadata stream.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    fn set_metadata(
        &self,
        stream: StreamName,
        expected: ExpectedRevision,
        metadata: Bytes,
    ) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.change(Change::SetMetadata { stream, expected, id: EventId::generate(), metadata })
    }

    /// Reads one stream. Every acknowledged append is seen; retention hides what it hides.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>>;

    /// Reads the events of the log that match a query, up to the frontier.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>>;

    /// Reads a term's events by ordinal.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>>;

    /// The place up to which the log is settled: nothing can later appear at or below it.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>>;

    /// The place before the first event recorded after `time`.
    ///
    /// # Errors
    ///
    /// [`ReadError::AsOfInFuture`] if `time` is later than the store's clock.
    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>>;

    /// Waits until log reads see everything up to `position`. At once in the engine.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn wait_visible(&self, position: Position) -> BoxFuture<'_, Result<(), ReadError>>;

    /// Lists streams that ever had an event, in the order of the bytes of their names. Reserved,
    /// deleted and tombstoned streams are among them.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>>;

    /// What is known of one stream, whether or not it exists.
    ///
    /// Counting its size takes as long as reading it.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>>;

    /// Begins a subscription: one ordered sequence, without gaps or duplicates, from the place
    /// asked for on, across the hand-over from history to what comes.
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>>;

    /// Snapshots: states that were computed from events, kept so that replay is short.
    fn snapshots(&self) -> &dyn Snapshots;

    /// Checkpoints: how far consumers have come.
    fn checkpoints(&self) -> &dyn Checkpoints;

    /// Leases: who does what only one may do.
    fn leases(&self) -> &dyn Leases;

    /// The registry: what runs, how it is, and what it is asked to do.
    fn registry(&self) -> &dyn Registry;
}
