//! What the writer knows of streams: from the index and the log, the staged batch included.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quipu_core::decide::{LogState, StreamFacts};
use quipu_core::{Direction, EventId, Position, Query, Revision, StreamMetadata, StreamName};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Writer;
use crate::error::DiskError;
use crate::format::record::Record;
use crate::index::{KeyHasher, Reader};
use crate::io::SeededBug;
use crate::lookup::{self, Records};

/// The most streams in one half of the cache.
const HALF_COUNT_MAX: usize = 200_000;

/// The streams that were looked at last, in two halves: when the younger is full the older goes.
///
/// Streams are told apart by 128 bits of a keyed hash: two of ten million meet with a probability
/// of about 10^-25.
#[derive(Debug, Default)]
pub(crate) struct FactsCache {
    young: Half,
    old: Half,
}

type Half = HashMap<StreamKey, Known, BuildHasherDefault<LowBits>>;

/// A hash of a stream's name, in two halves: a number of 128 bits would be aligned to 16 bytes, and
/// the table larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StreamKey([u64; 2]);

impl StreamKey {
    fn of(hasher: KeyHasher, stream: &StreamName) -> Self {
        let hash = xxh3_128_with_seed(stream.as_str().as_bytes(), hasher.seed());
        Self([hash as u64, (hash >> 64) as u64])
    }
}

/// The keys of the streams of one append.
#[derive(Debug, Default)]
pub(crate) struct StreamKeys {
    own: Vec<StreamKey>,
    /// Of the streams whose metadata some of the streams hold.
    bases: Vec<StreamKey>,
}

impl StreamKeys {
    /// The keys of these streams.
    pub(super) fn of(hasher: KeyHasher, streams: &[StreamName]) -> Self {
        let mut keys = Self { own: Vec::with_capacity(streams.len()), bases: Vec::new() };
        keys.complete(hasher, streams.iter());
        keys
    }

    /// Adds the keys of those of the streams that have none yet: the last ones.
    pub(super) fn complete<'a>(
        &mut self,
        hasher: KeyHasher,
        streams: impl ExactSizeIterator<Item = &'a StreamName>,
    ) {
        for stream in streams.skip(self.own.len()) {
            self.own.push(StreamKey::of(hasher, stream));
            self.bases.extend(stream.metadata_of().map(|base| StreamKey::of(hasher, &base)));
        }
    }
}

impl Hash for StreamKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0[0]);
    }
}

/// The low half of a key that is a hash already.
#[derive(Debug, Default)]
struct LowBits(u64);

impl Hasher for LowBits {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("keys give a half of theirs");
    }

    fn write_u64(&mut self, low: u64) {
        self.0 = low;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// [`StreamFacts`] in few bytes.
#[derive(Clone, Debug)]
struct Known {
    /// How many events the stream ever had: 1 more than the last one's revision.
    count: u64,
    /// Most streams have nothing to note.
    notable: Option<Arc<Notable>>,
}

#[derive(Clone, Debug)]
struct Notable {
    tombstoned: bool,
    metadata: Option<Arc<StreamMetadata>>,
}

impl From<StreamFacts> for Known {
    fn from(facts: StreamFacts) -> Self {
        let StreamFacts { last, tombstoned, metadata } = facts;
        let is_notable = tombstoned || metadata.is_some();
        Self {
            count: last.map_or(0, |last| last.next().get()),
            notable: is_notable.then(|| Arc::new(Notable { tombstoned, metadata })),
        }
    }
}

impl From<Known> for StreamFacts {
    fn from(known: Known) -> Self {
        let last = known.count.checked_sub(1).map(Revision::new);
        match known.notable.map(Arc::unwrap_or_clone) {
            Some(Notable { tombstoned, metadata }) => Self { last, tombstoned, metadata },
            None => Self { last, ..Self::ABSENT },
        }
    }
}

impl FactsCache {
    fn get(&mut self, key: StreamKey) -> Option<Known> {
        if let Some(known) = self.young.get(&key) {
            return Some(known.clone());
        }
        let known = self.old.remove(&key)?;
        self.insert(key, known.clone());
        Some(known)
    }

    fn insert(&mut self, key: StreamKey, known: Known) {
        if self.young.len() >= HALF_COUNT_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, known);
    }

    /// Has the memory fetched that these keys will need: of all, so that none waits for another.
    fn fetch(&self, keys: &[StreamKey]) {
        let look = |key| self.young.get(key).map(|known| known.count);
        std::hint::black_box(keys.iter().filter_map(look).fold(0, u64::wrapping_add));
    }

    /// Keeps up with streams that were written to: of each its last staged revision, and whether
    /// that is a tombstone.
    pub(super) fn note(
        &mut self,
        keys: &StreamKeys,
        heads: impl ExactSizeIterator<Item = (Revision, bool)>,
    ) {
        assert_eq!(keys.own.len(), heads.len(), "every stream has a key");
        for (key, (last, tombstoned)) in keys.own.iter().zip(heads) {
            if let Some(known) = self.young.get_mut(key) {
                if tombstoned {
                    let facts = StreamFacts { tombstoned, ..known.clone().into() };
                    *known = facts.into();
                }
                known.count = last.next().get();
            } else {
                self.old.remove(key);
            }
        }
        for base in &keys.bases {
            self.young.remove(base);
            self.old.remove(base);
        }
    }
}

impl Writer {
    /// A reader of the index that knows what is staged too.
    fn staged_reader(&mut self, upto: u64) -> Reader {
        self.index_staged();
        self.log.index.reader(upto)
    }

    fn facts_of(&mut self, stream: &StreamName, key: StreamKey) -> Result<StreamFacts, DiskError> {
        let tallies = &self.log.tallies;
        if let Some(known) = self.facts.get(key) {
            tallies.remembered_count.fetch_add(1, Ordering::Relaxed);
            return Ok(known.into());
        }
        tallies.looked_up_count.fetch_add(1, Ordering::Relaxed);
        let reader = self.staged_reader(u64::MAX);
        let facts = lookup::facts(self, &reader, self.log.hasher, stream)?;
        self.facts.insert(key, facts.clone().into());
        Ok(facts)
    }
}

impl Records for Writer {
    fn with_record<T>(
        &self,
        position: u64,
        look: impl FnOnce(Record<'_>) -> T,
    ) -> Result<T, DiskError> {
        match position.checked_sub(self.place.position) {
            Some(index) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let record = self.stage.record(index, position);
                Ok(look(record.expect("positions from the place on are staged")))
            }
            None => self.log.with_record(position, look),
        }
    }
}

impl LogState for Writer {
    type Error = DiskError;

    fn frontier(&self) -> Position {
        Position::new(self.place.position - 1 + self.stage.count() as u64)
    }

    fn stream(&mut self, stream: &StreamName) -> Result<StreamFacts, DiskError> {
        self.facts_of(stream, StreamKey::of(self.log.hasher, stream))
    }

    fn streams(&mut self, streams: &[StreamName]) -> Result<Vec<StreamFacts>, DiskError> {
        let mut keys = std::mem::take(&mut self.stream_keys);
        // A change that became an append only now has no keys yet.
        keys.complete(self.log.hasher, streams.iter());
        assert_eq!(keys.own.len(), streams.len(), "every stream of the append has one key");
        if streams.len() > 1 {
            self.facts.fetch(&keys.own);
        }
        let facts = streams
            .iter()
            .zip(&keys.own)
            .map(|(stream, key)| self.facts_of(stream, *key))
            .collect();
        self.stream_keys = keys;
        facts
    }

    fn id_at(
        &mut self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<(EventId, Position)>, DiskError> {
        if self.log.io.has_bug(SeededBug::SkipReplayCheck) {
            return Ok(None);
        }
        let reader = self.staged_reader(u64::MAX);
        let place = lookup::place_of(self, &reader, self.log.hasher, stream, revision)?;
        match place {
            Some(position) => {
                let id = self.with_record(position, |record| record.id())?;
                Ok(Some((id, Position::new(position))))
            }
            None => Ok(None),
        }
    }

    fn find_id(
        &mut self,
        stream: &StreamName,
        id: EventId,
    ) -> Result<Option<(Position, Revision)>, DiskError> {
        if self.log.io.has_bug(SeededBug::SkipReplayCheck) {
            return Ok(None);
        }
        let reader = self.staged_reader(u64::MAX);
        let own = self.log.hasher.id(stream.as_str(), id);
        let mut candidates = reader.find_ids(own);
        while let Some(position) = candidates.next()? {
            let found = self.with_record(position, |record| {
                lookup::is_event(&record, self.log.hasher, stream, id).then(|| record.revision())
            })?;
            if let Some(revision) = found {
                return Ok(Some((Position::new(position), Revision::new(revision))));
            }
        }
        Ok(None)
    }

    fn first_match(
        &mut self,
        query: &Query,
        after: Position,
    ) -> Result<Option<Position>, DiskError> {
        let overlay = !self.log.io.has_bug(SeededBug::SkipConditionOverlay);
        let upto = if overlay { self.frontier().get() } else { self.log.watermark.get() };
        let reader = self.staged_reader(upto);
        let mut candidates = reader.candidates(query, after.next().get(), Direction::Forward);
        while let Some(position) = candidates.next()? {
            if self.with_record(position, |record| lookup::matches(&record, query))? {
                return Ok(Some(Position::new(position)));
            }
        }
        Ok(None)
    }
}
