//! Opening: finding out what the disk holds.
//!
//! Everything that the manifest's floor knows is as it was left, and so is every segment but the one
//! written last. Of that one, batches are valid up to some place, and what follows is one of three
//! things:
//!
//! - zeros: the log ends there;
//! - the torn remains of one batch that was never acknowledged: they are kept aside and zeroed;
//! - damage: the manifest's floor, or a valid batch further on, proves that more was durable. The
//!   store does not open; nothing is cut off that anyone was promised.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::DiskError;
use crate::format::batch::{BATCH_ALIGNMENT, BATCH_HEADER_SIZE, BATCH_MAGIC, BatchHeader};
use crate::format::manifest::{Floor, Manifest};
use crate::format::record::Record;
use crate::format::segment::{SEGMENT_HEADER_SIZE, SegmentHeader};
use crate::growing::GrowingOffsets;
use crate::io::{File, Io, SeededBug};
use crate::layout::{Layout, parse_growing_offsets_name, parse_offsets_name, parse_segment_name};
use crate::segment::{Segment, Segments, used_size, write_new_file};
use crate::walk::{Batch, Place};
use crate::writer::Tip;

/// Whether what is found may be put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Yes: torn bytes are taken out, the last batch is made durable again.
    Write,
    /// No: stop at what is valid.
    Read,
}

/// The log as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) segments: Segments,
    pub(crate) tip: Tip,
    /// Events whose batches were walked.
    pub(crate) checked_count: u64,
    /// Bytes of a torn batch that were taken out of the log.
    pub(crate) torn_size: u64,
}

/// Finds the log's segments and the place where the next batch goes.
pub(crate) fn find_log(
    io: &Arc<dyn Io>,
    layout: &Layout,
    manifest: &Manifest,
    access: Access,
) -> Result<Found, DiskError> {
    let finder = Finder { io, layout, manifest, access };
    let mut heads = finder.find_heads()?;
    let floor = manifest.floor;
    let mut torn_size = 0;
    loop {
        let last = heads.last().map_or(0, |head| head.header.number);
        if last < floor.segment {
            let path = layout.segment(floor.segment, finder.generation(floor.segment));
            return Err(DiskError::corrupt(&path, 0, "a segment of the log is missing"));
        }
        let Some(head) = heads.pop() else {
            let place = Place { offset: 0, sequence: 1, previous_crc: 0, position: 1 };
            let tip = Tip { segment: None, next_segment: 1, place, last_recorded_at: i64::MIN };
            let segments = Segments::default();
            return Ok(Found { segments, tip, checked_count: 0, torn_size });
        };
        let end = finder.walk(&head)?;
        if access == Access::Write {
            torn_size += finder.take_out_torn(&head, &end)?;
        }
        if end.place.offset > SEGMENT_HEADER_SIZE as u64 || finder.is_known(&head) {
            return finder.finish(heads, head, end, torn_size);
        }
        // Only the segment's head reached the disk: its first batch was never acknowledged.
    }
}

struct Finder<'a> {
    io: &'a Arc<dyn Io>,
    layout: &'a Layout,
    manifest: &'a Manifest,
    access: Access,
}

/// A segment whose head is valid.
struct Head {
    header: SegmentHeader,
    file: Arc<dyn File>,
}

/// Where the valid batches of a segment end.
struct End {
    place: Place,
    /// The bytes of the segment.
    bytes: Bytes,
    /// How many of them there are up to the last that is not zero, as far as that is looked at:
    /// known once the walk is over.
    used_size: usize,
    offsets: Vec<u32>,
    /// What is on disk of them.
    growing_offsets: GrowingOffsets,
    /// How many of them are of batches that were walked.
    checked_count: u64,
    /// Where the last valid batch begins, if it is not before the manifest's floor.
    last_batch: Option<u64>,
    last_recorded_at: i64,
}

impl Finder<'_> {
    fn generation(&self, number: u64) -> u32 {
        self.manifest.generation_of(number)
    }

    /// The segments with a valid head, in order. Files that are no part of the log are removed.
    fn find_heads(&self) -> Result<Vec<Head>, DiskError> {
        let directory = self.layout.segments();
        let names = self.io.list(&directory).map_err(DiskError::io("list", &directory))?;
        let mut numbers = Vec::new();
        for name in &names {
            match parse_segment_name(name) {
                Some((number, generation)) if generation == self.generation(number) => {
                    numbers.push(number);
                }
                // The remains of a scavenge that did not come to its end, or of one that did.
                Some(_) => self.remove(&directory.join(name))?,
                None if self.is_stray(name) => self.remove(&directory.join(name))?,
                None => {}
            }
        }
        numbers.sort_unstable();
        let mut heads: Vec<Head> = Vec::new();
        let mut headless = Vec::new();
        for number in numbers {
            let path = self.layout.segment(number, self.generation(number));
            let file = self.open(&path)?;
            let floor = self.manifest.floor;
            if number >= floor.segment {
                // The system's memory may show what the disk does not hold, the head included.
                let from = if number > floor.segment { 0 } else { floor.offset };
                file.forget(from).map_err(DiskError::io("read", &path))?;
            }
            match Segment::read_header(self.layout, &file, number, self.generation(number)) {
                Ok(header) => {
                    let expected = heads.last().map_or(1, |head| head.header.number + 1);
                    if let Some((_, _, error)) = headless.pop() {
                        return Err(error);
                    }
                    if number != expected || header.log != self.manifest.log {
                        let reason = "the segment is of another log, or one before it is missing";
                        return Err(DiskError::corrupt(&path, 0, reason));
                    }
                    heads.push(Head { header, file });
                }
                // The floor proves that the segment had a head.
                Err(error) if number <= self.manifest.floor.segment => return Err(error),
                Err(error) => headless.push((number, file, error)),
            }
        }
        for (number, file, error) in headless {
            self.discard_headless(number, &file, error)?;
        }
        Ok(heads)
    }

    /// Whether a file beside the segments is the remains of a step that a crash cut off.
    fn is_stray(&self, name: &str) -> bool {
        let table = parse_offsets_name(name);
        let growing = parse_growing_offsets_name(name);
        Path::new(name).extension().is_some_and(|own| own == "new")
            || table.is_some_and(|(number, generation)| generation != self.generation(number))
            || growing.is_some_and(|number| number != self.manifest.floor.segment)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>, DiskError> {
        match self.access {
            Access::Write => self.io.open_writable(path),
            Access::Read => self.io.open(path),
        }
        .map_err(DiskError::io("open", path))
    }

    /// All bytes of a file that somebody may be writing to, if it is not us: as they are at one
    /// moment, or nearly, so that a batch and one after it are not seen apart. Those before `from`
    /// may be missing.
    fn bytes_of(&self, file: &Arc<dyn File>, from: u64) -> std::io::Result<Bytes> {
        let size = file.size()?;
        match self.access {
            Access::Write => file.bytes(0..size),
            Access::Read => {
                let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
                let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
                file.read_at(&mut bytes[from..], from as u64)?;
                Ok(bytes.into())
            }
        }
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        match self.access {
            Access::Write => self.io.remove(path).map_err(DiskError::io("remove", path)),
            Access::Read => Ok(()),
        }
    }

    /// Puts a file without a valid head out of the way: zeros that nothing was written to, or the
    /// torn remains of a segment's first batch, which are kept aside. A second batch in it proves
    /// that the first was acknowledged.
    fn discard_headless(
        &self,
        number: u64,
        file: &Arc<dyn File>,
        error: DiskError,
    ) -> Result<(), DiskError> {
        let path = self.layout.segment(number, 0);
        let bytes = self.bytes_of(file, 0).map_err(DiskError::io("read", &path))?;
        if has_two_batches(&bytes) {
            return Err(error);
        }
        if self.access == Access::Read {
            return Ok(());
        }
        let used_size = used_size(&bytes);
        if used_size > 0 {
            self.keep_aside(number, 0, &bytes[..used_size])?;
        }
        self.remove(&path)
    }

    /// Where the walk of the segment written last begins: at the manifest's floor, if all that is
    /// to be known of what is before it was written down, and at the first batch otherwise.
    fn begin(&self, head: &Head) -> Result<End, DiskError> {
        let path = self.layout.segment(head.header.number, head.header.generation);
        if let Some(end) = self.begin_at_floor(head) {
            return Ok(end);
        }
        let bytes = self.bytes_of(&head.file, 0).map_err(DiskError::io("read", &path))?;
        Ok(End {
            place: Place::first_of(&head.header),
            bytes,
            used_size: 0,
            offsets: Vec::new(),
            growing_offsets: GrowingOffsets::default(),
            checked_count: 0,
            last_batch: None,
            last_recorded_at: head.header.first_recorded_at,
        })
    }

    fn begin_at_floor(&self, head: &Head) -> Option<End> {
        let (floor, header) = (self.manifest.floor, &head.header);
        if floor.segment != header.number || header.generation > 0 {
            return None;
        }
        let place = place_at(&floor)?;
        let count = usize::try_from(place.position.checked_sub(header.first_position)?).ok()?;
        let file = self.open(&self.layout.growing_offsets(header.number)).ok()?;
        // The records take more bytes than what says where they are.
        let (growing_offsets, offsets) = GrowingOffsets::read(file, header, count, place.offset)?;
        let last = u64::from(*offsets.last()?);
        let bytes = self.bytes_of(&head.file, last).ok()?;
        let record = bytes.get(usize::try_from(last).ok()?..usize::try_from(place.offset).ok()?)?;
        let record = Record::decode(record, header.seed(), floor.position).ok()?;
        let last_recorded_at = record.recorded_at();
        let (checked_count, last_batch) = (0, None);
        Some(End {
            place,
            bytes,
            used_size: 0,
            offsets,
            growing_offsets,
            checked_count,
            last_batch,
            last_recorded_at,
        })
    }

    /// Walks the valid batches of the segment written last.
    fn walk(&self, head: &Head) -> Result<End, DiskError> {
        let path = self.layout.segment(head.header.number, head.header.generation);
        let seed = head.header.seed();
        let mut end = self.begin(head)?;
        let bytes = end.bytes.clone();
        let reason = loop {
            let batch = if self.io.has_bug(SeededBug::SkipBatchChecksum) {
                Batch::read_unsummed(&bytes, seed, end.place)
            } else {
                Batch::read(&bytes, seed, end.place)
            };
            let batch = match batch {
                Ok(batch) => batch,
                Err(reason) => break reason,
            };
            for record in batch.records() {
                let (offset, record) =
                    record.map_err(|r| DiskError::corrupt(&path, end.place.offset, r))?;
                end.offsets.push(offset);
                end.last_recorded_at = record.recorded_at();
            }
            end.checked_count += u64::from(batch.header.count);
            end.last_batch = Some(end.place.offset);
            end.place = batch.next();
        };
        let start = usize::try_from(end.place.offset).unwrap_or(usize::MAX);
        end.used_size = start + used_size(bytes.get(start..).unwrap_or_default());
        self.check_end(&path, head, &end, reason)?;
        Ok(end)
    }

    /// Tells a torn batch from damage.
    fn check_end(
        &self,
        path: &Path,
        head: &Head,
        end: &End,
        reason: &'static str,
    ) -> Result<(), DiskError> {
        if self.io.has_bug(SeededBug::TruncateCorruption) {
            return Ok(());
        }
        let floor = self.manifest.floor;
        let offset = end.place.offset;
        if head.header.number == floor.segment && offset < floor.offset {
            return Err(DiskError::corrupt(path, offset, reason));
        }
        if head.header.number == floor.segment
            && offset == floor.offset
            && place_at(&floor) != Some(end.place)
        {
            let reason = "the last batch is not the one that the manifest knows";
            return Err(DiskError::corrupt(path, offset, reason));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if end.used_size <= start {
            return Ok(());
        }
        // The last bytes of a header may be zero.
        let rest = end.bytes.get(start..).unwrap_or_default();
        let rest = &rest[..rest.len().min(end.used_size - start + BATCH_HEADER_SIZE)];
        if let Some(later) = find_batch(rest, head.header.seed(), end.place.sequence + 1) {
            let reason = format!("{reason}; yet a later batch follows at byte {}", offset + later);
            return Err(DiskError::corrupt(path, offset, reason));
        }
        // A head that is whole tells how far its batch reaches.
        if let Ok((header, _)) = BatchHeader::decode(rest, head.header.seed())
            && header.sequence == end.place.sequence
            && offset.saturating_add(header.size()) < end.used_size as u64
        {
            return Err(DiskError::corrupt(path, offset, reason));
        }
        Ok(())
    }

    /// Whether the manifest knows that the segment began. It is part of the log then, even without
    /// a batch: the one before it may have been rewritten since, and takes no more.
    fn is_known(&self, head: &Head) -> bool {
        head.header.number == self.manifest.floor.segment
    }

    /// Keeps the bytes of a torn batch aside and puts zeros in their place. How many there were.
    fn take_out_torn(&self, head: &Head, end: &End) -> Result<u64, DiskError> {
        let path = self.layout.segment(head.header.number, head.header.generation);
        let is_headless = end.place.offset == SEGMENT_HEADER_SIZE as u64 && !self.is_known(head);
        let start = if is_headless { 0 } else { end.place.offset };
        let torn = end.bytes.get(usize::try_from(start).unwrap_or(usize::MAX)..end.used_size);
        if is_headless && end.used_size <= SEGMENT_HEADER_SIZE {
            // The head alone says nothing that the segment before it does not.
            self.remove(&path)?;
            return Ok(0);
        }
        let Some(torn) = torn.filter(|torn| !torn.is_empty()) else { return Ok(0) };
        self.keep_aside(head.header.number, start, torn)?;
        if is_headless {
            self.remove(&path)?;
        } else if !self.io.has_bug(SeededBug::ReuseTornSequence) {
            let zeros = vec![0; torn.len()];
            head.file.write_at(&zeros, start).map_err(DiskError::io("write", &path))?;
            head.file.sync().map_err(DiskError::io("sync", &path))?;
        }
        Ok(torn.len() as u64)
    }

    fn keep_aside(&self, number: u64, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let directory = self.layout.torn();
        self.io.create_dir(&directory).map_err(DiskError::io("create", &directory))?;
        let path = directory.join(format!("{number:08}-{offset}.bytes"));
        write_new_file(&**self.io, &path, bytes)?;
        self.io.sync_dir(&directory).map_err(DiskError::io("sync", &directory))
    }

    fn finish(
        &self,
        heads: Vec<Head>,
        last: Head,
        end: End,
        torn_size: u64,
    ) -> Result<Found, DiskError> {
        self.make_last_batch_durable(&last, &end)?;
        let mut segments = Vec::with_capacity(heads.len() + 1);
        for Head { header, file } in heads {
            segments.push(Arc::new(Segment::full(self.io, self.layout, header, file)?));
        }
        if self.access == Access::Write {
            self.remove_table(&last.header)?;
        }
        let next_segment = last.header.number + 1;
        let segment = Segment::growing(self.io, self.layout, last.header, last.file, 0)
            .with_growing_offsets(end.growing_offsets);
        segment.publish(end.place.offset, end.offsets);
        let segment = Arc::new(segment);
        segments.push(Arc::clone(&segment));
        let tip = Tip {
            segment: Some(segment),
            next_segment,
            place: end.place,
            last_recorded_at: end.last_recorded_at,
        };
        let (segments, checked_count) = (Segments::new(segments), end.checked_count);
        Ok(Found { segments, tip, checked_count, torn_size })
    }

    /// Removes the table of the segment that the log goes on in. It had been full already if it has
    /// one, but what made it so did not survive. That the table is gone is durable before the
    /// segment is full again: beginning the next one syncs the directory.
    fn remove_table(&self, header: &SegmentHeader) -> Result<(), DiskError> {
        let path = self.layout.offsets(header.number, header.generation);
        match self.io.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(DiskError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Only the batch written last may have been read from memory that never reached the disk:
    /// its sync may have failed in the process before. Writing it again makes it so.
    fn make_last_batch_durable(&self, head: &Head, end: &End) -> Result<(), DiskError> {
        let floor = self.manifest.floor;
        let is_known = floor.segment == head.header.number && floor.offset >= end.place.offset;
        let Some(start) = end.last_batch.filter(|_| !is_known) else { return Ok(()) };
        if self.io.has_bug(SeededBug::SkipRewriteOnOpen) {
            return Ok(());
        }
        let path = self.layout.segment(head.header.number, head.header.generation);
        if self.access == Access::Write {
            // The head of the segment goes with its first batch.
            let start = if start == SEGMENT_HEADER_SIZE as u64 { 0 } else { start };
            let range = usize::try_from(start).unwrap_or(usize::MAX)
                ..usize::try_from(end.place.offset).unwrap_or(usize::MAX);
            let bytes = end.bytes.get(range).unwrap_or_default().to_vec();
            head.file.write_at(&bytes, start).map_err(DiskError::io("write", &path))?;
        }
        head.file.sync().map_err(DiskError::io("sync", &path))
    }
}

/// Where a valid batch with at least this sequence begins.
fn find_batch(bytes: &[u8], seed: u32, sequence: u64) -> Option<u64> {
    let mut offset = 0;
    while let Some(head) = bytes.get(offset..).filter(|rest| rest.len() >= BATCH_HEADER_SIZE) {
        if head[..4] == BATCH_MAGIC
            && BatchHeader::decode(head, seed).is_ok_and(|(own, _)| own.sequence >= sequence)
        {
            return Some(offset as u64);
        }
        offset += BATCH_ALIGNMENT;
    }
    None
}

/// Whether there seem to be two batches, one after the other, in a segment whose head is lost and
/// with it what their checksums begin with.
pub(crate) fn has_two_batches(bytes: &[u8]) -> bool {
    let mut sequences = bytes
        .chunks_exact(BATCH_ALIGNMENT)
        .enumerate()
        .filter(|(_, chunk)| chunk[..4] == BATCH_MAGIC)
        .filter_map(|(index, _)| bytes.get(index * BATCH_ALIGNMENT + 16..)?.first_chunk())
        .map(|sequence| u64::from_le_bytes(*sequence));
    let Some(first) = sequences.next() else { return false };
    sequences.any(|sequence| sequence == first.wrapping_add(1))
}

/// Where the batch behind a floor goes.
fn place_at(floor: &Floor) -> Option<Place> {
    Some(Place {
        offset: floor.offset,
        sequence: floor.sequence.checked_add(1)?,
        previous_crc: floor.header_crc,
        position: floor.position.checked_add(1)?,
    })
}

/// The floor that says: the log is whole up to this tip.
pub(crate) fn floor_at(tip_segment: u64, place: &Place) -> Floor {
    Floor {
        segment: tip_segment,
        offset: place.offset,
        sequence: place.sequence - 1,
        header_crc: place.previous_crc,
        position: place.position - 1,
    }
}
