//! The watermark file: how far the log is durable, for readers in other processes.
//!
//! The writer replaces it after each sync and never syncs it: it only ever says less than the log.

use super::checksum;
use super::fields::Fields;

/// Bytes of the file.
pub(crate) const WATERMARK_SIZE: usize = 32;

/// How far the log is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WatermarkMark {
    /// The position of the last durable event.
    pub(crate) position: u64,
    /// The segment of the last durable batch.
    pub(crate) segment: u64,
    /// Where that batch ends.
    pub(crate) offset: u64,
}

impl WatermarkMark {
    pub(crate) fn encode(&self) -> [u8; WATERMARK_SIZE] {
        let mut bytes = [0; WATERMARK_SIZE];
        for (index, field) in [self.position, self.segment, self.offset].into_iter().enumerate() {
            bytes[index * 8..index * 8 + 8].copy_from_slice(&field.to_le_bytes());
        }
        let crc = checksum(0, &bytes[..24]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` where the bytes are in the middle of being replaced: read them again.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let mark = Self { position: fields.u64()?, segment: fields.u64()?, offset: fields.u64()? };
        (fields.u32()? == checksum(0, bytes.get(..24)?)).then_some(mark)
    }
}
