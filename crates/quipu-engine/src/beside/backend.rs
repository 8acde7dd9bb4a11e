//! The database's file, as redb sees it.

use std::io::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;

use crate::io::File;

/// How much is written at once when the file grows.
const GROWTH_STEP: usize = 64 << 10;

/// A file behind a database.
#[derive(Debug)]
pub(super) struct Backend {
    file: Arc<dyn File>,
    health: Arc<Health>,
}

/// What has gone wrong with a file. Guards nothing but the note.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<Failure>>);

/// How bad a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The file could not grow. All that it holds is as it was.
    Full,
    /// Nobody knows what the disk holds.
    Unknown,
}

impl Health {
    pub(super) fn failure(&self) -> Option<Failure> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, failure: Failure) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The first failure is the cause of those that follow, unless they are worse.
        if *noted != Some(Failure::Unknown) {
            *noted = Some(failure);
        }
    }
}

impl Backend {
    pub(super) fn new(file: Arc<dyn File>) -> (Self, Arc<Health>) {
        let health = Arc::new(Health::default());
        (Self { file, health: Arc::clone(&health) }, health)
    }

    fn watch<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|_| self.health.note(Failure::Unknown))
    }

    /// Makes the file longer with zeros that are written, not only promised: then no later write
    /// finds the disk full, and what does not fit is refused before anything else has changed.
    fn grow(&self, old: u64, new: u64) -> Result<()> {
        let zeros = vec![0; GROWTH_STEP];
        let mut offset = old;
        while offset < new {
            let size = zeros.len().min(usize::try_from(new - offset).map_err(Error::other)?);
            self.file.write_at(&zeros[..size], offset)?;
            offset += size as u64;
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64> {
        self.watch(self.file.size())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.watch(self.file.read_at(out, offset))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let old = self.len()?;
        if len <= old {
            return self.watch(self.file.set_size(len));
        }
        let Err(error) = self.grow(old, len) else { return Ok(()) };
        let is_full = is_disk_full(&error) && self.file.set_size(old).is_ok();
        self.health.note(if is_full { Failure::Full } else { Failure::Unknown });
        Err(error)
    }

    fn sync_data(&self) -> Result<()> {
        self.watch(self.file.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.watch(self.file.write_at(data, offset))
    }
}

fn is_disk_full(error: &Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
