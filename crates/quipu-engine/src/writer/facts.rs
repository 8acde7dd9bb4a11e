//! What the writer knows of streams: from the index and the log, the staged batch included.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use quipu_core::decide::{LogState, StreamFacts};
use quipu_core::{Direction, EventId, Position, Query, Revision, StreamMetadata, StreamName};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Writer;
use crate::error::DiskError;
use crate::format::record::Record;
use crate::index::KeyHasher;
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

type Half = HashMap<u128, Known, BuildHasherDefault<LowBits>>;

/// The low half of a key that is a hash already.
#[derive(Debug, Default)]
struct LowBits(u64);

impl Hasher for LowBits {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("keys are 128-bit numbers");
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// [`StreamFacts`] in few bytes.
#[derive(Clone, Debug)]
struct Known {
    last: Option<Revision>,
    tombstoned: bool,
    metadata: Option<Arc<StreamMetadata>>,
}

impl FactsCache {
    fn get(&mut self, key: u128) -> Option<Known> {
        if let Some(known) = self.young.get(&key) {
            return Some(known.clone());
        }
        let known = self.old.remove(&key)?;
        self.insert(key, known.clone());
        Some(known)
    }

    fn insert(&mut self, key: u128, known: Known) {
        if self.young.len() >= HALF_COUNT_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, known);
    }

    /// Keeps up with a stream whose last staged event has this revision.
    pub(crate) fn note(
        &mut self,
        hasher: KeyHasher,
        stream: &StreamName,
        last: Revision,
        tombstoned: bool,
    ) {
        let key = key(hasher, stream);
        if let Some(known) = self.young.get_mut(&key) {
            known.last = Some(last);
            known.tombstoned = tombstoned;
        } else {
            self.old.remove(&key);
        }
        if let Some(base) = stream.metadata_of() {
            let key = self::key(hasher, &base);
            self.young.remove(&key);
            self.old.remove(&key);
        }
    }
}

fn key(hasher: KeyHasher, stream: &StreamName) -> u128 {
    xxh3_128_with_seed(stream.as_str().as_bytes(), hasher.seed())
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
        let key = key(self.log.hasher, stream);
        let known = if let Some(known) = self.facts.get(key) {
            known
        } else {
            let reader = self.log.index.reader(u64::MAX);
            let facts = lookup::facts(self, &reader, self.log.hasher, stream)?;
            let metadata = facts.metadata.map(Arc::new);
            let known = Known { last: facts.last, tombstoned: facts.tombstoned, metadata };
            self.facts.insert(key, known.clone());
            known
        };
        Ok(StreamFacts {
            last: known.last,
            tombstoned: known.tombstoned,
            metadata: known.metadata.map(Arc::unwrap_or_clone),
        })
    }

    fn id_at(
        &mut self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<(EventId, Position)>, DiskError> {
        if self.log.io.has_bug(SeededBug::SkipReplayCheck) {
            return Ok(None);
        }
        let reader = self.log.index.reader(u64::MAX);
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
        let reader = self.log.index.reader(u64::MAX);
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
        let reader = self.log.index.reader(upto);
        let mut candidates = reader.candidates(query, after.next().get(), Direction::Forward);
        while let Some(position) = candidates.next()? {
            if self.with_record(position, |record| lookup::matches(&record, query))? {
                return Ok(Some(Position::new(position)));
            }
        }
        Ok(None)
    }
}
