//! The bytes on disk, and nothing else: no input or output happens here.
//!
//! `FORMAT.md` describes each structure. All numbers are little-endian. Everything that is read is
//! checked, since it comes from outside.

pub(crate) mod batch;
pub(crate) mod commitment;
pub(crate) mod fields;
pub(crate) mod manifest;
pub(crate) mod offsets;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod segment;
pub(crate) mod watermark;

use std::path::PathBuf;

/// The format this version writes. It opens all earlier ones.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes that fail their checksum or grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset}: {reason}", file.display())]
#[expect(clippy::exhaustive_structs, reason = "every decoder builds it")]
pub struct Corrupt {
    /// The file.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// The checksum of `bytes`, continuing from `seed`: CRC-32C (RFC 3720, appendix B.4).
pub(crate) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, bytes)
}
