//! Checkpoints of ranges of slices, kept among the store's checkpoints.
//!
//! Each range is one checkpoint, named after the consumer and the range. Checkpoints are never
//! deleted, so that those of ranges that are not used any more stay; they are never ahead of the ones
//! in use, and a slice is where the highest of its ranges is.

use std::sync::Arc;

use quipu_core::{BoxFuture, Checkpoint, CheckpointError, EventStore, Position, SwapCheckpoint};

use crate::places::{KeepError, Move, PlaceKeeper, SlicePlace};
use crate::slice::SliceRange;

/// Keeps a consumer's checkpoints among the store's. For work that is not in a transaction with them:
/// after a crash what was done since the last saving is done again.
pub struct StorePlaces {
    store: Arc<dyn EventStore>,
    prefix: String,
}

impl StorePlaces {
    /// Keeps checkpoints whose names begin with `name` and a `/`.
    pub fn new(store: Arc<dyn EventStore>, name: &str) -> Self {
        Self { store, prefix: format!("{name}/") }
    }

    fn range_of(&self, name: &str) -> Option<SliceRange> {
        let (first, last) = name.strip_prefix(&self.prefix)?.split_once('-')?;
        let range = SliceRange::new(first.parse().ok()?, last.parse().ok()?)?;
        (format!("{}{range}", self.prefix) == name).then_some(range)
    }

    async fn swap(
        &self,
        epoch: u64,
        slices: SliceRange,
        old: Option<Position>,
        new: Position,
    ) -> Result<(), CheckpointError> {
        let name = format!("{}{slices}", self.prefix);
        let new = Checkpoint::new(new, &self.store.identity());
        self.store.checkpoints().swap(SwapCheckpoint { name, epoch, old, new }).await
    }
}

impl std::fmt::Debug for StorePlaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StorePlaces").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

pub(crate) fn explain(error: CheckpointError) -> KeepError {
    match error {
        CheckpointError::Moved { .. } => KeepError::Moved,
        CheckpointError::StaleEpoch { .. } => KeepError::Fenced,
        error @ CheckpointError::Storage(_) => KeepError::Unavailable(error.into()),
        error => KeepError::Refused(error.into()),
    }
}

impl PlaceKeeper for StorePlaces {
    fn load(&self) -> BoxFuture<'_, Result<Vec<SlicePlace>, KeepError>> {
        Box::pin(async move {
            let checkpoints = self.store.checkpoints();
            let mut rows = Vec::new();
            for name in checkpoints.list().await.map_err(explain)? {
                let Some(slices) = self.range_of(&name) else { continue };
                if let Some(found) = checkpoints.get(&name).await.map_err(explain)? {
                    rows.push(SlicePlace { slices, position: found.position });
                }
            }
            Ok(rows)
        })
    }

    fn claim<'a>(
        &'a self,
        epoch: u64,
        loaded: &'a [SlicePlace],
        rows: &'a [SlicePlace],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            // First fence the instance before, which may work on any of the old ranges.
            for old in loaded {
                let position = old.position;
                self.swap(epoch, old.slices, Some(position), position).await.map_err(explain)?;
            }
            for row in rows {
                let old = loaded.iter().find(|old| old.slices == row.slices);
                let old = old.map(|old| old.position);
                if old != Some(row.position) {
                    self.swap(epoch, row.slices, old, row.position).await.map_err(explain)?;
                }
            }
            Ok(())
        })
    }

    fn advance<'a>(
        &'a self,
        epoch: u64,
        moves: &'a [Move],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            for own in moves {
                match self.swap(epoch, own.slices, Some(own.from), own.to).await {
                    Ok(()) => {}
                    // An attempt before this one came through, though it was not known.
                    Err(CheckpointError::Moved { actual, .. }) if actual == Some(own.to) => {}
                    Err(CheckpointError::Moved { .. }) => return Err(KeepError::Fenced),
                    Err(other) => return Err(explain(other)),
                }
            }
            Ok(())
        })
    }

    fn reset(&self, epoch: u64, position: Position) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(async move {
            for row in self.load().await? {
                let old = Some(row.position);
                self.swap(epoch, row.slices, old, position).await.map_err(explain)?;
            }
            Ok(())
        })
    }
}
