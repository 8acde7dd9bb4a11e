//! Which events of a segment may go.

use std::collections::HashMap;
use std::sync::Arc;

use quipu_core::{Retention, Revision, StreamName, StreamState, TOMBSTONE_TYPE, Timestamp};

use super::rewrite::stub_of;
use crate::error::DiskError;
use crate::format::record::Record;
use crate::log::Log;
use crate::lookup;
use crate::reader::retention_of;
use crate::segment::Segment;
use crate::walk::Place;

/// The most streams whose rules are remembered.
const RULES_COUNT_MAX: usize = 100_000;

/// Looks at segments and says what goes. It sees the log as it was when a segment was begun.
pub(super) struct Judge {
    log: Arc<Log>,
    rules: HashMap<StreamName, Rules>,
}

/// What may go of one stream.
#[derive(Clone, Copy)]
struct Rules {
    fate: Fate,
    /// The revision of the metadata that counts, where this is a stream of metadata.
    metadata: Option<Revision>,
}

#[derive(Clone, Copy)]
enum Fate {
    /// Everything but tombstones.
    Tombstoned,
    /// What is not shown, but not the last event.
    Retained { retention: Retention, last: Revision },
}

/// What may go of one segment.
#[derive(Default)]
pub(super) struct Verdict {
    /// For each record of the segment whether it goes.
    going: Vec<bool>,
    pub(super) going_count: u64,
    /// Bytes of all batches.
    used_size: u64,
    /// Bytes of the records that go.
    going_size: u64,
    /// Bytes of their stubs.
    stub_size: u64,
}

impl Verdict {
    /// Whether the record with this index in the segment goes.
    pub(super) fn is_going(&self, index: usize) -> bool {
        self.going.get(index).copied().unwrap_or(false)
    }

    /// Whether something goes, and enough of it.
    pub(super) fn is_worth_it(&self, threshold_percent: u8) -> bool {
        let saved = self.going_size.saturating_sub(self.stub_size) * 100;
        let wanted = self.used_size * u64::from(threshold_percent);
        self.going_count > 0 && saved >= wanted
    }
}

impl Judge {
    pub(super) fn new(log: Arc<Log>) -> Self {
        Self { log, rules: HashMap::new() }
    }

    /// Looks at all records of a full segment.
    ///
    /// What goes now may go later too, whatever is appended meanwhile: neither does an event become
    /// the last one of its stream again, nor metadata the latest.
    pub(super) fn look_at(&mut self, segment: &Segment) -> Result<Verdict, DiskError> {
        let bytes = segment.settled(segment.end())?;
        let mut verdict = Verdict::default();
        let mut place = Place::first_of(&segment.header);
        while let Some(batch) = segment.batch_at(&bytes, place)? {
            for record in batch.records() {
                let (_, record) = record
                    .map_err(|reason| DiskError::corrupt(&segment.path, place.offset, reason))?;
                let goes = self.goes(&record)?;
                verdict.going.push(goes);
                if goes {
                    verdict.going_count += 1;
                    verdict.going_size += record.size() as u64;
                    verdict.stub_size += stub_of(self.log.hasher, &record).size() as u64;
                }
            }
            place = batch.next();
        }
        verdict.used_size = place.offset;
        Ok(verdict)
    }

    fn goes(&mut self, record: &Record<'_>) -> Result<bool, DiskError> {
        if record.is_stub() {
            return Ok(false);
        }
        let Ok(stream) = StreamName::new(record.stream()) else { return Ok(false) };
        let rules = self.rules_of(stream)?;
        let revision = Revision::new(record.revision());
        if rules.metadata == Some(revision) {
            return Ok(false);
        }
        Ok(match rules.fate {
            Fate::Tombstoned => record.event_type() != TOMBSTONE_TYPE,
            Fate::Retained { retention, last } => {
                let recorded_at = Timestamp::from_micros(record.recorded_at());
                revision < last && !retention.shows(revision, recorded_at)
            }
        })
    }

    fn rules_of(&mut self, stream: StreamName) -> Result<Rules, DiskError> {
        if let Some(rules) = self.rules.get(&stream) {
            return Ok(*rules);
        }
        let log = &*self.log;
        let reader = log.index_reader(log.frontier());
        let facts = lookup::facts(log, &reader, log.hasher, &stream)?;
        let metadata = match stream.metadata_of() {
            Some(base) => lookup::metadata(log, &reader, log.hasher, &base)?,
            None => None,
        };
        let fate = match (facts.state(), facts.last) {
            (StreamState::Tombstoned { .. }, _) => Fate::Tombstoned,
            (_, Some(last)) => Fate::Retained {
                retention: retention_of(&stream, &facts, last, log.io.now()),
                last,
            },
            // The index does not find a stream that the log has: nothing of it goes.
            (_, None) => Fate::Retained { retention: Retention::ALL, last: Revision::FIRST },
        };
        let rules = Rules { fate, metadata: metadata.map(|(_, revision)| revision) };
        if self.rules.len() >= RULES_COUNT_MAX {
            self.rules.clear();
        }
        self.rules.insert(stream, rules);
        Ok(rules)
    }
}
