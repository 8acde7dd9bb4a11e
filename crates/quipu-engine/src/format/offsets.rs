//! Where each record of a full segment begins: a table beside the segment, made from it.

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

impl OffsetsHeader {
    /// The whole table.
    pub(crate) fn encode(&self, offsets: &[u32]) -> Vec<u8> {
        let mut table = Vec::with_capacity(offsets.len() * 4);
        for offset in offsets {
            table.extend_from_slice(&offset.to_le_bytes());
        }
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
