//! Building the index again from the log: of a store that nobody has open, or while it is used.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use quipu_core::{StorageError, StreamName};

use crate::engine::Engine;
use crate::error::DiskError;
use crate::index::{Entries, Key, Origins};
use crate::io::{Io, SystemIo};
use crate::log::{Log, keys_of};
use crate::maintenance::Maintenance;
use crate::opening::{self, Indexing};
use crate::options::{OpenError, OpenOptions};
use crate::progress::{Progress, Wish};

/// What rebuilding the index did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// Events that were indexed.
    pub event_count: u64,
    /// Runs of the index now. The last events are in none: each opening indexes them in memory.
    pub run_count: u64,
}

/// Why the index of a store that is open was not rebuilt. Runs that were made anew before stay so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// The handle is for reading only. Open the store for writing.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store was closed, or stopped after a failure. Open it again.
    #[error("the store is closed")]
    Closed,
    /// The disk did not do what it was asked, or the log is damaged: run `quipu verify`.
    #[error("the index could not be rebuilt")]
    Storage(#[source] StorageError),
    /// Whoever watched the progress wanted no more.
    #[error("rebuilding was cancelled")]
    Cancelled,
}

impl From<DiskError> for RebuildError {
    fn from(error: DiskError) -> Self {
        Self::Storage(error.into())
    }
}

impl Engine {
    /// Makes every run of the index anew from the log, one after the other, while the store is used:
    /// readers have the old one until the new one is there. The tables beside the segments too.
    ///
    /// A crash meanwhile does no harm: each run is the old one or the new one. What the newest events
    /// are indexed by is in memory and stays. Merges of runs wait until this is done.
    ///
    /// # Errors
    ///
    /// See [`RebuildError`].
    pub fn rebuild_index<W: Wish>(
        &self,
        progress: &mut dyn FnMut(Progress) -> W,
    ) -> Result<Rebuilt, RebuildError> {
        if self.is_read_only() {
            return Err(RebuildError::ReadOnly);
        }
        let rebuilt = rebuild_used(self.log(), &mut |own| progress(own).flow());
        self.catch_up_index();
        rebuilt
    }
}

fn rebuild_used(
    log: &Log,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Rebuilt, RebuildError> {
    let _only = log.replacing_runs.lock().unwrap_or_else(PoisonError::into_inner);
    let runs = log.index.runs();
    let Some(first) = runs.first().map(|run| run.name().first) else {
        return Ok(Rebuilt::default());
    };
    let total = runs.iter().map(|run| run.name().event_count()).sum();
    let survivors = opening::find_survivors(log, first, log.frontier())?;
    let mut origins = Used { log, survivors, first, total, progress };
    for run in &runs {
        let made = log.index.make_anew(&*log.io, &log.layout.index(), run.name(), &mut origins)?;
        let Some(made) = made else {
            let is_open = log.health.is_open();
            return Err(if is_open { RebuildError::Cancelled } else { RebuildError::Closed });
        };
        // It has the old one's name, which the manifest has, and the old one's file is gone.
        let _old = log.index.install(made);
    }
    let _files = log.segment_files();
    for segment in log.segments().iter().rev().skip(1).filter(|own| !own.is_growing()) {
        segment.write_offsets_file(&log.layout)?;
    }
    Ok(Rebuilt { event_count: total, run_count: log.index.runs().len() as u64 })
}

/// The log of a store that is used, as what its index is made of.
struct Used<'a> {
    log: &'a Log,
    survivors: HashMap<Key, u64>,
    first: u64,
    total: u64,
    progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
}

impl Origins<DiskError> for Used<'_> {
    fn keys_at(&mut self, position: u64, events: &mut Entries) -> Result<(), DiskError> {
        self.log.with_record(position, |record| {
            events.push(|keys| keys_of(self.log.hasher, &record, keys));
        })
    }

    fn name_at(&mut self, position: u64) -> Result<Option<StreamName>, DiskError> {
        opening::name_at(self.log, &self.survivors, position)
    }

    fn is_at(&mut self, position: u64) -> bool {
        let done = position + 1 - self.first;
        let wish = (self.progress)(Progress::new(done, self.total, "events"));
        wish.is_continue() && self.log.health.is_open()
    }
}

/// Throws the index of the store in `directory` away and builds it again from the log, with the
/// tables beside the segments.
///
/// A crash meanwhile does no harm: the next opening does what is left to do. Memory grows with the
/// streams whose first event was scavenged, by some 30 bytes each.
///
/// # Errors
///
/// See [`OpenError`]: the store must not be open for writing, and the log must be whole.
pub fn rebuild_index(
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Rebuilt, OpenError> {
    rebuild_index_with(Arc::new(SystemIo::new()), directory, progress)
}

/// Rebuilds the index on another disk than the machine's, as [`rebuild_index`] does: for
/// simulations.
///
/// # Errors
///
/// As in [`rebuild_index`].
pub fn rebuild_index_with(
    io: Arc<dyn Io>,
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Rebuilt, OpenError> {
    rebuild(&OpenOptions::new().io(io).inline(true), directory, progress)
}

fn rebuild(
    options: &OpenOptions,
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Rebuilt, OpenError> {
    let opened = opening::open_as(directory, options, Indexing::Anew(progress))?;
    let log = opened.log;
    for segment in log.segments().iter().rev().skip(1) {
        segment.write_offsets_file(&log.layout)?;
    }
    Maintenance::new(Arc::clone(&log)).work()?;
    let run_count = log.index.runs().len() as u64;
    Ok(Rebuilt { event_count: log.frontier(), run_count })
}
