//! Segments: the files that hold the log, and where each record is in them.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;

use crate::error::DiskError;
use crate::format::manifest::Floor;
use crate::format::offsets::{OFFSETS_HEADER_SIZE, OffsetsHeader, encode_offsets};
use crate::format::record::Record;
use crate::format::segment::{SEGMENT_HEADER_SIZE, SegmentHeader};
use crate::growing::GrowingOffsets;
use crate::io::{File, Io, SeededBug};
use crate::layout::Layout;
use crate::recovery::floor_at;
use crate::walk::{Batch, Place};

/// Bytes that a processor fetches at once.
const LINE_SIZE: usize = 64;
/// Lines of a record that are fetched ahead: what follows, the processor foresees.
const LINES_FETCHED: usize = 4;

/// One segment of the log.
///
/// # Invariants
///
/// - Bytes before `end` are durable and never change.
/// - The offsets of all events before `end` are known, or can be read or computed.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    /// What every checksum in the segment begins with.
    pub(crate) seed: u32,
    io: Arc<dyn Io>,
    offsets_path: PathBuf,
    /// How far readers may look. In a full segment, the size of the file.
    end: AtomicU64,
    /// The bytes up to some former `end`. Never held while reading a file.
    settled: RwLock<Bytes>,
    /// Never held while reading a file.
    offsets: RwLock<Offsets>,
    /// What is on disk of the offsets of a segment that is being written. Held while adding to it.
    growing_offsets: Mutex<GrowingOffsets>,
}

enum Offsets {
    /// The segment is full; its table was not needed yet.
    Unread,
    /// The segment is being written.
    Growing(Vec<u32>),
    /// The table of a full segment, four bytes each.
    Table(Bytes),
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Segment {
    /// A segment that is being written, durable up to `end`.
    pub(crate) fn growing(
        io: &Arc<dyn Io>,
        layout: &Layout,
        header: SegmentHeader,
        file: Arc<dyn File>,
        end: u64,
    ) -> Self {
        let offsets = Offsets::Growing(Vec::new());
        Self::new(io, layout, header, file, end, offsets)
    }

    /// A segment that nothing will be added to.
    pub(crate) fn full(
        io: &Arc<dyn Io>,
        layout: &Layout,
        header: SegmentHeader,
        file: Arc<dyn File>,
    ) -> Result<Self, DiskError> {
        let path = layout.segment(header.number, header.generation);
        let size = file.size().map_err(DiskError::io("read", &path))?;
        Ok(Self::new(io, layout, header, file, size, Offsets::Unread))
    }

    fn new(
        io: &Arc<dyn Io>,
        layout: &Layout,
        header: SegmentHeader,
        file: Arc<dyn File>,
        end: u64,
        offsets: Offsets,
    ) -> Self {
        Self {
            path: layout.segment(header.number, header.generation),
            offsets_path: layout.offsets(header.number, header.generation),
            seed: header.seed(),
            header,
            file,
            io: Arc::clone(io),
            end: AtomicU64::new(end),
            settled: RwLock::new(Bytes::new()),
            offsets: RwLock::new(offsets),
            growing_offsets: Mutex::default(),
        }
    }

    /// The same segment, of whose offsets so much is on disk.
    #[must_use]
    pub(crate) fn with_growing_offsets(self, known: GrowingOffsets) -> Self {
        Self { growing_offsets: Mutex::new(known), ..self }
    }

    /// Opens a segment's file and reads its head.
    pub(crate) fn read_header(
        layout: &Layout,
        file: &Arc<dyn File>,
        number: u64,
        generation: u32,
    ) -> Result<SegmentHeader, DiskError> {
        let path = layout.segment(number, generation);
        let mut bytes = vec![0; SEGMENT_HEADER_SIZE];
        file.read_at(&mut bytes, 0).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                DiskError::corrupt(&path, 0, "the segment header is cut short")
            }
            _ => DiskError::io("read", &path)(error),
        })?;
        let header =
            SegmentHeader::decode(&bytes).map_err(|reason| DiskError::corrupt(&path, 0, reason))?;
        if header.number != number || header.generation != generation {
            return Err(DiskError::corrupt(&path, 0, "the segment header is of another segment"));
        }
        Ok(header)
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// The position of the first event.
    pub(crate) fn first(&self) -> u64 {
        self.header.first_position
    }

    /// Where the durable bytes end; in a full segment, where the file does.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Lets readers see a durable batch: the writer's last step before the watermark.
    pub(crate) fn publish(&self, end: u64, new_offsets: impl IntoIterator<Item = u32>) {
        if let Offsets::Growing(offsets) =
            &mut *self.offsets.write().unwrap_or_else(PoisonError::into_inner)
        {
            offsets.extend(new_offsets);
        }
        self.end.store(end, Ordering::Release);
    }

    /// Makes the head durable, and lets readers see that the segment has nothing but that.
    ///
    /// Whoever sees the segment knows that the one before is full, and may rewrite that; then the
    /// log cannot go on without this head.
    pub(crate) fn write_head(&self) -> Result<(), DiskError> {
        let head = self.header.encode();
        self.file.write_at(&head, 0).map_err(DiskError::io("write", &self.path))?;
        self.file.sync().map_err(DiskError::io("sync", &self.path))?;
        self.publish(head.len() as u64, []);
        Ok(())
    }

    /// The durable bytes, at least up to `end`.
    pub(crate) fn settled(&self, end: u64) -> Result<Bytes, DiskError> {
        {
            let settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
            if settled.len() as u64 >= end {
                return Ok(settled.clone());
            }
        }
        let bytes = self.file.bytes(0..self.end()).map_err(DiskError::io("read", &self.path))?;
        let mut settled = self.settled.write().unwrap_or_else(PoisonError::into_inner);
        if settled.len() < bytes.len() {
            *settled = bytes.clone();
        }
        Ok(bytes)
    }

    /// Looks at the record of `position`, whose checksum and grammar are right.
    pub(crate) fn with_record<T>(
        &self,
        position: u64,
        look: impl FnOnce(Record<'_>) -> T,
    ) -> Result<T, DiskError> {
        let offset = self.offset_of(position)?;
        {
            // Looking under the lock spares a shared count that all readers would fight over.
            let settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(bytes) = settled.get(offset as usize..).filter(|rest| !rest.is_empty()) {
                return self.decode(bytes, offset, position).map(look);
            }
        }
        let settled = self.settled(u64::from(offset) + 1)?;
        let bytes = settled.get(offset as usize..).unwrap_or_default();
        self.decode(bytes, offset, position).map(look)
    }

    fn decode<'a>(
        &self,
        bytes: &'a [u8],
        offset: u32,
        position: u64,
    ) -> Result<Record<'a>, DiskError> {
        Record::decode(bytes, self.seed, position)
            .map_err(|reason| DiskError::corrupt(&self.path, u64::from(offset), reason))
    }

    /// Has the memory fetched that holds the beginnings of some records. All are asked for before
    /// any is waited for, which takes a fraction of the time of one after the other.
    fn fetch(&self, positions: impl Iterator<Item = u64>) {
        let index = |position: u64| usize::try_from(position.wrapping_sub(self.first()));
        let offsets: Vec<u32> = {
            let offsets = self.offsets.read().unwrap_or_else(PoisonError::into_inner);
            positions.filter_map(|it| offsets.get(index(it).ok()?)).collect()
        };
        let settled = self.settled.read().unwrap_or_else(PoisonError::into_inner);
        let lines =
            offsets.iter().flat_map(|offset| (*offset..).step_by(LINE_SIZE).take(LINES_FETCHED));
        let touched =
            lines.filter_map(|at| settled.get(at as usize)).fold(0, |sum, byte| sum ^ byte);
        std::hint::black_box(touched);
    }

    /// Where the record of `position` begins.
    pub(crate) fn offset_of(&self, position: u64) -> Result<u32, DiskError> {
        let index = usize::try_from(position.wrapping_sub(self.first())).unwrap_or(usize::MAX);
        let offset = self.with_offsets(|offsets| offsets.get(index))?;
        offset.ok_or_else(|| {
            let reason = format!("the segment does not hold position {position}");
            DiskError::corrupt(&self.path, 0, reason)
        })
    }

    /// Lets go of the memory that the records of some positions take where the file is mapped.
    fn release(&self, positions: RangeInclusive<u64>) -> Result<(), DiskError> {
        let begin = self.offset_of(*positions.start())?;
        // The last record's own bytes may stay: where they end is not worth a look.
        let end = self.offset_of(*positions.end())?;
        self.file.release(begin.into()..end.into());
        Ok(())
    }

    /// How many events the segment has.
    pub(crate) fn count(&self) -> Result<u64, DiskError> {
        self.with_offsets(|offsets| offsets.count() as u64)
    }

    fn with_offsets<T>(&self, look: impl Fn(&Offsets) -> T) -> Result<T, DiskError> {
        {
            let offsets = self.offsets.read().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*offsets, Offsets::Unread) {
                return Ok(look(&offsets));
            }
        }
        // A table that cannot be read is no loss: the segment says the same.
        let table = match self.read_offsets_file() {
            Some(table) => table,
            None => encode_offsets(&self.compute_offsets()?.0).into(),
        };
        let mut offsets = self.offsets.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*offsets, Offsets::Unread) {
            *offsets = Offsets::Table(table);
        }
        Ok(look(&offsets))
    }

    fn read_offsets_file(&self) -> Option<Bytes> {
        let file = self.io.open(&self.offsets_path).ok()?;
        let bytes = file.bytes(0..file.size().ok()?).ok()?;
        self.offsets_header(0, 0).check(&bytes)?;
        Some(bytes.slice(OFFSETS_HEADER_SIZE..))
    }

    fn offsets_header(&self, end: u32, count: u64) -> OffsetsHeader {
        OffsetsHeader {
            log: self.header.log,
            segment: self.header.number,
            generation: self.header.generation,
            end,
            first_position: self.header.first_position,
            count,
        }
    }

    /// The offset of each record and where the last batch ends, from walking the whole segment.
    fn compute_offsets(&self) -> Result<(Vec<u32>, u64), DiskError> {
        let bytes = self.settled(self.end())?;
        let mut offsets = Vec::new();
        let mut place = Place::first_of(&self.header);
        while let Some(batch) = self.batch_at(&bytes, place)? {
            offsets.extend(batch.offsets());
            place = batch.next();
        }
        Ok((offsets, place.offset))
    }

    /// The batch at `place` of a full segment, or `None` where only zeros follow.
    pub(crate) fn batch_at<'a>(
        &self,
        bytes: &'a [u8],
        place: Place,
    ) -> Result<Option<Batch<'a>>, DiskError> {
        let rest = bytes.get(usize::try_from(place.offset).unwrap_or(usize::MAX)..);
        match Batch::read(bytes, self.seed, place) {
            Ok(batch) => Ok(Some(batch)),
            Err(_) if rest.is_none_or(is_zero) => Ok(None),
            Err(reason) => Err(DiskError::corrupt(&self.path, place.offset, reason)),
        }
    }

    /// What the manifest may say of the log while the next batch of this segment would be at `place`.
    /// Where the records before it are is written down first, so that opening need not walk them.
    pub(crate) fn floor(&self, layout: &Layout, place: &Place) -> Floor {
        // Without it, the next opening walks the segment as a whole.
        let _slower = self.write_growing_offsets(layout, place.position);
        floor_at(self.number(), place)
    }

    /// Writes down where the records before the position `next` are. On `Ok` that is durable.
    fn write_growing_offsets(&self, layout: &Layout, next: u64) -> Result<(), DiskError> {
        let mut known = self.growing_offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let count = usize::try_from(next.saturating_sub(self.first()));
        let new = match &*self.offsets.read().unwrap_or_else(PoisonError::into_inner) {
            Offsets::Growing(offsets) => {
                let count = count.unwrap_or(usize::MAX).min(offsets.len());
                offsets.get(known.count()..count).unwrap_or_default().to_vec()
            }
            // The segment is full, and has a table.
            Offsets::Unread | Offsets::Table(_) => return Ok(()),
        };
        known.add(&*self.io, layout, &self.header, &new)
    }

    /// Writes the table of a segment that is full now, so that opening need not walk it.
    pub(crate) fn write_offsets_file(&self, layout: &Layout) -> Result<(), DiskError> {
        let (mut offsets, end) = match self.offsets_in_memory() {
            Some(offsets) => (offsets, self.end()),
            None => self.compute_offsets()?,
        };
        if self.io.has_bug(SeededBug::LoseLastOfSegment) {
            offsets.pop();
        }
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        let table = self.offsets_header(end, offsets.len() as u64).encode(&offsets);
        let path = &self.offsets_path;
        let temporary = path.with_extension("new");
        write_new_file(&*self.io, &temporary, &table)?;
        self.io.rename(&temporary, path).map_err(DiskError::io("rename", &temporary))?;
        let directory = layout.segments();
        self.io.sync_dir(&directory).map_err(DiskError::io("sync", &directory))?;
        // From here on the table is read from its file: the heap is for the active segment.
        *self.offsets.write().unwrap_or_else(PoisonError::into_inner) = Offsets::Unread;
        *self.growing_offsets.lock().unwrap_or_else(PoisonError::into_inner) =
            GrowingOffsets::default();
        if self.header.generation == 0 {
            // There may be none, and one that stays is removed by the next opening.
            let _stays = self.io.remove(&layout.growing_offsets(self.number()));
        }
        Ok(())
    }

    /// The offsets of a segment that was written since it was opened.
    fn offsets_in_memory(&self) -> Option<Vec<u32>> {
        match &*self.offsets.read().unwrap_or_else(PoisonError::into_inner) {
            Offsets::Growing(offsets) => Some(offsets.clone()),
            Offsets::Unread | Offsets::Table(_) => None,
        }
    }

    /// Gives back the memory for the offsets of a segment that another process filled, once it has
    /// written the table of them.
    pub(crate) fn settle_offsets(&self) {
        if !self.is_growing() {
            return;
        }
        if let Some(table) = self.read_offsets_file() {
            let mut offsets = self.offsets.write().unwrap_or_else(PoisonError::into_inner);
            *offsets = Offsets::Table(table);
        }
    }

    /// Whether the offsets are in memory only.
    pub(crate) fn is_growing(&self) -> bool {
        let offsets = self.offsets.read().unwrap_or_else(PoisonError::into_inner);
        matches!(*offsets, Offsets::Growing(_))
    }
}

impl Offsets {
    fn get(&self, index: usize) -> Option<u32> {
        match self {
            Self::Growing(offsets) => offsets.get(index).copied(),
            Self::Table(table) => {
                let bytes = table.get(index.checked_mul(4)?..)?.first_chunk()?;
                Some(u32::from_le_bytes(*bytes))
            }
            Self::Unread => None,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Growing(offsets) => offsets.len(),
            Self::Table(table) => table.len() / 4,
            Self::Unread => 0,
        }
    }
}

/// Writes a file that is not there yet, or the remains of an attempt to, and syncs it.
pub(crate) fn write_new_file(io: &dyn Io, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let file = match io.create(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let file = io.open_writable(path).map_err(DiskError::io("open", path))?;
            file.set_size(0).map_err(DiskError::io("write", path))?;
            file
        }
        Err(error) => return Err(DiskError::io("create", path)(error)),
    };
    file.write_at(bytes, 0).map_err(DiskError::io("write", path))?;
    file.sync().map_err(DiskError::io("sync", path))
}

/// A file for writing, as it is where it is there already.
pub(crate) fn create_or_open(io: &dyn Io, path: &Path) -> Result<Arc<dyn File>, DiskError> {
    match io.create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            io.open_writable(path).map_err(DiskError::io("open", path))
        }
        created => created.map_err(DiskError::io("create", path)),
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    used_size(bytes) == 0
}

/// How many bytes there are up to the last one that is not zero.
pub(crate) fn used_size(bytes: &[u8]) -> usize {
    // There are megabytes of zeros ahead of the writer: many are looked at with one instruction.
    let mut end = bytes.len();
    for chunk in bytes.rchunks(4 << 10) {
        if chunk.iter().fold(0, |all, byte| all | byte) != 0 {
            let last = chunk.iter().rposition(|byte| *byte != 0);
            return end - chunk.len() + last.map_or(0, |last| last + 1);
        }
        end -= chunk.len();
    }
    0
}

/// The segments of a log, in order. All but the last have events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments(Arc<Vec<Arc<Segment>>>);

impl Segments {
    pub(crate) fn new(segments: Vec<Arc<Segment>>) -> Self {
        Self(Arc::new(segments))
    }

    /// The same segments with one more at the end, or with one of the same number replaced.
    #[must_use]
    pub(crate) fn with(&self, segment: Arc<Segment>) -> Self {
        let mut segments = Vec::clone(&self.0);
        match segments.binary_search_by_key(&segment.number(), |own| own.number()) {
            Ok(index) => segments[index] = segment,
            Err(index) => segments.insert(index, segment),
        }
        Self::new(segments)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Arc<Segment>> {
        self.0.iter()
    }

    /// The segment that follows one of these.
    pub(crate) fn after(&self, segment: &Segment) -> Option<&Arc<Segment>> {
        self.0.get(self.0.partition_point(|own| own.number() <= segment.number()))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The segment that holds `position`, and the last position it can hold.
    pub(crate) fn find_stretch(&self, position: u64) -> Result<(&Arc<Segment>, u64), DiskError> {
        let after = self.0.partition_point(|segment| segment.first() <= position);
        let segment = after.checked_sub(1).and_then(|index| self.0.get(index));
        let segment = segment.ok_or_else(|| {
            let reason = format!("no segment holds position {position}");
            DiskError::corrupt(Path::new("segments"), 0, reason)
        })?;
        Ok((segment, self.0.get(after).map_or(u64::MAX, |next| next.first() - 1)))
    }

    /// Has the memory fetched in which the records of these positions are: they will be looked at
    /// soon.
    pub(crate) fn fetch(&self, positions: &[u64]) {
        let mut rest = positions;
        while let [position, ..] = rest
            && rest.len() > 1
            && let Ok((segment, last)) = self.find_stretch(*position)
        {
            let is_inside = |other: &&u64| (segment.first()..=last).contains(*other);
            let count = rest.iter().take_while(is_inside).count();
            let (inside, after) = rest.split_at(count);
            segment.fetch(inside.iter().copied());
            rest = after;
        }
    }

    /// Lets go of the memory that the records of some positions take where files are mapped. Who
    /// looks at them later gets them from the system again.
    pub(crate) fn release(&self, positions: RangeInclusive<u64>) -> Result<(), DiskError> {
        let mut next = *positions.start();
        while next <= *positions.end() {
            let (segment, last) = self.find_stretch(next)?;
            let last = last.min(*positions.end());
            segment.release(next..=last)?;
            next = last + 1;
        }
        Ok(())
    }

    /// Looks at the record of `position`.
    pub(crate) fn with_record<T>(
        &self,
        position: u64,
        look: impl FnOnce(Record<'_>) -> T,
    ) -> Result<T, DiskError> {
        self.find_stretch(position)?.0.with_record(position, look)
    }
}
