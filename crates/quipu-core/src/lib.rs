//! The contract of Quipu: what an event store is, whichever it is.
//!
//! A **log** is a sequence of **events**. Each event is in one **stream**, at a **revision**, and
//! in the log, at a **position**. Events are appended in atomic batches that may demand things of
//! streams ([`ExpectedRevision`]) and of the log ([`AppendCondition`]); they are never changed.
//! They are read by stream, or from the log by [`Query`], as it is or as it was, and subscribed to.
//!
//! [`EventStore`] is the trait; [`MemoryStore`] the shortest store that keeps its promises. The
//! durable ones are in other crates: `quipu-engine` keeps a log in a directory.
//!
//! It is not an engine, it does no I/O, it needs no async runtime, and it never looks into an
//! event's data.
//!
//! ```
//! use quipu_core::{
//!     Append, EventStore, MemoryStore, NewEvent, Query, ReadAll, StreamName, collect,
//! };
//!
//! # futures_lite::future::block_on(async {
//! let store = MemoryStore::new();
//!
//! // Read what the decision rests on, ...
//! let taken: Query = "type:UsernameClaimed tag:username:ada".parse()?;
//! let read = store.read_all(ReadAll::new(taken.clone())).await?;
//! let frontier = read.frontier;
//! assert!(collect(read.batches).await?.is_empty());
//!
//! // ... decide, and append only if that is still so.
//! let claim = NewEvent::json("UsernameClaimed", "{}")?.with_tag("username:ada")?;
//! let append = Append::new()
//!     .event(StreamName::new("user-1")?, claim)
//!     .fail_if(taken.clone(), Some(frontier));
//! store.append(append).await?;
//!
//! let late = NewEvent::json("UsernameClaimed", "{}")?.with_tag("username:ada")?;
//! let late = Append::new()
//!     .event(StreamName::new("user-2")?, late)
//!     .fail_if(taken, Some(frontier));
//! assert!(store.append(late).await.is_err(), "somebody else was first");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

pub mod limits;

mod append;
mod batch;
mod checkpoint;
pub mod decide;
mod event;
mod lease;
mod memory;
mod metadata;
mod name;
mod place;
mod query;
mod read;
mod registry;
mod snapshot;
mod store;
mod subscription;

#[cfg(feature = "contract")]
pub mod contract;

pub use append::{
    Append, AppendCondition, AppendError, Appended, AppendedStream, Change, ExpectedRevision,
    InvalidAppend, Violation,
};
pub use batch::{EventBatch, EventRef, EventSpan, TagIter};
pub use checkpoint::{Checkpoint, CheckpointError, Checkpoints, Lives, SwapCheckpoint};
pub use event::{EventData, EventId, NewEvent, RecordedEvent, Tags};
pub use lease::{Lease, LeaseError, Leases};
pub use memory::MemoryStore;
pub use metadata::{
    METADATA_TYPE, Retention, StreamMetadata, TOMBSTONE_TYPE, TRUNCATE_BEFORE_DELETED,
};
pub use name::{ContentType, EventType, NameError, StreamName, Tag, category};
pub use place::{Position, Revision, Timestamp};
pub use query::{ParseQueryError, Query, QueryItem};
pub use read::{
    AsOf, Batches, Direction, IndexEntry, IndexRead, ListStreams, LogRead, ReadAll, ReadError,
    ReadIndex, ReadStream, StorageError, StreamInfo, StreamRead, StreamState, Term, collect,
};
pub use registry::{
    ComponentKey, ComponentKind, ComponentRequest, ComponentState, ComponentStatus,
    PARKED_ITEMS_MAX, ParkedItem, REQUESTS_MAX, Registry, RegistryError,
};
pub use snapshot::{Snapshot, Snapshots};
pub use store::{BoxFuture, EventStore, Incarnation, LogId, LogIdentity, Rights};
pub use subscription::{Delivery, Subscribe, SubscribeError, SubscribeFrom, Subscription};
