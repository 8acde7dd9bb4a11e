//! Checkpoints as rows: `name -> format, position, log, incarnation, epoch`.

use quipu_core::{
    BoxFuture, Checkpoint, CheckpointError, Checkpoints, Incarnation, LogId, Position,
    SwapCheckpoint,
};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use uuid::Uuid;

use super::encoding::{Decoder, Encoder, seal, unseal};
use super::error::BesideError;
use super::side_store::Change;
use super::tables::{CHECKPOINTS, open, open_writable};
use super::{Beside, Life, is_name};

const FORMAT: u8 = 1;

/// A checkpoint, and the highest epoch that moved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) checkpoint: Checkpoint,
    pub(super) epoch: u64,
}

impl Checkpoints for Beside {
    fn get<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, CheckpointError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(CheckpointError::InvalidName);
            }
            let name = name.to_owned();
            let Some(held) = self.side.read(move |transaction| get(transaction, &name)).await?
            else {
                return Ok(None);
            };
            let Life { lives, frontier, .. } = &*self.context.life;
            lives.check(&held.checkpoint, frontier())?;
            Ok(Some(held.checkpoint))
        })
    }

    fn swap(&self, swap: SwapCheckpoint) -> BoxFuture<'_, Result<(), CheckpointError>> {
        Box::pin(async move {
            if !is_name(&swap.name) {
                return Err(CheckpointError::InvalidName);
            }
            if !self.context.is_writable() {
                return Err(CheckpointError::ReadOnly);
            }
            let Life { lives, frontier, .. } = &*self.context.life;
            lives.check(&swap.new, frontier())?;
            self.side.write(move |transaction| swap_row(transaction, swap)).await?
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, CheckpointError>> {
        Box::pin(async move { Ok(self.side.read(list).await?) })
    }
}

fn get(transaction: Option<&ReadTransaction>, name: &str) -> Result<Option<Held>, BesideError> {
    let Some(table) = open(transaction, CHECKPOINTS)? else { return Ok(None) };
    let row = table.get(name).map_err(BesideError::database)?;
    row.map(|row| decode(name, row.value())).transpose()
}

fn swap_row(
    transaction: &WriteTransaction,
    swap: SwapCheckpoint,
) -> Result<Change<Result<(), CheckpointError>>, BesideError> {
    let SwapCheckpoint { name, epoch, old, new } = swap;
    let mut table = open_writable(transaction, CHECKPOINTS)?;
    let row = table.get(name.as_str()).map_err(BesideError::database)?;
    // A damaged row concerns its consumer, not those that share the transaction.
    let held = match row.map(|row| decode(&name, row.value())).transpose() {
        Ok(held) => held,
        Err(error) => return Ok(Change::None(Err(error.into()))),
    };
    let current = held.map_or(0, |held| held.epoch);
    if epoch < current {
        return Ok(Change::None(Err(CheckpointError::StaleEpoch { name, epoch, current })));
    }
    let actual = held.map(|held| held.checkpoint.position);
    if actual != old {
        return Ok(Change::None(Err(CheckpointError::Moved { name, actual })));
    }
    let row = encode(&name, &Held { checkpoint: new, epoch });
    table.insert(name.as_str(), row.as_slice()).map_err(BesideError::database)?;
    Ok(Change::Made(Ok(())))
}

fn list(transaction: Option<&ReadTransaction>) -> Result<Vec<String>, BesideError> {
    let Some(table) = open(transaction, CHECKPOINTS)? else { return Ok(Vec::new()) };
    let rows = table.iter().map_err(BesideError::database)?;
    rows.map(|row| row.map(|(name, _)| name.value().to_owned()).map_err(BesideError::database))
        .collect()
}

pub(super) fn encode(name: &str, held: &Held) -> Vec<u8> {
    let Held { checkpoint: Checkpoint { position, log, incarnation }, epoch } = held;
    let body = Encoder::default()
        .u8(FORMAT)
        .u64(position.get())
        .raw(log.as_uuid().as_bytes())
        .u64(incarnation.get())
        .u64(*epoch)
        .finish();
    seal(&[b"checkpoint", name.as_bytes()], &body)
}

pub(super) fn decode(name: &str, row: &[u8]) -> Result<Held, BesideError> {
    unseal(&[b"checkpoint", name.as_bytes()], row)
        .and_then(decode_body)
        .ok_or_else(|| BesideError::corrupt(format!("the checkpoint \"{name}\"")))
}

fn decode_body(body: &[u8]) -> Option<Held> {
    let mut body = Decoder::new(body);
    if body.u8()? != FORMAT {
        return None;
    }
    let position = Position::new(body.u64()?);
    let log = LogId::from_uuid(Uuid::from_bytes(body.raw()?));
    let incarnation = Incarnation::new(body.u64()?);
    let epoch = body.u64()?;
    body.is_empty().then_some(Held { checkpoint: Checkpoint { position, log, incarnation }, epoch })
}

impl From<BesideError> for CheckpointError {
    fn from(error: BesideError) -> Self {
        match error {
            BesideError::ReadOnly => Self::ReadOnly,
            other => Self::Storage(other.into()),
        }
    }
}
