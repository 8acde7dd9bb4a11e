//! Snapshots as rows: `(key, position) -> format, log, incarnation, data`.
//!
//! A row that cannot be used is a miss, whatever is wrong with it: its checksum, or the life of the
//! log that it is of. A restored log may hold other events at a snapshot's position.

use bytes::Bytes;
use quipu_core::{
    BoxFuture, Checkpoint, Incarnation, LogId, Position, Snapshot, Snapshots, StorageError,
};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use uuid::Uuid;

use super::encoding::{Decoder, Encoder, seal, unseal};
use super::error::BesideError;
use super::side_store::Change;
use super::tables::{SNAPSHOTS, open, open_writable};
use super::{Beside, Life};

const FORMAT: u8 = 1;

impl Snapshots for Beside {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Position,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, StorageError>> {
        Box::pin(async move {
            // Snapshots are caches: beside a writer, copying all of them costs more than they save.
            if !self.context.is_writable() {
                return Ok(None);
            }
            let life = self.context.life.clone();
            let key = key.to_owned();
            let found = self.side.read(move |transaction| get(transaction, &life, &key, at));
            Ok(found.await?)
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(async move {
            let life = self.context.life.clone();
            let key = key.to_owned();
            let put = move |transaction: &WriteTransaction| {
                let position = snapshot.position.get();
                let row = encode(&life, &key, &snapshot);
                let mut table = open_writable(transaction, SNAPSHOTS)?;
                table
                    .insert((key.as_str(), position), row.as_slice())
                    .map_err(BesideError::database)?;
                Ok(Change::Made(()))
            };
            Ok(self.side.write(put).await?)
        })
    }

    fn prune<'a>(
        &'a self,
        key: &'a str,
        keep: usize,
    ) -> BoxFuture<'a, Result<usize, StorageError>> {
        Box::pin(async move {
            let key = key.to_owned();
            Ok(self.side.write(move |transaction| prune(transaction, &key, keep)).await?)
        })
    }
}

fn get(
    transaction: Option<&ReadTransaction>,
    life: &Life,
    key: &str,
    at: Position,
) -> Result<Option<Snapshot>, BesideError> {
    let Some(table) = open(transaction, SNAPSHOTS)? else { return Ok(None) };
    let rows = table.range((key, 0)..=(key, at.get())).map_err(BesideError::database)?;
    for row in rows.rev() {
        let (place, row) = row.map_err(BesideError::database)?;
        let position = Position::new(place.value().1);
        if let Some(snapshot) = decode(life, key, position, row.value()) {
            return Ok(Some(snapshot));
        }
    }
    Ok(None)
}

fn prune(
    transaction: &WriteTransaction,
    key: &str,
    keep: usize,
) -> Result<Change<usize>, BesideError> {
    let mut table = open_writable(transaction, SNAPSHOTS)?;
    let mut old = Vec::new();
    let rows = table.range((key, 0)..=(key, u64::MAX)).map_err(BesideError::database)?;
    for row in rows.rev().skip(keep) {
        let (place, _) = row.map_err(BesideError::database)?;
        old.push(place.value().1);
    }
    for position in &old {
        table.remove((key, *position)).map_err(BesideError::database)?;
    }
    Ok(if old.is_empty() { Change::None(0) } else { Change::Made(old.len()) })
}

/// What a row's checksum covers beside its bytes.
pub(super) fn seal_row(key: &str, position: u64, body: &[u8]) -> Vec<u8> {
    seal(&[b"snapshot", key.as_bytes(), &position.to_le_bytes()], body)
}

/// The body of a row that is whole.
pub(super) fn unseal_row<'a>(key: &str, position: u64, row: &'a [u8]) -> Option<&'a [u8]> {
    unseal(&[b"snapshot", key.as_bytes(), &position.to_le_bytes()], row)
}

fn encode(life: &Life, key: &str, snapshot: &Snapshot) -> Vec<u8> {
    let body = Encoder::default()
        .u8(FORMAT)
        .raw(life.log.as_uuid().as_bytes())
        .u64(life.lives.current().get())
        .raw(&snapshot.data)
        .finish();
    seal_row(key, snapshot.position.get(), &body)
}

/// The snapshot in a row, unless the row is damaged or this log cannot go on from it.
fn decode(life: &Life, key: &str, position: Position, row: &[u8]) -> Option<Snapshot> {
    let mut body = Decoder::new(unseal_row(key, position.get(), row)?);
    if body.u8()? != FORMAT {
        return None;
    }
    let log = LogId::from_uuid(Uuid::from_bytes(body.raw()?));
    let incarnation = Incarnation::new(body.u64()?);
    let place = Checkpoint { position, log, incarnation };
    life.lives.check(&place, Position::MAX).ok()?;
    Some(Snapshot { position, data: Bytes::copy_from_slice(body.rest()) })
}
