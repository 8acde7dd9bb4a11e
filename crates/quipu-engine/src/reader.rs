//! Bounded reads: from positions to batches of events.
//!
//! Every read sees the log up to one position and nothing above it. A scan of the whole log hands
//! out the segments' own bytes; reads that pick events gather them in a buffer.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use quipu_core::decide::StreamFacts;
use quipu_core::{
    AsOf, Batches, BoxFuture, Direction, EventBatch, EventSpan, Query, ReadAll, ReadError,
    ReadStream, Retention, Revision, StreamName, StreamState, Timestamp,
};

use crate::error::DiskError;
use crate::format::batch::{BATCH_HEADER_SIZE, BATCH_MAGIC, BatchHeader, padded};
use crate::format::checksum;
use crate::format::record::Record;
use crate::index::{Cursor, Reader};
use crate::log::Log;
use crate::lookup;
use crate::segment::Segments;

/// The most events in one batch.
const BATCH_COUNT_MAX: usize = 1_024;
/// A batch is given out once it has this many bytes.
const BATCH_SIZE: usize = 1 << 20;
/// Candidates whose records are fetched together.
const LOOKAHEAD: usize = 32;
/// Events for which a batch has room at first.
const FIRST_COUNT: usize = 12;
/// From so many records on a batch is checked as a whole.
const SUMMED_COUNT_MIN: u32 = 4;
/// The most candidates that are looked at for one batch.
const CANDIDATE_COUNT_MAX: usize = 65_536;

/// The moment a read sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The last position that is there.
    pub(crate) upto: u64,
    /// The time by which events are too old to be shown.
    pub(crate) now: Timestamp,
}

impl Log {
    /// The moment that `as_of` means, or now.
    pub(crate) fn moment(&self, as_of: Option<AsOf>) -> Result<Moment, ReadError> {
        let upto = self.frontier();
        let now = self.io.now();
        let future = || ReadError::AsOfInFuture { frontier: quipu_core::Position::new(upto) };
        match as_of {
            None => Ok(Moment { upto, now }),
            Some(AsOf::Position(position)) if position.get() > upto => Err(future()),
            Some(AsOf::Position(position)) => {
                let now = self.time_of(position.get()).map_err(storage)?;
                Ok(Moment { upto: position.get(), now })
            }
            Some(AsOf::Time(time)) if time > now => Err(future()),
            Some(AsOf::Time(time)) => {
                let upto = self.position_at(time, upto).map_err(storage)?;
                Ok(Moment { upto, now: time })
            }
        }
    }

    fn time_of(&self, position: u64) -> Result<Timestamp, DiskError> {
        match position {
            0 => Ok(Timestamp::from_micros(i64::MIN)),
            _ => self.with_record(position, |r| Timestamp::from_micros(r.recorded_at())),
        }
    }

    /// The last position recorded at or before `time`: times never go back in the log.
    pub(crate) fn position_at(&self, time: Timestamp, upto: u64) -> Result<u64, DiskError> {
        let (mut low, mut high) = (0, upto);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.time_of(middle)? <= time {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    /// A read of one stream: what the stream is like, and its events.
    pub(crate) fn read_stream(
        self: &Arc<Self>,
        read: ReadStream,
    ) -> Result<(StreamState, Picked), ReadError> {
        let moment = self.moment(read.as_of)?;
        let reader = self.index_reader(moment.upto);
        let facts = lookup::facts(&**self, &reader, self.hasher, &read.stream).map_err(storage)?;
        let state = facts.state();
        let mut picked = Picked::nothing(Arc::clone(self));
        if let StreamState::Live { last } = state {
            let retention = retention_of(&read.stream, &facts, last, moment.now);
            let shown = StreamRange {
                stream: read.stream,
                retention,
                from: read.from,
                direction: read.direction,
                limit: read.limit,
                last,
            };
            picked = self.pick_stream(&reader, shown).map_err(storage)?;
        }
        Ok((state, picked))
    }

    /// The events of a stream that are shown in a range of revisions.
    pub(crate) fn pick_stream(
        self: &Arc<Self>,
        reader: &Reader,
        range: StreamRange,
    ) -> Result<Picked, DiskError> {
        let StreamRange { stream, retention, from, direction, limit, last } = range;
        let first = match direction {
            Direction::Forward => from.unwrap_or(Revision::FIRST).max(retention.first()),
            Direction::Backward => from.unwrap_or(last).min(last),
        };
        if first > last || first < retention.first() {
            return Ok(Picked::nothing(Arc::clone(self)));
        }
        let place = match direction {
            // From one end of the stream to the other: no need to look where it is.
            Direction::Forward if first == Revision::FIRST => Some(0),
            Direction::Backward if first == last => Some(u64::MAX),
            _ => lookup::place_of(&**self, reader, self.hasher, &stream, first)?,
        };
        let Some(place) = place else {
            return Ok(Picked::nothing(Arc::clone(self)));
        };
        let key = self.hasher.stream(stream.as_str());
        let cursor = reader.cursor(key, place, direction);
        let pick = Pick::Stream { stream, retention, last };
        Ok(Picked::new(Arc::clone(self), cursor, pick, limit))
    }

    /// A read of the log, and its frontier.
    pub(crate) fn read_all(
        self: &Arc<Self>,
        read: ReadAll,
    ) -> Result<(u64, Box<dyn Batches>), ReadError> {
        let moment = self.moment(read.as_of)?;
        let upto = moment.upto;
        let from = match (read.from, read.direction) {
            (None, Direction::Forward) => 1,
            (None, Direction::Backward) => upto,
            (Some(from), Direction::Forward) => from.get().max(1),
            (Some(from), Direction::Backward) => from.get().min(upto),
        };
        if read.query.is_all() {
            let scan = Scan::new(self, from, upto, read.direction, read.limit);
            return Ok((upto, Box::new(scan)));
        }
        let picked = self.pick_query(read.query, from, upto, read.direction, read.limit);
        Ok((upto, Box::new(picked)))
    }

    /// The events that match a query, between `from` and `upto`.
    pub(crate) fn pick_query(
        self: &Arc<Self>,
        query: Query,
        from: u64,
        upto: u64,
        direction: Direction,
        limit: Option<u64>,
    ) -> Picked {
        let cursor = self.index_reader(upto).candidates(&query, from, direction);
        Picked::new(Arc::clone(self), cursor, Pick::Query(query), limit)
    }
}

/// What reads of a stream show.
pub(crate) fn retention_of(
    stream: &StreamName,
    facts: &StreamFacts,
    last: Revision,
    now: Timestamp,
) -> Retention {
    if stream.is_metadata() {
        return Retention::of_metadata_stream(last);
    }
    facts.metadata.as_ref().map_or(Retention::ALL, |own| Retention::new(own, last, now))
}

pub(crate) fn storage(error: DiskError) -> ReadError {
    ReadError::Storage(error.into())
}

/// Which events of a stream are wanted.
#[derive(Debug)]
pub(crate) struct StreamRange {
    pub(crate) stream: StreamName,
    pub(crate) retention: Retention,
    pub(crate) from: Option<Revision>,
    pub(crate) direction: Direction,
    pub(crate) limit: Option<u64>,
    pub(crate) last: Revision,
}

/// What makes a candidate an event that is wanted.
#[derive(Debug)]
enum Pick {
    Stream { stream: StreamName, retention: Retention, last: Revision },
    Query(Query),
}

impl Pick {
    fn wants(&self, record: &Record<'_>) -> bool {
        match self {
            Self::Query(query) => lookup::matches(record, query),
            Self::Stream { stream, retention, last } => {
                let revision = Revision::new(record.revision());
                !record.is_stub()
                    && record.stream() == stream.as_str()
                    && revision <= *last
                    && retention.shows(revision, Timestamp::from_micros(record.recorded_at()))
            }
        }
    }
}

/// Events that the index finds and the records confirm.
#[derive(Debug)]
pub(crate) struct Picked {
    log: Arc<Log>,
    cursor: Option<Cursor>,
    /// Candidates that the cursor gave and nobody has looked at, the last one first.
    ahead: Vec<u64>,
    pick: Pick,
    left: u64,
}

impl Picked {
    fn new(log: Arc<Log>, cursor: Cursor, pick: Pick, limit: Option<u64>) -> Self {
        let left = limit.unwrap_or(u64::MAX);
        Self { log, cursor: Some(cursor), ahead: Vec::new(), pick, left }
    }

    fn nothing(log: Arc<Log>) -> Self {
        let pick = Pick::Query(Query::nothing());
        Self { log, cursor: None, ahead: Vec::new(), pick, left: 0 }
    }

    /// The next events. None where enough candidates were looked at, or at the end.
    pub(crate) fn gather(&mut self) -> Result<Gathered, DiskError> {
        let segments = self.log.segments();
        let mut gather = Gather::default();
        let mut looked_at = 0;
        let mut last_seen = None;
        let mut is_done = self.left == 0;
        while !is_done && !gather.is_full() && looked_at < CANDIDATE_COUNT_MAX {
            let Some(position) = self.next_candidate(&segments)? else {
                is_done = true;
                break;
            };
            looked_at += 1;
            last_seen = Some(position);
            let pick = &self.pick;
            let taken = segments.with_record(position, |record| {
                let wanted = pick.wants(&record);
                if wanted {
                    gather.push(&record);
                }
                wanted
            })?;
            self.left -= u64::from(taken);
            is_done = self.left == 0;
        }
        Ok(Gathered { batch: gather.into_batch(), last_seen, is_done })
    }

    fn next_candidate(&mut self, segments: &Segments) -> Result<Option<u64>, DiskError> {
        if self.ahead.is_empty()
            && let Some(cursor) = &mut self.cursor
        {
            // No more than are wanted, since most candidates are.
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(LOOKAHEAD);
            while self.ahead.len() < count
                && let Some(position) = cursor.next()?
            {
                self.ahead.push(position);
            }
            segments.fetch(&self.ahead);
            self.ahead.reverse();
        }
        Ok(self.ahead.pop())
    }
}

/// What [`Picked::gather`] found.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) batch: EventBatch,
    /// The last candidate that was looked at.
    pub(crate) last_seen: Option<u64>,
    /// Whether nothing follows.
    pub(crate) is_done: bool,
}

impl Batches for Picked {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        // Not before it is polled: what a future that is dropped has read would be lost.
        Box::pin(async move { next_picked(self).map_err(storage) })
    }
}

fn next_picked(picked: &mut Picked) -> Result<Option<EventBatch>, DiskError> {
    loop {
        let gathered = picked.gather()?;
        if !gathered.batch.is_empty() {
            return Ok(Some(gathered.batch));
        }
        if gathered.is_done {
            return Ok(None);
        }
    }
}

/// Copies records, one after the other, into one buffer.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    buffer: BytesMut,
    spans: Vec<EventSpan>,
}

impl Gather {
    pub(crate) fn push(&mut self, record: &Record<'_>) {
        if self.spans.is_empty() {
            self.spans.reserve(FIRST_COUNT);
            self.buffer.reserve(FIRST_COUNT * record.body().len());
        }
        self.spans.push(record.span_of_body(self.buffer.len()));
        self.buffer.put_slice(record.body());
    }

    pub(crate) fn count(&self) -> usize {
        self.spans.len()
    }

    fn is_full(&self) -> bool {
        self.spans.len() >= BATCH_COUNT_MAX || self.buffer.len() >= BATCH_SIZE
    }

    pub(crate) fn into_batch(self) -> EventBatch {
        EventBatch::from_spans(self.buffer.freeze(), self.spans)
    }
}

/// Every event between two positions, as the segments have them.
#[derive(Debug)]
pub(crate) struct Scan {
    segments: Segments,
    /// The next position: forward from here up, backward from here down.
    next: u64,
    upto: u64,
    direction: Direction,
    left: u64,
}

impl Scan {
    pub(crate) fn new(
        log: &Log,
        from: u64,
        upto: u64,
        direction: Direction,
        limit: Option<u64>,
    ) -> Self {
        Self {
            segments: log.segments(),
            next: from,
            upto,
            direction,
            left: limit.unwrap_or(u64::MAX),
        }
    }

    fn step(&mut self) -> Result<Option<EventBatch>, DiskError> {
        loop {
            let batch = match self.direction {
                Direction::Forward => self.forward()?,
                Direction::Backward => self.backward()?,
            };
            let Some(mut batch) = batch else { return Ok(None) };
            batch.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= batch.count() as u64;
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }

    fn forward(&mut self) -> Result<Option<EventBatch>, DiskError> {
        if self.left == 0 || self.next > self.upto {
            return Ok(None);
        }
        let count = self.left.min(BATCH_COUNT_MAX as u64);
        let last = self.upto.min(self.next.saturating_add(count - 1));
        let (batch, next) = read_stretch(&self.segments, self.next, last)?;
        self.next = next;
        Ok(Some(batch))
    }

    fn backward(&mut self) -> Result<Option<EventBatch>, DiskError> {
        if self.left == 0 || self.next == 0 {
            return Ok(None);
        }
        let count = self.left.min(BATCH_COUNT_MAX as u64);
        let first = self.next.saturating_sub(count - 1).max(1);
        let mut gather = Gather::default();
        for position in (first..=self.next).rev() {
            self.segments.with_record(position, |record| {
                if !record.is_stub() {
                    gather.push(&record);
                }
            })?;
        }
        self.next = first - 1;
        Ok(Some(gather.into_batch()))
    }
}

impl Batches for Scan {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        // Not before it is polled, as above.
        Box::pin(async move { self.step().map_err(storage) })
    }
}

/// The events from `first` to at most `last`, without copying them, and the position after them.
pub(crate) fn read_stretch(
    segments: &Segments,
    first: u64,
    last: u64,
) -> Result<(EventBatch, u64), DiskError> {
    let (segment, segment_last) = segments.find_stretch(first)?;
    let last = last.min(segment_last);
    let start = segment.offset_of(first)? as usize;
    // What is settled always ends behind a record, so that it has all of the last one.
    let bytes = segment.settled(u64::from(segment.offset_of(last)?) + 1)?;
    let mut spans = Vec::with_capacity(usize::try_from(last - first + 1).unwrap_or(0));
    let mut end = start;
    let mut position = first;
    // Positions below are in a batch that was checked as a whole.
    let mut summed_until = first;
    while position <= last && end - start < BATCH_SIZE {
        let offset = match end {
            _ if position > first && may_be_batch(&bytes, end) => {
                segment.offset_of(position)? as usize
            }
            _ => end,
        };
        if position >= summed_until
            && let Some(batch) = batch_before(&bytes, segment.seed, offset, position)
        {
            match check_whole(&batch, last, &bytes[offset..], segment.seed) {
                Whole::Right => summed_until = position + u64::from(batch.count),
                // Then it is the first of the next stretch, and fits.
                Whole::TooLong if position > first => break,
                Whole::TooLong | Whole::NotChecked => {}
            }
        }
        let rest = bytes.get(offset..).unwrap_or_default();
        let record = if position < summed_until {
            Record::decode_summed(rest, position)
        } else {
            Record::decode(rest, segment.seed, position)
        };
        let record = record.map_err(|why| DiskError::corrupt(&segment.path, offset as u64, why))?;
        if !record.is_stub() {
            spans.push(record.span(offset - start));
        }
        end = offset + record.size();
        position += 1;
    }
    Ok((EventBatch::from_spans(bytes.slice(start..end), spans), position))
}

/// The head of the batch whose first record is at `offset` and has this position, if one begins
/// there.
fn batch_before(bytes: &[u8], seed: u32, offset: usize, position: u64) -> Option<BatchHeader> {
    let head = bytes.get(offset.checked_sub(BATCH_HEADER_SIZE)?..offset)?;
    let (header, _) = BatchHeader::decode(head, seed).ok()?;
    (header.first_position == position && header.count > 0).then_some(header)
}

/// What checking a batch as a whole came to.
enum Whole {
    Right,
    /// It does not end within the stretch.
    TooLong,
    /// Each record has to be checked: there are few, or it will be said which one is damaged.
    NotChecked,
}

/// Checks a batch's records by their common checksum, which takes less time than many small ones.
fn check_whole(batch: &BatchHeader, last: u64, body: &[u8], seed: u32) -> Whole {
    if batch.count < SUMMED_COUNT_MIN {
        return Whole::NotChecked;
    }
    if batch.first_position + u64::from(batch.count) - 1 > last {
        let fits = batch.count as usize <= BATCH_COUNT_MAX;
        return if fits { Whole::TooLong } else { Whole::NotChecked };
    }
    match body.get(..batch.body_size as usize) {
        Some(body) if checksum(seed, body) == batch.body_crc => Whole::Right,
        _ => Whole::NotChecked,
    }
}

/// Whether a batch's head seems to follow the record that ends at `end`. A record's checksum may
/// look like one by chance, so the table of offsets has the last word.
fn may_be_batch(bytes: &[u8], end: usize) -> bool {
    let aligned = padded(end);
    bytes.get(aligned..aligned + BATCH_MAGIC.len()).is_some_and(|magic| *magic == BATCH_MAGIC)
}
