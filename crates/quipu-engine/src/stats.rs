//! What a store holds, in numbers.

use std::path::Path;
use std::sync::Arc;

use quipu_core::{Position, StorageError};

use crate::engine::Engine;
use crate::error::DiskError;
use crate::io::Io;
use crate::layout::parse_segment_name;
use crate::log::Log;
use crate::verify::files_in;

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events in the log, those that were scavenged included.
    pub event_count: u64,
    /// Streams that ever had an event, reserved and deleted ones included.
    pub stream_count: u64,
    /// The position of the last event.
    pub last: Position,
    /// Segments of the log.
    pub segment_count: u64,
    /// Segments that scavenging rewrote.
    pub rewritten_count: u64,
    /// Runs of the index.
    pub run_count: u64,
    /// Bytes of the log.
    pub log_size: u64,
    /// Bytes of the index and of the tables beside the segments.
    pub index_size: u64,
    /// Bytes made ready for events to come, and those held back for when the disk is full.
    pub spare_size: u64,
    /// Bytes of what is kept beside the log: snapshots, checkpoints, leases, the registry.
    pub beside_size: u64,
    /// Bytes that recovery took out of the log and kept aside.
    pub torn_size: u64,
}

impl Engine {
    /// Counts what the store holds: events, streams, files and their bytes.
    ///
    /// # Errors
    ///
    /// A [`StorageError`] if the index or a directory cannot be read.
    pub fn stats(&self) -> Result<Stats, StorageError> {
        measure(self.log()).map_err(StorageError::from)
    }
}

fn measure(log: &Arc<Log>) -> Result<Stats, DiskError> {
    let io = &log.io;
    let last = log.frontier();
    let segments = log.segments();
    let runs = log.index.runs();
    let (mut file_size, mut table_size) = (0, 0);
    for (name, size) in files_in(io, &log.layout.segments())? {
        *if parse_segment_name(&name).is_some() { &mut file_size } else { &mut table_size } += size;
    }
    let log_size = segments.iter().map(|segment| segment.end()).sum();
    let ballast = io.open(&log.layout.ballast()).and_then(|file| file.size()).unwrap_or(0);
    Ok(Stats {
        event_count: last,
        stream_count: log.index_reader(last).count(log.hasher.stream_names())?,
        last: Position::new(last),
        segment_count: segments.count() as u64,
        rewritten_count: segments.iter().filter(|own| own.header.generation > 0).count() as u64,
        run_count: runs.len() as u64,
        log_size,
        index_size: runs.iter().map(|run| run.size()).sum::<u64>() + table_size,
        // A file that scavenging is about to remove may be gone by now.
        spare_size: file_size.saturating_sub(log_size) + ballast,
        beside_size: size_below(io, &log.layout.beside())?,
        torn_size: size_below(io, &log.layout.torn())?,
    })
}

/// Bytes in a directory and those below it; none where it is missing.
fn size_below(io: &Arc<dyn Io>, directory: &Path) -> Result<u64, DiskError> {
    let Ok(names) = io.list(directory) else {
        // It may be a file, or nothing.
        return Ok(io.open(directory).and_then(|file| file.size()).unwrap_or(0));
    };
    names.iter().map(|name| size_below(io, &directory.join(name))).sum()
}
