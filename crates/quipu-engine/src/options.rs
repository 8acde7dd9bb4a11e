//! How to open a store, and why it may not open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_core::Rights;

use crate::engine::Engine;
use crate::error::DiskError;
use crate::io::{Io, SystemIo};

/// The smallest segment: 16 KiB.
pub const SEGMENT_SIZE_MIN: u64 = 16 << 10;
/// The largest segment, and the default: 256 MiB.
pub const SEGMENT_SIZE_MAX: u64 = 256 << 20;

/// How to open a store.
///
/// ```
/// use quipu_engine::OpenOptions;
///
/// # let directory = tempfile::tempdir()?;
/// let engine = OpenOptions::new().create(true).name("shop").open(directory.path())?;
/// assert_eq!(engine.recovery().event_count, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) inline: bool,
    pub(crate) segment_size: Option<u64>,
    pub(crate) run_count: u32,
    pub(crate) name: String,
    pub(crate) rights: Rights,
    pub(crate) io: Arc<dyn Io>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            create: false,
            read_only: false,
            inline: false,
            segment_size: None,
            run_count: 16_384,
            name: String::new(),
            rights: Rights::Application,
            io: Arc::new(SystemIo::new()),
        }
    }
}

impl OpenOptions {
    /// Opens an existing store for reading and writing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the directory and the store where they are missing.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Opens for reading only. Any number of such handles may be beside one that writes, in any
    /// process; they follow it.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The bytes of a segment, from [`SEGMENT_SIZE_MIN`] to [`SEGMENT_SIZE_MAX`]; values beyond
    /// are taken as the nearest of the two. A new store remembers it; an existing one uses it for
    /// new segments from now on.
    #[must_use]
    pub fn segment_size(mut self, size: u64) -> Self {
        self.segment_size = Some(size.clamp(SEGMENT_SIZE_MIN, SEGMENT_SIZE_MAX));
        self
    }

    /// How many events the index keeps in memory before it writes a run: 16,384 by default.
    /// Fewer take less memory and more merging. At least 16.
    #[must_use]
    pub fn run_count(mut self, count: u32) -> Self {
        self.run_count = count.max(16);
        self
    }

    /// The name of a new log, for people.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// What the handle may write; [`Rights::Application`] by default.
    #[must_use]
    pub fn rights(mut self, rights: Rights) -> Self {
        self.rights = rights;
        self
    }

    /// The disk, clock and chance to use: the machine's by default.
    #[must_use]
    pub fn io(mut self, io: Arc<dyn Io>) -> Self {
        self.io = io;
        self
    }

    /// Does all work in the threads that call, none in the background: for simulations, where
    /// everything must happen in the same order each time. An append then blocks.
    #[must_use]
    pub fn inline(mut self, inline: bool) -> Self {
        self.inline = inline;
        self
    }

    /// Opens the store in `directory`.
    ///
    /// It takes as long as walking the last segment and indexing at most the last
    /// [`run_count`](Self::run_count) events, whatever the size of the store.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Engine, OpenError> {
        Engine::open(directory.as_ref(), &self)
    }
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such directory. Check the path, or create the store.
    #[error("there is no directory {}", directory.display())]
    Missing {
        /// The directory asked for.
        directory: PathBuf,
    },
    /// The directory holds no store. Check the path; only an empty directory can become one.
    #[error("{} is not a store", directory.display())]
    NotAStore {
        /// The directory asked for.
        directory: PathBuf,
    },
    /// Another handle has the store open for writing. Close it, or open for reading only.
    #[error("{} is open for writing already, by {holder}", directory.display())]
    InUse {
        /// The directory asked for.
        directory: PathBuf,
        /// Who has it, as far as known.
        holder: String,
    },
    /// A newer version wrote the store. Use that version or a later one.
    #[error("{} has format {found}, this version knows {known} and earlier", directory.display())]
    NewerFormat {
        /// The directory asked for.
        directory: PathBuf,
        /// The store's format.
        found: u32,
        /// The latest format this version knows.
        known: u32,
    },
    /// The disk does not hold what was acknowledged, or refused to be read or written.
    #[error("the store could not be opened")]
    Disk(#[from] DiskError),
}
