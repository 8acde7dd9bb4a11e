//! Which log this is, and which of its lives.
//!
//! A failover, and a restored copy, go on from a place that others may have seen behind. The database
//! shows it by another timeline, or another system identifier: whoever finds one writes down that a
//! life begins, before anything is appended to it. Every append says on which timeline it believes
//! to be, so that none gets past this.

use quipu_core::{Incarnation, Lives, LogId, LogIdentity, Position};
use sqlx::{PgConnection, Row as _};

use crate::error::DatabaseError;
use crate::rows::{i64_of, position_of, u64_of};
use crate::sql::Sql;

/// What is known of the log's lives.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) lives: Lives,
    /// The timeline that the present life is on.
    pub(crate) timeline: String,
}

/// One life, as its row has it.
struct Row {
    incarnation: Incarnation,
    began_at: Position,
    cluster: Cluster,
}

/// What a life is known by.
#[derive(PartialEq)]
struct Cluster {
    system_identifier: i64,
    timeline: String,
}

impl Life {
    /// The present life of a log; begins one if the database has begun one.
    pub(crate) async fn find(
        sql: &Sql,
        connection: &mut PgConnection,
        log: LogId,
    ) -> Result<Self, DatabaseError> {
        let cluster = read_cluster(sql, connection).await?;
        let mut rows = read_rows(sql, connection).await?;
        if rows.last().is_none_or(|last| last.cluster != cluster) {
            begin(sql, connection, Some(&cluster)).await?;
            rows = read_rows(sql, connection).await?;
        }
        Ok(Self::of_rows(log, &rows, cluster))
    }

    /// Begins another life at the end of the log, whatever the database says.
    pub(crate) async fn begin(
        sql: &Sql,
        connection: &mut PgConnection,
        log: LogId,
    ) -> Result<Self, DatabaseError> {
        begin(sql, connection, None).await?;
        Self::find(sql, connection, log).await
    }

    fn of_rows(log: LogId, rows: &[Row], cluster: Cluster) -> Self {
        let later = rows.iter().skip(1).map(|row| (row.incarnation, row.began_at)).collect();
        Self { lives: Lives::new(log, later), timeline: cluster.timeline }
    }

    pub(crate) fn identity(&self, log: LogId, name: &str) -> LogIdentity {
        LogIdentity { log, incarnation: self.lives.current(), name: name.to_owned() }
    }
}

/// Begins a life: always, or only if the last one is not of this cluster by the time that no other
/// node can begin one.
async fn begin(
    sql: &Sql,
    connection: &mut PgConnection,
    unless: Option<&Cluster>,
) -> Result<(), DatabaseError> {
    let failed = |cause| sql.begin_life.failed(cause);
    let mut transaction = sqlx::Connection::begin(connection).await.map_err(failed)?;
    let locked = sqlx::query(sql.lock_lives.text()).execute(&mut *transaction).await;
    locked.map_err(|cause| sql.lock_lives.failed(cause))?;
    let rows = read_rows(sql, &mut transaction).await?;
    let is_known = rows.last().is_some_and(|last| Some(&last.cluster) == unless);
    if !is_known {
        let cluster = read_cluster(sql, &mut transaction).await?;
        let begun = sqlx::query(sql.begin_life.text()).bind(cluster.system_identifier);
        begun.bind(cluster.timeline).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

async fn read_cluster(sql: &Sql, connection: &mut PgConnection) -> Result<Cluster, DatabaseError> {
    let row = sqlx::query(sql.read_cluster.text()).fetch_one(connection).await;
    let read = row.and_then(|row| {
        Ok(Cluster { system_identifier: row.try_get(0)?, timeline: row.try_get(1)? })
    });
    read.map_err(|cause| sql.read_cluster.failed(cause))
}

async fn read_rows(sql: &Sql, connection: &mut PgConnection) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query(sql.read_lives.text()).fetch_all(connection).await;
    let read = |row: &sqlx::postgres::PgRow| {
        Ok(Row {
            incarnation: Incarnation::new(u64_of(row.try_get(0)?)),
            began_at: position_of(row.try_get(1)?),
            cluster: Cluster { system_identifier: row.try_get(2)?, timeline: row.try_get(3)? },
        })
    };
    rows.and_then(|rows| rows.iter().map(read).collect())
        .map_err(|cause| sql.read_lives.failed(cause))
}

/// An incarnation as the database has it.
pub(crate) fn number_of(incarnation: Incarnation) -> i64 {
    i64_of(incarnation.get())
}
