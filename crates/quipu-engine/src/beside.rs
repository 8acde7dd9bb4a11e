//! What is kept beside the log: snapshots, checkpoints, leases and the registry.
//!
//! The first three are rows of one small database file, `side.redb`, which is made with the first
//! write and opened with the first use. The registry is a directory of small files, so that every
//! process that has the store open can leave requests in it.
//!
//! ```text
//! beside/
//!   side.redb       snapshots, checkpoints, leases
//!   side.redb.new   a file that was being made when the process ended; replaced
//!   registry/       see `registry.rs`
//! ```
//!
//! One thread does all of it, one thing at a time, so that callers on an async runtime never wait
//! for a disk and changes that are asked for at the same time share one sync.
//!
//! # Beside a writer
//!
//! The database file belongs to the process that writes. One that opened the store for reading
//! only never touches it: it reads checkpoints and leases from a copy that it makes in memory,
//! and finds no snapshots, which are caches. See `copy.rs`.
//!
//! # Invariants
//!
//! - What was answered with `Ok` is synced.
//! - After a failed sync nothing is written any more until the store is opened again: the system
//!   may have dropped what it could not write. A full disk is no such failure; writing goes on
//!   when space is back.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quipu_core::{Checkpoints, Leases, Lives, LogId, Position, Registry, Snapshots, StorageError};

use crate::io::Io;

mod backend;
mod checkpoints;
mod copy;
mod encoding;
mod error;
mod export;
mod leases;
mod registry;
mod side_store;
mod snapshots;
mod tables;
#[cfg(test)]
mod tests;

pub(crate) use error::BesideError;

use registry::RegistryFiles;
pub(crate) use side_store::FILE_NAME;
use side_store::SideStore;

/// Keeps what belongs to a log but is not in it.
///
/// Dropping it closes the file. Whoever holds the store's lock must drop this first.
pub(crate) struct Beside {
    side: SideStore,
    context: Context,
    registry: RegistryFiles,
}

/// What a [`Beside`] needs to know of the store it belongs to.
pub(crate) struct BesideOptions {
    /// The disk and the clock.
    pub(crate) io: Arc<dyn Io>,
    /// The directory. It is made when there is something to keep.
    pub(crate) dir: PathBuf,
    /// Whether this process is the one that writes.
    pub(crate) access: Access,
    /// The log.
    pub(crate) log: LogId,
    /// Its lives.
    pub(crate) lives: Lives,
    /// Says where the log is; asked whenever a position is checked.
    pub(crate) frontier: Frontier,
}

/// Says where the log is.
pub(crate) type Frontier = Arc<dyn Fn() -> Position + Send + Sync>;

/// Whether a process may change what is beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It holds the store's lock.
    Writable,
    /// Another may hold it.
    ReadOnly,
}

impl Beside {
    /// Gets ready to keep things. Nothing is read or made yet.
    pub(crate) fn open(options: BesideOptions) -> Self {
        let BesideOptions { io, dir, access, log, lives, frontier } = options;
        let registry = RegistryFiles::new(Arc::clone(&io), dir.join("registry"));
        let context =
            Context { io: Arc::clone(&io), access, life: Arc::new(Life { log, lives, frontier }) };
        Self { side: SideStore::new(io, dir, access), context, registry }
    }

    /// Snapshots.
    pub(crate) fn snapshots(&self) -> &dyn Snapshots {
        self
    }

    /// Checkpoints.
    pub(crate) fn checkpoints(&self) -> &dyn Checkpoints {
        self
    }

    /// Leases.
    pub(crate) fn leases(&self) -> &dyn Leases {
        self
    }

    /// The registry.
    pub(crate) fn registry(&self) -> &dyn Registry {
        self
    }

    /// All snapshots, checkpoints and leases as bytes, for a backup. What the registry says is of
    /// processes that run and is left out.
    ///
    /// # Errors
    ///
    /// - [`Corrupt`](BesideError::Corrupt) if a checkpoint or a lease fails its checksum. Snapshots
    ///   that do are left out.
    /// - Others, if the database cannot be read.
    pub(crate) async fn export(&self) -> Result<Bytes, BesideError> {
        self.side.read(export::export).await
    }

    /// Puts exported rows in the place of those that have the same names; an epoch that is higher
    /// here stays. All of them or none; on `Ok` they are durable.
    ///
    /// # Errors
    ///
    /// - [`InvalidExport`](BesideError::InvalidExport) if the bytes are not what
    ///   [`export`](Self::export) gave.
    /// - [`ReadOnly`](BesideError::ReadOnly) if another process may be writing.
    /// - Others, if the database cannot be written.
    pub(crate) async fn import(&self, exported: &[u8]) -> Result<(), BesideError> {
        let rows = export::parse(exported)?;
        self.side.write(move |transaction| export::import(transaction, &rows)).await
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside").field("access", &self.context.access).finish_non_exhaustive()
    }
}

impl fmt::Debug for BesideOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BesideOptions").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// What every kind of row is judged by.
#[derive(Clone)]
struct Context {
    io: Arc<dyn Io>,
    access: Access,
    life: Arc<Life>,
}

/// Which log this is, in which life, and how long it is.
struct Life {
    log: LogId,
    lives: Lives,
    frontier: Frontier,
}

impl Context {
    fn is_writable(&self) -> bool {
        self.access == Access::Writable
    }
}

const NAME_SIZE_MAX: usize = 255;

fn is_name(name: &str) -> bool {
    (1..=NAME_SIZE_MAX).contains(&name.len())
}

impl From<BesideError> for StorageError {
    fn from(error: BesideError) -> Self {
        Self::new(error)
    }
}
