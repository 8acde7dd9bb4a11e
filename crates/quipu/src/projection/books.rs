//! A read model in its database: the tables beside it, and who may change it.
//!
//! # Invariants
//!
//! - Every transaction that changes a read model, its places or what is parked has seen in
//!   `quipu_generations` that its epoch is the one that runs. The row cannot change until it ends.
//! - Of all generations of a projection one serves at most.

use std::sync::Arc;

use quipu_core::{
    Checkpoint, CheckpointError, EventStore, Incarnation, LogId, Position, SwapCheckpoint,
};
use quipu_groups::KeepError;
use tokio::sync::OnceCell;

use super::database::{Backend, Cell, Connection, is_outage};
use super::generation::Generation;
use super::lifecycle::Stage;
use super::{ApplyError, Projection};

/// The tables, each in every database.
const TABLES: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS quipu_generations (
        name TEXT NOT NULL, version BIGINT NOT NULL, stage TEXT NOT NULL,
        incarnation BIGINT NOT NULL, epoch BIGINT NOT NULL, log TEXT NOT NULL,
        changed_at BIGINT NOT NULL, PRIMARY KEY (name, version))",
    "CREATE TABLE IF NOT EXISTS quipu_places (
        name TEXT NOT NULL, version BIGINT NOT NULL, first_slice BIGINT NOT NULL,
        last_slice BIGINT NOT NULL, position BIGINT NOT NULL,
        PRIMARY KEY (name, version, first_slice, last_slice))",
    "CREATE TABLE IF NOT EXISTS quipu_parked (
        name TEXT NOT NULL, version BIGINT NOT NULL, position BIGINT NOT NULL,
        event_key TEXT NOT NULL, cause TEXT NOT NULL, parked_at BIGINT NOT NULL,
        PRIMARY KEY (name, version, position))",
    "CREATE TABLE IF NOT EXISTS quipu_left_out (
        name TEXT NOT NULL, version BIGINT NOT NULL, position BIGINT NOT NULL,
        reason TEXT NOT NULL, event_key TEXT NOT NULL, cause TEXT NOT NULL,
        epoch BIGINT NOT NULL, left_out_at BIGINT NOT NULL,
        PRIMARY KEY (name, version, position, reason))",
    "CREATE TABLE IF NOT EXISTS quipu_relations (
        name TEXT NOT NULL, version BIGINT NOT NULL, relation TEXT NOT NULL,
        PRIMARY KEY (name, version, relation))",
];

/// Transactions that change which generations there are wait for each other by this key.
const LOCK: i64 = 0x7175_6970_7500;

/// A projection and the database that its read model is in.
pub(crate) struct ReadModel<P: Projection> {
    pub(crate) projection: P,
    pub(crate) generation: Generation,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) pool: <P::Conn as Connection>::Pool,
    prepared: OnceCell<()>,
}

/// A row of `quipu_generations`.
#[derive(Clone, Debug)]
pub(super) struct GenerationRow {
    pub(super) version: u32,
    pub(super) stage: Stage,
    pub(super) incarnation: i64,
    pub(super) epoch: i64,
    pub(super) log: String,
    pub(super) changed_at: i64,
}

impl<P: Projection> ReadModel<P> {
    pub(super) fn new(
        projection: P,
        store: Arc<dyn EventStore>,
        pool: <P::Conn as Connection>::Pool,
    ) -> Self {
        let generation = Generation::new(P::VERSION);
        Self { projection, generation, store, pool, prepared: OnceCell::new() }
    }

    /// Makes the tables where they are not there.
    pub(super) async fn prepare(&self) -> Result<(), KeepError> {
        let make = async || {
            let mut open = self.begin_locked().await?;
            for table in TABLES {
                open.run(table.to_owned(), Vec::new()).await.map_err(explain::<P>)?;
            }
            P::Conn::commit(open).await.map_err(explain::<P>)
        };
        self.prepared.get_or_try_init(make).await.map(drop)
    }

    /// Begins a transaction that may change which generations there are, alone.
    pub(super) async fn begin_locked(&self) -> Result<<P::Conn as Connection>::Open, KeepError> {
        let mut open = P::Conn::begin(&self.pool).await.map_err(explain::<P>)?;
        open.lock(LOCK).await.map_err(explain::<P>)?;
        Ok(open)
    }

    /// Begins a transaction under this epoch.
    pub(super) async fn begin_fenced(
        &self,
        epoch: u64,
    ) -> Result<<P::Conn as Connection>::Open, KeepError> {
        let mut open = P::Conn::begin(&self.pool).await.map_err(explain::<P>)?;
        self.fence(&mut open, epoch).await?;
        Ok(open)
    }

    /// Makes sure that this epoch runs, until the transaction ends.
    pub(super) async fn fence(&self, conn: &mut P::Conn, epoch: u64) -> Result<(), KeepError> {
        let sql = format!(
            "SELECT epoch FROM quipu_generations WHERE name = $1 AND version = $2
             AND incarnation = $3 AND epoch = $4 AND stage <> 'dropped'{}",
            P::Conn::SHARED
        );
        let incarnation = self.store.identity().incarnation.get();
        let cells = Self::key([incarnation.into(), epoch.into()]);
        let rows = conn.rows(sql, cells).await.map_err(explain::<P>)?;
        if rows.is_empty() { Err(KeepError::Fenced) } else { Ok(()) }
    }

    /// The name and version, and then more: what statements about this read model have bound.
    pub(super) fn key(more: impl IntoIterator<Item = Cell>) -> Vec<Cell> {
        [P::NAME.into(), P::VERSION.into()].into_iter().chain(more).collect()
    }

    /// Every generation of this projection.
    pub(super) async fn generations(
        &self,
        conn: &mut P::Conn,
    ) -> Result<Vec<GenerationRow>, sqlx::Error> {
        let sql = "SELECT version, stage, incarnation, epoch, log, changed_at
                   FROM quipu_generations WHERE name = $1 ORDER BY version";
        let rows = conn.rows(sql.to_owned(), vec![P::NAME.into()]).await?;
        Ok(rows.iter().filter_map(|row| GenerationRow::of(row)).collect())
    }

    /// The generation of this version.
    pub(super) async fn own(
        &self,
        conn: &mut P::Conn,
    ) -> Result<Option<GenerationRow>, sqlx::Error> {
        let generations = self.generations(conn).await?;
        Ok(generations.into_iter().find(|row| row.version == P::VERSION))
    }

    /// Whether this log can go on from what was handled of that one. The store's checkpoints know.
    pub(super) async fn check_log(
        &self,
        row: &GenerationRow,
        position: Position,
    ) -> Result<(), KeepError> {
        let log =
            uuid::Uuid::parse_str(&row.log).map_err(|error| KeepError::Refused(error.into()))?;
        let incarnation = Incarnation::new(row.incarnation.unsigned_abs());
        let new = Checkpoint { position, log: LogId::from_uuid(log), incarnation };
        let name = format!("projection/{}/v{}/log", P::NAME, P::VERSION);
        let swap = SwapCheckpoint { name, epoch: 0, old: None, new };
        match self.store.checkpoints().swap(swap).await {
            // The place is checked before it is seen that the checkpoint is there already.
            Ok(()) | Err(CheckpointError::Moved { .. } | CheckpointError::StaleEpoch { .. }) => {
                Ok(())
            }
            Err(error @ CheckpointError::Storage(_)) => Err(KeepError::Unavailable(error.into())),
            Err(other) => Err(KeepError::Refused(other.into())),
        }
    }
}

impl GenerationRow {
    fn of(row: &[Cell]) -> Option<Self> {
        let [version, stage, incarnation, epoch, log, changed_at] = row else { return None };
        Some(Self {
            version: u32::try_from(version.number()).ok()?,
            stage: Stage::from_name(stage.text())?,
            incarnation: incarnation.number(),
            epoch: epoch.number(),
            log: log.text().to_owned(),
            changed_at: changed_at.number(),
        })
    }

    /// Whether an instance with this epoch came before the one that runs. Restoring the log may take
    /// epochs back, but never its incarnation.
    pub(super) fn fences(&self, incarnation: u64, epoch: u64) -> bool {
        let own = (Cell::from(incarnation).number(), Cell::from(epoch).number());
        (self.incarnation, self.epoch) > own
    }
}

impl<P: Projection> std::fmt::Debug for ReadModel<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadModel").field("name", &P::NAME).field("version", &P::VERSION).finish()
    }
}

/// What an error of the database means for what is kept in it.
pub(super) fn explain<P: Projection>(error: sqlx::Error) -> KeepError {
    if is_outage::<P::Conn>(&error) {
        KeepError::Unavailable(error.into())
    } else {
        KeepError::Refused(error.into())
    }
}

/// What an error of the projection's own code means for what is kept.
pub(super) fn explain_own<P: Projection>(error: ApplyError) -> KeepError {
    if super::database::is_outage_inside::<P::Conn>(&*error) {
        KeepError::Unavailable(error)
    } else {
        KeepError::Refused(error)
    }
}
