//! Scavenging: giving back the space of events that no read of their stream shows any more.
//!
//! Segments are looked at one after the other. Where enough would go, the segment is written again,
//! with stubs in place of the events that go; the one that is being written is made full before, by
//! having the writer begin the next one:
//!
//! 1. the new file is written under the next generation, synced, and read back;
//! 2. the manifest says that this generation counts: from here on the events are gone;
//! 3. readers get the new segment; those that have the old one keep it as long as they need it;
//! 4. the old file is removed.
//!
//! A crash before step 2 leaves a file that no manifest names, one after it the old file; opening
//! removes both. Positions, revisions, ids and keys stay, so the index stays right, and so do
//! retries of appends whose events are gone. The writer never waits.

mod judge;
mod rewrite;

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, TryLockError};

use quipu_core::{AppendError, StorageError};

use crate::engine::Engine;
use crate::error::DiskError;
use crate::progress::{Progress, Wish};
use crate::segment::Segment;

use judge::Judge;

/// Which segments to scavenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScavengeOptions {
    threshold_percent: u8,
}

impl Default for ScavengeOptions {
    fn default() -> Self {
        Self { threshold_percent: 30 }
    }
}

impl ScavengeOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The share of a segment's bytes that must go for the segment to be rewritten, in percent: 30
    /// by default. With 0 every event that may go does, even where its stub takes more space than
    /// it did.
    #[must_use]
    pub fn threshold_percent(mut self, percent: u8) -> Self {
        self.threshold_percent = percent.min(100);
        self
    }
}

/// What scavenging did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scavenged {
    /// Segments that were rewritten.
    pub segment_count: u64,
    /// Events of which a stub is left.
    pub event_count: u64,
    /// Bytes that the segments take less than before.
    pub freed_size: u64,
    /// Events that may go and are still there, because too few in their segment are like them.
    pub left_count: u64,
}

/// Why scavenging stopped. Segments that were rewritten before stay so; start again to go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScavengeError {
    /// The handle is for reading only. Open the store for writing.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store was closed, or stopped after a failure. Open it again.
    #[error("the store is closed")]
    Closed,
    /// Somebody scavenges the store already. Wait for them.
    #[error("the store is being scavenged already")]
    Busy,
    /// There was no room for one more segment. Make some.
    #[error("the disk is full")]
    DiskFull,
    /// The disk did not do what it was asked, or a segment is damaged: run `quipu verify`.
    #[error("the store could not be scavenged")]
    Storage(#[source] StorageError),
    /// Whoever watched the progress wanted no more.
    #[error("scavenging was cancelled")]
    Cancelled,
}

impl From<DiskError> for ScavengeError {
    fn from(error: DiskError) -> Self {
        if error.is_disk_full() { Self::DiskFull } else { Self::Storage(error.into()) }
    }
}

impl Engine {
    /// Gives back the space of events that no read of their stream shows any more, in the segments
    /// where that is at least 30 % of the bytes.
    ///
    /// Reads and appends go on meanwhile. What is rewritten is durable; a crash loses only the
    /// segment under way. Reads of the whole log, queries and conditions no longer see the events;
    /// reads of streams are as before. The last event of every stream that is not tombstoned, the
    /// latest metadata of every stream and tombstones stay. Where they go from
    /// the segment that is being written too, the log goes on in another. The disk needs room for one
    /// more segment.
    ///
    /// # Errors
    ///
    /// See [`ScavengeError`].
    pub fn scavenge<W: Wish>(
        &self,
        progress: &mut dyn FnMut(Progress) -> W,
    ) -> Result<Scavenged, ScavengeError> {
        self.scavenge_with(ScavengeOptions::default(), progress)
    }

    /// Scavenges as [`scavenge`](Self::scavenge) does, with another threshold.
    ///
    /// # Errors
    ///
    /// See [`ScavengeError`].
    pub fn scavenge_with<W: Wish>(
        &self,
        options: ScavengeOptions,
        progress: &mut dyn FnMut(Progress) -> W,
    ) -> Result<Scavenged, ScavengeError> {
        if self.is_read_only() {
            return Err(ScavengeError::ReadOnly);
        }
        scavenge(self, options, &mut |own| progress(own).flow())
    }
}

fn scavenge(
    engine: &Engine,
    options: ScavengeOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Scavenged, ScavengeError> {
    let log = engine.log();
    let _only = match log.scavenging.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
        Err(TryLockError::WouldBlock) => return Err(ScavengeError::Busy),
    };
    let segments = log.segments();
    let total = segments.count() as u64;
    let mut scavenged = Scavenged::default();
    let mut judge = Judge::new(Arc::clone(log));
    for (done, segment) in (0..).zip(segments.iter()) {
        if !log.health.is_open() {
            return Err(ScavengeError::Closed);
        }
        if progress(Progress::new(done, total, "segments")).is_break() {
            return Err(ScavengeError::Cancelled);
        }
        let mut verdict = judge.look_at(segment)?;
        if !verdict.is_worth_it(options.threshold_percent) {
            scavenged.left_count += verdict.going_count;
            continue;
        }
        let next = if let Some(next) = segments.after(segment) {
            Arc::clone(next)
        } else {
            let next = fill(engine, segment)?;
            // It may have got more meanwhile.
            verdict = judge.look_at(segment)?;
            next
        };
        let before = segment.end();
        let rewritten = rewrite::rewrite(log, segment, &next, &verdict)?;
        scavenged.segment_count += 1;
        scavenged.event_count += verdict.going_count;
        scavenged.freed_size += before.saturating_sub(rewritten.end());
    }
    // All is done: it is too late to want no more.
    let _done = progress(Progress::new(total, total, "segments"));
    Ok(scavenged)
}

/// Makes the segment that is being written full, and answers the one that follows it.
fn fill(engine: &Engine, segment: &Segment) -> Result<Arc<Segment>, ScavengeError> {
    engine.roll(segment.number()).map_err(|error| match error {
        AppendError::Closed => ScavengeError::Closed,
        AppendError::DiskFull => ScavengeError::DiskFull,
        AppendError::Storage(error) | AppendError::OutcomeUnknown(error) => {
            ScavengeError::Storage(error)
        }
        other => ScavengeError::Storage(StorageError::new(other)),
    })?;
    let next = engine.log().segments().after(segment).map(Arc::clone);
    Ok(next.expect("a full segment is followed by another"))
}
