//! Why the index could not answer.

use std::io;
use std::path::{Path, PathBuf};

/// Why the index could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// A run does not hold what was written to it. Its file can be removed and the index rebuilt
    /// from the log.
    #[error("{} is corrupt at byte {offset}: {reason}", file.display())]
    Corrupt {
        /// The run's file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The disk refused. What a failed write leaves behind has a name that ends in `.tmp`.
    #[error("{} could not be read or written", file.display())]
    Io {
        /// The file, or its directory.
        file: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl IndexError {
    pub(super) fn io(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { file, source }
    }
}

pub(super) type Result<T, E = IndexError> = std::result::Result<T, E>;
