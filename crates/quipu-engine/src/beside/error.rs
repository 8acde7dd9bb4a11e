//! What can go wrong beside the log.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why something beside the log was not read or kept.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum BesideError {
    /// The system refused an operation on a file.
    #[error("could not {operation} {}", path.display())]
    Io {
        /// What was attempted: "create", "sync", ...
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The database of snapshots, checkpoints and leases could not be read or written. Its cause
    /// says why.
    #[error("the side database could not be read or written")]
    Database(#[source] Arc<dyn Error + Send + Sync>),
    /// A write or a sync failed earlier, so that nobody knows what the disk holds. Open the store
    /// again.
    #[error("the side database is closed since a write to it failed")]
    Closed(#[source] Box<Self>),
    /// Bytes on disk are damaged. Restore a backup; or, if the checkpoints and leases in it may
    /// go, remove the file while no process has the store open.
    #[error("{what} is corrupt")]
    Corrupt {
        /// What is damaged.
        what: String,
    },
    /// Another process may be writing.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The writer changed the database each time it was copied. Try again.
    #[error("the side database changed while it was copied")]
    Busy,
    /// The database is too large to be copied beside a writer. Ask the writer.
    #[error("the side database has {size} bytes, too many to copy")]
    TooLarge {
        /// Its bytes.
        size: u64,
    },
    /// The bytes are no export, of a format that this version does not know, or damaged.
    #[error("the bytes are not an export: {reason}")]
    InvalidExport {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// The thread that keeps what is beside the log has ended. Open the store again.
    #[error("what is beside the log is not kept any more")]
    Ended,
}

impl BesideError {
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(super) fn database(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Corrupted(reason) => {
                Self::Corrupt { what: format!("the side database ({reason})") }
            }
            other => Self::Database(Arc::new(other)),
        }
    }

    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}
