//! What is done behind the writer's back: everything derived from the log.
//!
//! Nothing here is needed to keep what was acknowledged. A step that fails is tried again after a
//! while; a step that a crash cuts off is done again after opening.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::DiskError;
use crate::log::Log;

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
        let mut patience = None;
        while self.wait(patience) {
            patience = self.work().is_err().then_some(PATIENCE);
            self.changed.notify_all();
        }
    }

    /// Does all there is to do.
    pub(crate) fn work(&self) -> Result<(), DiskError> {
        while self.step()? {}
        Ok(())
    }

    /// Makes the writer wait while the index has too much in memory.
    pub(crate) fn hold_back(&self) {
        let mut state = self.lock();
        while self.log.index.frozen_count() > FROZEN_COUNT_MAX && !state.stop {
            state.is_asked = true;
            self.changed.notify_all();
            let (next, timeout) = self
                .changed
                .wait_timeout(state, PATIENCE)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            if timeout.timed_out() {
                // A disk without space for the index must not stop the log; memory grows instead,
                // until the log has no space either.
                return;
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits to be asked. Whether to go on.
    fn wait(&self, patience: Option<Duration>) -> bool {
        let mut state = self.lock();
        while !state.is_asked && !state.stop {
            match patience {
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let waited = self.changed.wait_timeout(state, patience);
                    let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    state = next;
                    if timeout.timed_out() {
                        break;
                    }
                }
            }
        }
        state.is_asked = false;
        !state.stop
    }

    /// Does one thing, if there is one. Whether there was.
    fn step(&self) -> Result<bool, DiskError> {
        self.write_offsets()
    }

    /// Writes the table of a segment that is full and has none.
    fn write_offsets(&self) -> Result<bool, DiskError> {
        let segments = self.log.segments();
        let full = segments.iter().rev().skip(1);
        for segment in full.take_while(|segment| segment.is_growing()) {
            segment.write_offsets_file(&self.log.layout)?;
            return Ok(true);
        }
        Ok(false)
    }
}
