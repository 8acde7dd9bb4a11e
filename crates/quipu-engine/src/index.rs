//! The index: which positions have a stream, a category, a type, a tag or an id.
//!
//! Names are hashed to [`Key`]s, and for every key the index knows the positions that have it. The
//! log is cut into parts of the same number of events:
//!
//! 1. the newest part is a [`Tail`] in memory that the writer adds to, a small one;
//! 2. a full tail is frozen, and [`Index::join`] adds it to the one before it, until together they
//!    have the events of a run;
//! 3. such a tail waits until [`Index::seal`] writes it to disk as a [`Run`];
//! 4. eight neighbouring runs of one level become one of the next by [`Index::merge`].
//!
//! Sealing and merging only write a file. It is used from [`Index::install`] on, which the caller
//! calls once the manifest names the file.
//!
//! # Invariants
//!
//! - The sources, runs and then tails, cover every position from the first on, each once, in order.
//! - The writer adds to the last tail only, at its end; joining adds to a tail what follows it.
//! - The writer adds an event before it is durable; a [`Reader`] is made with the watermark and
//!   shows nothing above it, and only tails at or below the watermark become runs.
//! - What an index holds is never removed: an ordinal stays what it is.

mod adopt;
mod anew;
mod cursor;
mod entries;
mod error;
mod key;
mod list;
mod merge;
mod node;
mod order;
mod reader;
mod run;
mod seal;
mod slots;
mod source;
mod tail;
mod verify;
mod wanted;
mod write;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use quipu_core::StreamName;

pub(crate) use self::anew::Origins;
pub(crate) use self::cursor::Cursor;
pub(crate) use self::entries::{Entries, Part};
pub(crate) use self::error::IndexError;
pub(crate) use self::key::{IdKey, Key, KeyHasher};
pub(crate) use self::merge::plan_merge;
pub(crate) use self::reader::Reader;
pub(crate) use self::run::Run;
pub(crate) use crate::format::run::{Header as RunHeader, Origin};

use self::error::Result;
use self::source::{SharedTail, Sources};
use self::tail::{Room, Tail};
use crate::format::run::{EVENT_COUNT_MAX, Header};
use crate::io::Io;

/// The most events of the tail that is added to.
const TAIL_EVENT_COUNT_MAX: u32 = 2_048;

/// The index of one log.
///
/// One thread pushes, one at a time maintains, any number read.
#[derive(Debug)]
pub(crate) struct Index {
    origin: Origin,
    run_event_count: u32,
    /// The position that the next event will have.
    next: AtomicU64,
    /// The room that the last run took in memory, which the next is likely to take too.
    room: Mutex<Room>,
    /// The lock guards which sources there are. Under it sources are added and swapped, never
    /// read or written; the lock of the last tail is taken under it, by the writer only.
    sources: RwLock<Arc<Sources>>,
}

impl Index {
    /// An index of these runs, oldest first, each beginning where the one before ends. Events are
    /// pushed from the position after the last run on, or from `first` on where there are no runs.
    /// Runs are made of `run_event_count` events.
    ///
    /// # Errors
    ///
    /// [`IndexError::Corrupt`] if a run does not begin where the one before ends: the index has to
    /// be built again.
    pub(crate) fn new(
        origin: Origin,
        run_event_count: u32,
        first: u64,
        runs: Vec<Arc<Run>>,
    ) -> Result<Self> {
        let allowed = 1..=EVENT_COUNT_MAX;
        assert!(allowed.contains(&run_event_count.into()), "a run has 1 to EVENT_COUNT_MAX events");
        let mut next = runs.first().map_or(first, |run| run.name().first);
        for run in &runs {
            if run.name().first != next {
                let reason = "the run does not begin where the one before ends";
                return Err(IndexError::Corrupt { file: run.path().to_owned(), offset: 0, reason });
            }
            next = run.name().last + 1;
        }
        let tails = vec![SharedTail::new(Tail::new(next), next)];
        let sources = RwLock::new(Arc::new(Sources { runs, tails }));
        let next = AtomicU64::new(next);
        Ok(Self { origin, run_event_count, next, room: Mutex::default(), sources })
    }

    /// What turns names into keys.
    pub(crate) fn hasher(&self) -> KeyHasher {
        KeyHasher::new(self.origin.seed)
    }

    /// The position that the next event will have.
    pub(crate) fn next_position(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Adds the next events of the log. Tails that this makes full are frozen. Only the writer
    /// calls this.
    pub(crate) fn push(&self, events: Part<'_>) {
        let mut rest = events;
        while rest.count() > 0 {
            let is_full = {
                let sources = self.snapshot();
                let shared = active(&sources);
                let mut tail = shared.write();
                let ahead = tail.first() - shared.run();
                let until_run = u64::from(self.run_event_count).saturating_sub(ahead);
                let size = until_run.min(self.tail_event_count().into());
                let size = usize::try_from(size).expect("a tail has its size");
                let room = size.saturating_sub(tail.event_count() as usize);
                let (now, later) = rest.split_at(rest.count().min(room));
                tail.push(now);
                rest = later;
                tail.event_count() as usize >= size
            };
            if is_full {
                self.freeze();
            }
        }
        self.next.fetch_add(events.count() as u64, Ordering::Release);
    }

    /// How many events the tail that is added to may have: few enough that what it takes, some 170
    /// bytes an event, stays in a processor's own cache.
    fn tail_event_count(&self) -> u32 {
        (self.run_event_count / 4).clamp(1, TAIL_EVENT_COUNT_MAX)
    }

    /// Begins another tail.
    fn freeze(&self) {
        let (next, run) = {
            let sources = self.snapshot();
            let shared = active(&sources);
            let tail = shared.read();
            let first = tail.first() + u64::from(tail.event_count());
            let is_whole = first - shared.run() >= u64::from(self.run_event_count);
            (Tail::with_room(first, tail.room()), if is_whole { first } else { shared.run() })
        };
        self.change(|sources| sources.tails.push(SharedTail::new(next, run)));
    }

    /// How many runs' events are in memory and wait to become runs.
    pub(crate) fn frozen_count(&self) -> usize {
        self.snapshot().tails.windows(2).filter(|pair| pair[0].run() != pair[1].run()).count()
    }

    /// Lets others have the processor, if they wait for it. Whoever works behind the writer's back
    /// calls this a few thousand times a second: however low its priority is, a thread that computes
    /// keeps its processor for a slice of some milliseconds, and an append whose thread was woken
    /// there waits for that long. Not while the index is behind: on a busy machine every call
    /// gives a whole slice away, and in the end the writer would wait for the index.
    fn make_way(&self) {
        if !self.is_behind() {
            std::thread::yield_now();
        }
    }

    /// Whether more waits to be joined or sealed than does while the index keeps up.
    fn is_behind(&self) -> bool {
        self.frozen_count() > 1
    }

    /// Whether there is something to [`join`](Self::join).
    pub(crate) fn has_joints(&self) -> bool {
        joint(&self.snapshot()).is_some()
    }

    /// Adds a full tail to the one before it, if they will be parts of one run. Whether there was
    /// one. Only who maintains calls this.
    pub(crate) fn join(&self) -> bool {
        let Some([tail, next]) = joint(&self.snapshot()) else { return false };
        // It is full, so nobody writes to it.
        let joined = next.read();
        let is_first =
            tail.first() == tail.run() && tail.read().event_count() <= self.tail_event_count();
        let tail = if is_first { self.with_room_for_run(&tail) } else { tail };
        for step in 0..joined.step_count() {
            // The lock is taken anew for each step, so that readers wait for one at most.
            tail.write().join(&joined, step);
            self.make_way();
        }
        let first = joined.first();
        self.change(|sources| {
            let place = sources.tails.partition_point(|other| other.first() < first);
            sources.tails.splice(place - 1..=place, [tail]);
        });
        true
    }

    /// A copy of a tail with room for a whole run.
    fn with_room_for_run(&self, tail: &SharedTail) -> SharedTail {
        let room = *self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut larger = Tail::with_room(tail.first(), room);
        let small = tail.read();
        for step in 0..small.step_count() {
            larger.join(&small, step);
        }
        SharedTail::new(larger, tail.run())
    }

    /// A reader of everything up to the position `upto`, which must be durable.
    pub(crate) fn reader(&self, upto: u64) -> Reader {
        Reader::new(Arc::clone(&self.snapshot()), self.hasher(), upto)
    }

    /// The runs, oldest first.
    pub(crate) fn runs(&self) -> Vec<Arc<Run>> {
        self.snapshot().runs.clone()
    }

    /// Writes the oldest frozen tail as a run, if there is one and all of it is at or below the
    /// watermark `durable`. When this returns the file is durable; it is not used before
    /// [`install`](Self::install).
    ///
    /// `name_at` says which stream begins at a position, or `None` where none does.
    ///
    /// # Errors
    ///
    /// [`IndexError::Io`] and whatever `name_at` answers. The tail stays frozen; try again later.
    pub(crate) fn seal<E: From<IndexError>>(
        &self,
        io: &dyn Io,
        dir: &Path,
        durable: u64,
        name_at: impl FnMut(u64) -> Result<Option<StreamName>, E>,
    ) -> Result<Option<Arc<Run>>, E> {
        while self.join() {}
        let frozen = {
            let sources = self.snapshot();
            match sources.tails.as_slice() {
                [frozen, next, ..] if frozen.run() != next.run() => frozen.clone(),
                _ => return Ok(None),
            }
        };
        // A frozen tail is not written to, so its lock keeps nobody waiting.
        let tail = frozen.read();
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = tail.room();
        let name = seal::name_of(&tail);
        if name.last > durable {
            return Ok(None);
        }
        let stream_names = self.hasher().stream_names();
        let header = Header { origin: self.origin, name };
        let make_way = || self.make_way();
        seal::write_tail(io, dir, header, &tail, stream_names, name_at, &make_way)?;
        Ok(Some(Arc::new(Run::open(io, dir, header)?)))
    }

    /// Writes some neighbouring runs as one, if [`plan_merge`] finds any. When this returns the
    /// file is durable; it is not used before [`install`](Self::install).
    ///
    /// `keep_going` is asked often, and may slow the merge down by taking its time; once it answers
    /// `false` the merge is given up and `None` returned.
    ///
    /// # Errors
    ///
    /// - [`IndexError::Corrupt`] if a run turns out to be damaged.
    /// - [`IndexError::Io`] if the disk refuses. The runs stay as they are; try again later.
    pub(crate) fn merge(
        &self,
        io: &dyn Io,
        dir: &Path,
        keep_going: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Arc<Run>>> {
        let runs = self.runs();
        let Some(runs) = plan_merge(&runs).map(|range| &runs[range]) else {
            return Ok(None);
        };
        let Some(name) = merge::name_of(runs) else {
            return Ok(None);
        };
        let header = Header { origin: self.origin, name };
        if !merge::write_merged(io, dir, header, runs, keep_going, &|| self.make_way())? {
            return Ok(None);
        }
        Ok(Some(Arc::new(Run::open(io, dir, header)?)))
    }

    /// The runs there will be once `run` is installed, for the manifest.
    pub(crate) fn runs_with(&self, run: &Arc<Run>) -> Vec<Arc<Run>> {
        let mut sources = Sources::clone(&self.snapshot());
        replace(&mut sources, Arc::clone(run));
        sources.runs
    }

    /// Uses a run that was sealed or merged, in place of the tail or of the runs it was made from.
    /// Those runs are returned: their files can be removed. Readers that were made before keep
    /// what they have.
    pub(crate) fn install(&self, run: Arc<Run>) -> Vec<Arc<Run>> {
        self.change(|sources| replace(sources, run))
    }

    fn snapshot(&self) -> RwLockReadGuard<'_, Arc<Sources>> {
        self.sources.read().expect(NOT_POISONED)
    }

    /// Changes which sources there are, for readers made from then on.
    fn change<T>(&self, change: impl FnOnce(&mut Sources) -> T) -> T {
        let mut sources = self.sources.write().expect(NOT_POISONED);
        change(Arc::make_mut(&mut sources))
    }
}

const NOT_POISONED: &str = "nothing panics while it holds the lock of the sources";

/// The oldest two neighbouring tails that are full and will be parts of one run.
fn joint(sources: &Sources) -> Option<[SharedTail; 2]> {
    let (_, full) = sources.tails.split_last()?;
    let pair = full.windows(2).find(|pair| pair[0].run() == pair[1].run())?;
    Some([pair[0].clone(), pair[1].clone()])
}

/// The tail that is added to.
fn active(sources: &Sources) -> &SharedTail {
    sources.tails.last().expect("there is always a tail to add to")
}

/// Puts a run in place of the sources that it covers, and answers the runs among them.
fn replace(sources: &mut Sources, run: Arc<Run>) -> Vec<Arc<Run>> {
    let name = run.name();
    let covered = |first: u64| (name.first..=name.last).contains(&first);
    if sources.tails_first() == name.first {
        sources.tails.remove(0);
    }
    let begin = sources.runs.partition_point(|other| other.name().first < name.first);
    let end = begin
        + sources.runs[begin..].iter().take_while(|other| covered(other.name().first)).count();
    sources.runs.splice(begin..end, [run]).collect()
}
