//! Backup and restore: a store from a store.
//!
//! A backup copies what never changes: the bytes of segments that are durable, each checked on the
//! way, and the runs of the index. It needs no pause and takes nothing from the writer but disk
//! bandwidth. The manifest is written last, so a backup that was cut off is not a store.
//!
//! A restore does the same with a store that nobody writes to, in a directory beside the one asked
//! for that gets its name at the end, and begins a new life of the log: what was appended after the
//! backup was taken is gone, and whoever remembers it must be told.

mod copy;
mod side;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_core::{LogIdentity, Position, StorageError};

use crate::engine::Engine;
use crate::error::DiskError;
use crate::format::manifest::Manifest;
use crate::format::{Corrupt, FORMAT_VERSION};
use crate::index::{Origin, Run, RunHeader};
use crate::io::{Io, SystemIo};
use crate::layout::Layout;
use crate::manifest::{Found, ManifestFile};
use crate::progress::{Progress, Wish};
use crate::recovery::{self, Access};
use copy::{Copied, Copier, Source};

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackedUp {
    /// The position of the last event in it.
    pub frontier: Position,
    /// How many segments it has.
    pub segment_count: u64,
    /// Bytes of its segments and of its index.
    pub size: u64,
}

/// Why there is no backup. What was copied stays behind and is not a store: remove it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The directory for the backup has something in it. Name one that is empty or missing.
    #[error("{} is not empty", directory.display())]
    NotEmpty {
        /// The directory asked for.
        directory: PathBuf,
    },
    /// The store is damaged, so a backup of it would be too. Keep the last one that is whole.
    #[error(transparent)]
    Damaged(Corrupt),
    /// The disk refused to be read or written. Try again, elsewhere if it was full.
    #[error("the backup could not be written")]
    Disk(#[source] DiskError),
    /// What is kept beside the log could not be copied.
    #[error("what is beside the log could not be copied")]
    Beside(#[source] StorageError),
    /// Whoever watched the progress wanted no more.
    #[error("the backup was cancelled")]
    Cancelled,
}

/// What a restore made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The log, with the incarnation that begins here.
    pub identity: LogIdentity,
    /// The position of the last event.
    pub frontier: Position,
    /// How many segments there are.
    pub segment_count: u64,
    /// Bytes of the segments and of the index.
    pub size: u64,
}

/// Why nothing was restored. The directory asked for is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The directory to restore to has something in it. Name one that is empty or missing.
    #[error("{} is not empty", directory.display())]
    NotEmpty {
        /// The directory asked for.
        directory: PathBuf,
    },
    /// There is no store to restore from. A backup that was cut off is none.
    #[error("{} is not a store", directory.display())]
    NotAStore {
        /// The directory given.
        directory: PathBuf,
    },
    /// A newer version wrote the backup. Restore it with that version or a later one.
    #[error("{} has format {found}, this version knows {known} and earlier", directory.display())]
    NewerFormat {
        /// The directory given.
        directory: PathBuf,
        /// The format of the backup.
        found: u32,
        /// The latest format this version knows.
        known: u32,
    },
    /// The backup is damaged. Use another one.
    #[error(transparent)]
    Damaged(Corrupt),
    /// The disk refused to be read or written.
    #[error("the store could not be restored")]
    Disk(#[source] DiskError),
    /// What is kept beside the log could not be copied.
    #[error("what is beside the log could not be copied")]
    Beside(#[source] StorageError),
}

impl From<DiskError> for BackupError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Corrupt(corrupt) => Self::Damaged(corrupt),
            error @ DiskError::Io { .. } => Self::Disk(error),
        }
    }
}

impl From<DiskError> for RestoreError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Corrupt(corrupt) => Self::Damaged(corrupt),
            error @ DiskError::Io { .. } => Self::Disk(error),
        }
    }
}

impl Engine {
    /// Copies the store to the directory `dest`, which must be empty or missing, while it is read
    /// and written.
    ///
    /// The backup holds every event that was acknowledged before the call, and is itself a store: it
    /// opens for reading, and [`restore`] makes one to write to. When this returns it is durable.
    /// Every checksum is compared on the way. Snapshots, checkpoints and leases are part of it,
    /// the registry of running components is not.
    ///
    /// It works from a handle that is open for reading only, too, beside a writer elsewhere.
    ///
    /// # Errors
    ///
    /// See [`BackupError`].
    pub fn backup<W: Wish>(
        &self,
        dest: impl AsRef<Path>,
        progress: &mut dyn FnMut(Progress) -> W,
    ) -> Result<BackedUp, BackupError> {
        let dest = dest.as_ref();
        let log = self.log();
        if !is_vacant(&*log.io, dest)? {
            return Err(BackupError::NotEmpty { directory: dest.to_owned() });
        }
        // What is beside the log comes first: it must not know positions that the copy has not.
        let beside = side::export(self.beside()).map_err(BackupError::Beside)?;
        if let Some(follower) = &log.follower {
            // Runs that the writer made meanwhile save time later, and nothing else.
            let _fewer = follower.refresh(log);
        }
        let frontier = log.frontier();
        let manifest = log.manifest().get().clone();
        let mut runs = log.index.runs();
        runs.retain(|run| run.name().last <= frontier);
        let source = Source { manifest, segments: log.segments(), runs };
        let mut is_cancelled = false;
        let mut watch = |own| {
            let flow = progress(own).flow();
            is_cancelled |= flow.is_break();
            flow
        };
        let copied = match Copier::new(Arc::clone(&log.io), dest, &mut watch).copy(source) {
            Err(_) if is_cancelled => return Err(BackupError::Cancelled),
            copied => copied?,
        };
        side::import(&log.io, dest, &copied.manifest, &beside).map_err(BackupError::Beside)?;
        let Copied { manifest, segment_count, size } = copied;
        let frontier = Position::new(manifest.floor.position);
        write_manifest(&log.io, dest, manifest)?;
        Ok(BackedUp { frontier, segment_count, size })
    }
}

/// Makes a store in `dest`, which must be empty or missing, from the backup in `source`.
///
/// Every batch and record of the backup is checked on the way. The store has the same log in a new
/// life: its incarnation is one more, so that checkpoints beyond what the backup holds are refused.
/// When this returns the store is durable; until then `dest` is as it was.
///
/// # Errors
///
/// See [`RestoreError`].
pub fn restore(
    source: impl AsRef<Path>,
    dest: impl AsRef<Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    restore_with(Arc::new(SystemIo::new()), source, dest, progress)
}

/// Does what [`restore`] does on another disk: for simulations.
///
/// # Errors
///
/// See [`RestoreError`].
#[expect(
    clippy::needless_pass_by_value,
    reason = "a disk of a known type becomes any by value only"
)]
pub fn restore_with(
    io: Arc<dyn Io>,
    source: impl AsRef<Path>,
    dest: impl AsRef<Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    let (directory, dest) = (source.as_ref(), dest.as_ref());
    if !is_vacant(&*io, dest)? {
        return Err(RestoreError::NotEmpty { directory: dest.to_owned() });
    }
    let source = open_source(&io, directory)?;
    let backup = source.manifest.clone();
    let temporary = temporary_for(dest);
    clear(&*io, &temporary)?;
    let mut watch = |own| {
        progress(own);
        ControlFlow::Continue(())
    };
    let Copied { mut manifest, segment_count, size } =
        Copier::new(Arc::clone(&io), &temporary, &mut watch).copy(source)?;
    let frontier = Position::new(manifest.floor.position);
    manifest.lives.begin(frontier);
    side::carry(&io, (directory, &backup), (&temporary, &manifest))
        .map_err(RestoreError::Beside)?;
    let identity = LogIdentity {
        log: manifest.log,
        incarnation: manifest.lives.current(),
        name: manifest.name.clone(),
    };
    write_manifest(&io, &temporary, manifest)?;
    io.rename(&temporary, dest).map_err(DiskError::io("rename", &temporary))?;
    // The new name is durable only once the directory that holds it is.
    let parent = parent_of(dest);
    io.sync_dir(&parent).map_err(DiskError::io("sync", &parent))?;
    Ok(Restored { identity, frontier, segment_count, size })
}

/// What there is to restore.
fn open_source(io: &Arc<dyn Io>, directory: &Path) -> Result<Source, RestoreError> {
    let layout = Layout::new(directory);
    let manifest = match ManifestFile::read(io, &layout, Access::Read)? {
        Found::Manifest(manifest) => manifest,
        Found::Newer(found) => {
            let (directory, known) = (directory.to_owned(), FORMAT_VERSION);
            return Err(RestoreError::NewerFormat { directory, found, known });
        }
        Found::Nothing => {
            return Err(RestoreError::NotAStore { directory: directory.to_owned() });
        }
    };
    let found = recovery::find_log(io, &layout, &manifest, Access::Read)?;
    let last = found.tip.place.position - 1;
    let origin = Origin { log: manifest.log, seed: manifest.hash_seed };
    let mut runs = Vec::new();
    for name in manifest.runs.iter().take_while(|name| name.last <= last) {
        // The index is made from the log: a run that is lost costs time at the first opening.
        let header = RunHeader { origin, name: *name };
        let Ok(run) = Run::open(&**io, &layout.index(), header) else { break };
        runs.push(Arc::new(run));
    }
    Ok(Source { manifest, segments: found.segments, runs })
}

/// Writes a store's first manifest: from here on its directory is a store.
fn write_manifest(io: &Arc<dyn Io>, directory: &Path, manifest: Manifest) -> Result<(), DiskError> {
    ManifestFile::new(Arc::clone(io), Layout::new(directory), manifest).change(|_| {})
}

/// Whether a directory is missing or empty.
fn is_vacant(io: &dyn Io, directory: &Path) -> Result<bool, DiskError> {
    match io.list(directory) {
        Ok(names) => Ok(names.is_empty()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(DiskError::io("list", directory)(error)),
    }
}

/// Where a restore to `dest` works until it is done.
fn temporary_for(dest: &Path) -> PathBuf {
    let mut name = dest.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    dest.with_file_name(name)
}

/// Removes what a restore that was cut off left behind.
fn clear(io: &dyn Io, temporary: &Path) -> Result<(), DiskError> {
    let layout = Layout::new(temporary);
    let [first, second] = layout.manifests();
    // A store must not seem to be there while the rest of it goes.
    for path in [first, second] {
        remove(io, &path)?;
    }
    for directory in [layout.segments(), layout.index(), layout.beside()] {
        let names = match io.list(&directory) {
            Ok(names) => names,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(DiskError::io("list", &directory)(error)),
        };
        for name in names {
            remove(io, &directory.join(name))?;
        }
    }
    Ok(())
}

fn remove(io: &dyn Io, path: &Path) -> Result<(), DiskError> {
    match io.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DiskError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
