//! Sources: what a snapshot of the index is made of, runs and tails alike.

use std::ops::Range;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::error::Result;
use super::key::{IdKey, Key};
use super::run::{Run, RunList};
use super::tail::Tail;
use crate::format::run::postings::GROUP_COUNT;

/// A tail that one thread adds to while others read.
///
/// The lock guards the tail's tables for as long as it takes to add some events or to copy one
/// chunk of positions; nobody does I/O or takes another lock under it.
#[derive(Clone, Debug)]
pub(super) struct SharedTail {
    first: u64,
    tail: Arc<RwLock<Tail>>,
}

impl SharedTail {
    pub(super) fn new(tail: Tail) -> Self {
        Self { first: tail.first(), tail: Arc::new(RwLock::new(tail)) }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Tail> {
        self.tail.read().expect("nothing panics while it holds a tail's lock")
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().expect("nothing panics while it holds a tail's lock")
    }
}

/// All sources, oldest first. Together they cover every position from the first one's on.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) runs: Vec<Arc<Run>>,
    /// Never empty: the last one is being added to, the others wait to become runs.
    pub(super) tails: Vec<SharedTail>,
}

impl Sources {
    pub(super) fn count(&self) -> usize {
        self.runs.len() + self.tails.len()
    }

    /// The source with this index, if there is one.
    pub(super) fn get(&self, index: usize) -> Option<Source<'_>> {
        match self.runs.get(index) {
            Some(run) => Some(Source::Run(run)),
            None => self.tails.get(index - self.runs.len()).map(Source::Tail),
        }
    }

    /// The first position that is not in a run.
    pub(super) fn tails_first(&self) -> u64 {
        self.tails.first().expect("there is always a tail to add to").first()
    }

    /// The position of the source's last event; without bound for the one that is being added to.
    pub(super) fn last(&self, index: usize) -> u64 {
        self.get(index + 1).map_or(u64::MAX, |next| next.first() - 1)
    }

    /// The index of the source that holds `position`; the first or the last one where none does.
    pub(super) fn find(&self, position: u64) -> usize {
        let after = if position < self.tails_first() {
            self.runs.partition_point(|run| run.name().first <= position)
        } else {
            self.runs.len() + self.tails.partition_point(|tail| tail.first() <= position)
        };
        after.saturating_sub(1)
    }
}

/// One source, borrowed from a snapshot. Within it, places are local positions: 0 for its first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    Run(&'a Run),
    Tail(&'a SharedTail),
}

/// How many positions are copied or decoded at once. Lists are cut at its multiples.
pub(super) const CHUNK_COUNT: u32 = GROUP_COUNT;

/// The positions that a source has for a key. Belongs to the source that answered it.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    Run(RunList),
    Tail(Key),
}

/// Where a search for an id stands in one source.
#[derive(Clone, Copy, Debug)]
pub(super) enum IdPlace {
    /// The source has not been asked.
    Unknown,
    /// In a run: the index among its ids of the one found last.
    Run(u64),
    /// In a tail: the local position found last.
    Tail(u32),
}

const OWN_LIST: &str = "a list is given to the source that answered it";

impl Source<'_> {
    /// The position of the source's first event.
    pub(super) fn first(self) -> u64 {
        match self {
            Self::Run(run) => run.name().first,
            Self::Tail(tail) => tail.first(),
        }
    }

    /// Whether any position has a key.
    pub(super) fn has(self, key: Key) -> Result<bool> {
        match self {
            Self::Run(run) => Ok(run.find(key)?.is_some()),
            Self::Tail(tail) => Ok(!tail.read().postings(key).is_empty()),
        }
    }

    /// The list of a key and how many of its positions are below `window.end`, if any is in the
    /// window.
    pub(super) fn list(self, key: Key, window: &Range<u32>) -> Result<Option<(List, u32)>> {
        match self {
            Self::Run(run) => {
                let Some(list) = run.find(key)? else {
                    return Ok(None);
                };
                let count = if list.last < window.end {
                    list.count
                } else {
                    let group = run.find_group(list, window.end)?;
                    let mut locals = Vec::new();
                    run.read_group(list, group, &mut locals)?;
                    let within = locals.partition_point(|local| *local < window.end);
                    group * GROUP_COUNT + to_count(within)
                };
                let any = count > 0 && list.last >= window.start;
                Ok(any.then_some((List::Run(list), count)))
            }
            Self::Tail(shared) => {
                let tail = shared.read();
                let locals = tail.postings(key);
                let count = locals.partition_point(|local| *local < window.end);
                let any = count > 0 && locals[count - 1] >= window.start;
                Ok(any.then(|| (List::Tail(key), to_count(count))))
            }
        }
    }

    /// Puts a chunk of a list in `chunk`: the one that begins at `index * CHUNK_COUNT`.
    pub(super) fn read_chunk(self, list: List, index: u32, chunk: &mut Vec<u32>) -> Result<()> {
        chunk.clear();
        match (self, list) {
            (Self::Run(run), List::Run(list)) => run.read_group(list, index, chunk),
            (Self::Tail(shared), List::Tail(key)) => {
                let tail = shared.read();
                let locals = tail.postings(key);
                let begin = (index as usize * CHUNK_COUNT as usize).min(locals.len());
                let end = (begin + CHUNK_COUNT as usize).min(locals.len());
                chunk.extend_from_slice(&locals[begin..end]);
                Ok(())
            }
            _ => unreachable!("{OWN_LIST}"),
        }
    }

    /// The index of a chunk of a list such that everything before the chunk is below `local` and
    /// everything after it is not.
    pub(super) fn find_chunk(self, list: List, local: u32) -> Result<u32> {
        match (self, list) {
            (Self::Run(run), List::Run(list)) => run.find_group(list, local),
            (Self::Tail(shared), List::Tail(key)) => {
                let tail = shared.read();
                let rank = tail.postings(key).partition_point(|other| *other < local);
                Ok(to_count(rank.saturating_sub(1)) / CHUNK_COUNT)
            }
            _ => unreachable!("{OWN_LIST}"),
        }
    }

    /// The last local position with this id before `place`, and its place.
    pub(super) fn find_id(self, id: IdKey, place: IdPlace) -> Result<Option<(u32, IdPlace)>> {
        match self {
            Self::Run(run) => {
                let end = match place {
                    IdPlace::Run(index) => Some(index),
                    IdPlace::Unknown | IdPlace::Tail(_) => None,
                };
                let found = run.find_id(id, end)?;
                Ok(found.map(|(index, local)| (local, IdPlace::Run(index))))
            }
            Self::Tail(shared) => {
                let tail = shared.read();
                let local = match place {
                    IdPlace::Tail(local) => tail.previous_with_id(local),
                    IdPlace::Unknown | IdPlace::Run(_) => tail.last_with_id(id),
                };
                Ok(local.map(|local| (local, IdPlace::Tail(local))))
            }
        }
    }
}

pub(super) fn to_count(count: usize) -> u32 {
    u32::try_from(count).expect("a source has fewer than 2^32 events, and each is in a list once")
}
