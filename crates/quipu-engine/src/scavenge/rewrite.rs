//! Writing a segment again, with stubs in place of the events that go.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use quipu_core::Revision;

use super::judge::Verdict;
use crate::error::DiskError;
use crate::format::batch::{BatchHeader, padded};
use crate::format::checksum;
use crate::format::commitment::Stub;
use crate::format::record::{self, Record};
use crate::format::segment::SegmentHeader;
use crate::index::{Key, KeyHasher};
use crate::io::File;
use crate::layout::{parse_offsets_name, parse_segment_name};
use crate::log::Log;
use crate::recovery::floor_at;
use crate::segment::Segment;
use crate::walk::{Batch, Place};

/// How much is gathered before it is written.
const PIECE_SIZE: usize = 4 << 20;

/// What to leave of a record.
pub(super) fn stub_of(hasher: KeyHasher, record: &Record<'_>) -> Stub {
    let mut keys = Vec::new();
    let stream = record.stream();
    hasher.event_keys(
        &mut keys,
        stream,
        Revision::new(record.revision()),
        record.event_type(),
        record.tags(),
    );
    let keys = keys.into_iter().map(Key::get).collect();
    Stub::of(record, hasher.id(stream, record.id()).get(), keys)
}

/// Rewrites a full segment, which the segment `next` follows, and lets readers have the new one.
pub(super) fn rewrite(
    log: &Arc<Log>,
    segment: &Segment,
    next: &Segment,
    verdict: &Verdict,
) -> Result<Arc<Segment>, DiskError> {
    let _files = log.segment_files();
    let generation = free_generation(log, segment)?;
    let path = log.layout.segment(segment.number(), generation);
    let file = log.io.create(&path).map_err(DiskError::io("create", &path))?;
    let written = write(log, segment, next, verdict, generation, &file);
    let rewritten = match written.and_then(|header| check(log, segment, header, file)) {
        Ok(rewritten) => Arc::new(rewritten),
        Err(error) => {
            // No manifest names the file, so opening would remove it otherwise.
            let _stays = log.io.remove(&path);
            let _none = log.io.remove(&log.layout.offsets(segment.number(), generation));
            return Err(error);
        }
    };
    let place = Place::first_of(&next.header);
    log.manifest().change(|manifest| {
        manifest.set_generation(segment.number(), generation);
        // A floor in this segment says what its batches no longer say; that the next one begins is
        // known as well.
        if manifest.floor.segment <= segment.number() {
            manifest.floor = floor_at(next.number(), &place);
        }
    })?;
    log.install_segment(Arc::clone(&rewritten));
    remove_others(log, segment.number(), generation);
    Ok(rewritten)
}

/// A generation after the segment's own that no file has. An attempt whose manifest may have
/// reached the disk, or not, has left a file that must not be written over.
fn free_generation(log: &Log, segment: &Segment) -> Result<u32, DiskError> {
    let mut generation = segment.header.generation;
    loop {
        generation = generation.checked_add(1).ok_or_else(|| {
            DiskError::corrupt(&segment.path, 0, "the segment was rewritten too often")
        })?;
        let path = log.layout.segment(segment.number(), generation);
        match log.io.open(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(generation),
            Err(error) => return Err(DiskError::io("open", &path)(error)),
        }
    }
}

/// A file that is written front to back.
struct Writer<'a> {
    file: &'a Arc<dyn File>,
    path: PathBuf,
    buffer: Vec<u8>,
    written: u64,
}

impl Writer<'_> {
    fn flush(&mut self) -> Result<(), DiskError> {
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(DiskError::io("write", &self.path))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Writes the new file and makes it durable, its name included.
fn write(
    log: &Log,
    segment: &Segment,
    next: &Segment,
    verdict: &Verdict,
    generation: u32,
    file: &Arc<dyn File>,
) -> Result<SegmentHeader, DiskError> {
    let mut salt = [0; 8];
    log.io.randomize(&mut salt);
    let header = SegmentHeader {
        generation,
        salt: u64::from_le_bytes(salt),
        // The checksums of the batches change, and with them the last one, which the next segment
        // knows the old one of.
        final_crc: next.header.previous_crc,
        ..segment.header.clone()
    };
    let path = log.layout.segment(segment.number(), generation);
    let mut writer = Writer { file, path: path.clone(), buffer: header.encode(), written: 0 };
    let bytes = segment.settled(segment.end())?;
    let (mut place, mut new) = (Place::first_of(&segment.header), Place::first_of(&header));
    let mut index = 0;
    while let Some(batch) = segment.batch_at(&bytes, place)? {
        let body =
            rewrite_body(log, segment, &batch, header.seed(), |own| verdict.is_going(index + own))?;
        index += batch.header.count as usize;
        let head = BatchHeader {
            body_size: u32::try_from(body.len()).map_err(|_| too_large(segment))?,
            body_crc: checksum(header.seed(), &body),
            previous_crc: new.previous_crc,
            ..batch.header
        };
        let (head_bytes, crc) = head.encode(header.seed());
        writer.buffer.extend_from_slice(&head_bytes);
        writer.buffer.extend_from_slice(&body);
        writer.buffer.resize(padded(writer.buffer.len()), 0);
        if writer.buffer.len() >= PIECE_SIZE {
            writer.flush()?;
        }
        place = batch.next();
        new.previous_crc = crc;
    }
    writer.flush()?;
    file.sync().map_err(DiskError::io("sync", &path))?;
    // The directory too: the manifest must not name a file whose own name a crash takes away.
    let directory = log.layout.segments();
    log.io.sync_dir(&directory).map_err(DiskError::io("sync", &directory))?;
    Ok(header)
}

fn too_large(segment: &Segment) -> DiskError {
    DiskError::corrupt(&segment.path, 0, "the segment would be too large")
}

/// The records of a batch, sealed for the new segment, with stubs for those that go.
fn rewrite_body(
    log: &Log,
    segment: &Segment,
    batch: &Batch<'_>,
    seed: u32,
    is_going: impl Fn(usize) -> bool,
) -> Result<Vec<u8>, DiskError> {
    let mut body = Vec::with_capacity(batch.header.body_size as usize);
    for (index, record) in batch.records().enumerate() {
        let (offset, own) = record
            .map_err(|reason| DiskError::corrupt(&segment.path, batch.body_offset, reason))?;
        // What is damaged must not get a checksum that says it is whole.
        let record = Record::decode(own.bytes(), segment.seed, own.position())
            .map_err(|reason| DiskError::corrupt(&segment.path, u64::from(offset), reason))?;
        if is_going(index) {
            body.extend_from_slice(&stub_of(log.hasher, &record).encode(seed, &record));
        } else {
            let start = body.len();
            body.extend_from_slice(record.bytes());
            record::seal(&mut body[start..], seed, record.position());
        }
    }
    Ok(body)
}

/// Reads the new file back, and makes the table beside it, before the old file is given up.
fn check(
    log: &Log,
    segment: &Segment,
    header: SegmentHeader,
    file: Arc<dyn File>,
) -> Result<Segment, DiskError> {
    // The system's memory may show what the disk does not hold.
    let path = log.layout.segment(header.number, header.generation);
    file.forget(0).map_err(DiskError::io("read", &path))?;
    let rewritten = Segment::full(&log.io, &log.layout, header, file)?;
    if u32::try_from(rewritten.end()).is_err() {
        return Err(too_large(segment));
    }
    rewritten.write_offsets_file(&log.layout)?;
    if rewritten.count()? != segment.count()? {
        let reason = "the rewritten segment has another number of events than before";
        return Err(DiskError::corrupt(&path, 0, reason));
    }
    Ok(rewritten)
}

/// Removes the segment's files of other generations. What stays is removed by the next opening.
fn remove_others(log: &Log, number: u64, generation: u32) {
    let directory = log.layout.segments();
    for name in log.io.list(&directory).unwrap_or_default() {
        let found = parse_segment_name(&name).or_else(|| parse_offsets_name(&name));
        if found.is_some_and(|(own, other)| own == number && other != generation) {
            let _stays = log.io.remove(&directory.join(&name));
        }
    }
}
