//! Space for the log, made before it is needed.
//!
//! Writing into a file that has its blocks already costs a sync about half of what growing a file
//! does, since no metadata changes. So segments are filled with zeros ahead of the writer, and the
//! writer never extends a file: it asks here for space, and waits, or is told that the disk is
//! full. Filling begins with small steps, so that a new store is small and quick to open.
//!
//! Zeros and appends are written to the same disk. So the filler lets the writer use up half of what
//! lies ahead before it fills on, or waits until the writer rests, and it fills in steps small enough
//! that a sync of the log waits little for one.
//!
//! A ballast file is held back once the log has a second segment. When the disk is full it is
//! given up, so that deleting, scavenging and the manifest still find room; it is put back before
//! ordinary appends get space again.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{DiskError, is_disk_full};
use crate::io::{File, Io, SeededBug};
use crate::layout::Layout;
use crate::segment::Segment;

/// Bytes filled and synced at once: what a sync of the log may have to wait for.
const STEP_SIZE_MAX: u64 = 256 << 10;
/// The same while the writer waits for space, and nothing else is to be synced.
const WANTED_SIZE_MAX: u64 = 1 << 20;
/// How far ahead of the writer zeros reach at rest: at first, and once much was written.
const AHEAD_SIZE_MIN: u64 = 256 << 10;
const AHEAD_SIZE_MAX: u64 = 8 << 20;
/// A writer that asked for nothing for so long is at rest.
const REST: Duration = Duration::from_millis(50);
/// What is held back, in an ordinary store; less where segments are small.
const BALLAST_SIZE_MAX: u64 = 64 << 20;
/// Enough for the head of a segment and a delete in it.
const BALLAST_SIZE_MIN: u64 = 16 << 10;
const ZEROS: &[u8] = &[0; 1 << 20];

/// Whether appends may get the last space there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Events: they wait until the ballast is back.
    Ordinary,
    /// Deletes, tombstones and metadata: they lead to free space.
    Freeing,
}

/// The files ahead of the writer.
#[derive(Debug)]
pub(crate) struct Space {
    io: Arc<dyn Io>,
    layout: Layout,
    segment_size: u64,
    inline: bool,
    /// Guards the list of files and the writer's wishes. Never held during I/O in threaded mode.
    state: Mutex<State>,
    /// Something in the state changed: for the writer and for the filler.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<u64, Filled>,
    /// Where the writer is, and so which zeros come next.
    at: Wish,
    /// What the writer waits for.
    wish: Option<Wish>,
    failure: Option<Error>,
    ahead_size: u64,
    has_ballast: bool,
    /// Whether the filler sleeps until it is woken.
    is_filler_asleep: bool,
    stop: bool,
}

#[derive(Clone, Debug)]
struct Filled {
    path: PathBuf,
    /// The writer's handle.
    file: Arc<dyn File>,
    /// The filler's own: the system tells of a write that failed once a handle, and a sync here
    /// must not take the word from the writer's.
    own: Option<Arc<dyn File>>,
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    segment: u64,
    end: u64,
    priority: Priority,
}

/// One step of filling.
#[derive(Clone, Debug)]
struct Step {
    segment: u64,
    file: Option<Filled>,
    to: u64,
}

impl Space {
    pub(crate) fn new(io: Arc<dyn Io>, layout: Layout, segment_size: u64, inline: bool) -> Self {
        let at = Wish { segment: 1, end: 0, priority: Priority::Ordinary };
        let has_ballast = io.open(&layout.ballast()).is_ok();
        let state = State {
            files: BTreeMap::new(),
            at,
            wish: None,
            failure: None,
            ahead_size: AHEAD_SIZE_MIN,
            has_ballast,
            is_filler_asleep: false,
            stop: false,
        };
        Self { io, layout, segment_size, inline, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes a file that is there already, with `size` bytes of which the log uses `end`.
    pub(crate) fn adopt(&self, segment: &Segment, size: u64) {
        let mut state = self.lock();
        let (path, file) = (segment.path.clone(), Arc::clone(&segment.file));
        state.files.insert(segment.number(), Filled { path, file, own: None, size });
        let (segment, end) = (segment.number(), segment.end());
        state.at = Wish { segment, end, priority: Priority::Ordinary };
    }

    /// Waits until `segment` has zeros up to `end`, and gives its file.
    ///
    /// # Errors
    ///
    /// What kept the filler from filling it: `StorageFull` is no reason to give up for good.
    pub(crate) fn reserve(
        &self,
        segment: u64,
        end: u64,
        priority: Priority,
    ) -> Result<Arc<dyn File>, Error> {
        let mut state = self.lock();
        state.at = Wish { segment, end, priority };
        if let Some(failure) = state.failure.take().filter(|failure| !is_disk_full(failure)) {
            // Space comes back; what a failed sync gave up does not.
            return Err(failure);
        }
        loop {
            if let Some(filled) = state.files.get(&segment).filter(|filled| filled.size >= end) {
                let file = Arc::clone(&filled.file);
                state.wish = None;
                state.files.retain(|own, _| *own >= segment);
                let wakes = !self.inline && self.wakes_filler(&mut state);
                drop(state);
                if wakes {
                    self.changed.notify_all();
                }
                return Ok(file);
            }
            if let Some(failure) = state.failure.take() {
                state.wish = None;
                return Err(failure);
            }
            if state.stop {
                return Err(Error::other("the thread that makes space has stopped"));
            }
            state.wish = Some(Wish { segment, end, priority });
            if self.inline {
                state = self.step(state);
            } else {
                self.changed.notify_all();
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Fills ahead of the writer until told to stop. A thread of its own runs this.
    pub(crate) fn run(&self) {
        let mut state = self.lock();
        while !state.stop {
            if !self.has_step_at_rest(&state) {
                state.is_filler_asleep = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.is_filler_asleep = false;
            } else if self.next_step(&state, state.ahead_size / 2).is_some() {
                state = self.step(state);
            } else {
                let at = state.at;
                let waited = self.changed.wait_timeout(state, REST);
                let (waited, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = waited;
                while timeout.timed_out() && state.at == at && self.has_step_at_rest(&state) {
                    state = self.step(state);
                }
            }
        }
    }

    /// Whether less lies ahead than at rest, and nothing keeps it from being filled.
    fn has_step_at_rest(&self, state: &State) -> bool {
        let is_held = state.stop || state.failure.is_some();
        !is_held && self.next_step(state, state.ahead_size).is_some()
    }

    /// Whether the filler is to be told that the writer took space. Once it is awake it looks by
    /// itself, unless there is little left.
    fn wakes_filler(&self, state: &mut State) -> bool {
        let has_work = |reach| self.next_step(state, reach).is_some();
        if state.is_filler_asleep && has_work(state.ahead_size) {
            state.is_filler_asleep = false;
            return true;
        }
        has_work(state.ahead_size / 2)
    }

    /// Ends [`run`](Self::run). Whoever waits for space from now on waits in vain, and is told so.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to fill next, so that the writer's wish comes true, or else so that zeros reach so far
    /// ahead of it.
    fn next_step(&self, state: &State, reach: u64) -> Option<Step> {
        let filled = |segment: u64| state.files.get(&segment);
        let size = |segment: u64| filled(segment).map_or(0, |filled| filled.size);
        let step = |segment: u64, to: u64| Step { segment, file: filled(segment).cloned(), to };
        let step_size = (state.ahead_size / 4).min(STEP_SIZE_MAX);
        let wanted_size = (state.ahead_size / 4).min(WANTED_SIZE_MAX);
        if let Some(wish) = state.wish
            && size(wish.segment) < wish.end
        {
            let capacity = self.segment_size.max(wish.end);
            let to = (wish.end + wanted_size).min(capacity);
            return Some(step(wish.segment, to));
        }
        if self.inline || state.wish.is_some() || !state.has_room_to_spare() {
            return None;
        }
        let Wish { segment, end, .. } = state.at;
        let own = size(segment);
        if own == 0 {
            return None;
        }
        if own < self.segment_size {
            let to = (own + step_size).min(self.segment_size);
            return (own < end + reach).then(|| step(segment, to));
        }
        // The segment is whole: the next one follows.
        let next = size(segment + 1);
        let to = (next + step_size).min(self.segment_size);
        (own + next < end + reach && next < to).then(|| step(segment + 1, to))
    }

    /// Does the next step of filling. The lock is open meanwhile.
    fn step<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(step) = self.next_step(&state, state.ahead_size) else { return state };
        let needs_ballast = step.segment > 1 && !state.has_ballast;
        let priority = state.wish.map_or(Priority::Ordinary, |wish| wish.priority);
        let freeing_end =
            state.wish.filter(|wish| wish.priority == Priority::Freeing).map(|wish| wish.end);
        drop(state);
        let makes_ballast = needs_ballast && priority == Priority::Ordinary;
        let mut result = self.do_step(&step, makes_ballast);
        let is_full = result.as_ref().is_err_and(is_disk_full);
        let has_released = is_full && self.release_ballast();
        if is_full && let Some(end) = freeing_end {
            // What the ballast held, and what the step above still found, is for this one.
            result = self.do_step(&Step { to: end, ..step.clone() }, false);
        }
        let mut state = self.lock();
        state.has_ballast &= !has_released;
        match result {
            Ok(filled) => {
                state.has_ballast |= makes_ballast;
                state.files.insert(step.segment, filled);
                state.ahead_size = (state.ahead_size * 2).min(AHEAD_SIZE_MAX);
            }
            Err(error) => {
                state.ahead_size = AHEAD_SIZE_MIN;
                state.failure = Some(error);
            }
        }
        self.changed.notify_all();
        state
    }

    fn do_step(&self, step: &Step, make_ballast: bool) -> Result<Filled, Error> {
        if make_ballast {
            self.make_ballast()?;
        }
        let filled = match &step.file {
            Some(filled) => filled.clone(),
            None => self.open_or_create(step.segment)?,
        };
        let own = match filled.own {
            Some(own) => own,
            None => self.io.open_writable(&filled.path)?,
        };
        fill(&*own, filled.size, step.to)?;
        if !self.io.has_bug(SeededBug::SegmentBeforeSynced) {
            own.sync()?;
        }
        Ok(Filled { own: Some(own), size: step.to, ..filled })
    }

    fn open_or_create(&self, segment: u64) -> Result<Filled, Error> {
        let path = self.layout.segment(segment, 0);
        let file = match self.io.create(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.io.open_writable(&path)?
            }
            Err(error) => return Err(error),
        };
        // A new file's name is durable only once its directory is: an acknowledged batch in a file
        // that a crash makes nameless would be lost.
        if !self.io.has_bug(SeededBug::SegmentBeforeSynced) {
            // A failure is final, a lack of space too: a later sync may say nothing of a name that
            // this one gave up.
            self.io.sync_dir(&self.layout.segments()).map_err(Error::other)?;
        }
        Ok(Filled { path, file, own: None, size: 0 })
    }

    fn make_ballast(&self) -> Result<(), Error> {
        let path = self.layout.ballast();
        let file = match self.io.create(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.io.open_writable(&path)?
            }
            Err(error) => return Err(error),
        };
        fill(&*file, 0, BALLAST_SIZE_MAX.min(self.segment_size / 4).max(BALLAST_SIZE_MIN))?;
        file.sync()
    }

    /// Gives the ballast up. Whether there was one.
    fn release_ballast(&self) -> bool {
        let is_removed = self.io.remove(&self.layout.ballast()).is_ok();
        if is_removed {
            // The space comes back once it is durable that nobody can have the file again. If this
            // fails it comes back later.
            let _later = self.io.sync_dir(self.layout.root());
        }
        is_removed
    }
}

impl State {
    /// Whether filling further ahead than asked is in order: not on a disk that was full just now.
    fn has_room_to_spare(&self) -> bool {
        self.failure.is_none()
    }
}

fn fill(file: &dyn File, from: u64, to: u64) -> Result<(), Error> {
    let mut offset = from;
    while offset < to {
        let size = usize::try_from(to - offset).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(&ZEROS[..size], offset)?;
        offset += size as u64;
    }
    Ok(())
}

/// What went wrong while making space, as an error of the disk.
pub(crate) fn space_error(layout: &Layout, error: Error) -> DiskError {
    DiskError::io("make space in", &layout.segments())(error)
}
