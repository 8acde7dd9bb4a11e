//! Scavenging: what retention, deletes and tombstones hide goes for good.
//!
//! An event that goes leaves its row without data, metadata and tags: its id is needed for retries,
//! and ordinals and revisions are counted by rows.

use quipu_core::{
    ReadError, Retention, Revision, StreamMetadata, StreamName, StreamState, Timestamp,
};
use sqlx::Row as _;

use crate::error::{corrupt, read_error};
use crate::rows::{StreamRow, i64_of, u64_of};
use crate::store::{PostgresStore, Shared};

impl PostgresStore {
    /// Removes what retention, deletes and tombstones hide, for good: log reads and queries no
    /// longer see it either. Answers how many events went.
    ///
    /// The last event of a stream that is not tombstoned, the latest metadata and tombstones stay. It
    /// goes stream by stream, each in a transaction of its own, and can be stopped at any time. Space
    /// is free for others once `PostgreSQL` has vacuumed the table.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn scavenge(&self) -> Result<u64, ReadError> {
        let shared = &self.shared;
        let statement = &shared.sql.scavengeable;
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let rows = sqlx::query(statement.text()).bind(&after).fetch_all(&shared.pool).await;
            let rows = rows.and_then(|rows| StreamRow::from_rows(&rows));
            let rows = rows.map_err(|cause| read_error(statement.failed(cause)))?;
            let Some(last) = rows.last() else { return Ok(count) };
            after.clone_from(&last.name);
            for row in rows {
                count += shared.scavenge_stream(row).await?;
            }
        }
    }
}

impl Shared {
    async fn scavenge_stream(&self, row: StreamRow) -> Result<u64, ReadError> {
        let named = StreamName::new(&row.name);
        let stream = named.map_err(|cause| ReadError::Storage(corrupt(cause)))?;
        let facts = row.facts();
        let Some(last) = facts.last else { return Ok(0) };
        let (first, oldest) = match facts.state() {
            // All but the last event.
            StreamState::Deleted { .. } | StreamState::Tombstoned { .. } => {
                (last, Timestamp::from_micros(i64::MIN))
            }
            _ if stream.is_metadata() => (last, Timestamp::from_micros(i64::MIN)),
            _ => self.shown(facts.metadata.as_deref(), last).await?,
        };
        let kept = if stream.is_metadata() { self.latest_metadata(&stream).await? } else { None };
        let statement = &self.sql.scavenge;
        let gone = sqlx::query(statement.text()).bind(stream.as_str());
        let gone = gone.bind(i64_of(last.get())).bind(i64_of(first.get()));
        let gone = gone.bind(oldest.as_micros()).bind(kept).fetch_one(&self.pool).await;
        let gone = gone.and_then(|row| row.try_get(0));
        gone.map(u64_of).map_err(|cause| read_error(statement.failed(cause)))
    }

    /// The first revision, and the oldest time, that a live stream shows.
    async fn shown(
        &self,
        metadata: Option<&StreamMetadata>,
        last: Revision,
    ) -> Result<(Revision, Timestamp), ReadError> {
        let none = Timestamp::from_micros(i64::MIN);
        let Some(metadata) = metadata else { return Ok((Revision::FIRST, none)) };
        let now = self.now().await.map_err(read_error)?;
        let oldest = metadata.max_age().map_or(none, |age| now.minus(age));
        Ok((Retention::new(metadata, last, now).first(), oldest))
    }

    async fn latest_metadata(&self, stream: &StreamName) -> Result<Option<i64>, ReadError> {
        let statement = &self.sql.latest_metadata;
        let latest = sqlx::query_scalar(statement.text()).bind(stream.as_str());
        let latest = latest.fetch_one(&self.pool).await;
        latest.map_err(|cause| read_error(statement.failed(cause)))
    }
}
