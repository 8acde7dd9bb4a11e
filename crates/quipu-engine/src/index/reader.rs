//! Reading the index as it was at one moment.

use std::sync::Arc;

use quipu_core::{Direction, Query, StreamName};

use super::cursor::Cursor;
use super::error::{IndexError, Result};
use super::key::{IdKey, Key, KeyHasher};
use super::list::ListCursor;
use super::merge::next_name;
use super::run::RunNames;
use super::source::{IdPlace, Source, Sources};
use super::wanted::Wanted;

/// The index as it was at one moment, up to one position. Cheap to make.
///
/// All that it finds are candidates, because two names may have one key; what it does not find is
/// not there.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    sources: Arc<Sources>,
    hasher: KeyHasher,
    upto: u64,
}

impl Reader {
    pub(super) fn new(sources: Arc<Sources>, hasher: KeyHasher, upto: u64) -> Self {
        Self { sources, hasher, upto }
    }

    /// What turns names into keys.
    pub(crate) fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// The last position that this reader sees.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "nothing needs it yet but the model in the tests")
    )]
    pub(crate) fn upto(&self) -> u64 {
        self.upto
    }

    /// Whether any position may have a key, whatever position the reader goes up to. Much cheaper
    /// than a cursor where none has.
    pub(crate) fn has(&self, key: Key) -> Result<bool> {
        self.fetch(&key.into(), 0);
        for index in (0..self.sources.count()).rev() {
            if self.sources.get(index).map_or(Ok(false), |source| source.has(key))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What `look` finds at the last position that has a key and at which it finds anything.
    pub(crate) fn last_with<T, E: From<IndexError>>(
        &self,
        key: Key,
        mut look: impl FnMut(u64) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        for index in (0..self.sources.count()).rev() {
            let Some((source, mut list)) = self.open(index, key)? else {
                continue;
            };
            for ordinal in (0..list.count()).rev() {
                let local = list.at(source, ordinal)?;
                let found = look(source.first() + u64::from(local))?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// How many positions have a key.
    pub(crate) fn count(&self, key: Key) -> Result<u64> {
        let mut count = 0;
        for index in 0..self.sources.count() {
            count += u64::from(self.list_count(index, key)?);
        }
        Ok(count)
    }

    /// The position with this ordinal among those that have a key: 0 is the first.
    pub(crate) fn nth(&self, key: Key, ordinal: u64) -> Result<Option<u64>> {
        let mut before = 0;
        for index in 0..self.sources.count() {
            let Some((source, mut list)) = self.open(index, key)? else {
                continue;
            };
            let within = ordinal - before;
            if within < u64::from(list.count()) {
                let local = list.at(source, within as u32)?;
                return Ok(Some(source.first() + u64::from(local)));
            }
            before += u64::from(list.count());
        }
        Ok(None)
    }

    /// The last position that has a key.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "nothing needs it yet but the model in the tests")
    )]
    pub(crate) fn last(&self, key: Key) -> Result<Option<u64>> {
        self.cursor(key, u64::MAX, Direction::Backward).next()
    }

    /// The wanted positions at `from` or past it, in either direction.
    pub(crate) fn cursor(
        &self,
        wanted: impl Into<Wanted>,
        from: u64,
        direction: Direction,
    ) -> Cursor {
        Cursor::new(Arc::clone(&self.sources), wanted.into(), self.upto, from, direction)
    }

    /// Candidates for the events that match a query.
    pub(crate) fn candidates(&self, query: &Query, from: u64, direction: Direction) -> Cursor {
        let items = query.items.iter().map(|item| self.hasher.item(item)).collect();
        let wanted = Wanted::any(items);
        if direction == Direction::Forward {
            self.fetch(&wanted, self.sources.find(from));
        }
        self.cursor(wanted, from, direction)
    }

    /// Has the memory fetched that says whether the runs, from one source on, have what is wanted.
    /// All of it is asked for before any is waited for, so that many runs cost little more than few.
    fn fetch(&self, wanted: &Wanted, from: usize) {
        let runs = self.sources.runs.get(from..).unwrap_or_default();
        let touched = |key| runs.iter().fold(0, |sum, run| sum ^ run.touch(key));
        std::hint::black_box(wanted.keys().map(touched).fold(0, |sum, byte| sum ^ byte));
    }

    /// Candidates for the events with this id in its stream, newest first.
    pub(crate) fn find_ids(&self, id: IdKey) -> IdCandidates {
        IdCandidates {
            source: Some(self.sources.find(self.upto)),
            sources: Arc::clone(&self.sources),
            upto: self.upto,
            id,
            place: IdPlace::Unknown,
        }
    }

    /// The first position that is not in a run but still in memory.
    pub(crate) fn tails_first(&self) -> u64 {
        self.sources.tails_first()
    }

    /// Names of streams that begin in the runs or are given in `in_tails`, in the order of their
    /// bytes: those that begin with `prefix` and come after `after`, at most `limit`.
    ///
    /// `in_tails` is what the caller read at the positions of the key "stream names" from
    /// [`tails_first`](Self::tails_first) on, in order. Streams in the runs are answered whatever
    /// position the reader goes up to.
    pub(crate) fn names(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        in_tails: &[StreamName],
    ) -> Result<Vec<StreamName>> {
        let from = after.filter(|after| *after > prefix).unwrap_or(prefix);
        let mut sources = Vec::new();
        for run in &self.sources.runs {
            sources.push(RunNames::from(run, from)?);
        }
        let begin = in_tails.partition_point(|name| name.as_str() < from);
        let mut in_tails = in_tails[begin..].iter();
        let (mut run_head, mut tail_head) = (next_name(&mut sources)?, in_tails.next());
        let mut names: Vec<StreamName> = Vec::new();
        while names.len() < limit {
            let run_is_next = match (&run_head, tail_head) {
                (Some(run), Some(tail)) => run <= tail,
                (head, _) => head.is_some(),
            };
            let name = if run_is_next {
                std::mem::replace(&mut run_head, next_name(&mut sources)?)
            } else {
                std::mem::replace(&mut tail_head, in_tails.next()).cloned()
            };
            let Some(name) = name.filter(|name| name.as_str().starts_with(prefix)) else {
                break;
            };
            if after.is_none_or(|after| name.as_str() > after) && names.last() != Some(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn list_count(&self, index: usize, key: Key) -> Result<u32> {
        Ok(self.open(index, key)?.map_or(0, |(_, list)| list.count()))
    }

    fn open(&self, index: usize, key: Key) -> Result<Option<(Source<'_>, ListCursor)>> {
        let Some(source) = self.sources.get(index) else {
            return Ok(None);
        };
        let last = self.upto.min(self.sources.last(index));
        let Some(last) = last.checked_sub(source.first()) else {
            return Ok(None);
        };
        let window = 0..u32::try_from(last).map_or(u32::MAX, |last| last.saturating_add(1));
        let list = ListCursor::open(source, key, &window, Direction::Forward)?;
        Ok(list.map(|list| (source, list)))
    }
}

/// Candidate positions of an event id, newest first.
#[derive(Debug)]
pub(crate) struct IdCandidates {
    sources: Arc<Sources>,
    id: IdKey,
    upto: u64,
    source: Option<usize>,
    place: IdPlace,
}

impl IdCandidates {
    /// The next older candidate, or `None` where there are no more.
    pub(crate) fn next(&mut self) -> Result<Option<u64>> {
        while let Some(index) = self.source
            && let Some(source) = self.sources.get(index)
        {
            if let Some((local, place)) = source.find_id(self.id, self.place)? {
                self.place = place;
                let position = source.first() + u64::from(local);
                if position <= self.upto.min(self.sources.last(index)) {
                    return Ok(Some(position));
                }
            } else {
                self.place = IdPlace::Unknown;
                self.source = index.checked_sub(1);
            }
        }
        Ok(None)
    }
}
