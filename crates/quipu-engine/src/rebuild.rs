//! Building the index again from the log.

use std::path::Path;
use std::sync::Arc;

use crate::io::{Io, SystemIo};
use crate::maintenance::Maintenance;
use crate::opening::{self, Indexing};
use crate::options::{OpenError, OpenOptions};
use crate::progress::Progress;

/// What rebuilding the index did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// Events that were indexed.
    pub event_count: u64,
    /// Runs of the index now. The last events are in none: each opening indexes them in memory.
    pub run_count: u64,
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
    rebuild(OpenOptions::new().io(io).inline(true), directory, progress)
}

fn rebuild(
    options: OpenOptions,
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Rebuilt, OpenError> {
    let opened = opening::open_as(directory, &options, Indexing::Anew(progress))?;
    let log = opened.log;
    for segment in log.segments().iter().rev().skip(1) {
        segment.write_offsets_file(&log.layout)?;
    }
    Maintenance::new(Arc::clone(&log)).work()?;
    let run_count = log.index.runs().len() as u64;
    Ok(Rebuilt { event_count: log.frontier(), run_count })
}
