//! Opening the data directory: for reading beside whoever writes, or for writing alone.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use quipu_core::{EventStore, Rights, StorageError};
use quipu_engine::{Engine, OpenError, OpenOptions, Recovery};

use crate::output::note;

/// A store that a verb works on. Cloning gives another handle to it.
#[derive(Clone)]
pub(crate) struct Store(Engine);

impl Store {
    /// Ends the work on it in order.
    pub(crate) fn close(self) -> Result<(), StorageError> {
        self.0.close()
    }

    /// Whether appends that are begun in an order are made in it, although none waits for the one
    /// before.
    pub(crate) fn keeps_order(&self) -> bool {
        true
    }
}

impl Deref for Store {
    type Target = dyn EventStore;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Where a verb finds its store.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The directory that holds the log.
    pub(crate) data: PathBuf,
}

impl Target {
    /// The store, to read from it.
    pub(crate) fn for_reading(&self) -> anyhow::Result<Store> {
        Ok(Store(for_reading(&self.data)?))
    }

    /// The store, to change it; it must exist.
    pub(crate) fn for_writing(&self) -> anyhow::Result<Store> {
        Ok(Store(for_writing(&self.data)?))
    }

    /// As [`for_writing`](Self::for_writing), and makes the store where it is missing.
    pub(crate) fn for_writing_or_new(&self, rights: Rights) -> anyhow::Result<Store> {
        Ok(Store(for_writing_or_new(&self.data, rights)?))
    }
}

/// Opens the store for reading. Works beside a process that writes to it.
pub(crate) fn for_reading(directory: &Path) -> Result<Engine, OpenError> {
    OpenOptions::new().read_only(true).open(directory)
}

/// Opens the store for writing; it must exist, and nobody else may write to it meanwhile.
pub(crate) fn for_writing(directory: &Path) -> Result<Engine, OpenError> {
    OpenOptions::new().open(directory).inspect(tell)
}

/// As [`for_writing`], and makes the store where it is missing.
pub(crate) fn for_writing_or_new(directory: &Path, rights: Rights) -> Result<Engine, OpenError> {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned());
    OpenOptions::new()
        .create(true)
        .name(name.as_deref().unwrap_or("quipu"))
        .rights(rights)
        .open(directory)
        .inspect(tell)
}

/// Says what opening had to mend.
fn tell(engine: &Engine) {
    let Recovery { torn_size, lost_run_count, .. } = *engine.recovery();
    if torn_size > 0 {
        note(&format!(
            "note: a crash had cut off a batch that was never acknowledged; its {torn_size} bytes \
             are kept aside"
        ));
    }
    if lost_run_count > 0 {
        note(&format!(
            "note: {lost_run_count} runs of the index were damaged or missing and are built again"
        ));
    }
}
