//! What every record of a batch must keep to, and the table that says where they are.

use std::collections::hash_map::Entry;
use std::io::ErrorKind;

use super::{Current, Walk};
use crate::error::DiskError;
use crate::format::batch::{BATCH_HEADER_SIZE, BatchHeader};
use crate::format::commitment::Stub;
use crate::format::offsets::{OFFSETS_HEADER_SIZE, OffsetsHeader};
use crate::format::record::Record;
use crate::growing::GrowingOffsets;
use crate::log::keys_of;

impl Walk<'_, '_> {
    /// Looks at the records of a batch, whose own checksum is right or not.
    pub(super) fn records(
        &mut self,
        current: &mut Current,
        header: &BatchHeader,
        body: &[u8],
        body_offset: u64,
        is_whole: bool,
    ) {
        let mut rest = body;
        let mut position = header.first_position;
        let end = position.saturating_add(header.count.into());
        let mut is_reported = false;
        while position < end && !rest.is_empty() {
            let offset = body_offset + (body.len() - rest.len()) as u64;
            let size = match Record::decode(rest, current.seed, position) {
                Ok(record) => {
                    self.record(current, offset, &record);
                    record.size()
                }
                Err(reason) => {
                    self.findings.report(&current.path, offset, reason);
                    is_reported = true;
                    self.has_hole = true;
                    match Record::decode_unchecked(rest, position) {
                        Ok(record) => record.size(),
                        Err(_) => break,
                    }
                }
            };
            rest = rest.get(size..).unwrap_or_default();
            position += 1;
        }
        let offset = body_offset - BATCH_HEADER_SIZE as u64;
        if !is_reported && !is_whole {
            self.findings.report(&current.path, offset, "the batch fails its checksum");
        } else if !is_reported && (position < end || !rest.is_empty() || header.count == 0) {
            let reason = "the batch has another number of records than it says";
            self.findings.report(&current.path, offset, reason);
            is_reported = true;
        }
        current.is_whole &= is_whole && !is_reported;
        self.has_hole |= position < end;
    }

    fn record(&mut self, current: &mut Current, offset: u64, record: &Record<'_>) {
        self.verified.event_count += 1;
        self.last_position = record.position();
        current.offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
        if record.recorded_at() < self.last_recorded_at {
            let reason = "the event was recorded before the one before it";
            self.findings.report(&current.path, offset, reason);
        }
        self.last_recorded_at = record.recorded_at();
        if record.is_stub() {
            self.verified.scavenged_count += 1;
            // Every event has a stream, a category and a type.
            if Stub::decode(record).is_none_or(|stub| stub.keys.len() < 3) {
                let reason = "what scavenging left of the event is not well-formed";
                self.findings.report(&current.path, offset, reason);
                self.has_hole = true;
                return;
            }
        }
        let mut keys = Vec::new();
        let id = keys_of(self.hasher, record, &mut keys);
        let stream = keys.first().expect("every event has a stream, checked above for stubs").get();
        let revision = record.revision();
        let expected = match self.revisions.entry(stream) {
            Entry::Occupied(mut entry) => entry.insert(revision.saturating_add(1)),
            Entry::Vacant(entry) => {
                entry.insert(revision.saturating_add(1));
                0
            }
        };
        if revision != expected && !(self.has_hole && revision > expected) {
            let reason =
                format!("the event has revision {revision} where its stream is at {expected}");
            self.findings.report(&current.path, offset, reason);
        }
        self.index.add(record, &keys, id, self.findings);
    }

    /// Compares what is on disk of the offsets of a segment that is being written, once all records
    /// that the manifest knows were seen. What cannot be read is no damage: nobody needs it.
    pub(super) fn check_growing_offsets(&mut self, current: &Current, size_max: u64) {
        let path = self.layout.growing_offsets(current.number);
        let Ok(file) = self.io.open(&path) else { return };
        let count = current.offsets.len();
        let known = GrowingOffsets::read(file, &current.header, count, size_max);
        if known.is_some_and(|(_, offsets)| offsets != current.offsets) {
            let reason = "the offsets so far do not say where the segment's records are";
            self.findings.report(&path, 0, reason);
        }
    }

    /// Compares the table beside a full segment, if there is one.
    pub(super) fn check_table(&mut self, current: &Current, end: u64) {
        let header = &current.header;
        let path = self.layout.offsets(header.number, header.generation);
        let bytes = match self.io.open(&path).and_then(|file| file.bytes(0..file.size()?)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => return self.findings.report_error(DiskError::io("read", &path)(error)),
        };
        let expected = OffsetsHeader {
            log: header.log,
            segment: header.number,
            generation: header.generation,
            end: u32::try_from(end).unwrap_or(u32::MAX),
            first_position: header.first_position,
            count: current.offsets.len() as u64,
        };
        if expected.encode(&current.offsets) == bytes {
            return;
        }
        // Beside a segment that was not full it may be of all that a writer put there since.
        let was_full = current.number < self.proven().0;
        if !was_full && self.is_live() {
            return;
        }
        if expected.check(&bytes).is_none() {
            let reason = "the table of the segment's records fails its checksum";
            self.findings.report(&path, 0, reason);
        } else {
            let reason = "the table does not say where the segment's records are";
            self.findings.report(&path, OFFSETS_HEADER_SIZE as u64, reason);
        }
    }
}
