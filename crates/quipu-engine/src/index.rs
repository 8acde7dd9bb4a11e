//! The index: which positions have a stream, a category, a type, a tag or an id.
//!
//! Names are hashed to [`Key`]s, and for every key the index knows the positions that have it. The
//! log is cut into parts of the same number of events. The newest part is a [`Tail`] in memory
//! that the writer adds to. A full tail is frozen and waits until it is written to disk as a run.
//!
//! # Invariants
//!
//! - The sources, runs and then tails, cover every position from the first on, each once, in order.
//! - Only the last tail is ever added to, at its end.
//! - The writer adds an event before it is durable; a [`Reader`] is made with the watermark and
//!   shows nothing above it, and only tails at or below the watermark become runs.
//! - What an index holds is never removed: an ordinal stays what it is.

mod cursor;
mod error;
mod key;
mod list;
mod node;
mod reader;
mod source;
mod tail;
mod wanted;

#[cfg(test)]
mod tests;

use std::sync::{Arc, RwLock, RwLockReadGuard};

pub(crate) use self::cursor::Cursor;
pub(crate) use self::error::IndexError;
pub(crate) use self::key::{IdKey, Key, KeyHasher};
pub(crate) use self::reader::{IdCandidates, Reader};
pub(crate) use self::wanted::Wanted;

use self::source::{SharedTail, Sources};
use self::tail::Tail;

/// How many events go into a tail, unless an option says otherwise.
pub(crate) const RUN_EVENT_COUNT: u32 = 131_072;

/// The index of one log.
///
/// One thread pushes, one at a time maintains, any number read.
#[derive(Debug)]
pub(crate) struct Index {
    hasher: KeyHasher,
    run_event_count: u32,
    /// The lock guards which sources there are. Under it sources are added and swapped, never
    /// read or written; the lock of the last tail is taken under it, by `push` only.
    sources: RwLock<Arc<Sources>>,
}

impl Index {
    /// An index with nothing in it, whose first event will have the position `first`. A tail is
    /// frozen once it has `run_event_count` events.
    pub(crate) fn new(hasher: KeyHasher, run_event_count: u32, first: u64) -> Self {
        assert!(run_event_count > 0, "a run has events");
        let tails = vec![SharedTail::new(Tail::new(first, 0))];
        let sources = Sources { tails };
        Self { hasher, run_event_count, sources: RwLock::new(Arc::new(sources)) }
    }

    /// What turns names into keys.
    pub(crate) fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// Adds the next event of the log and returns its position. Only the writer calls this.
    pub(crate) fn push(&self, keys: &[Key], id: IdKey) -> u64 {
        self.freeze_if_full();
        active(&self.snapshot()).push(keys, id)
    }

    /// Freezes the last tail and begins another if it is full; `push` does that too. Only the
    /// writer calls this.
    pub(crate) fn freeze_if_full(&self) -> bool {
        let next = {
            let sources = self.snapshot();
            let tail = active(&sources).read();
            if tail.event_count() < self.run_event_count {
                return false;
            }
            // The next tail is likely to have as many keys. Having the room at once spares the
            // writer the pauses in which a table grows.
            Tail::new(tail.first() + u64::from(tail.event_count()), tail.key_count())
        };
        let mut sources = self.sources.write().expect(NOT_POISONED);
        Arc::make_mut(&mut sources).tails.push(SharedTail::new(next));
        true
    }

    /// How many tails are full and wait to become runs.
    pub(crate) fn frozen_count(&self) -> usize {
        self.snapshot().tails.len() - 1
    }

    /// A reader of everything up to the position `upto`, which must be durable.
    pub(crate) fn reader(&self, upto: u64) -> Reader {
        Reader::new(Arc::clone(&self.snapshot()), self.hasher, upto)
    }

    fn snapshot(&self) -> RwLockReadGuard<'_, Arc<Sources>> {
        self.sources.read().expect(NOT_POISONED)
    }
}

const NOT_POISONED: &str = "nothing panics while it holds the lock of the sources";

/// The tail that is added to.
fn active(sources: &Sources) -> &SharedTail {
    sources.tails.last().expect("there is always a tail to add to")
}
