//! Decoders as fuzzers call them: one function for each, with bytes from anywhere.
//!
//! None may panic, and what decodes must come back the same once it is encoded again. Most bytes
//! fail a checksum at once, so each function tries them a second time with their checksums put
//! right, which leads to the grammar behind.

use std::path::Path;

use quipu_core::{
    ContentType, EventType, NewEvent, Query, StreamMetadata, StreamName, Tags, Timestamp,
};

use crate::format::batch::{BATCH_HEADER_SIZE, BatchHeader, padded};
use crate::format::checksum;
use crate::format::commitment::Stub;
use crate::format::manifest::Manifest;
use crate::format::offsets::{CHUNK_HEADER_SIZE, OFFSETS_HEADER_SIZE, OffsetsChunk, OffsetsHeader};
use crate::format::record::{self, RECORD_HEADER_SIZE, Record, RecordPlace};
use crate::format::run::{FOOTER_SIZE, Footer, HEADER_SIZE, Header, PAGE_SIZE, Section};
use crate::format::segment::{SEGMENT_HEADER_SIZE, SegmentHeader};
use crate::format::watermark::{WATERMARK_SIZE, WatermarkMark};
use crate::index::Run;
use crate::io::Io;
use crate::io::sim::SimDisk;
use crate::walk::{Batch, Place};

const SEED: u32 = 7;
const POSITION: u64 = 9;

/// Reads bytes as a record.
pub fn record(bytes: &[u8]) {
    look_at_record(bytes);
    if bytes.len() < RECORD_HEADER_SIZE {
        return;
    }
    let mut sealed = bytes.to_vec();
    let size = read_u32(bytes, 0) as usize;
    if (RECORD_HEADER_SIZE..=sealed.len()).contains(&size) {
        sealed.truncate(size);
    }
    let size = sealed.len() as u32;
    write_u32(&mut sealed, 0, size);
    record::seal(&mut sealed, SEED, POSITION);
    look_at_record(&sealed);
}

fn look_at_record(bytes: &[u8]) {
    let Ok(record) = Record::decode(bytes, SEED, POSITION) else { return };
    if record.is_stub() {
        // What a stub says, it says again.
        if let Some(stub) = Stub::decode(&record) {
            let again = stub.encode(SEED, &record);
            let again = Record::decode(&again, SEED, POSITION).expect("a stub is a record");
            assert_eq!(Stub::decode(&again), Some(stub));
        }
        return;
    }
    let (Ok(stream), Ok(event_type), Ok(content_type), Ok(tags)) = (
        StreamName::new(record.stream()),
        EventType::new(record.event_type()),
        ContentType::new(record.content_type()),
        Tags::parse(record.tags()),
    ) else {
        return;
    };
    let data = bytes::Bytes::copy_from_slice(record.data());
    let mut event = NewEvent::new(event_type, content_type, data).with_id(record.id());
    event.tags = tags;
    event.metadata = bytes::Bytes::copy_from_slice(record.metadata());
    event.recorded_at = Some(Timestamp::from_micros(record.recorded_at()));
    let place = RecordPlace {
        position: POSITION,
        revision: record.revision(),
        recorded_at: record.recorded_at(),
        flags: record.flags(),
        salt: record.salt(),
    };
    let mut again = Vec::new();
    record::encode(&mut again, stream.as_str(), &event);
    record::place(&mut again, SEED, &place);
    let other = Record::decode(&again, SEED, POSITION).expect("an encoded record is one");
    assert_eq!(other.id(), record.id());
    assert_eq!(other.revision(), record.revision());
    assert_eq!(other.recorded_at(), record.recorded_at());
    assert_eq!(other.salt(), record.salt());
    assert_eq!(other.stream(), record.stream());
    assert_eq!(other.event_type(), record.event_type());
    assert_eq!(other.content_type(), record.content_type());
    assert_eq!(other.metadata(), record.metadata());
    assert_eq!(other.data(), record.data());
}

/// Reads bytes as a segment: its head, and every batch behind it.
pub fn segment(bytes: &[u8]) {
    walk_segment(bytes);
    if bytes.len() >= SEGMENT_HEADER_SIZE {
        let mut sealed = bytes.to_vec();
        let crc = checksum(0, &sealed[..124]);
        write_u32(&mut sealed, 124, crc);
        walk_segment(&sealed);
    }
    walk_sealed_batch(bytes);
}

fn walk_segment(bytes: &[u8]) {
    let Ok(header) = SegmentHeader::decode(bytes) else { return };
    let again = SegmentHeader::decode(&header.encode()).expect("an encoded head is one");
    assert_eq!(again, header);
    let mut place = Place::first_of(&header);
    while let Ok(batch) = Batch::read(bytes, header.seed(), place) {
        for record in batch.records() {
            let (_, record) = record.expect("a batch was read only if its records can be");
            if let Ok(record) = Record::decode(record.bytes(), header.seed(), record.position()) {
                assert!(record.size() <= bytes.len());
            }
        }
        place = batch.next();
    }
}

/// Reads bytes as the records of a batch whose head fits them.
fn walk_sealed_batch(body: &[u8]) {
    let place = Place { offset: 0, sequence: 3, previous_crc: 5, position: POSITION };
    for count in 1..4 {
        let header = BatchHeader {
            body_size: body.len() as u32,
            body_crc: checksum(SEED, body),
            sequence: place.sequence,
            first_position: place.position,
            count,
            committed_at: 1,
            previous_crc: place.previous_crc,
        };
        let (head, crc) = header.encode(SEED);
        assert_eq!(BatchHeader::decode(&head, SEED), Ok((header, crc)));
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(padded(bytes.len()), 0);
        if let Ok(batch) = Batch::read(&bytes, SEED, place) {
            assert_eq!(batch.offsets().count(), count as usize);
            assert_eq!(batch.next().offset, bytes.len() as u64);
            assert_eq!(batch.body_offset, BATCH_HEADER_SIZE as u64);
        }
    }
}

/// Reads bytes as a manifest.
pub fn manifest(bytes: &[u8]) {
    look_at_manifest(bytes);
    if let Some(size) = bytes.len().checked_sub(40) {
        let mut sealed = bytes.to_vec();
        write_u32(&mut sealed, 20, size as u32);
        let crc = checksum(0, &sealed[40..]);
        write_u32(&mut sealed, 32, crc);
        let crc = checksum(0, &sealed[..36]);
        write_u32(&mut sealed, 36, crc);
        look_at_manifest(&sealed);
    }
}

fn look_at_manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

/// Reads bytes as a run of the index, and looks up what is in it.
pub fn run(bytes: &[u8]) {
    look_at_run(bytes);
    if let Some(sealed) = seal_run(bytes) {
        look_at_run(&sealed);
    }
}

fn look_at_run(bytes: &[u8]) {
    let Ok(header) = Header::decode(bytes) else { return };
    assert_eq!(Header::decode(&header.encode()), Ok(header));
    let disk = SimDisk::new(1);
    let directory = Path::new("/");
    let path = directory.join(header.name.to_string());
    let file = disk.create(&path).expect("an empty disk has room for a file");
    file.write_at(bytes, 0).expect("the simulated disk takes what it is given");
    if let Ok(run) = Run::open(&disk, directory, header) {
        // Whatever it answers, it answers.
        drop(run.verify());
    }
}

/// The same run with its checksums put right, if it has the places for them.
fn seal_run(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut sealed = bytes.to_vec();
    let footer = bytes.len().checked_sub(FOOTER_SIZE).filter(|begin| *begin >= HEADER_SIZE)?;
    let seal = |bytes: &mut [u8], begin: usize, size: usize| {
        let crc = checksum(0, &bytes[begin..begin + size]);
        write_u32(bytes, begin + size, crc);
    };
    seal(&mut sealed, 0, 60);
    seal(&mut sealed, footer, 168);
    let header = Header::decode(&sealed).ok()?;
    let size = sealed.len() as u64;
    let parts = Footer::decode(&sealed[footer..], size, header.name.event_count()).ok()?;
    let checksums = parts.section(Section::Checksums);
    let (begin, end) = (checksums.start as usize, checksums.end as usize);
    for page in 0..begin.div_ceil(PAGE_SIZE as usize) {
        let from = page * PAGE_SIZE as usize;
        let crc = checksum(0, &sealed[from..(from + PAGE_SIZE as usize).min(begin)]);
        write_u32(&mut sealed, begin + page * 4, crc);
    }
    let header_crc = checksum(0, &sealed[..HEADER_SIZE]);
    let checksums_crc = checksum(0, &sealed[begin..end]);
    write_u32(&mut sealed, footer + 144, header_crc);
    write_u32(&mut sealed, footer + 148, checksums_crc);
    seal(&mut sealed, footer, 168);
    Some(sealed)
}

/// Reads bytes as a table of offsets.
pub fn offsets(bytes: &[u8]) {
    look_at_offsets(bytes);
    if bytes.len() >= OFFSETS_HEADER_SIZE {
        let mut sealed = bytes.to_vec();
        let crc = checksum(0, &sealed[OFFSETS_HEADER_SIZE..]);
        write_u32(&mut sealed, 60, crc);
        let crc = checksum(0, &sealed[..64]);
        write_u32(&mut sealed, 64, crc);
        look_at_offsets(&sealed);
    }
}

fn look_at_offsets(bytes: &[u8]) {
    let Some(head) = bytes.get(..OFFSETS_HEADER_SIZE) else { return };
    let expected = OffsetsHeader {
        log: log_in(head),
        segment: read_u64(head, 24),
        generation: read_u32(head, 32),
        end: 0,
        first_position: read_u64(head, 40),
        count: 0,
    };
    let Some(found) = expected.check(bytes) else { return };
    let table: Vec<u32> =
        bytes[OFFSETS_HEADER_SIZE..].chunks_exact(4).map(|chunk| read_u32(chunk, 0)).collect();
    assert_eq!(table.len() as u64, found.count);
    assert_eq!(found.encode(&table), bytes);
}

/// The log that a header names behind its magic.
fn log_in(head: &[u8]) -> quipu_core::LogId {
    let log: [u8; 16] = std::array::from_fn(|index| head[8 + index]);
    quipu_core::LogId::from_uuid(uuid::Uuid::from_bytes(log))
}

/// Reads bytes as a chunk of the offsets of a segment that is being written.
pub fn growing_offsets(bytes: &[u8]) {
    look_at_chunk(bytes);
    if bytes.len() >= CHUNK_HEADER_SIZE {
        let mut sealed = bytes.to_vec();
        // The chunk may end before the bytes do.
        let size =
            usize::try_from(read_u64(&sealed, 40)).ok().and_then(|count| count.checked_mul(4));
        let end = size.and_then(|size| size.checked_add(CHUNK_HEADER_SIZE)).unwrap_or(sealed.len());
        let crc = checksum(0, &sealed[CHUNK_HEADER_SIZE..end.min(bytes.len())]);
        write_u32(&mut sealed, 48, crc);
        let crc = checksum(0, &sealed[..52]);
        write_u32(&mut sealed, 52, crc);
        look_at_chunk(&sealed);
    }
}

fn look_at_chunk(bytes: &[u8]) {
    let Some(head) = bytes.get(..CHUNK_HEADER_SIZE) else { return };
    let chunk = OffsetsChunk {
        log: log_in(head),
        segment: read_u64(head, 24),
        first_position: read_u64(head, 32),
    };
    let Some((offsets, rest)) = chunk.decode(bytes) else { return };
    let offsets: Vec<u32> = offsets.collect();
    assert_eq!(chunk.encode(&offsets), bytes[..bytes.len() - rest.len()]);
}

/// Reads bytes as the watermark file.
pub fn watermark(bytes: &[u8]) {
    look_at_watermark(bytes);
    if let Some(mut sealed) = bytes.first_chunk::<WATERMARK_SIZE>().copied() {
        let crc = checksum(0, &sealed[..24]);
        write_u32(&mut sealed, 24, crc);
        assert!(WatermarkMark::decode(&sealed).is_some(), "its checksum is right");
        look_at_watermark(&sealed);
    }
}

fn look_at_watermark(bytes: &[u8]) {
    if let Some(mark) = WatermarkMark::decode(bytes) {
        assert_eq!(WatermarkMark::decode(&mark.encode()), Some(mark));
    }
}

/// Reads bytes as a query in words.
pub fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(query) = text.parse::<Query>() {
        // A query in words is one item, and asking it is harmless.
        assert_eq!(query.items.len(), 1);
        let item = &query.items[0];
        let _any_answer = item.matches_names("order-1", "OrderPlaced", |tag| tag == "order:1");
    }
}

/// Reads bytes as the metadata of a stream.
pub fn stream_metadata(bytes: &[u8]) {
    let lenient = StreamMetadata::parse(bytes);
    if let Some(strict) = StreamMetadata::parse_strictly(bytes) {
        assert_eq!(strict.max_count(), lenient.max_count());
        let again = StreamMetadata::parse(&strict.json_with_truncate_before(3));
        assert_eq!(again.truncate_before(), Some(3));
        assert_eq!(again.max_count(), strict.max_count());
        assert_eq!(again.max_age(), strict.max_age());
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn write_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}
