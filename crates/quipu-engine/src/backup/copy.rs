//! Copying a log, each checksum compared on the way.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::error::DiskError;
use crate::format::manifest::{Floor, Manifest};
use crate::format::offsets::OffsetsHeader;
use crate::format::record::Record;
use crate::format::run::RunName;
use crate::format::segment::SegmentHeader;
use crate::index::Run;
use crate::io::Io;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::recovery::floor_at;
use crate::segment::{Segment, Segments};
use crate::walk::Place;

/// Bytes that are written at once.
pub(super) const CHUNK_SIZE: usize = 1 << 20;

/// A log as it is to be copied.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) manifest: Manifest,
    /// Every one of them is durable up to its end.
    pub(super) segments: Segments,
    pub(super) runs: Vec<Arc<Run>>,
}

/// A log that was copied. It is durable; only its manifest is not written yet.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) manifest: Manifest,
    pub(super) segment_count: u64,
    pub(super) size: u64,
}

/// Copies one log.
pub(super) struct Copier<'a> {
    io: Arc<dyn Io>,
    target: Layout,
    progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
    done: u64,
    total: u64,
    size: u64,
}

/// What a segment must follow.
#[derive(Clone, Copy, Debug)]
struct Chain {
    number: u64,
    /// The sequence of the next batch; unknown behind a segment that was rewritten.
    sequence: Option<u64>,
    previous_crc: u32,
    position: u64,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        io: Arc<dyn Io>,
        target: &Path,
        progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Self {
        Self { io, target: Layout::new(target), progress, done: 0, total: 0, size: 0 }
    }

    /// Copies everything but the manifest, and answers the one to write.
    pub(super) fn copy(mut self, source: Source) -> Result<Copied, DiskError> {
        let Source { manifest, segments, runs } = source;
        let directories = [self.target.segments(), self.target.index()];
        for directory in &directories {
            self.io.create_dir(directory).map_err(DiskError::io("create", directory))?;
        }
        // A segment may become longer meanwhile; what is promised is what is there now.
        let segments: Vec<_> =
            segments.iter().map(|segment| (Arc::clone(segment), segment.end())).collect();
        self.total = segments.iter().map(|(_, end)| end).sum::<u64>()
            + runs.iter().map(|run| run.size()).sum::<u64>();
        self.report()?;

        let mut chain = Chain { number: 1, sequence: Some(1), previous_crc: 0, position: 1 };
        let mut floor = Floor::default();
        let mut rewritten = Vec::new();
        for (index, (segment, end)) in segments.iter().enumerate() {
            chain.check(segment, &manifest)?;
            let is_last = index + 1 == segments.len();
            let place = self.copy_segment(segment, *end, is_last)?;
            chain = Chain::after(&segment.header, &place);
            floor = floor_at(segment.number(), &place);
            if segment.header.generation > 0 {
                rewritten.push((segment.number(), segment.header.generation));
            }
        }
        let runs = self.copy_runs(&runs, floor.position)?;
        for directory in &directories {
            // The files' names are durable only once their directory is.
            self.io.sync_dir(directory).map_err(DiskError::io("sync", directory))?;
        }
        let manifest = Manifest { generation: 0, floor, rewritten, runs, ..manifest };
        Ok(Copied { manifest, segment_count: segments.len() as u64, size: self.size })
    }

    /// Copies a segment up to the end of its last batch, and its table of offsets if it is full.
    /// Answers where the next batch would be.
    fn copy_segment(
        &mut self,
        segment: &Segment,
        end: u64,
        is_last: bool,
    ) -> Result<Place, DiskError> {
        let bytes = segment.file.bytes(0..end).map_err(DiskError::io("read", &segment.path))?;
        let mut place = Place::first_of(&segment.header);
        let mut offsets = Vec::new();
        while let Some(batch) = segment.batch_at(&bytes, place)? {
            for record in batch.records() {
                let corrupt = |at, reason| DiskError::corrupt(&segment.path, at, reason);
                let (offset, record) = record.map_err(|reason| corrupt(place.offset, reason))?;
                Record::decode(record.bytes(), segment.seed, record.position())
                    .map_err(|reason| corrupt(u64::from(offset), reason))?;
                offsets.push(offset);
            }
            place = batch.next();
        }
        let used = usize::try_from(place.offset).unwrap_or(usize::MAX).min(bytes.len());
        let SegmentHeader { log, number, generation, first_position, .. } = segment.header;
        self.write_file(&self.target.segment(number, generation), &bytes[..used])?;
        self.done += (bytes.len() - used) as u64;
        self.report()?;
        if !is_last {
            let count = offsets.len() as u64;
            let end = u32::try_from(place.offset).unwrap_or(u32::MAX);
            let header =
                OffsetsHeader { log, segment: number, generation, end, first_position, count };
            self.total += header.encode(&offsets).len() as u64;
            self.write_file(&self.target.offsets(number, generation), &header.encode(&offsets))?;
        }
        Ok(place)
    }

    /// Copies the runs, up to the first that is damaged or goes beyond the log. The index is made
    /// from the log, so what is left out here is made again.
    fn copy_runs(&mut self, runs: &[Arc<Run>], last: u64) -> Result<Vec<RunName>, DiskError> {
        let mut names = Vec::new();
        for run in runs {
            if run.name().last > last || run.compare_pages().is_err() {
                break;
            }
            self.write_file(&self.target.index().join(run.name().to_string()), run.bytes())?;
            names.push(run.name());
        }
        Ok(names)
    }

    fn write_file(&mut self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        let file = self.io.create(path).map_err(DiskError::io("create", path))?;
        let mut offset = 0;
        for chunk in bytes.chunks(CHUNK_SIZE) {
            file.write_at(chunk, offset).map_err(DiskError::io("write", path))?;
            offset += chunk.len() as u64;
            self.done += chunk.len() as u64;
            self.size += chunk.len() as u64;
            self.report()?;
        }
        file.sync().map_err(DiskError::io("sync", path))
    }

    /// Says how far it has come. Whoever watches may want no more: that is an interruption.
    fn report(&mut self) -> Result<(), DiskError> {
        match (self.progress)(Progress::new(self.done, self.total, "bytes")) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                Err(DiskError::io("copy", self.target.root())(ErrorKind::Interrupted.into()))
            }
        }
    }
}

impl Chain {
    /// What the segment after one must follow, whose batches end at `place`.
    fn after(header: &SegmentHeader, place: &Place) -> Self {
        // What scavenging rewrote has other batches, and says itself what the next one follows.
        let (sequence, previous_crc) = match header.generation {
            0 => (Some(place.sequence), place.previous_crc),
            _ => (None, header.final_crc),
        };
        Self { number: header.number + 1, sequence, previous_crc, position: place.position }
    }

    fn check(&self, segment: &Segment, manifest: &Manifest) -> Result<(), DiskError> {
        let header = &segment.header;
        let follows = header.log == manifest.log
            && header.number == self.number
            && self.sequence.is_none_or(|sequence| header.first_sequence == sequence)
            && header.previous_crc == self.previous_crc
            && header.first_position == self.position;
        if follows {
            return Ok(());
        }
        let reason = "the segment does not follow the one before it";
        Err(DiskError::corrupt(&segment.path, 0, reason))
    }
}
