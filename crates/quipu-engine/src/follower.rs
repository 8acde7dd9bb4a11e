//! Following a writer in another process.
//!
//! The writer replaces the watermark file after each sync. A store that is open for reading only
//! looks at it whenever somebody reads, and a thread looks now and then for those who wait. Where
//! the file says more than is known, the log is walked from there:
//!
//! 1. read the batches up to the mark, each checked and chained to the one before;
//! 2. push their keys into the index, publish them in their segments;
//! 3. raise the watermark.
//!
//! # Invariants
//!
//! - A mark is believed only as far as valid batches prove it, so a stale or torn one does no harm.
//! - Nothing above the mark is shown: the writer has not promised that it is durable.
//! - Only the holder of the state's lock pushes into the index and raises the watermark.

use std::io::ErrorKind;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::DiskError;
use crate::format::watermark::{WATERMARK_SIZE, WatermarkMark};
use crate::index::{Entries, Origin, Run, RunHeader};
use crate::io::File;
use crate::log::{Log, keys_of};
use crate::manifest::{Found, ManifestFile};
use crate::recovery::Access;
use crate::segment::{Segment, is_zero};
use crate::walk::{Batch, Place};
use crate::watermark::Touched;
use crate::writer::Tip;

/// How often a thread looks for what is new.
const POLL: Duration = Duration::from_millis(15);
/// How often the watermark file is read before a mark counts as torn for good. The writer needs a
/// microsecond to replace it.
const MARK_TRIES: usize = 32;
/// With more full tails than this in memory, the writer's runs take their place.
const FROZEN_COUNT_MAX: usize = 4;
/// How long to wait before the manifest is read again for runs that were not there.
const MANIFEST_PATIENCE: Duration = Duration::from_secs(1);

/// Where a store that is open for reading only stands in the log it follows.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Guards the place in the log. Files are read under it: whoever wants to see more has to wait
    /// for whoever reads it already.
    state: Mutex<State>,
    /// The watermark file, once there is one.
    mark_file: Mutex<Option<Arc<dyn File>>>,
}

#[derive(Debug)]
struct State {
    segment: Option<Arc<Segment>>,
    next_segment: u64,
    place: Place,
    /// When the manifest was last read, and found to have no runs that help.
    looked_at: Option<Duration>,
}

impl Follower {
    pub(crate) fn new(tip: Tip) -> Self {
        let Tip { segment, next_segment, place, .. } = tip;
        let state = State { segment, next_segment, place, looked_at: None };
        Self { state: Mutex::new(state), mark_file: Mutex::new(None) }
    }

    /// Shows what the writer has made durable since.
    ///
    /// # Errors
    ///
    /// What is there already stays readable; the next call tries again.
    pub(crate) fn follow(&self, log: &Log) -> Result<(), DiskError> {
        let Some(mark) = self.read_mark(log) else { return Ok(()) };
        if mark.position <= log.watermark.get() {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let walked = state.walk_to(log, mark);
        // Whatever was reached is whole, even where the walk stopped early.
        log.watermark.raise(state.place.position - 1, Touched::Any);
        walked?;
        state.relieve(log)
    }

    /// Takes over the runs and the rewritten segments of the writer, so that what is in memory is
    /// as little as can be.
    pub(crate) fn refresh(&self, log: &Log) -> Result<(), DiskError> {
        let _guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        take_over(log)
    }

    /// The mark, unless there is none or it is torn for good.
    fn read_mark(&self, log: &Log) -> Option<WatermarkMark> {
        let file = {
            let mut file = self.mark_file.lock().unwrap_or_else(PoisonError::into_inner);
            if file.is_none() {
                *file = log.io.open(&log.layout.watermark()).ok();
            }
            file.clone()?
        };
        for _ in 0..MARK_TRIES {
            let mut bytes = [0; WATERMARK_SIZE];
            file.read_at(&mut bytes, 0).ok()?;
            if let Some(mark) = WatermarkMark::decode(&bytes) {
                return Some(mark);
            }
            // The writer is replacing it, and whoever it wrote to before may be asking.
            std::hint::spin_loop();
        }
        None
    }
}

impl State {
    /// Goes on to the mark, or to where the log does not bear it out.
    fn walk_to(&mut self, log: &Log, mark: WatermarkMark) -> Result<(), DiskError> {
        while self.place.position <= mark.position {
            let segment = match &self.segment {
                Some(segment) => Arc::clone(segment),
                None => self.enter_next(log)?,
            };
            if segment.number() > mark.segment {
                return Ok(());
            }
            let is_last = segment.number() == mark.segment;
            self.walk_segment(log, &segment, is_last.then_some(mark.offset))?;
            if is_last {
                return Ok(());
            }
            log.watermark.raise(self.place.position - 1, Touched::Any);
            // On a long way, too, memory stays bounded.
            self.relieve(log)?;
            self.enter_next(log)?;
        }
        Ok(())
    }

    /// Shows the batches of a segment up to `end`, or all of one that the writer left behind.
    fn walk_segment(
        &mut self,
        log: &Log,
        segment: &Arc<Segment>,
        end: Option<u64>,
    ) -> Result<(), DiskError> {
        let begin = self.place.offset;
        let read = DiskError::io("read", &segment.path);
        let bytes = match end {
            Some(end) => segment.file.bytes(begin..end.max(begin)),
            None => segment.file.size().and_then(|size| segment.file.bytes(begin..size)),
        }
        .map_err(read)?;
        loop {
            let offset = usize::try_from(self.place.offset - begin).unwrap_or(usize::MAX);
            let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) else {
                return Ok(());
            };
            match Batch::read_first(rest, segment.seed, self.place) {
                Ok(batch) => self.show(log, segment, &batch)?,
                Err(_) if end.is_none() && is_zero(rest) => return Ok(()),
                Err(reason) => {
                    return Err(DiskError::corrupt(&segment.path, self.place.offset, reason));
                }
            }
        }
    }

    /// Adds a durable batch to the index and its segment. Readers see it once the watermark rises.
    fn show(
        &mut self,
        log: &Log,
        segment: &Arc<Segment>,
        batch: &Batch<'_>,
    ) -> Result<(), DiskError> {
        let mut offsets = Vec::with_capacity(batch.header.count as usize);
        let mut entries = Entries::default();
        for record in batch.records() {
            let corrupt = |reason| DiskError::corrupt(&segment.path, self.place.offset, reason);
            let (offset, record) = record.map_err(corrupt)?;
            entries.push(|keys| keys_of(log.hasher, &record, keys));
            offsets.push(offset);
        }
        // From here on nothing fails, so that index and place never part. Where the writer's runs
        // were taken over, they may have the events already.
        let known = log.index.next_position().saturating_sub(self.place.position);
        log.index.push(entries.all().skip(usize::try_from(known).unwrap_or(usize::MAX)));
        while log.index.join() {}
        let is_new = segment.end() == 0;
        self.place = batch.next();
        segment.publish(self.place.offset, offsets);
        if is_new {
            log.install_segment(Arc::clone(segment));
        }
        Ok(())
    }

    /// Opens the segment after the present one.
    fn enter_next(&mut self, log: &Log) -> Result<Arc<Segment>, DiskError> {
        let number = self.next_segment;
        let (file, generation) = open_segment(log, number)?;
        let header = Segment::read_header(&log.layout, &file, number, generation)?;
        let path = log.layout.segment(number, generation);
        // What scavenging rewrote has other batches, and says itself what the next one follows.
        let previous_crc = match &self.segment {
            Some(segment) if segment.header.generation > 0 => segment.header.final_crc,
            _ => self.place.previous_crc,
        };
        if header.log != log.manifest().get().log
            || header.first_position != self.place.position
            || header.previous_crc != previous_crc
        {
            let reason = "the segment does not follow the one before it";
            return Err(DiskError::corrupt(&path, 0, reason));
        }
        if let Some(full) = self.segment.take() {
            full.settle_offsets();
        }
        self.place = Place::first_of(&header);
        self.next_segment = number + 1;
        let segment = Segment::growing(&log.io, &log.layout, header, file, 0);
        let segment = Arc::new(segment);
        self.segment = Some(Arc::clone(&segment));
        Ok(segment)
    }

    /// Makes less of what is in memory where it is too much, unless there was nothing to be had a
    /// moment ago.
    fn relieve(&mut self, log: &Log) -> Result<(), DiskError> {
        if log.index.frozen_count() <= FROZEN_COUNT_MAX {
            return Ok(());
        }
        let now = log.io.uptime();
        let is_early = |at: Duration| now < at.saturating_add(MANIFEST_PATIENCE);
        if self.looked_at.is_some_and(is_early) {
            return Ok(());
        }
        self.looked_at = Some(now);
        for segment in log.segments().iter().rev().skip(1) {
            segment.settle_offsets();
        }
        take_over(log)?;
        if log.index.frozen_count() <= FROZEN_COUNT_MAX {
            self.looked_at = None;
        }
        Ok(())
    }
}

/// The file of a segment, and its generation: scavenging may have replaced it before we came.
fn open_segment(log: &Log, number: u64) -> Result<(Arc<dyn File>, u32), DiskError> {
    let path = log.layout.segment(number, 0);
    match log.io.open(&path) {
        Ok(file) => return Ok((file, 0)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(DiskError::io("open", &path)(error)),
    }
    read_manifest(log)?;
    let generation = log.manifest().get().generation_of(number);
    let path = log.layout.segment(number, generation);
    let file = log.io.open(&path).map_err(DiskError::io("open", &path))?;
    Ok((file, generation))
}

/// Reads the manifest that the writer has by now.
fn read_manifest(log: &Log) -> Result<(), DiskError> {
    if let Found::Manifest(manifest) = ManifestFile::read(&log.io, &log.layout, Access::Read)? {
        let mut own = log.manifest();
        if manifest.log == own.get().log && manifest.generation > own.get().generation {
            *own = ManifestFile::new(Arc::clone(&log.io), log.layout.clone(), manifest);
        }
    }
    Ok(())
}

/// Uses the writer's runs in place of tails, and its rewritten segments in place of their former
/// selves, whose files are gone and take space for as long as they are open.
fn take_over(log: &Log) -> Result<(), DiskError> {
    read_manifest(log)?;
    let manifest = log.manifest().get().clone();
    for segment in log.segments().iter().rev().skip(1) {
        let number = segment.number();
        let generation = manifest.generation_of(number);
        if generation > segment.header.generation {
            let path = log.layout.segment(number, generation);
            let file = log.io.open(&path).map_err(DiskError::io("open", &path))?;
            let header = Segment::read_header(&log.layout, &file, number, generation)?;
            log.install_segment(Arc::new(Segment::full(&log.io, &log.layout, header, file)?));
        }
    }
    let known = log.index.runs();
    let origin = Origin { log: manifest.log, seed: manifest.hash_seed };
    let mut runs = Vec::new();
    // They may go beyond what is shown here: readers stop at the watermark all the same.
    for name in &manifest.runs {
        let own = known.iter().find(|run| run.name() == *name);
        let run = if let Some(run) = own {
            Arc::clone(run)
        } else {
            let header = RunHeader { origin, name: *name };
            Arc::new(Run::open(&*log.io, &log.layout.index(), header)?)
        };
        runs.push(run);
    }
    log.index.adopt(runs, |position, entries| {
        log.with_record(position, |record| entries.push(|keys| keys_of(log.hasher, &record, keys)))
    })
}

/// The thread that follows for those who wait.
#[derive(Debug, Default)]
pub(crate) struct Poller {
    /// Whether to stop. Held only to look or to say so.
    stop: Mutex<bool>,
    changed: Condvar,
}

impl Poller {
    /// Follows until told to stop. A thread of its own runs this.
    pub(crate) fn run(&self, log: &Log) {
        loop {
            let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.changed.wait_timeout_while(stop, POLL, |stop| !*stop);
            let (stop, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if *stop {
                return;
            }
            drop(stop);
            log.frontier();
        }
    }

    /// Ends [`run`](Self::run).
    pub(crate) fn stop(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use quipu_core::{Append, EventStore, ExpectedRevision, NewEvent, StreamName};

    use super::*;
    use crate::engine::Engine;
    use crate::io::sim::SimDisk;
    use crate::options::OpenOptions;

    fn append(engine: &Engine) {
        let stream = StreamName::new("order-1").unwrap();
        let event = NewEvent::json("OrderPlaced", "{}").unwrap();
        let append = Append::to_stream(stream, ExpectedRevision::Any, [event]);
        // Inline, so it is done when it was asked once.
        let done = engine.append(append).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(done, Poll::Ready(Ok(_))), "{done:?}");
    }

    fn open(disk: &SimDisk, options: OpenOptions) -> Engine {
        options.inline(true).io(Arc::new(disk.clone())).open("/store").unwrap()
    }

    #[test]
    fn a_reader_that_follows_for_long_keeps_few_tails_in_memory() {
        let disk = SimDisk::new(4);
        let writer = open(&disk, OpenOptions::new().create(true).run_count(48));
        // Other tails than the writer's, so that its runs cover some of them in part.
        let reader = open(&disk, OpenOptions::new().read_only(true).run_count(16));

        for count in 1..=2_000 {
            append(&writer);
            assert_eq!(reader.log().frontier(), count);
            assert!(reader.log().index.frozen_count() <= FROZEN_COUNT_MAX + 1, "after {count}");
        }

        let runs = reader.log().index.runs();
        assert!(runs.last().is_some_and(|run| run.name().last > 1_800), "{runs:?}");
        assert_eq!(reader.log().index.next_position(), 2_001);
    }

    #[test]
    fn a_reader_that_catches_up_in_one_go_takes_the_runs_over_on_its_way() {
        let disk = SimDisk::new(4);
        let small = |options: OpenOptions| options.segment_size(16 << 10).run_count(16);
        let writer = open(&disk, small(OpenOptions::new().create(true)));
        let reader = open(&disk, small(OpenOptions::new().read_only(true)));
        for _ in 0..2_000 {
            append(&writer);
        }

        assert_eq!(reader.log().frontier(), 2_000);

        assert!(reader.log().index.frozen_count() <= FROZEN_COUNT_MAX);
        let segments = reader.log().segments();
        let growing = segments.iter().filter(|segment| segment.is_growing()).count();
        assert_eq!(growing, 1, "the others' offsets are read from their tables");
    }
}
