//! Walking the log and holding every rule against it.
//!
//! Beside a process that writes, the bytes behind the last durable batch are in motion. How far the
//! log was durable at the beginning is known; whatever looks odd behind that place while the
//! watermark moves is a batch in flight, and ends the walk.

mod records;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::IndexCheck;
use super::window::Window;
use super::{Findings, Verified, read_mark};
use crate::error::DiskError;
use crate::format::batch::{BATCH_ALIGNMENT, BATCH_HEADER_SIZE, BATCH_MAGIC, BatchHeader};
use crate::format::checksum;
use crate::format::manifest::Manifest;
use crate::format::segment::{SEGMENT_HEADER_SIZE, SegmentHeader};
use crate::format::watermark::WatermarkMark;
use crate::index::KeyHasher;
use crate::io::Io;
use crate::layout::Layout;
use crate::recovery::has_two_batches;
use crate::segment::{Segment, is_zero, used_size};
use crate::walk::Place;

/// After so many bytes whoever watches is asked whether to go on.
const STEP_SIZE: u64 = 4 << 20;

/// The way through the log.
pub(super) struct Walk<'a, 'b> {
    io: &'a Arc<dyn Io>,
    layout: &'a Layout,
    manifest: &'a Manifest,
    hasher: KeyHasher,
    /// What the writer said at the beginning.
    mark: Option<WatermarkMark>,
    findings: &'a mut Findings<'b>,
    index: IndexCheck,
    verified: Verified,
    /// What the next segment's head must say; `None` behind damage.
    expected: Option<Place>,
    /// Whether events are missing before this place: revisions may then skip some.
    has_hole: bool,
    last_recorded_at: i64,
    /// The next revision of every stream, by the hash of its name.
    revisions: HashMap<u64, u64>,
    /// The last position that was seen.
    last_position: u64,
    /// Segments at the end whose head is not valid.
    headless: Vec<Headless>,
}

struct Headless {
    number: u64,
    path: PathBuf,
    error: DiskError,
}

/// One segment while it is walked.
struct Current {
    path: PathBuf,
    number: u64,
    header: SegmentHeader,
    seed: u32,
    window: Window,
    is_last: bool,
    offsets: Vec<u32>,
    is_whole: bool,
    /// Bytes that whoever watches knows to be looked at.
    told_size: u64,
}

/// How the walk goes on behind a batch.
enum Step {
    /// With the next batch.
    On(Place),
    /// Not in this segment.
    End,
}

impl<'a, 'b> Walk<'a, 'b> {
    pub(super) fn new(
        io: &'a Arc<dyn Io>,
        layout: &'a Layout,
        manifest: &'a Manifest,
        mark: Option<WatermarkMark>,
        index: IndexCheck,
        findings: &'a mut Findings<'b>,
    ) -> Self {
        let verified = Verified { run_count: index.run_count(), ..Verified::default() };
        Self {
            io,
            layout,
            manifest,
            hasher: KeyHasher::new(manifest.hash_seed),
            mark,
            findings,
            index,
            verified,
            expected: Some(Place { offset: 0, sequence: 1, previous_crc: 0, position: 1 }),
            has_hole: false,
            last_recorded_at: i64::MIN,
            revisions: HashMap::new(),
            last_position: 0,
            headless: Vec::new(),
        }
    }

    /// Walks the segments with these numbers, in order.
    pub(super) fn run(mut self, numbers: Vec<u64>) -> Verified {
        let mut next = 1;
        // Behind the last segment there may be files of zeros, made ahead of their use.
        let last = numbers.iter().rfind(|number| self.is_used(**number)).copied().unwrap_or(0);
        for number in numbers {
            if number > next {
                self.report_missing(next);
            }
            next = number + 1;
            self.segment(number, number == last);
            if self.findings.is_cancelled {
                return self.verified;
            }
        }
        let (durable_segment, _, durable) = self.proven();
        if durable_segment >= next {
            self.report_missing(durable_segment);
        }
        self.finish_headless();
        if self.last_position < durable {
            let last = self.last_position;
            let reason = format!("the log ends at position {last}, yet {durable} was durable");
            let generation = self.manifest.generation_of(durable_segment);
            let path = self.layout.segment(durable_segment, generation);
            self.findings.report(&path, 0, reason);
        }
        if self.is_live() {
            // What lies behind the end is about to be acknowledged.
            self.verified.loose_size = 0;
        }
        self.index.finish(self.findings);
        self.verified
    }

    /// Whether anything was written to a segment, as far as can be told.
    fn is_used(&self, number: u64) -> bool {
        let path = self.layout.segment(number, self.manifest.generation_of(number));
        let mut head = [0; SEGMENT_HEADER_SIZE];
        let read = self.io.open(&path).and_then(|file| {
            let size = file.size()?.min(head.len() as u64) as usize;
            file.read_at(&mut head[..size], 0)
        });
        read.is_err() || !is_zero(&head)
    }

    /// Segment, offset and position up to which the log was durable when the walk began.
    fn proven(&self) -> (u64, u64, u64) {
        let floor = self.manifest.floor;
        let floor = (floor.segment, floor.offset, floor.position);
        let mark = self.mark.map_or((0, 0, 0), |mark| (mark.segment, mark.offset, mark.position));
        floor.max(mark)
    }

    fn is_proven(&self, number: u64, offset: u64) -> bool {
        let (segment, end, _) = self.proven();
        (number, offset) < (segment, end)
    }

    /// Whether a process appends while the walk goes on.
    fn is_live(&self) -> bool {
        let mark = read_mark(self.io, self.layout);
        mark.is_some() && mark != self.mark
    }

    fn report_missing(&mut self, number: u64) {
        let path = self.layout.segment(number, self.manifest.generation_of(number));
        self.findings.report(&path, 0, "a segment of the log is missing");
        self.lose();
    }

    /// Notes that events are missing from here to wherever the walk goes on.
    fn lose(&mut self) {
        self.expected = None;
        self.has_hole = true;
    }

    fn segment(&mut self, number: u64, is_last: bool) {
        let generation = self.manifest.generation_of(number);
        let path = self.layout.segment(number, generation);
        let opened = self.io.open(&path).map_err(DiskError::io("open", &path)).and_then(|file| {
            let header = Segment::read_header(self.layout, &file, number, generation);
            let window = Window::new(file).map_err(DiskError::io("read", &path))?;
            Ok((header, window))
        });
        let (header, window) = match opened {
            Ok((Ok(header), window)) => (header, window),
            Ok((Err(error), _)) => {
                self.headless.push(Headless { number, path, error });
                return;
            }
            Err(error) => {
                self.findings.report_error(error);
                self.lose();
                return;
            }
        };
        // A head behind them proves that those before had one.
        for headless in std::mem::take(&mut self.headless) {
            self.findings.report_error(headless.error);
            self.lose();
        }
        let place = Place::first_of(&header);
        if !self.check_head(&path, &header, place) {
            return;
        }
        let seed = header.seed();
        let (offsets, is_whole) = (Vec::new(), true);
        let mut current = Current {
            path,
            number,
            header,
            seed,
            window,
            is_last,
            offsets,
            is_whole,
            told_size: 0,
        };
        let end = self.batches(&mut current, place);
        if self.findings.is_cancelled {
            return;
        }
        if !current.offsets.is_empty() {
            self.verified.segment_count += 1;
        }
        // Where it was rewritten its checksums changed; what follows knows the former ones.
        let is_original = current.header.generation == 0;
        let previous_crc = if is_original { end.previous_crc } else { current.header.final_crc };
        self.expected = self.expected.map(|_| Place { previous_crc, ..end });
        if current.is_whole {
            self.check_table(&current, end.offset);
        }
        self.findings.advance(current.window.size() - current.told_size);
    }

    /// Checks how the segment follows the one before. Whether to look into it.
    fn check_head(&mut self, path: &Path, header: &SegmentHeader, place: Place) -> bool {
        if header.log != self.manifest.log {
            self.findings.report(path, 0, "the segment is of another log");
            self.lose();
            return false;
        }
        if let Some(expected) = self.expected {
            let follows = (place.position, place.sequence, place.previous_crc)
                == (expected.position, expected.sequence, expected.previous_crc);
            if !follows {
                if !self.is_proven(header.number, 0) && self.is_live() {
                    return false;
                }
                self.findings.report(path, 0, "the segment does not follow the one before it");
                self.has_hole = true;
            }
        }
        if place.position <= self.last_position {
            self.findings.report(path, 0, "the segment begins before the one before it ends");
            self.lose();
            return false;
        }
        if header.first_recorded_at < self.last_recorded_at {
            self.findings.report(path, 0, "the segment begins at a time before what precedes it");
        }
        self.last_recorded_at = self.last_recorded_at.max(header.first_recorded_at);
        // Where batches were lost the chain is taken up again here.
        self.expected = Some(place);
        true
    }

    /// Walks the batches from `place` on and answers where they end, or where nobody wanted more.
    fn batches(&mut self, current: &mut Current, mut place: Place) -> Place {
        loop {
            if place.offset - current.told_size >= STEP_SIZE {
                self.findings.advance(place.offset - current.told_size);
                current.told_size = place.offset;
                if self.findings.is_cancelled {
                    return place;
                }
            }
            self.check_floor(current, place);
            match self.batch(current, place) {
                Ok(Step::On(next)) => place = next,
                Ok(Step::End) => return place,
                Err(error) => {
                    self.findings.report_error(DiskError::io("read", &current.path)(error));
                    current.is_whole = false;
                    self.lose();
                    return place;
                }
            }
        }
    }

    fn check_floor(&mut self, current: &Current, place: Place) {
        let floor = self.manifest.floor;
        let is_there = (current.number, place.offset) == (floor.segment, floor.offset);
        let says = (place.sequence, place.previous_crc);
        if is_there && says != (floor.sequence + 1, floor.header_crc) {
            let reason = "the batch before is not the one that the manifest knows";
            self.findings.report(&current.path, place.offset, reason);
        }
        if is_there && current.is_whole {
            self.check_growing_offsets(current, place.offset);
        }
    }

    /// Looks at the batch at `place`.
    fn batch(&mut self, current: &mut Current, place: Place) -> std::io::Result<Step> {
        let head = current.window.get(place.offset, BATCH_HEADER_SIZE as u64)?;
        let decoded = match head {
            Some(head) => BatchHeader::decode(head, current.seed),
            None => Err("the batch header is cut short"),
        };
        let (header, crc) = match decoded {
            Ok(decoded) => decoded,
            Err(reason) => return self.no_batch(current, place, reason),
        };
        let end = place.offset + header.size();
        let body_offset = place.offset + BATCH_HEADER_SIZE as u64;
        let body_size = header.size() - BATCH_HEADER_SIZE as u64;
        let Some(body) = current.window.get(body_offset, body_size)?.map(<[u8]>::to_vec) else {
            return self.no_batch(current, place, "the batch is cut short");
        };
        let (body, padding) = body.split_at(header.body_size as usize);
        let is_whole = checksum(current.seed, body) == header.body_crc;
        if !is_whole && !self.is_proven(current.number, place.offset) {
            if self.is_live() {
                return Ok(Step::End);
            }
            if current.is_last && current.window.used_from(end)? == 0 {
                // Nothing shows that it was ever acknowledged.
                self.verified.loose_size += current.window.used_from(place.offset)?;
                return Ok(Step::End);
            }
        }
        if !self.check_chain(current, place, &header) {
            return Ok(Step::End);
        }
        if !is_zero(padding) {
            let offset = body_offset + body.len() as u64;
            let reason = "the bytes that fill up the batch are not zero";
            self.findings.report(&current.path, offset, reason);
        }
        self.records(current, &header, body, body_offset, is_whole);
        Ok(Step::On(Place {
            offset: end,
            sequence: header.sequence + 1,
            previous_crc: crc,
            position: header.first_position.saturating_add(header.count.into()),
        }))
    }

    /// Checks how a batch follows the one before. Whether to go on with it.
    fn check_chain(&mut self, current: &mut Current, place: Place, header: &BatchHeader) -> bool {
        let reason = if header.sequence != place.sequence {
            "the batch is out of sequence"
        } else if header.previous_crc != place.previous_crc {
            "the batch does not follow the one before it"
        } else if header.first_position != place.position {
            "the batch has another position than the one before it leaves"
        } else {
            return true;
        };
        self.findings.report(&current.path, place.offset, reason);
        current.is_whole = false;
        if header.first_position > self.last_position {
            self.has_hole = true;
            return true;
        }
        self.lose();
        false
    }

    /// Goes on where there is no valid batch: the end, bytes that were never acknowledged, or
    /// damage, behind which the next valid batch is sought.
    fn no_batch(
        &mut self,
        current: &mut Current,
        place: Place,
        reason: &str,
    ) -> std::io::Result<Step> {
        let used = current.window.used_from(place.offset)?;
        let is_proven = self.is_proven(current.number, place.offset);
        // Zeros may follow anywhere in a full segment: the head of the next one says what the last
        // batch was.
        if used == 0 && (!is_proven || current.number < self.proven().0) {
            return Ok(Step::End);
        }
        if !is_proven && self.is_live() {
            return Ok(Step::End);
        }
        let next = find_batch(current, place)?;
        if next.is_none() && !is_proven && current.is_last {
            self.verified.loose_size += used;
            return Ok(Step::End);
        }
        self.findings.report(&current.path, place.offset, reason);
        current.is_whole = false;
        let Some(next) = next else {
            self.lose();
            return Ok(Step::End);
        };
        self.has_hole = true;
        Ok(Step::On(next))
    }

    /// Looks at files at the end whose head is not valid: zeros ahead of the writer, a first batch
    /// that was torn, or damage.
    fn finish_headless(&mut self) {
        for Headless { number, path, error } in std::mem::take(&mut self.headless) {
            let bytes = self.io.open(&path).and_then(|file| {
                let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(usize::MAX)];
                file.read_at(&mut bytes, 0)?;
                Ok(bytes)
            });
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.findings.report_error(DiskError::io("read", &path)(error));
                    continue;
                }
            };
            let (durable, ..) = self.proven();
            if number <= durable || has_two_batches(&bytes) {
                if number <= durable || !self.is_live() {
                    self.findings.report_error(error);
                    self.lose();
                }
            } else {
                self.verified.loose_size += used_size(&bytes) as u64;
            }
            self.findings.advance(bytes.len() as u64);
        }
    }
}

/// The next valid batch behind a damaged one.
fn find_batch(current: &mut Current, place: Place) -> std::io::Result<Option<Place>> {
    let mut offset = place.offset + BATCH_ALIGNMENT as u64;
    while let Some(head) = current.window.get(offset, BATCH_HEADER_SIZE as u64)? {
        if head[..4] == BATCH_MAGIC
            && let Ok((header, _)) = BatchHeader::decode(head, current.seed)
            && header.sequence > place.sequence
        {
            return Ok(Some(Place {
                offset,
                sequence: header.sequence,
                previous_crc: header.previous_crc,
                position: header.first_position,
            }));
        }
        offset += BATCH_ALIGNMENT as u64;
    }
    Ok(None)
}
