//! What scavenging leaves of an event: its place, its keys, and two commitments.
//!
//! A commitment lets anyone who still has the event prove that it is the one that was here, and
//! tells nothing to anyone who has not: it is a SHA-256 over the event and the record's salt.
//!
//! - of the data: SHA-256(0x11 ‖ salt ‖ data);
//! - of the head: SHA-256(0x10 ‖ salt' ‖ head), where salt' is the first 16 bytes of
//!   SHA-256(0x12 ‖ salt), so that destroying the salt leaves the head provable; the head is stream,
//!   type, content type, tags and metadata, each with its size before it (4 bytes, big end first, as
//!   in the Merkle tree's leaves), then revision and id.

use sha2::{Digest, Sha256};

use super::fields::Fields;
use super::record::{RECORD_HEADER_SIZE, Record, flag, seal};

const HEAD: u8 = 0x10;
const DATA: u8 = 0x11;
const SALT: u8 = 0x12;
/// Bytes of a stub's body before the keys.
const FIXED_SIZE: usize = 72;

/// A stub's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stub {
    /// The commitment to the event's head.
    pub(crate) head: [u8; 32],
    /// The commitment to the event's data.
    pub(crate) data: [u8; 32],
    /// The hash of stream and id.
    pub(crate) id_key: u64,
    /// The hashes the event is indexed under.
    pub(crate) keys: Vec<u64>,
}

impl Stub {
    /// What to leave of a record that is indexed under `keys`.
    #[expect(
        clippy::big_endian_bytes,
        reason = "what is hashed has the form of the Merkle tree's leaves, whatever the disk's is"
    )]
    pub(crate) fn of(record: &Record<'_>, id_key: u64, keys: Vec<u64>) -> Self {
        let salt = record.salt();
        let head_salt = Sha256::new().chain_update([SALT]).chain_update(salt).finalize();
        let data =
            Sha256::new().chain_update([DATA]).chain_update(salt).chain_update(record.data());
        let mut head = Sha256::new().chain_update([HEAD]).chain_update(&head_salt[..16]);
        let mut part = |bytes: &[u8]| {
            head.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            head.update(bytes);
        };
        part(record.stream().as_bytes());
        part(record.event_type().as_bytes());
        part(record.content_type().as_bytes());
        for tag in record.tags() {
            part(tag.as_bytes());
        }
        part(record.metadata());
        head.update(record.revision().to_be_bytes());
        head.update(record.id().as_bytes());
        Self { head: head.finalize().into(), data: data.finalize().into(), id_key, keys }
    }

    /// Bytes of the record that takes the place of the event's.
    pub(crate) fn size(&self) -> usize {
        RECORD_HEADER_SIZE + FIXED_SIZE + self.keys.len() * 8
    }

    /// The record that takes the place of `record`.
    pub(crate) fn encode(&self, seed: u32, record: &Record<'_>) -> Vec<u8> {
        let mut data = Vec::with_capacity(FIXED_SIZE + self.keys.len() * 8);
        data.extend_from_slice(&self.head);
        data.extend_from_slice(&self.data);
        data.extend_from_slice(&self.id_key.to_le_bytes());
        for key in &self.keys {
            data.extend_from_slice(&key.to_le_bytes());
        }
        let size = |size: usize| u32::try_from(size).expect("a stub is small").to_le_bytes();
        let mut bytes = vec![0; RECORD_HEADER_SIZE];
        // The place, time and id stay; the salt goes, and with it what the data was.
        bytes[28..60].copy_from_slice(&record.bytes()[28..60]);
        bytes[0..4].copy_from_slice(&size(RECORD_HEADER_SIZE + data.len()));
        bytes[8..10].copy_from_slice(&(record.flags() | flag::STUB).to_le_bytes());
        bytes[20..24].copy_from_slice(&size(data.len()));
        bytes.extend_from_slice(&data);
        seal(&mut bytes, seed, record.position());
        bytes
    }

    /// Reads the body of a stub.
    pub(crate) fn decode(record: &Record<'_>) -> Option<Self> {
        let mut fields = Fields::new(record.data());
        let (head, data, id_key) = (fields.array()?, fields.array()?, fields.u64()?);
        let mut keys = Vec::new();
        while !fields.is_at_end() {
            keys.push(fields.u64()?);
        }
        Some(Self { head, data, id_key, keys })
    }
}
