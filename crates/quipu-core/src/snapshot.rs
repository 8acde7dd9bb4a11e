//! Snapshots: states computed from events. Caches: any of them may be lost.

use bytes::Bytes;

use crate::place::Position;
use crate::read::StorageError;
use crate::store::BoxFuture;

/// A state at a place of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers and stores build it")]
pub struct Snapshot {
    /// The last event that went into the state.
    pub position: Position,
    /// The state, opaque to the store.
    pub data: Bytes,
}

/// Where snapshots are kept.
pub trait Snapshots: Send + Sync {
    /// The latest snapshot under `key` at or before `at`. Bytes that fail their checksum are a miss.
    ///
    /// # Errors
    ///
    /// A [`StorageError`]; go on without a snapshot.
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Position,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, StorageError>>;

    /// Keeps a snapshot under `key`, in place of one at the same position.
    ///
    /// # Errors
    ///
    /// A [`StorageError`]; nothing depends on it.
    fn put<'a>(
        &'a self,
        key: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<(), StorageError>>;

    /// Forgets all but the newest `keep` snapshots under `key`; answers how many went.
    ///
    /// # Errors
    ///
    /// A [`StorageError`].
    fn prune<'a>(&'a self, key: &'a str, keep: usize)
    -> BoxFuture<'a, Result<usize, StorageError>>;
}
