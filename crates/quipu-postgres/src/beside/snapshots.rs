use bytes::Bytes;
use quipu_core::{BoxFuture, Position, Snapshot, Snapshots, StorageError};
use sqlx::Row as _;

use crate::rows::{i64_of, position_of};
use crate::store::PostgresStore;

impl Snapshots for PostgresStore {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Position,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, StorageError>> {
        Box::pin(async move {
            let statement = &self.shared.sql.get_snapshot;
            let row = sqlx::query(statement.text()).bind(key).bind(i64_of(at.get()));
            let row = self.shared.fetch_optional(row).await;
            let row = row.map_err(|cause| statement.failed(cause))?;
            let read = row.map(|row| {
                let data = Bytes::from(row.try_get::<Vec<u8>, _>(1)?);
                Ok(Snapshot { position: position_of(row.try_get(0)?), data })
            });
            Ok(read.transpose().map_err(|cause| statement.failed(cause))?)
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(async move {
            let statement = &self.shared.sql.put_snapshot;
            let put = sqlx::query(statement.text()).bind(key);
            let put = put.bind(i64_of(snapshot.position.get())).bind(&*snapshot.data);
            self.shared.execute(put).await.map_err(|cause| statement.failed(cause))?;
            Ok(())
        })
    }

    fn prune<'a>(
        &'a self,
        key: &'a str,
        keep: usize,
    ) -> BoxFuture<'a, Result<usize, StorageError>> {
        Box::pin(async move {
            let statement = &self.shared.sql.prune_snapshots;
            let pruned = sqlx::query(statement.text()).bind(key).bind(i64_of(keep as u64));
            let pruned = self.shared.execute(pruned).await;
            let pruned = pruned.map_err(|cause| statement.failed(cause))?;
            Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
        })
    }
}
