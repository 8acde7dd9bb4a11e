//! Where each record of a segment begins: a table beside a full segment, and chunks of one beside the
//! segment that is being written.

use quipu_core::LogId;

use super::checksum;
use super::fields::Fields;

const MAGIC: [u8; 8] = *b"QuipuOff";
/// Bytes before the first offset.
pub(crate) const OFFSETS_HEADER_SIZE: usize = 72;

/// The head of the table. The offsets follow, four bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetsHeader {
    pub(crate) log: LogId,
    pub(crate) segment: u64,
    pub(crate) generation: u32,
    /// Where the last batch ends.
    pub(crate) end: u32,
    pub(crate) first_position: u64,
    pub(crate) count: u64,
}

/// The offsets themselves, four bytes each.
pub(crate) fn encode_offsets(offsets: &[u32]) -> Vec<u8> {
    offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect()
}

const CHUNK_MAGIC: [u8; 8] = *b"QuipuOfC";
/// Bytes before the first offset of a chunk.
pub(crate) const CHUNK_HEADER_SIZE: usize = 56;

/// The offsets of consecutive records of a segment that is being written. Its file has one chunk
/// behind the other, each written when the manifest was about to know the log up to there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OffsetsChunk {
    pub(crate) log: LogId,
    pub(crate) segment: u64,
    /// The position of the first of them.
    pub(crate) first_position: u64,
}

impl OffsetsChunk {
    /// The whole chunk.
    pub(crate) fn encode(&self, offsets: &[u32]) -> Vec<u8> {
        let table = encode_offsets(offsets);
        let mut bytes = self.encode_head(offsets.len() as u64, checksum(0, &table));
        bytes.extend_from_slice(&table);
        bytes
    }

    fn encode_head(&self, count: u64, table_crc: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CHUNK_HEADER_SIZE);
        bytes.extend_from_slice(&CHUNK_MAGIC);
        bytes.extend_from_slice(self.log.as_uuid().as_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.first_position.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&table_crc.to_le_bytes());
        let crc = checksum(0, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(bytes.len(), CHUNK_HEADER_SIZE);
        bytes
    }

    /// The offsets of the chunk that `bytes` begin with, if it is this one and whole, and the bytes
    /// behind it.
    pub(crate) fn decode<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Option<(impl ExactSizeIterator<Item = u32> + use<'a>, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(CHUNK_HEADER_SIZE)?;
        let mut fields = Fields::new(&head[40..]);
        let (count, table_crc) = (fields.u64()?, fields.u32()?);
        let size = usize::try_from(count.checked_mul(4)?).ok()?;
        let (table, rest) = rest.split_at_checked(size)?;
        let is_whole =
            self.encode_head(count, table_crc) == head && checksum(0, table) == table_crc;
        let (table, _) = table.as_chunks();
        is_whole.then(|| (table.iter().map(|offset| u32::from_le_bytes(*offset)), rest))
    }
}

impl OffsetsHeader {
    /// The whole table.
    pub(crate) fn encode(&self, offsets: &[u32]) -> Vec<u8> {
        let table = encode_offsets(offsets);
        let mut bytes = self.encode_head();
        bytes.extend_from_slice(&checksum(0, &table).to_le_bytes());
        let crc = checksum(0, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.resize(OFFSETS_HEADER_SIZE, 0);
        bytes.extend_from_slice(&table);
        bytes
    }

    fn encode_head(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(OFFSETS_HEADER_SIZE);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(self.log.as_uuid().as_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&self.first_position.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes
    }

    /// Whether `bytes` are the table with this head, whole. Only `count` and `end` may differ;
    /// the answer has them as they are.
    pub(crate) fn check(&self, bytes: &[u8]) -> Option<Self> {
        let (head, table) = bytes.split_at_checked(OFFSETS_HEADER_SIZE)?;
        let mut fields = Fields::new(&head[36..]);
        let end = fields.u32()?;
        let _first = fields.u64()?;
        let count = fields.u64()?;
        let table_crc = fields.u32()?;
        let own = Self { end, count, ..*self };
        let mut expected = own.encode_head();
        expected.extend_from_slice(&table_crc.to_le_bytes());
        let crc = checksum(0, &expected);
        expected.extend_from_slice(&crc.to_le_bytes());
        expected.resize(OFFSETS_HEADER_SIZE, 0);
        let whole = expected == head
            && table.len() as u64 == count.checked_mul(4)?
            && checksum(0, table) == table_crc;
        whole.then_some(own)
    }
}
