//! Where a check works, and how it talks.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use quipu::core::{Query, ReadAll, RecordedEvent, collect};
use quipu::{EventSet, Quipu, decode_recorded};

use super::report::Broken;
use crate::arguments::Options;
use crate::order::upcasters;
use crate::shop::Failure;

/// A check's own directory.
pub(super) struct Scene {
    directory: PathBuf,
    is_small: bool,
    #[cfg(feature = "kafka")]
    kafka: Option<String>,
}

impl Scene {
    pub(super) fn new(root: &Path, name: &str, options: &Options) -> io::Result<Self> {
        let directory = root.join(name);
        std::fs::create_dir(&directory)?;
        Ok(Self {
            directory,
            is_small: options.is_small,
            #[cfg(feature = "kafka")]
            kafka: options.kafka.clone(),
        })
    }

    /// Where the Kafka is that the tour was given.
    #[cfg(feature = "kafka")]
    pub(super) fn kafka(&self) -> io::Result<&str> {
        self.kafka.as_deref().ok_or_else(|| io::Error::other("no Kafka was given"))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a file or a store of this name is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// How many there are to be: the first number, or the second where little data is wanted.
    pub(super) fn count(&self, full: usize, small: usize) -> usize {
        if self.is_small { small } else { full }
    }

    /// Opens the check's store, or makes it.
    pub(super) async fn open(&self) -> Result<Quipu, Failure> {
        open(&self.directory).await
    }

    #[expect(clippy::unused_self, reason = "one says something on a scene")]
    pub(super) fn say(&self, text: impl Display) {
        println!("  {text}");
    }
}

/// Opens the store in a check's directory, or makes it.
pub(super) async fn open(directory: &Path) -> Result<Quipu, Failure> {
    let app = Quipu::open(store_directory(directory)).await?;
    Ok(app.with_upcasters(upcasters())?)
}

/// Where the store is in a check's directory.
pub(super) fn store_directory(directory: &Path) -> PathBuf {
    directory.join("shop.quipu")
}

/// An error, unless it holds.
pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Broken(otherwise()).into()) }
}

/// An error, in these words.
pub(super) fn broken(text: impl Into<String>) -> Failure {
    Broken(text.into()).into()
}

/// Every event that matches, as it is in the log.
pub(super) async fn read(app: &Quipu, query: Query) -> Result<Vec<RecordedEvent>, Failure> {
    let read = app.store().read_all(ReadAll::new(query)).await?;
    Ok(collect(read.batches).await?)
}

/// Every event of a set, as the program of today reads it.
pub(super) async fn decoded<E: EventSet>(app: &Quipu) -> Result<Vec<E>, Failure> {
    let mut all = Vec::new();
    for event in read(app, app.query_of::<E>()).await? {
        let parts = decode_recorded::<E>(&event, app.upcasters())?;
        all.extend(parts.into_iter().filter_map(|part| part.event));
    }
    Ok(all)
}
