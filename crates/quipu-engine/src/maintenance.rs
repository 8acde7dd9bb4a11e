//! What is done behind the writer's back: everything derived from the log.
//!
//! Nothing here is needed to keep what was acknowledged. A step that fails is tried again after a
//! while; a step that a crash cuts off is done again after opening.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use quipu_core::StreamName;

use crate::error::DiskError;
use crate::index::Run;
use crate::io::SeededBug;
use crate::log::Log;
use crate::lookup;

/// How long to wait before a step that failed is tried again.
const PATIENCE: Duration = Duration::from_secs(5);
/// The writer waits while more tails than this are full and in memory.
const FROZEN_COUNT_MAX: usize = 3;

/// The one who keeps the index and the tables beside the segments up to date.
#[derive(Debug)]
pub(crate) struct Maintenance {
    log: Arc<Log>,
    /// Guards the wishes of others. Never held during a step.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_asked: bool,
    /// Whether the last step failed and is not tried again yet.
    is_resting: bool,
    stop: bool,
}

impl Maintenance {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self { log, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Says that there may be something to do.
    pub(crate) fn ask(&self) {
        self.lock().is_asked = true;
        self.changed.notify_all();
    }

    /// Works until told to stop. A thread of its own runs this.
    pub(crate) fn run(&self) {
        while self.wait() {
            let failed = self.work().is_err();
            self.lock().is_resting = failed;
            self.changed.notify_all();
        }
    }

    /// Does all there is to do.
    pub(crate) fn work(&self) -> Result<(), DiskError> {
        while self.step()? {}
        Ok(())
    }

    /// Makes the writer wait while the index has too much in memory.
    ///
    /// Not while the index rests after a failure: a disk without space for it must not stop the
    /// log. Memory grows instead, until the log has no space either.
    pub(crate) fn hold_back(&self) {
        let mut state = self.lock();
        while self.log.index.frozen_count() > FROZEN_COUNT_MAX && !state.stop && !state.is_resting {
            state.is_asked = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits to be asked, or after a failure for as long as it rests. Whether to go on.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        if state.is_resting {
            let rests = |state: &mut State| !state.stop;
            let waited = self.changed.wait_timeout_while(state, PATIENCE, rests);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_resting = false;
        } else {
            let idles = |state: &mut State| !state.is_asked && !state.stop;
            let waited = self.changed.wait_while(state, idles);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.is_asked = false;
        !state.stop
    }

    /// Does one thing, if there is one. Whether there was.
    fn step(&self) -> Result<bool, DiskError> {
        Ok(self.log.index.join() || self.seal()? || self.write_offsets()? || self.merge()?)
    }

    /// Writes the oldest full tail of the index as a run.
    fn seal(&self) -> Result<bool, DiskError> {
        let sealed = seal(&self.log)?;
        if sealed {
            self.changed.notify_all();
        }
        Ok(sealed)
    }

    /// Merges runs, and joins and seals what becomes full meanwhile: memory comes before reading
    /// speed.
    fn merge(&self) -> Result<bool, DiskError> {
        let log = &self.log;
        // Who makes the index anew holds it for long, and then asks for what was left out meanwhile.
        let _replacing = match log.replacing_runs.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        let mut failure = None;
        let mut keep_going = || {
            log.index.join();
            if failure.is_none() && log.index.frozen_count() > 0 {
                failure = self.seal().err();
            }
            failure.is_none() && !self.lock().stop
        };
        let merged = log.index.merge(&*log.io, &log.layout.index(), &mut keep_going)?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let Some(run) = merged else { return Ok(false) };
        install_run(log, run)?;
        Ok(true)
    }

    /// Writes the table of a segment that is full and has none.
    fn write_offsets(&self) -> Result<bool, DiskError> {
        // Scavenging holds this for as long as it takes to write a segment. Runs must not wait for
        // that, since the writer waits for them; the table is made when there is next something to
        // do.
        let Some(_files) = self.log.try_segment_files() else { return Ok(false) };
        let segments = self.log.segments();
        let mut full = segments.iter().rev().skip(1);
        let Some(segment) = full.find(|segment| segment.is_growing()) else { return Ok(false) };
        segment.write_offsets_file(&self.log.layout)?;
        Ok(true)
    }
}

/// Writes the oldest full tail of the index as a run, if there is one. Whether there was.
pub(crate) fn seal(log: &Log) -> Result<bool, DiskError> {
    let reader = log.index_reader(log.watermark.get());
    seal_with(log, |position| lookup::name_at(log, &reader, position))
}

/// Does what [`seal`] does, where `name_at` says which stream begins at a position.
pub(crate) fn seal_with(
    log: &Log,
    name_at: impl FnMut(u64) -> Result<Option<StreamName>, DiskError>,
) -> Result<bool, DiskError> {
    let durable = log.watermark.get();
    let run = log.index.seal::<DiskError>(&*log.io, &log.layout.index(), durable, name_at)?;
    let Some(run) = run else { return Ok(false) };
    let name = run.name();
    install_run(log, run)?;
    // The names of streams were read from there. A log that is only written to takes no memory then,
    // however long it is.
    let _taken = log.segments().release(name.first..=name.last);
    Ok(true)
}

/// Lets the manifest, then the readers, know of a run whose file is durable; then removes the
/// files of the runs it takes the place of.
///
/// Opening indexes what is in no run, so this is also when to write down how far the log is whole.
fn install_run(log: &Log, run: Arc<Run>) -> Result<(), DiskError> {
    let floor = log.floor().unwrap_or_default();
    let mut manifest = log.manifest();
    let runs = log.index.runs_with(&run);
    if log.io.has_bug(SeededBug::RemoveBeforeManifest) {
        for old in log.index.runs() {
            if runs.iter().all(|run| run.name() != old.name()) {
                let _stays = log.io.remove(old.path());
            }
        }
    }
    let runs = runs.iter().map(|run| run.name()).collect();
    manifest.change(|manifest| {
        manifest.runs = runs;
        manifest.raise_floor(floor);
    })?;
    let replaced = log.index.install(run);
    drop(manifest);
    for old in replaced {
        // A file that stays behind is removed when the store is opened again.
        let _stays = log.io.remove(old.path());
    }
    Ok(())
}
