//! The read model of waiting times: when each application reached each stage.

use quipu::Recorded;
use quipu::projection::{ApplyError, Generation, Projection};
use quipu::view::Question;
use sqlx::SqliteConnection;

use crate::application::{LoanEvent, Stage};

pub(crate) struct Stages;

impl Projection for Stages {
    type Event = LoanEvent;
    type Conn = SqliteConnection;
    const NAME: &'static str = "stages";

    async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
        let sql = own.sql(
            "CREATE TABLE {stages} (loan TEXT NOT NULL, stage TEXT NOT NULL,
             reached_at_us INTEGER NOT NULL, PRIMARY KEY (loan, stage)) WITHOUT ROWID",
        );
        sqlx::query(sql).execute(conn).await?;
        Ok(())
    }

    async fn apply(
        &self,
        recorded: &Recorded<LoanEvent>,
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        // Were a stage reached twice, the first time would count.
        let sql = own.stmt("INSERT INTO {stages} VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING");
        sqlx::query(sql)
            .bind(recorded.stream.as_str())
            .bind(recorded.event.stage().name())
            .bind(recorded.recorded_at.as_micros())
            .execute(conn)
            .await?;
        Ok(())
    }
}

/// How long applications waited between two stages, those that reached both.
pub(crate) struct Waits {
    pub(crate) from: Stage,
    pub(crate) to: Stage,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waited {
    pub(crate) count: usize,
    pub(crate) median_us: i64,
    /// Nine of ten waited no longer.
    pub(crate) p90_us: i64,
}

impl Question<Stages> for Waits {
    /// None if no application reached both stages.
    type Answer = Option<Waited>;

    async fn ask(
        self,
        conn: &mut SqliteConnection,
        own: &Generation,
    ) -> Result<Option<Waited>, sqlx::Error> {
        let sql = own.stmt(
            "SELECT b.reached_at_us - a.reached_at_us AS waited
             FROM {stages} a JOIN {stages} b ON b.loan = a.loan
             WHERE a.stage = ?1 AND b.stage = ?2 ORDER BY waited",
        );
        let query = sqlx::query_scalar(sql).bind(self.from.name()).bind(self.to.name());
        Ok(Waited::of(&query.fetch_all(conn).await?))
    }
}

impl Waited {
    /// What is asked for of waiting times in order.
    pub(crate) fn of(sorted: &[i64]) -> Option<Self> {
        // The nearest rank: the least time that so many percent waited at most.
        let rank =
            |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1));
        let (median_us, p90_us) = (*rank(50)?, *rank(90)?);
        Some(Self { count: sorted.len(), median_us, p90_us })
    }
}
