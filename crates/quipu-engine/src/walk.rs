//! Walking a segment batch by batch: what recovery, verification and following readers do.

use crate::format::batch::{BATCH_HEADER_SIZE, BatchHeader};
use crate::format::checksum;
use crate::format::record::Record;
use crate::format::segment::{SEGMENT_HEADER_SIZE, SegmentHeader};

/// Where in a segment the next batch is, and what it must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where the batch begins.
    pub(crate) offset: u64,
    /// Its sequence.
    pub(crate) sequence: u64,
    /// The header checksum of the batch before it.
    pub(crate) previous_crc: u32,
    /// The position of its first record.
    pub(crate) position: u64,
}

impl Place {
    /// The first batch of a segment.
    pub(crate) fn first_of(header: &SegmentHeader) -> Self {
        Self {
            offset: SEGMENT_HEADER_SIZE as u64,
            sequence: header.first_sequence,
            previous_crc: header.previous_crc,
            position: header.first_position,
        }
    }
}

/// A batch whose checksums are right and which follows the one before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) header: BatchHeader,
    /// Where its first record begins in the segment.
    pub(crate) body_offset: u64,
    body: &'a [u8],
    crc: u32,
    place: Place,
}

impl<'a> Batch<'a> {
    /// Reads the batch at `place` of the segment that begins with `bytes`.
    pub(crate) fn read(bytes: &'a [u8], seed: u32, place: Place) -> Result<Self, &'static str> {
        Self::read_first(from(bytes, place)?, seed, place)
    }

    /// Reads the batch at `place` of a segment, with which `head` begins.
    pub(crate) fn read_first(
        head: &'a [u8],
        seed: u32,
        place: Place,
    ) -> Result<Self, &'static str> {
        let batch = Self::read_head(head, seed, place)?;
        if checksum(seed, batch.body) != batch.header.body_crc {
            return Err("the batch fails its checksum");
        }
        let records = batch.records().map_while(Result::ok).count();
        if batch.header.count == 0 || records != batch.header.count as usize {
            return Err("the batch has another number of records than it says");
        }
        Ok(batch)
    }

    /// Reads the batch at `place` without a look at what its records sum up to.
    pub(crate) fn read_unsummed(
        bytes: &'a [u8],
        seed: u32,
        place: Place,
    ) -> Result<Self, &'static str> {
        Self::read_head(from(bytes, place)?, seed, place)
    }

    fn read_head(head: &'a [u8], seed: u32, place: Place) -> Result<Self, &'static str> {
        let (header, crc) = BatchHeader::decode(head, seed)?;
        if header.sequence != place.sequence {
            return Err("the batch is out of sequence");
        }
        if header.previous_crc != place.previous_crc {
            return Err("the batch does not follow the one before it");
        }
        if header.first_position != place.position {
            return Err("the batch has another position than the one before it leaves");
        }
        let body = head
            .get(BATCH_HEADER_SIZE..BATCH_HEADER_SIZE + header.body_size as usize)
            .ok_or("the batch is cut short")?;
        let body_offset = place.offset + BATCH_HEADER_SIZE as u64;
        Ok(Self { header, body_offset, body, crc, place })
    }

    /// Where the batch after this one is.
    pub(crate) fn next(&self) -> Place {
        Place {
            offset: self.place.offset + self.header.size(),
            sequence: self.place.sequence + 1,
            previous_crc: self.crc,
            position: self.place.position + u64::from(self.header.count),
        }
    }

    /// The records, each with the offset at which it begins in the segment. Only their sizes were
    /// checked.
    pub(crate) fn records(
        &self,
    ) -> impl Iterator<Item = Result<(u32, Record<'a>), &'static str>> + use<'a> {
        let mut rest = self.body;
        let mut offset = self.body_offset;
        let mut position = self.header.first_position;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let record = match Record::decode_unchecked(rest, position) {
                Ok(record) => record,
                Err(reason) => {
                    rest = &[];
                    return Some(Err(reason));
                }
            };
            let Ok(begin) = u32::try_from(offset) else {
                rest = &[];
                return Some(Err("the segment is too large"));
            };
            rest = &rest[record.size()..];
            offset += record.size() as u64;
            position += 1;
            Some(Ok((begin, record)))
        })
    }

    /// Where each record begins in the segment.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.records().map_while(|record| record.ok().map(|(offset, _)| offset))
    }
}

/// The bytes of a segment from a place on.
fn from(bytes: &[u8], place: Place) -> Result<&[u8], &'static str> {
    let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
    bytes.get(start..).ok_or("the segment ends before the batch")
}
