//! The writer: the one place that changes the log.
//!
//! Requests go through six steps, a group at a time:
//!
//! 1. **decide** each against the log and what the group has staged before it;
//! 2. **stage** its records in the batch;
//! 3. **write** the batch into space that was filled with zeros before, and **sync**, once;
//! 4. **publish**: the segment, the watermark file, the watermark;
//! 5. **answer** the callers;
//! 6. **index** the batch, while they do what they do next. Who reads by the index waits for this.
//!
//! # Invariants
//!
//! - Readers stop at the watermark, so nobody sees a record that a crash could take back.
//! - A failed write or sync is final: the kernel may have dropped the dirty pages, so a second
//!   sync can succeed without writing them. The writer stops; reopening reads what the disk has.
//! - At most one sync of the log is under way, so a valid batch proves all before it durable.

mod facts;
mod prepared;
mod queue;
mod stage;

use std::sync::Arc;

use quipu_core::decide::{Decision, decide};
use quipu_core::{AppendError, Appended, Change, StorageError, Timestamp};

use crate::error::{DiskError, is_disk_full};
use crate::format::batch::BATCH_HEADER_SIZE;
use crate::format::segment::{SEGMENT_HEADER_SIZE, SegmentHeader};
use crate::format::watermark::WatermarkMark;
use crate::io::SeededBug;
use crate::log::Log;
use crate::recovery::floor_at;
use crate::segment::Segment;
use crate::space::{Priority, Space, space_error};
use crate::walk::Place;
use crate::watermark::Touched;

use facts::{FactsCache, StreamKeys};
pub(crate) use prepared::Preparation;
use prepared::Prepared;
use queue::Leftovers;
pub(crate) use queue::{Answered, Arrival, Queue, Reply, Request, Wish};
use stage::Stage;

/// The most bytes of one batch, unless a single append is larger: 2 MiB. What is in it is answered
/// together, so that a larger one lets all wait for longer, and saves next to no syncs.
const BATCH_SIZE_MAX: u64 = 2 << 20;

type Answer = Result<Appended, AppendError>;

/// The writer's own state.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Arc<Log>,
    space: Arc<Space>,
    segment_size: u64,
    /// The segment being written, if it has a batch already or is about to get one.
    active: Option<Active>,
    /// The number of the segment that comes after the active one.
    next_segment: u64,
    place: Place,
    last_recorded_at: i64,
    stage: Stage,
    facts: FactsCache,
    /// Of the streams that the change under way writes to.
    stream_keys: StreamKeys,
    /// Whether a segment was begun since maintenance was last asked.
    has_rolled: bool,
    /// Who waits for the staged batch, and what they will be told.
    waiting: Vec<(Reply, Answer, Leftovers)>,
}

#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    capacity: u64,
    /// Whether the segment has no batch yet: its head goes with its first one.
    is_new: bool,
}

/// Where recovery found the end of the log.
#[derive(Debug)]
pub(crate) struct Tip {
    pub(crate) segment: Option<Arc<Segment>>,
    pub(crate) next_segment: u64,
    pub(crate) place: Place,
    pub(crate) last_recorded_at: i64,
}

impl Writer {
    pub(crate) fn new(log: Arc<Log>, space: Arc<Space>, segment_size: u64, tip: Tip) -> Self {
        let active = tip.segment.map(|segment| Active {
            capacity: segment_size.max(segment.end()),
            segment,
            is_new: false,
        });
        Self {
            log,
            space,
            segment_size,
            active,
            next_segment: tip.next_segment,
            place: tip.place,
            last_recorded_at: tip.last_recorded_at,
            stage: Stage::default(),
            facts: FactsCache::default(),
            stream_keys: StreamKeys::default(),
            has_rolled: false,
            waiting: Vec::new(),
        }
    }

    /// Makes the changes asked for, as one group, and answers all of them.
    pub(crate) fn commit(&mut self, requests: impl IntoIterator<Item = Request>) {
        for Request { wish, reply, .. } in requests {
            if let Err(error) = self.check_health() {
                reply.send(Err(error), Leftovers::default());
                continue;
            }
            let answer = match wish {
                Wish::Change(preparation) => self.consider(*preparation),
                Wish::Roll(segment) => self.roll(segment).map(|()| Default::default()),
            };
            // Whatever was decided may rest on events that are staged and not yet durable, so
            // nobody hears of it before they are.
            let (answer, leftovers) = match answer {
                Ok((appended, leftovers)) => (Ok(appended), leftovers),
                Err(error) => (Err(error), Leftovers::default()),
            };
            self.waiting.push((reply, answer, leftovers));
        }
        self.flush();
    }

    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// Whether something became full that maintenance takes over.
    pub(crate) fn needs_maintenance(&mut self) -> bool {
        let index = &self.log.index;
        std::mem::take(&mut self.has_rolled) || index.has_joints() || index.frozen_count() > 0
    }

    fn check_health(&self) -> Result<(), AppendError> {
        if self.log.health.is_open() { Ok(()) } else { Err(AppendError::Closed) }
    }

    /// Decides a change and stages its events.
    fn consider(&mut self, preparation: Preparation) -> Result<(Appended, Leftovers), AppendError> {
        let Preparation { change, layout, stream_keys, events } = preparation;
        let now = self.log.io.now();
        let priority = match &change {
            Change::Append(_) => Priority::Ordinary,
            Change::Delete { .. } | Change::Tombstone { .. } | Change::SetMetadata { .. } => {
                Priority::Freeing
            }
        };
        self.stream_keys = stream_keys;
        let decision =
            decide(self, change, layout).map_err(|error| AppendError::Storage(error.into()))?;
        let plan = match decision {
            Decision::Answer(appended) => return Ok((appended, Leftovers::default())),
            Decision::Refuse(error) => return Err(error),
            Decision::Write(plan) => plan,
        };
        let prepared = self.prepare(&plan, events);
        let size: usize = prepared.iter().map(Prepared::size).sum();
        self.make_room(size as u64, priority)?;
        let now = now.as_micros().max(self.last_recorded_at);
        Ok(self.stage_plan(plan, prepared, Timestamp::from_micros(now)))
    }

    /// Makes sure that `size` more bytes of records can be staged and will find space on disk.
    fn make_room(&mut self, size: u64, priority: Priority) -> Result<(), AppendError> {
        let batch = BATCH_HEADER_SIZE as u64 + self.stage.size() + size;
        let fits = |active: &Active, end: u64| end <= active.capacity;
        let end = self.place.offset + batch + 8;
        let is_full = self.active.as_ref().is_none_or(|active| !fits(active, end));
        let is_large = self.stage.size() > 0 && batch > BATCH_SIZE_MAX.min(self.segment_size);
        if (is_full || is_large) && self.stage.size() > 0 {
            self.flush();
            self.check_health()?;
        }
        let end = self.place.offset + BATCH_HEADER_SIZE as u64 + self.stage.size() + size + 8;
        let has_batch = self.has_batch();
        match &mut self.active {
            // A segment that has no batch yet takes one that is too large for any.
            Some(active) if fits(active, end) || !has_batch => {
                active.capacity = active.capacity.max(end);
                let segment = active.segment.number();
                self.space.reserve(segment, end, priority).map(drop).map_err(|e| self.no_space(e))
            }
            _ => {
                let active = self.make_segment(size, priority)?;
                self.enter(active);
                Ok(())
            }
        }
    }

    /// Whether the active segment has a batch, if only a staged one.
    fn has_batch(&self) -> bool {
        self.place.offset > SEGMENT_HEADER_SIZE as u64 || self.stage.size() > 0
    }

    /// Begins another segment, unless the one with this number is full or has no batch.
    ///
    /// A failure changes nothing: a segment of which only the head reached the disk is no part of
    /// the log, until the manifest's floor is in it.
    fn roll(&mut self, segment: u64) -> Result<(), AppendError> {
        self.flush();
        self.check_health()?;
        let is_active = self.active.as_ref().is_some_and(|own| own.segment.number() == segment);
        if !is_active || !self.has_batch() {
            return Ok(());
        }
        let next = self.make_segment(0, Priority::Freeing)?;
        next.segment.write_head().map_err(|error| {
            if error.is_disk_full() {
                AppendError::DiskFull
            } else {
                AppendError::Storage(error.into())
            }
        })?;
        self.log.install_segment(Arc::clone(&next.segment));
        let segment = Arc::clone(&next.segment);
        self.enter(Active { is_new: false, ..next });
        self.log.set_tip(&segment, self.place);
        Ok(())
    }

    /// The segment after the active one, with space for so many bytes of records.
    fn make_segment(&self, size: u64, priority: Priority) -> Result<Active, AppendError> {
        let number = self.next_segment;
        let end = SEGMENT_HEADER_SIZE as u64 + BATCH_HEADER_SIZE as u64 + size + 8;
        let capacity = self.segment_size.max(end);
        let file = self.space.reserve(number, end, priority).map_err(|e| self.no_space(e))?;
        let mut salt = [0; 8];
        self.log.io.randomize(&mut salt);
        let header = SegmentHeader {
            log: self.log.id,
            number,
            generation: 0,
            first_position: self.place.position,
            first_sequence: self.place.sequence,
            // The first record's time is at least this: what `position_at` needs.
            first_recorded_at: self.last_recorded_at,
            salt: u64::from_le_bytes(salt),
            previous_crc: self.place.previous_crc,
            final_crc: 0,
            term: 0,
            cipher: 0,
        };
        let segment = Segment::growing(&self.log.io, &self.log.layout, header, file, 0);
        Ok(Active { segment: Arc::new(segment), capacity, is_new: true })
    }

    /// Goes on in another segment.
    fn enter(&mut self, active: Active) {
        self.place.offset = SEGMENT_HEADER_SIZE as u64;
        self.next_segment = active.segment.number() + 1;
        self.active = Some(active);
        self.has_rolled = true;
    }

    fn no_space(&self, error: std::io::Error) -> AppendError {
        if is_disk_full(&error) && !self.log.io.has_bug(SeededBug::PoisonOnDiskFull) {
            return AppendError::DiskFull;
        }
        // Filling writes and syncs files of the log: a failure there is as final as any other.
        self.log.fail();
        AppendError::Storage(space_error(&self.log.layout, error).into())
    }

    /// Makes what is staged durable, shows it, and answers everyone who waits.
    fn flush(&mut self) {
        let failure = if self.stage.size() > 0 { self.write_batch().err() } else { None };
        if let Some(error) = &failure {
            self.log.fail();
            let unknown = error.to_string();
            for (reply, answer, leftovers) in self.waiting.drain(..) {
                // An answer that writes nothing promises nothing about what failed to be written,
                // but it may rest on it.
                let cause = StorageError::new(unknown.clone());
                let answer = match answer {
                    Err(error @ AppendError::Invalid(_)) => Err(error),
                    _ => Err(AppendError::OutcomeUnknown(cause)),
                };
                reply.send(answer, leftovers);
            }
            return;
        }
        if !self.waiting.is_empty() {
            self.log.tallies.group_counts.add(self.waiting.len() as u64);
        }
        for (reply, answer, leftovers) in self.waiting.drain(..) {
            reply.send(answer, leftovers);
        }
        self.index_staged();
    }

    fn write_batch(&mut self) -> Result<(), DiskError> {
        let active = self.active.as_mut().expect("room was made in a segment before staging");
        let segment = Arc::clone(&active.segment);
        let head = if active.is_new { segment.header.encode() } else { Vec::new() };
        let offset = if active.is_new { 0 } else { self.place.offset };
        let is_new = std::mem::take(&mut active.is_new);
        let sealed = self.stage.seal(&head, segment.seed, self.place, self.last_recorded_at);

        let early = self.log.io.has_bug(SeededBug::ExposeBeforeDurable);
        if early {
            self.index_staged();
            self.publish(&segment, &sealed, is_new);
        }
        self.write(&segment, &sealed, offset)?;
        self.sync(&segment)?;
        if !early {
            self.publish(&segment, &sealed, is_new);
        }
        self.place = sealed.next;
        self.stage.clear(sealed);
        Ok(())
    }

    /// Writes a batch. An error is final.
    fn write(
        &self,
        segment: &Segment,
        sealed: &stage::Sealed,
        offset: u64,
    ) -> Result<(), DiskError> {
        let io = &self.log.io;
        let (number, next) = (segment.number(), &sealed.next);
        if io.has_bug(SeededBug::WatermarkBeforeSync) {
            self.write_watermark(number, next.offset, next.position - 1);
        }
        if io.has_bug(SeededBug::FloorBeforeSync) {
            self.log.manifest().change(|manifest| manifest.floor = floor_at(number, next))?;
        }
        let path = &segment.path;
        match segment.file.write_at(sealed.bytes(), offset) {
            Err(error) if !io.has_bug(SeededBug::IgnoreWriteError) => {
                Err(DiskError::io("write", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes a batch durable that was written. An error is final.
    fn sync(&self, segment: &Segment) -> Result<(), DiskError> {
        let (io, path) = (&self.log.io, &segment.path);
        if io.has_bug(SeededBug::SkipSyncBeforeAnswer) {
            return Ok(());
        }
        let begun = io.uptime();
        let synced = segment.file.sync();
        self.log.tallies.sync_micros.add_micros(io.uptime().saturating_sub(begun));
        match synced {
            Err(_) if io.has_bug(SeededBug::IgnoreSyncError) => Ok(()),
            Err(_) if io.has_bug(SeededBug::RetrySync) && segment.file.sync().is_ok() => Ok(()),
            synced => synced.map_err(DiskError::io("sync", path)),
        }
    }

    /// Lets readers see a durable batch.
    fn publish(&self, segment: &Arc<Segment>, sealed: &stage::Sealed, is_new: bool) {
        segment.publish(sealed.next.offset, sealed.offsets(self.place.offset));
        if is_new {
            self.log.install_segment(Arc::clone(segment));
        }
        let position = sealed.next.position - 1;
        self.write_watermark(segment.number(), sealed.next.offset, position);
        self.log.set_tip(segment, sealed.next);
        self.log.watermark.raise(position, Touched::Streams(sealed.touched()));
    }

    fn write_watermark(&self, segment: u64, offset: u64, position: u64) {
        let Some(file) = &self.log.watermark_file else { return };
        let mark = WatermarkMark { position, segment, offset };
        // Readers in other processes follow a little later if this fails; the log is not hurt.
        let _followers_wait = file.write_at(&mark.encode(), 0);
    }
}
