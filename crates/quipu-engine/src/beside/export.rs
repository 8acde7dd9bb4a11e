//! The side database as bytes, for backups.
//!
//! ```text
//! header    8 bytes "QUIPUSID", u32 format
//! row       u8 kind (1 snapshot, 2 checkpoint, 3 lease), key behind its size,
//!           u64 position (0 but for snapshots), sealed row behind its size
//! trailer   u8 0, u64 how many rows, u32 CRC32C of all bytes before
//! ```
//!
//! Rows are sealed as in the database, so that a row cannot come back under another name.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::checkpoints::{self, Held};
use super::encoding::{Decoder, Encoder};
use super::error::BesideError;
use super::leases;
use super::side_store::Change;
use super::snapshots;
use super::tables::{CHECKPOINTS, LEASES, SNAPSHOTS, open, open_writable};

const MAGIC: [u8; 8] = *b"QUIPUSID";
const FORMAT: u32 = 1;
const CHECKSUM_SIZE: usize = 4;

/// A row of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    kind: Kind,
    key: String,
    position: u64,
    sealed: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Snapshot = 1,
    Checkpoint = 2,
    Lease = 3,
}

impl Row {
    /// Checks that the row is whole and in its place.
    fn check(&self) -> Result<(), BesideError> {
        match self.kind {
            Kind::Snapshot => snapshots::unseal_row(&self.key, self.position, &self.sealed)
                .map(|_| ())
                .ok_or_else(|| BesideError::corrupt(format!("a snapshot of \"{}\"", self.key))),
            Kind::Checkpoint => checkpoints::decode(&self.key, &self.sealed).map(|_| ()),
            Kind::Lease => leases::decode(&self.key, &self.sealed).map(|_| ()),
        }
    }
}

pub(super) fn export(transaction: Option<&ReadTransaction>) -> Result<Bytes, BesideError> {
    let mut rows = Vec::new();
    if let Some(table) = open(transaction, SNAPSHOTS)? {
        for row in table.iter().map_err(BesideError::database)? {
            let (place, row) = row.map_err(BesideError::database)?;
            let (key, position) = place.value();
            let (key, sealed) = (key.to_owned(), row.value().to_vec());
            let row = Row { kind: Kind::Snapshot, key, position, sealed };
            // A snapshot that cannot be read is one that is not there.
            if row.check().is_ok() {
                rows.push(row);
            }
        }
    }
    for (kind, definition) in [(Kind::Checkpoint, CHECKPOINTS), (Kind::Lease, LEASES)] {
        let Some(table) = open(transaction, definition)? else { continue };
        for row in table.iter().map_err(BesideError::database)? {
            let (key, row) = row.map_err(BesideError::database)?;
            let (key, sealed) = (key.value().to_owned(), row.value().to_vec());
            let row = Row { kind, key, position: 0, sealed };
            row.check()?;
            rows.push(row);
        }
    }
    Ok(encode(&rows))
}

fn encode(rows: &[Row]) -> Bytes {
    let mut encoder = Encoder::default().raw(&MAGIC).u32(FORMAT);
    for Row { kind, key, position, sealed } in rows {
        encoder = encoder.u8(*kind as u8).text(key).u64(*position).bytes(sealed);
    }
    let bytes = encoder.u8(0).u64(rows.len() as u64).finish();
    let checksum = crc32c::crc32c(&bytes);
    Encoder::default().raw(&bytes).u32(checksum).finish().into()
}

/// The rows of an export that is whole.
pub(super) fn parse(exported: &[u8]) -> Result<Vec<Row>, BesideError> {
    let invalid = |reason| BesideError::InvalidExport { reason };
    let Some((bytes, checksum)) = exported.split_last_chunk::<CHECKSUM_SIZE>() else {
        return Err(invalid("they are too few"));
    };
    if !bytes.starts_with(&MAGIC) {
        return Err(invalid("they begin differently"));
    }
    if crc32c::crc32c(bytes) != u32::from_le_bytes(*checksum) {
        return Err(invalid("their checksum does not match"));
    }
    let mut decoder = Decoder::new(&bytes[MAGIC.len()..]);
    if decoder.u32() != Some(FORMAT) {
        return Err(invalid("their format is unknown"));
    }
    let rows = parse_rows(&mut decoder).ok_or_else(|| invalid("their rows are malformed"))?;
    for row in &rows {
        row.check().map_err(|_| invalid("a row's checksum does not match"))?;
    }
    Ok(rows)
}

fn parse_rows(decoder: &mut Decoder<'_>) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    loop {
        let kind = match decoder.u8()? {
            0 => break,
            1 => Kind::Snapshot,
            2 => Kind::Checkpoint,
            3 => Kind::Lease,
            _ => return None,
        };
        let key = decoder.text()?.to_owned();
        let position = decoder.u64()?;
        rows.push(Row { kind, key, position, sealed: decoder.bytes()?.to_vec() });
    }
    (decoder.u64()? == rows.len() as u64 && decoder.is_empty()).then_some(rows)
}

pub(super) fn import(
    transaction: &WriteTransaction,
    rows: &[Row],
) -> Result<Change<()>, BesideError> {
    let mut snapshots = open_writable(transaction, SNAPSHOTS)?;
    let mut checkpoints = open_writable(transaction, CHECKPOINTS)?;
    let mut leases = open_writable(transaction, LEASES)?;
    for Row { kind, key, position, sealed } in rows {
        let key = key.as_str();
        match kind {
            Kind::Snapshot => {
                snapshots
                    .insert((key, *position), sealed.as_slice())
                    .map_err(BesideError::database)?;
            }
            Kind::Checkpoint => {
                let row = checkpoints.get(key).map_err(BesideError::database)?;
                let own = row.and_then(|row| checkpoints::decode(key, row.value()).ok());
                let row = with_higher_epoch(key, sealed, own)?;
                checkpoints.insert(key, row.as_slice()).map_err(BesideError::database)?;
            }
            Kind::Lease => {
                let row = leases.get(key).map_err(BesideError::database)?;
                let own = row.and_then(|row| leases::decode(key, row.value()).ok());
                let epoch = leases::decode(key, sealed)?.lease.epoch;
                if own.is_none_or(|own| own.lease.epoch < epoch) {
                    leases.insert(key, sealed.as_slice()).map_err(BesideError::database)?;
                }
            }
        }
    }
    Ok(Change::Made(()))
}

/// The imported checkpoint under the higher one of the two epochs, which never fall.
fn with_higher_epoch(name: &str, sealed: &[u8], own: Option<Held>) -> Result<Vec<u8>, BesideError> {
    let imported = checkpoints::decode(name, sealed)?;
    let epoch = imported.epoch.max(own.map_or(0, |own| own.epoch));
    Ok(checkpoints::encode(name, &Held { epoch, ..imported }))
}
