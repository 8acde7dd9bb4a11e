//! The head of a batch: what one commit wrote.
//!
//! Batches are chained: each has the sequence after, and the header checksum of, the one before.
//! Only one sync is under way at a time, so a valid batch proves that all before it were durable.

use super::checksum;
use super::fields::Fields;

/// Bytes of a batch's head.
pub(crate) const BATCH_HEADER_SIZE: usize = 64;
/// Batches begin at multiples of this.
pub(crate) const BATCH_ALIGNMENT: usize = 8;
/// The first bytes of a batch.
pub(crate) const BATCH_MAGIC: [u8; 4] = *b"QBat";

/// The head of a batch. Its records follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Bytes of records.
    pub(crate) body_size: u32,
    /// Checksum of the records.
    pub(crate) body_crc: u32,
    /// 1 for the log's first batch, then 2, 3, …
    pub(crate) sequence: u64,
    /// The position of the first record.
    pub(crate) first_position: u64,
    /// Records in the batch.
    pub(crate) count: u32,
    /// When it was committed, in microseconds.
    pub(crate) committed_at: i64,
    /// The header checksum of the batch before.
    pub(crate) previous_crc: u32,
}

impl BatchHeader {
    /// The bytes of the head, and its checksum.
    pub(crate) fn encode(&self, seed: u32) -> ([u8; BATCH_HEADER_SIZE], u32) {
        let mut bytes = Vec::with_capacity(BATCH_HEADER_SIZE);
        bytes.extend_from_slice(&BATCH_MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.body_size.to_le_bytes());
        bytes.extend_from_slice(&self.body_crc.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.first_position.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]); // flags, reserved
        bytes.extend_from_slice(&self.committed_at.to_le_bytes());
        bytes.extend_from_slice(&self.previous_crc.to_le_bytes());
        let mut head = [0; BATCH_HEADER_SIZE];
        head[..bytes.len()].copy_from_slice(&bytes);
        let crc = checksum(seed, &head[8..]);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        (head, crc)
    }

    /// Reads a head and its checksum, or says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8], seed: u32) -> Result<(Self, u32), &'static str> {
        const SHORT: &str = "the batch header is cut short";
        let bytes = bytes.first_chunk::<BATCH_HEADER_SIZE>().ok_or(SHORT)?;
        if bytes[..4] != BATCH_MAGIC {
            return Err("there is no batch header");
        }
        let crc = checksum(seed, &bytes[8..]);
        if bytes[4..8] != crc.to_le_bytes() {
            return Err("the batch header fails its checksum");
        }
        let header = Self::decode_fields(&mut Fields::new(&bytes[8..])).ok_or(SHORT)?;
        Ok((header, crc))
    }

    fn decode_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let body_size = fields.u32()?;
        let body_crc = fields.u32()?;
        let sequence = fields.u64()?;
        let first_position = fields.u64()?;
        let count = fields.u32()?;
        fields.bytes(4)?;
        let committed_at = fields.i64()?;
        let previous_crc = fields.u32()?;
        Some(Self {
            body_size,
            body_crc,
            sequence,
            first_position,
            count,
            committed_at,
            previous_crc,
        })
    }

    /// Bytes of the whole batch, head and padding included.
    pub(crate) fn size(&self) -> u64 {
        padded(BATCH_HEADER_SIZE + self.body_size as usize) as u64
    }
}

/// `size` and what it takes to the next place where a batch may begin.
pub(crate) fn padded(size: usize) -> usize {
    size.next_multiple_of(BATCH_ALIGNMENT)
}
