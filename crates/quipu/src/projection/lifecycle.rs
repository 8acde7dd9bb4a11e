//! The life of a generation: built, serving, retired, dropped.
//!
//! Tables have the version in their names. Whoever reads them without Quipu reads views without it,
//! which show the generation that serves.

use std::time::Duration;

use quipu_core::{ComponentKey, ComponentKind, Timestamp};
use quipu_groups::KeepError;

use super::Projection;
use super::books::{ReadModel, explain, explain_own};
use super::database::{Backend, Cell, Connection, Relation};
use crate::view::ViewError;

/// Where a generation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It follows the log beside the one that serves.
    Building,
    /// It is what readers read.
    Serving,
    /// Another serves; it still follows the log, so that one can go back.
    Retired,
    /// Its tables are gone.
    Dropped,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Building, Self::Serving, Self::Retired, Self::Dropped];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Serving => "serving",
            Self::Retired => "retired",
            Self::Dropped => "dropped",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

/// A table of somebody else has the name under which readers look for the one that serves.
#[derive(Debug, thiserror::Error)]
#[error("there is a table \"{0}\" already, which is not this projection's: give one another name")]
struct InTheWay(String);

impl<P: Projection> ReadModel<P> {
    /// Makes this version's generation: it serves at once if it is the first.
    pub(super) async fn begin_generation(
        &self,
        conn: &mut P::Conn,
        epoch: u64,
    ) -> Result<(), KeepError> {
        let others = self.generations(conn).await.map_err(explain::<P>)?;
        let is_first = !others.iter().any(|other| other.stage == Stage::Serving);
        let stage = if is_first { Stage::Serving } else { Stage::Building };
        let identity = self.store.identity();
        let sql = "INSERT INTO quipu_generations VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let cells = Self::key([
            stage.as_str().into(),
            identity.incarnation.get().into(),
            epoch.into(),
            identity.log.to_string().into(),
            Timestamp::now().as_micros().into(),
        ]);
        conn.run(sql.to_owned(), cells).await.map_err(explain::<P>)?;
        self.set_up(conn).await?;
        if is_first { self.point_views(conn).await } else { Ok(()) }
    }

    /// Makes the tables, and remembers which they are.
    async fn set_up(&self, conn: &mut P::Conn) -> Result<(), KeepError> {
        let made = self.projection.setup(conn, &self.generation).await;
        made.map_err(explain_own::<P>)?;
        for name in self.generation.names() {
            let table = self.generation.table(&name);
            if conn.relation(&table).await.map_err(explain::<P>)?.is_some() {
                let sql = "INSERT INTO quipu_relations VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
                conn.run(sql.to_owned(), Self::key([name.into()])).await.map_err(explain::<P>)?;
            }
        }
        Ok(())
    }

    /// The names of the tables and views of a generation, without the version.
    async fn relations(&self, conn: &mut P::Conn, version: u32) -> Result<Vec<String>, KeepError> {
        let sql = "SELECT relation FROM quipu_relations WHERE name = $1 AND version = $2";
        let cells = vec![P::NAME.into(), version.into()];
        let rows = conn.rows(sql.to_owned(), cells).await.map_err(explain::<P>)?;
        Ok(rows.iter().filter_map(|row| row.first()).map(|cell| cell.text().to_owned()).collect())
    }

    /// Lets the views without a version show this one.
    async fn point_views(&self, conn: &mut P::Conn) -> Result<(), KeepError> {
        for relation in self.relations(conn, P::VERSION).await? {
            match conn.relation(&relation).await.map_err(explain::<P>)? {
                None | Some(Relation::View) => {}
                Some(Relation::Table) => return Err(KeepError::Refused(InTheWay(relation).into())),
            }
            // Columns may be others than before, so that the view cannot just be replaced.
            let table = self.generation.table(&relation);
            for sql in [
                format!("DROP VIEW IF EXISTS {relation}"),
                format!("CREATE VIEW {relation} AS SELECT * FROM {table}"),
            ] {
                conn.run(sql, Vec::new()).await.map_err(explain::<P>)?;
            }
        }
        Ok(())
    }

    async fn drop_views(&self, conn: &mut P::Conn, version: u32) -> Result<(), KeepError> {
        for relation in self.relations(conn, version).await? {
            if conn.relation(&relation).await.map_err(explain::<P>)? == Some(Relation::View) {
                let sql = format!("DROP VIEW {relation}");
                conn.run(sql, Vec::new()).await.map_err(explain::<P>)?;
            }
        }
        Ok(())
    }

    /// Drops the tables of a generation, views first as they rest on tables.
    async fn drop_relations(&self, conn: &mut P::Conn, version: u32) -> Result<(), KeepError> {
        let relations = self.relations(conn, version).await?;
        for (kind, what) in [(Relation::View, "VIEW"), (Relation::Table, "TABLE")] {
            for relation in &relations {
                let name = format!("{relation}_v{version}");
                if conn.relation(&name).await.map_err(explain::<P>)? == Some(kind) {
                    let sql = format!("DROP {what} {name}");
                    conn.run(sql, Vec::new()).await.map_err(explain::<P>)?;
                }
            }
        }
        Ok(())
    }

    async fn put_stage(
        &self,
        conn: &mut P::Conn,
        version: u32,
        stage: Stage,
    ) -> Result<(), KeepError> {
        let sql = "UPDATE quipu_generations SET stage = $3, changed_at = $4
                   WHERE name = $1 AND version = $2";
        let now = Timestamp::now().as_micros();
        let cells = vec![P::NAME.into(), version.into(), stage.as_str().into(), now.into()];
        conn.run(sql.to_owned(), cells).await.map_err(explain::<P>).map(drop)
    }

    /// Where this generation is in its life; `None` before it began.
    pub(crate) async fn stage(&self) -> Result<Option<Stage>, KeepError> {
        self.prepare().await?;
        let mut conn = P::Conn::hold(&self.pool).await.map_err(explain::<P>)?;
        let own = self.own(&mut conn).await.map_err(explain::<P>)?;
        Ok(own.map(|own| own.stage))
    }

    /// Takes a connection, if this generation is to be read.
    pub(crate) async fn open_to_read(&self) -> Result<<P::Conn as Connection>::Held, ViewError> {
        self.prepare().await.map_err(ViewError::Unavailable)?;
        let mut conn = P::Conn::hold(&self.pool).await.map_err(ViewError::Database)?;
        let own = self.own(&mut conn).await.map_err(ViewError::Database)?;
        match own.map(|own| own.stage) {
            Some(Stage::Serving | Stage::Retired) => Ok(conn),
            other => Err(ViewError::not_serving::<P>(other)),
        }
    }

    /// Lets this generation serve, and retires the one that did.
    pub(super) async fn promote(&self, epoch: u64) -> Result<(), KeepError> {
        let mut open = self.begin_locked().await?;
        self.fence(&mut open, epoch).await?;
        for other in self.generations(&mut open).await.map_err(explain::<P>)? {
            if other.version == P::VERSION && other.stage == Stage::Serving {
                return Ok(());
            }
            if other.version != P::VERSION && other.stage == Stage::Serving {
                self.drop_views(&mut open, other.version).await?;
                self.put_stage(&mut open, other.version, Stage::Retired).await?;
            }
        }
        self.point_views(&mut open).await?;
        self.put_stage(&mut open, P::VERSION, Stage::Serving).await?;
        P::Conn::commit(open).await.map_err(explain::<P>)
    }

    /// Drops the tables of generations that were retired at least `grace` ago.
    pub(super) async fn drop_retired(&self, epoch: u64, grace: Duration) -> Result<(), KeepError> {
        let is_due =
            |changed_at: i64| Timestamp::from_micros(changed_at).plus(grace) <= Timestamp::now();
        let mut open = self.begin_locked().await?;
        self.fence(&mut open, epoch).await?;
        let all = self.generations(&mut open).await.map_err(explain::<P>)?;
        let is_serving =
            all.iter().any(|row| row.version == P::VERSION && row.stage == Stage::Serving);
        let is_over = |stage, changed_at| stage == Stage::Retired && is_due(changed_at);
        let due = all.iter().filter(|row| is_serving && is_over(row.stage, row.changed_at));
        let due: Vec<u32> = due.map(|row| row.version).collect();
        for version in &due {
            self.drop_relations(&mut open, *version).await?;
            for table in ["quipu_places", "quipu_parked", "quipu_relations"] {
                let sql = format!("DELETE FROM {table} WHERE name = $1 AND version = $2");
                let cells = vec![P::NAME.into(), Cell::from(*version)];
                open.run(sql, cells).await.map_err(explain::<P>)?;
            }
            self.put_stage(&mut open, *version, Stage::Dropped).await?;
        }
        P::Conn::commit(open).await.map_err(explain::<P>)?;
        for version in due {
            let name = P::NAME.to_owned();
            let key = ComponentKey { kind: ComponentKind::Projection, name, version };
            // It is listed a little longer where that fails.
            self.store.registry().remove(&key).await.ok();
        }
        Ok(())
    }

    /// Empties this generation, so that it is built again from the log's first event.
    pub(super) async fn rebuild(&self, epoch: u64) -> Result<(), KeepError> {
        let mut open = self.begin_locked().await?;
        self.fence(&mut open, epoch).await?;
        let own = self.own(&mut open).await.map_err(explain::<P>)?;
        let is_serving = own.is_some_and(|own| own.stage == Stage::Serving);
        if is_serving {
            self.drop_views(&mut open, P::VERSION).await?;
        }
        self.drop_relations(&mut open, P::VERSION).await?;
        self.set_up(&mut open).await?;
        if is_serving {
            self.point_views(&mut open).await?;
        }
        // In the same transaction: were the places put back later, a crash would leave a gap.
        for sql in [
            "UPDATE quipu_places SET position = 0 WHERE name = $1 AND version = $2",
            "DELETE FROM quipu_parked WHERE name = $1 AND version = $2",
        ] {
            open.run(sql.to_owned(), Self::key([])).await.map_err(explain::<P>)?;
        }
        P::Conn::commit(open).await.map_err(explain::<P>)
    }
}
