use quipu_core::{
    BoxFuture, Checkpoint, CheckpointError, Checkpoints, Incarnation, SwapCheckpoint,
};
use sqlx::Row as _;

use super::is_name;
use crate::error::checkpoint_error;
use crate::life::number_of;
use crate::rows::{i64_of, position_of, u64_of};
use crate::store::PostgresStore;

impl Checkpoints for PostgresStore {
    fn get<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, CheckpointError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(CheckpointError::InvalidName);
            }
            let statement = &self.shared.sql.get_checkpoint;
            let failed = |cause| checkpoint_error(statement.failed(cause));
            let row = sqlx::query(statement.text()).bind(name);
            let row = self.shared.fetch_optional(row).await.map_err(failed)?;
            let Some(row) = row else { return Ok(None) };
            let read = || -> Result<_, sqlx::Error> {
                let incarnation = Incarnation::new(u64_of(row.try_get(1)?));
                let (position, log) = (position_of(row.try_get(0)?), self.shared.log());
                let checkpoint = Checkpoint { position, log, incarnation };
                Ok((checkpoint, position_of(row.try_get(2)?)))
            };
            let (checkpoint, last) = read().map_err(failed)?;
            self.shared.life().lives.check(&checkpoint, last)?;
            Ok(Some(checkpoint))
        })
    }

    fn swap(&self, swap: SwapCheckpoint) -> BoxFuture<'_, Result<(), CheckpointError>> {
        Box::pin(async move {
            let SwapCheckpoint { name, epoch, old, new } = swap;
            if !is_name(&name) {
                return Err(CheckpointError::InvalidName);
            }
            let mut last = self.shared.seen();
            if new.position > last {
                // It may be the frontier that another node saw.
                let end = self.shared.end().await.map_err(checkpoint_error)?;
                last = end.frontier.max(end.last);
            }
            self.shared.life().lives.check(&new, last)?;
            let statement = &self.shared.sql.swap_checkpoint;
            let failed = |cause| checkpoint_error(statement.failed(cause));
            let row = sqlx::query(statement.text()).bind(&name).bind(i64_of(epoch));
            let row = row.bind(old.map(|old| i64_of(old.get()))).bind(i64_of(new.position.get()));
            let row = row.bind(number_of(new.incarnation));
            let row = self.shared.fetch_one(row).await.map_err(failed)?;
            if row.try_get(0).map_err(failed)? {
                return Ok(());
            }
            let current: Option<i64> = row.try_get(1).map_err(failed)?;
            let current = current.map_or(0, u64_of);
            if epoch < current {
                return Err(CheckpointError::StaleEpoch { name, epoch, current });
            }
            let actual: Option<i64> = row.try_get(2).map_err(failed)?;
            Err(CheckpointError::Moved { name, actual: actual.map(position_of) })
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, CheckpointError>> {
        Box::pin(async move {
            let statement = &self.shared.sql.list_checkpoints;
            let failed = |cause| checkpoint_error(statement.failed(cause));
            let rows = self.shared.fetch(sqlx::query(statement.text())).await.map_err(failed)?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failed)
        })
    }
}
