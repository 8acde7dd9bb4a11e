//! What work on a store can fail with.

use quipu_core::StorageError;

use super::{ContractError, meaning};
use crate::proto::{self, ErrorCode};

/// Why work on the store behind a server was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The server cannot do this. Serve a directory; for backups, with `--backup-dir`.
    #[error("{what}")]
    Unsupported {
        /// What it lacks.
        what: String,
    },
    /// The backup's name is not valid. Use one of 1 to 64 letters, digits, `-`, `_` and dots.
    #[error("{name:?} cannot be the name of a backup")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// There is a backup of this name. Use another one.
    #[error("there is a backup {name:?} already")]
    Exists {
        /// The name.
        name: String,
    },
    /// The credentials cannot be changed like that.
    #[error("{reason}")]
    Credentials {
        /// Why.
        reason: String,
    },
    /// Another task is under way. Wait for it.
    #[error("another task is under way")]
    Busy,
    /// The disk is full. Make some space.
    #[error("the disk is full")]
    DiskFull,
    /// The store is closed, or the server stops. Try again when it is back.
    #[error("the store is closed")]
    Closed,
    /// The store failed, or the server could not be asked, or refused.
    #[error("the task failed")]
    Storage(#[source] StorageError),
}

impl TaskError {
    pub(super) const fn code(&self) -> ErrorCode {
        match self {
            Self::Unsupported { .. } => ErrorCode::TaskUnsupported,
            Self::InvalidName { .. } => ErrorCode::BackupInvalidName,
            Self::Exists { .. } => ErrorCode::BackupExists,
            Self::Credentials { .. } => ErrorCode::CredentialsInvalid,
            Self::Busy => ErrorCode::TaskBusy,
            Self::DiskFull => ErrorCode::DiskFull,
            Self::Closed => ErrorCode::Closed,
            Self::Storage(_) => ErrorCode::Storage,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        meaning(self.code()).hint
    }
}

impl ContractError for TaskError {
    fn known(error: &proto::Error) -> Option<Self> {
        let name = || error.name.clone();
        match error.code() {
            ErrorCode::TaskUnsupported => Some(Self::Unsupported { what: error.message.clone() }),
            ErrorCode::BackupInvalidName => Some(Self::InvalidName { name: name() }),
            ErrorCode::BackupExists => Some(Self::Exists { name: name() }),
            ErrorCode::CredentialsInvalid => {
                Some(Self::Credentials { reason: error.message.clone() })
            }
            ErrorCode::TaskBusy => Some(Self::Busy),
            ErrorCode::DiskFull => Some(Self::DiskFull),
            ErrorCode::Closed | ErrorCode::Stopping => Some(Self::Closed),
            _ => None,
        }
    }

    fn storage(cause: StorageError) -> Self {
        Self::Storage(cause)
    }
}
