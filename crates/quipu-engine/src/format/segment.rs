//! The head of a segment: which segment of which log it is, and how its bytes are checked.

use quipu_core::LogId;
use uuid::Uuid;

use super::fields::Fields;
use super::{FORMAT_VERSION, checksum};

/// Bytes before the first batch.
pub(crate) const SEGMENT_HEADER_SIZE: usize = 4_096;

const MAGIC: [u8; 8] = *b"QuipuSeg";
/// Bytes of the head that carry something; the rest is zero.
const USED_SIZE: usize = 128;

/// The head of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log: LogId,
    /// 1 for the log's first segment.
    pub(crate) number: u64,
    /// How often scavenging rewrote the segment.
    pub(crate) generation: u32,
    /// The position of the segment's first event.
    pub(crate) first_position: u64,
    /// The sequence of the segment's first batch.
    pub(crate) first_sequence: u64,
    /// When the first event was recorded, in microseconds.
    pub(crate) first_recorded_at: i64,
    /// Chance, so that the bytes of another life of the file never pass.
    pub(crate) salt: u64,
    /// The header checksum of the batch before this segment's first.
    pub(crate) previous_crc: u32,
    /// What the next segment's `previous_crc` says, where scavenging rewrote this one; else 0.
    pub(crate) final_crc: u32,
    /// Reserved for replication: always 0.
    pub(crate) term: u64,
    /// Reserved for encryption at rest: always 0.
    pub(crate) cipher: u16,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_SIZE);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(self.log.as_uuid().as_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.first_position.to_le_bytes());
        bytes.extend_from_slice(&self.first_sequence.to_le_bytes());
        bytes.extend_from_slice(&self.first_recorded_at.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.previous_crc.to_le_bytes());
        bytes.extend_from_slice(&self.final_crc.to_le_bytes());
        bytes.extend_from_slice(&self.term.to_le_bytes());
        bytes.extend_from_slice(&self.cipher.to_le_bytes());
        bytes.resize(USED_SIZE - 4, 0);
        let crc = checksum(0, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.resize(SEGMENT_HEADER_SIZE, 0);
        bytes
    }

    /// Reads a segment's head, or says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let used = bytes.get(..USED_SIZE).ok_or("the segment header is cut short")?;
        let (body, crc) = used.split_at(USED_SIZE - 4);
        if *body.first_chunk::<8>().ok_or("the segment header is cut short")? != MAGIC {
            return Err("this is not a segment header");
        }
        if checksum(0, body).to_le_bytes() != *crc {
            return Err("the segment header fails its checksum");
        }
        if bytes.get(USED_SIZE..SEGMENT_HEADER_SIZE).is_none_or(|rest| rest.iter().any(|b| *b != 0))
        {
            return Err("the segment header is not followed by zeros");
        }
        Self::decode_fields(&mut Fields::new(&body[8..])).ok_or("the segment header is cut short")
    }

    fn decode_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let _version = fields.u32()?;
        Some(Self {
            generation: fields.u32()?,
            log: LogId::from_uuid(Uuid::from_bytes(fields.array()?)),
            number: fields.u64()?,
            first_position: fields.u64()?,
            first_sequence: fields.u64()?,
            first_recorded_at: fields.i64()?,
            salt: fields.u64()?,
            previous_crc: fields.u32()?,
            final_crc: fields.u32()?,
            term: fields.u64()?,
            cipher: fields.u16()?,
        })
    }

    /// What every checksum in the segment begins with, so that bytes of another log, segment or
    /// life of the file never pass.
    pub(crate) fn seed(&self) -> u32 {
        let seed = checksum(0, self.log.as_uuid().as_bytes());
        let seed = checksum(seed, &self.number.to_le_bytes());
        checksum(seed, &self.salt.to_le_bytes())
    }
}
