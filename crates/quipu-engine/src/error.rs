//! What can go wrong below the contract.

use std::io;
use std::path::{Path, PathBuf};

use quipu_core::StorageError;

use crate::format::Corrupt;
use crate::index::IndexError;

/// A disk did not do what it was asked, or does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Bytes on disk are damaged. Run `quipu verify`; restore a backup.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The system refused an operation.
    #[error("could not {operation} {}", path.display())]
    Io {
        /// What was attempted: "open", "sync", ...
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DiskError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Corrupt { file: path.to_owned(), offset, reason: reason.into() }.into()
    }

    /// Whether the disk has no space left.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_disk_full(source),
            Self::Corrupt(_) => false,
        }
    }
}

/// Whether the disk, or a quota on it, has no space left.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl From<IndexError> for DiskError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Corrupt { file, offset, reason } => Self::corrupt(&file, offset, reason),
            IndexError::Io { file, source } => Self::io("read or write", &file)(source),
        }
    }
}

impl From<DiskError> for StorageError {
    fn from(error: DiskError) -> Self {
        Self::new(error)
    }
}
