//! What a decision has to know of the log, fetched as it asks.
//!
//! [`decide`](quipu_core::decide) looks at a log that answers at once, and a database does not. So it
//! is asked to decide with what is known; where it lacks something, that is fetched, with all that it
//! will probably ask for next, and it decides again. The locks are held all the while, so that what is
//! known stays true.

use std::collections::HashMap;
use std::sync::Arc;

use quipu_core::decide::{self, Decision, Layout, LogState, StreamFacts};
use quipu_core::{Append, Change, EventId, Position, Query, Revision, StreamMetadata, StreamName};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::error::DatabaseError;
use crate::query::to_json;
use crate::rows::{StreamRow, i64_of, position_of, revision_of};
use crate::sql::Sql;

type IdPlace = (Position, Revision);

/// What is known of the log by now.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    end: Position,
    streams: HashMap<StreamName, StreamRow>,
    at: HashMap<(StreamName, Revision), Option<(EventId, Position)>>,
    ids: HashMap<StreamName, HashMap<EventId, IdPlace>>,
    has_ids: bool,
    matches: HashMap<(Query, Position), Option<Position>>,
}

/// What a decision lacks.
pub(crate) enum Missing {
    Stream(StreamName),
    At(StreamName, Revision),
    Ids(EventId),
    Match(Query, Position),
}

impl LogState for Facts {
    type Error = Missing;

    /// Beyond the frontier this may be, but never beyond what a reader was told on another node.
    fn frontier(&self) -> Position {
        self.end
    }

    fn stream(&mut self, stream: &StreamName) -> Result<StreamFacts, Missing> {
        match self.streams.get(stream) {
            Some(row) => Ok(row.facts()),
            None => Err(Missing::Stream(stream.clone())),
        }
    }

    fn id_at(
        &mut self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<(EventId, Position)>, Missing> {
        let found = self.at.get(&(stream.clone(), revision));
        found.copied().ok_or_else(|| Missing::At(stream.clone(), revision))
    }

    fn find_id(&mut self, stream: &StreamName, id: EventId) -> Result<Option<IdPlace>, Missing> {
        if !self.has_ids {
            return Err(Missing::Ids(id));
        }
        Ok(self.ids.get(stream).and_then(|own| own.get(&id)).copied())
    }

    fn first_match(&mut self, query: &Query, after: Position) -> Result<Option<Position>, Missing> {
        let key = (query.clone(), after);
        self.matches.get(&key).copied().ok_or(Missing::Match(key.0, after))
    }
}

impl Facts {
    /// Takes note of streams that were looked up: those without a row are known to be absent.
    pub(crate) fn add_streams(&mut self, asked: Vec<StreamName>, rows: Vec<StreamRow>) {
        for stream in asked {
            self.streams.entry(stream).or_default();
        }
        for row in rows {
            if let Ok(stream) = StreamName::new(&row.name) {
                self.streams.insert(stream, row);
            }
        }
    }

    /// Decides, and fetches what that takes.
    pub(crate) async fn decide(
        mut self,
        sql: &Sql,
        connection: &mut PgConnection,
        change: &Change,
        layout: impl Fn() -> Layout,
    ) -> Result<Decision, DatabaseError> {
        let end = sqlx::query_scalar(sql.last_position.text()).fetch_one(&mut *connection).await;
        self.end = position_of(end.map_err(|cause| sql.last_position.failed(cause))?);
        loop {
            let missing = match decide::decide(&mut self, change.clone(), layout()) {
                Ok(decision) => return Ok(decision),
                Err(missing) => missing,
            };
            match missing {
                Missing::Stream(stream) => self.fetch_stream(sql, connection, stream).await?,
                Missing::At(stream, from) => {
                    self.fetch_at(sql, connection, change, stream, from).await?;
                }
                Missing::Ids(id) => self.fetch_ids(sql, connection, change, id).await?,
                Missing::Match(query, after) => {
                    self.fetch_match(sql, connection, query, after).await?;
                }
            }
        }
    }

    async fn fetch_stream(
        &mut self,
        sql: &Sql,
        connection: &mut PgConnection,
        stream: StreamName,
    ) -> Result<(), DatabaseError> {
        let rows = sqlx::query(sql.streams.text()).bind([stream.as_str()].as_slice());
        let rows = rows.fetch_all(connection).await.and_then(|rows| StreamRow::from_rows(&rows));
        self.add_streams(vec![stream], rows.map_err(|cause| sql.streams.failed(cause))?);
        Ok(())
    }

    /// As many ids of a stream as the change has.
    async fn fetch_at(
        &mut self,
        sql: &Sql,
        connection: &mut PgConnection,
        change: &Change,
        stream: StreamName,
        from: Revision,
    ) -> Result<(), DatabaseError> {
        let count = events_of(change).len().max(1) as u64;
        for revision in (from.get()..from.get().saturating_add(count)).map(Revision::new) {
            self.at.insert((stream.clone(), revision), None);
        }
        let rows = sqlx::query(sql.ids_at.text()).bind(stream.as_str());
        let rows = rows.bind(i64_of(from.get())).bind(i64_of(count));
        let rows = rows.fetch_all(connection).await.map_err(|cause| sql.ids_at.failed(cause))?;
        for row in rows {
            let read = || -> Result<_, sqlx::Error> {
                let id = EventId::from_uuid(row.try_get::<Uuid, _>(1)?);
                Ok((revision_of(row.try_get(0)?), id, position_of(row.try_get(2)?)))
            };
            let (revision, id, position) = read().map_err(|cause| sql.ids_at.failed(cause))?;
            self.at.insert((stream.clone(), revision), Some((id, position)));
        }
        Ok(())
    }

    /// Where the change's ids are, in whichever streams.
    async fn fetch_ids(
        &mut self,
        sql: &Sql,
        connection: &mut PgConnection,
        change: &Change,
        asked: EventId,
    ) -> Result<(), DatabaseError> {
        let own = events_of(change).iter().map(|(_, event)| event.id);
        let ids: Vec<Uuid> = own.chain([asked]).map(EventId::as_uuid).collect();
        let rows = sqlx::query(sql.find_ids.text()).bind(ids).fetch_all(connection).await;
        for row in rows.map_err(|cause| sql.find_ids.failed(cause))? {
            let read = || -> Result<_, sqlx::Error> {
                let place = (position_of(row.try_get(2)?), revision_of(row.try_get(3)?));
                let id = EventId::from_uuid(row.try_get(1)?);
                Ok((row.try_get::<String, _>(0)?, id, place))
            };
            let (stream, id, place) = read().map_err(|cause| sql.find_ids.failed(cause))?;
            if let Ok(stream) = StreamName::new(stream) {
                self.ids.entry(stream).or_default().insert(id, place);
            }
        }
        self.has_ids = true;
        Ok(())
    }

    async fn fetch_match(
        &mut self,
        sql: &Sql,
        connection: &mut PgConnection,
        query: Query,
        after: Position,
    ) -> Result<(), DatabaseError> {
        let first = sqlx::query_scalar(sql.first_match.text());
        let first = first.bind(to_json(&query).to_string()).bind(i64_of(after.get()));
        let first: Option<i64> =
            first.fetch_one(connection).await.map_err(|cause| sql.first_match.failed(cause))?;
        self.matches.insert((query, after), first.map(position_of));
        Ok(())
    }
}

fn events_of(change: &Change) -> &[(StreamName, quipu_core::NewEvent)] {
    if let Change::Append(Append { events, .. }) = change { events } else { &[] }
}

impl StreamRow {
    /// What the row says of the stream.
    pub(crate) fn facts(&self) -> StreamFacts {
        StreamFacts {
            last: self.last,
            tombstoned: self.tombstoned,
            metadata: self.metadata.as_ref().map(|json| Arc::new(StreamMetadata::parse(json))),
        }
    }
}
