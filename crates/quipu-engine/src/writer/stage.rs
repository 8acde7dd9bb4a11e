//! The batch in the making: records that are decided and not yet durable.

use std::ops::Range;

use quipu_core::decide::Plan;
use quipu_core::{Appended, AppendedStream, NewEvent, Position, Revision, Timestamp};

use super::Writer;
use super::prepared::{Prepared, Ready};
use super::queue::Leftovers;
use crate::format::batch::{BATCH_HEADER_SIZE, BatchHeader, padded};
use crate::format::checksum;
use crate::format::record::{self, Record, RecordPlace, flag};
use crate::format::segment::SEGMENT_HEADER_SIZE;
use crate::index::{Entries, IdKey, Key};
use crate::walk::Place;

/// Bytes kept free before the records, for the segment's head and the batch's.
const LEAD_SIZE: usize = SEGMENT_HEADER_SIZE + BATCH_HEADER_SIZE;
/// A buffer larger than this is given back after a large batch.
const BUFFER_SIZE_MAX: usize = 16 << 20;

/// Records on their way to the log, back to back.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// Empty, or [`LEAD_SIZE`] bytes and then the records.
    buffer: Vec<u8>,
    /// Where each record begins in the buffer.
    starts: Vec<u32>,
    /// The streams that records are in, without repetitions in a row.
    touched: Vec<Key>,
    /// What of it the index does not have yet.
    entries: Entries,
}

/// A batch that is ready to be written.
#[derive(Debug)]
pub(crate) struct Sealed {
    buffer: Vec<u8>,
    starts: Vec<u32>,
    touched: Vec<Key>,
    from: usize,
    /// Where the batch after this one is.
    pub(crate) next: Place,
}

impl Sealed {
    /// The bytes to write, the segment's head included where it is new.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..]
    }

    /// The keys of the streams that got events.
    pub(crate) fn touched(&self) -> &[Key] {
        &self.touched
    }

    /// Where each record begins in the segment, given where the batch does.
    pub(crate) fn offsets(&self, batch_offset: u64) -> impl Iterator<Item = u32> {
        let body = u32::try_from(batch_offset).expect("segments are under 4 GiB")
            + BATCH_HEADER_SIZE as u32;
        self.starts.iter().map(move |start| start - LEAD_SIZE as u32 + body)
    }
}

impl Stage {
    /// Bytes of staged records.
    pub(crate) fn size(&self) -> u64 {
        self.buffer.len().saturating_sub(LEAD_SIZE) as u64
    }

    pub(crate) fn count(&self) -> usize {
        self.starts.len()
    }

    /// The staged record at `index`.
    pub(crate) fn record(&self, index: usize, position: u64) -> Option<Record<'_>> {
        let start = *self.starts.get(index)? as usize;
        Record::decode_unchecked(self.buffer.get(start..)?, position).ok()
    }

    /// Copies records that have no place yet, and answers where they begin.
    fn add_records(&mut self, prepared: &[Prepared]) -> usize {
        if self.buffer.is_empty() {
            self.buffer.resize(LEAD_SIZE, 0);
        }
        let start = self.buffer.len();
        for part in prepared {
            self.buffer.extend_from_slice(part.records());
        }
        start
    }

    /// Puts the heads before the records. The stage is empty afterwards.
    pub(crate) fn seal(&mut self, head: &[u8], seed: u32, place: Place, now: i64) -> Sealed {
        let mut buffer = std::mem::take(&mut self.buffer);
        let starts = std::mem::take(&mut self.starts);
        let touched = std::mem::take(&mut self.touched);
        let body = &buffer[LEAD_SIZE..];
        let header = BatchHeader {
            body_size: u32::try_from(body.len()).expect("batches are under 4 GiB"),
            body_crc: checksum(seed, body),
            sequence: place.sequence,
            first_position: place.position,
            count: u32::try_from(starts.len()).expect("batches are bounded"),
            committed_at: now,
            previous_crc: place.previous_crc,
        };
        let (bytes, crc) = header.encode(seed);
        buffer[SEGMENT_HEADER_SIZE..LEAD_SIZE].copy_from_slice(&bytes);
        let from = SEGMENT_HEADER_SIZE - head.len();
        buffer[from..SEGMENT_HEADER_SIZE].copy_from_slice(head);
        buffer.resize(SEGMENT_HEADER_SIZE + padded(buffer.len() - SEGMENT_HEADER_SIZE), 0);
        let next = Place {
            offset: place.offset + header.size(),
            sequence: place.sequence + 1,
            previous_crc: crc,
            position: place.position + u64::from(header.count),
        };
        Sealed { buffer, starts, touched, from, next }
    }

    /// Takes the buffers of a written batch back.
    pub(crate) fn clear(&mut self, sealed: Sealed) {
        let Sealed { mut buffer, mut starts, mut touched, .. } = sealed;
        buffer.clear();
        buffer.shrink_to(BUFFER_SIZE_MAX);
        starts.clear();
        touched.clear();
        self.touched = touched;
        self.buffer = buffer;
        self.starts = starts;
    }
}

impl Writer {
    /// The records and keys of a plan's events: those before the caller's own, the caller's, which
    /// may be prepared already, and those behind them.
    pub(super) fn prepare(&self, plan: &Plan, own: Option<Prepared>) -> [Prepared; 3] {
        let prepare = |stream_of: &[usize], events: &[&NewEvent]| {
            let names = stream_of.iter().map(|stream| &plan.streams[*stream].0);
            Prepared::new(self.log.hasher, names.zip(events.iter().copied()))
        };
        let revivals = |revivals: &[(usize, NewEvent)]| {
            let (stream_of, events): (Vec<_>, Vec<_>) =
                revivals.iter().map(|(stream, event)| (*stream, event)).unzip();
            prepare(&stream_of, &events)
        };
        let own = own.unwrap_or_else(|| {
            let events: Vec<_> = plan.append.events.iter().map(|(_, event)| event).collect();
            prepare(&plan.stream_of, &events)
        });
        [revivals(&plan.before), own, revivals(&plan.after)]
    }

    /// Puts the records of a plan in the batch, and makes the answer.
    pub(super) fn stage_plan(
        &mut self,
        mut plan: Plan,
        prepared: [Prepared; 3],
        now: Timestamp,
    ) -> (Appended, Leftovers) {
        let own = plan.own();
        let mut streams = std::mem::take(&mut plan.streams);
        let mut appended = Appended::default();
        let mut last_of: Vec<Option<(Position, Revision)>> = vec![None; streams.len()];
        let mut is_over = vec![false; streams.len()];
        let count = plan.before.len() + plan.append.events.len() + plan.after.len();
        let mut salts = vec![[0; 16]; count];
        self.log.io.randomize(salts.as_flattened_mut());
        let mut start = self.stage.add_records(&prepared);
        let events = prepared.iter().flat_map(Prepared::iter);
        for (index, (stream, event)) in plan.stream_indexes().zip(events).enumerate() {
            let (Ready { size, given, is_tombstone }, id, keys) = event;
            let next = &mut streams[stream].1;
            let position = self.place.position + self.stage.count() as u64;
            let revision = next.get();
            *next = next.next();
            let recorded_at = given.unwrap_or(now.as_micros()).max(self.last_recorded_at);
            let is_clamped = given.is_some_and(|given| given < recorded_at);
            self.last_recorded_at = recorded_at;
            let mut flags = if index + 1 == count { flag::LAST_OF_APPEND } else { 0 };
            flags |= if given.is_some() { flag::GIVEN_TIME } else { 0 };
            let place = RecordPlace { position, revision, recorded_at, flags, salt: salts[index] };
            self.stage_record(start..start + size, &place, (id, keys));
            start += size;
            is_over[stream] = is_tombstone;
            if own.contains(&index) {
                let position = Position::new(position);
                appended.first.get_or_insert(position);
                appended.clamped_count += usize::from(is_clamped);
                appended.last = Some(position);
                last_of[stream] = Some((position, Revision::new(revision)));
            }
        }
        // Behind the append's own streams are those that hold the metadata of revived ones.
        self.stream_keys.complete(self.log.hasher, streams.iter().map(|(name, _)| name));
        let last = streams.iter().map(|(_, next)| Revision::new(next.get() - 1));
        self.facts.note(&self.stream_keys, last.zip(is_over));
        let answer = |((stream, _), last): (_, Option<_>)| {
            last.map(|(position, revision)| AppendedStream { stream, position, revision })
        };
        appended.streams = streams.into_iter().zip(last_of).filter_map(answer).collect();
        (appended, Leftovers::new(plan, prepared))
    }

    /// Gives the record at these bytes of the stage its place.
    fn stage_record(&mut self, at: Range<usize>, place: &RecordPlace, (id, keys): (IdKey, &[Key])) {
        let seed = self.active.as_ref().expect("room was made before staging").segment.seed;
        let stage = &mut self.stage;
        stage.starts.push(u32::try_from(at.start).expect("batches are under 4 GiB"));
        record::place(&mut stage.buffer[at], seed, place);
        // The key of an event's stream is the first one.
        if let Some(stream) = keys.first().filter(|stream| stage.touched.last() != Some(stream)) {
            stage.touched.push(*stream);
        }
        stage.entries.push(|all| {
            all.extend_from_slice(keys);
            all.extend((place.revision == 0).then(|| self.log.hasher.stream_names()));
            id
        });
    }

    /// Puts what is staged in the index, behind the watermark where nobody but the writer sees it.
    pub(super) fn index_staged(&mut self) {
        self.log.index.push(self.stage.entries.all());
        self.stage.entries.clear();
    }
}
