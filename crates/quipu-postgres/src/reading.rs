//! Bounded reads: of a stream, of the log, and what is known of streams.
//!
//! A read fixes at its beginning how far it goes, and then takes a page at a time. A page has so many
//! events, or so many bytes: the database cuts it, so that no answer is larger than that.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::decide::StreamFacts;
use quipu_core::{
    AsOf, Batches, BoxFuture, Direction, EventBatch, ListStreams, LogRead, Position, Query,
    ReadAll, ReadError, ReadStream, Retention, Revision, StreamInfo, StreamMetadata, StreamName,
    StreamRead, StreamState, TOMBSTONE_TYPE, Timestamp,
};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::{Again, DatabaseError, corrupt, read_error};
use crate::query::{Page, select_page};
use crate::rows::{BatchBuilder, StreamRow, i64_of, revision_of, u64_of};
use crate::store::{End, PostgresStore, Shared};

/// The most events in a page.
pub(crate) const PAGE_COUNT: usize = 1_024;
/// The fewest that are asked for where some may not be shown.
const PAGE_COUNT_MIN: usize = 64;
/// A page with this many bytes takes no further event.
pub(crate) const PAGE_SIZE: usize = 2 << 20;
/// The most names in one answer.
const LIST_COUNT_MAX: usize = 65_536;
/// How long to wait between looks at the frontier, at first and at most.
const LOOK: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// What the log was at some time.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    /// The last place that it had then.
    pub(crate) position: Position,
    pub(crate) time: Timestamp,
}

impl PostgresStore {
    pub(crate) async fn begin_log_read(&self, read: ReadAll) -> Result<LogRead, ReadError> {
        let shared = &self.shared;
        let end = shared.end().await.map_err(read_error)?;
        let last = match read.as_of {
            None => end.frontier,
            Some(as_of) => shared.moment(as_of, end).await?.position,
        };
        let (from, to) = match (read.from, read.direction) {
            (None, _) => (Position::START, last),
            (Some(from), Direction::Forward) => (from, last),
            (Some(from), Direction::Backward) => (Position::START, from.min(last)),
        };
        let pages = LogPages {
            shared: Arc::clone(shared),
            query: read.query,
            direction: read.direction,
            range: (from <= to).then_some((from, to)),
            wanted: read.limit.unwrap_or(u64::MAX),
        };
        Ok(LogRead { frontier: last, batches: Box::new(pages) })
    }

    pub(crate) async fn begin_stream_read(
        &self,
        read: ReadStream,
    ) -> Result<StreamRead, ReadError> {
        let shared = &self.shared;
        let mut first_page = None;
        let (facts, time) = if let Some(as_of) = read.as_of {
            let end = shared.end().await.map_err(read_error)?;
            let moment = shared.moment(as_of, end).await?;
            (shared.facts_at(&read.stream, moment.position).await?, Some(moment.time))
        } else {
            let from = match read.direction {
                Direction::Forward => read.from,
                Direction::Backward => None,
            };
            let count = match (read.direction, read.limit) {
                (Direction::Backward, _) | (_, Some(0)) => 0,
                (Direction::Forward, Some(limit)) => PAGE_COUNT.min(limit as usize),
                (Direction::Forward, None) => PAGE_COUNT,
            };
            let (row, rows) = shared.open_stream(&read.stream, from, count).await?;
            if read.direction == Direction::Forward {
                first_page = Some((rows, count));
            }
            (row.facts(), None)
        };
        let state = facts.state();
        let StreamState::Live { last } = state else {
            return Ok(StreamRead { state, batches: Box::new(StreamPages::none(shared)) });
        };
        let retention = shared.retention(&read.stream, &facts, last, time).await?;
        let first = retention.first();
        let (from, to) = match (read.from, read.direction) {
            (None, _) => (first, last),
            (Some(from), Direction::Forward) => (from.max(first), last),
            (Some(from), Direction::Backward) => (first, from.min(last)),
        };
        let pages = StreamPages {
            shared: Arc::clone(shared),
            stream: read.stream,
            direction: read.direction,
            range: (from <= to).then_some((from, to)),
            retention,
            wanted: read.limit.unwrap_or(u64::MAX),
            first_page,
        };
        Ok(StreamRead { state, batches: Box::new(pages) })
    }

    pub(crate) async fn wait_until_visible(&self, position: Position) -> Result<(), ReadError> {
        let mut pause = LOOK[0];
        while self.shared.seen() < position {
            let end = self.shared.end().await.map_err(read_error)?;
            if end.frontier >= position {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK[1]);
        }
        Ok(())
    }

    pub(crate) async fn list(&self, list: ListStreams) -> Result<Vec<StreamName>, ReadError> {
        let shared = &self.shared;
        let statement = &shared.sql.list_streams;
        // A stream's category is the beginning of its name.
        let prefix = match &list.category {
            Some(category) if category.starts_with(&list.prefix) => category,
            _ => &list.prefix,
        };
        let after = list.after.as_ref().map_or("", StreamName::as_str);
        let failed = |cause| read_error(statement.failed(cause));
        let names = sqlx::query(statement.text()).bind(prefix).bind(after);
        let names = names.bind(successor(prefix)).bind(&list.category);
        let names = names.bind(i64_of(list.limit.min(LIST_COUNT_MAX) as u64));
        let rows = shared.fetch(names).await.map_err(failed)?;
        let names: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let names = names.map_err(failed)?;
        let named = names.into_iter().filter(|name| name.starts_with(&list.prefix));
        named
            .map(|name| StreamName::new(name).map_err(|it| ReadError::Storage(corrupt(it))))
            .collect()
    }

    pub(crate) async fn describe(&self, stream: StreamName) -> Result<StreamInfo, ReadError> {
        let shared = &self.shared;
        let (row, _) = shared.open_stream(&stream, None, 0).await?;
        let facts = row.facts();
        let metadata_revision = if stream.is_metadata() {
            None
        } else {
            shared.open_stream(&stream.metadata_stream(), None, 0).await?.0.last
        };
        let state = facts.state();
        let mut info = StreamInfo {
            state,
            first: None,
            metadata: facts.metadata.as_deref().cloned().unwrap_or_default(),
            metadata_revision,
            count: 0,
            size: 0,
            stream,
        };
        if let StreamState::Live { last } = state {
            let retention = shared.retention(&info.stream, &facts, last, None).await?;
            shared.count_shown(&mut info, retention).await?;
        }
        Ok(info)
    }
}

/// The first name behind all that begin with a prefix; none where there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

impl Shared {
    /// What the log was at a moment that has come.
    pub(crate) async fn moment(&self, as_of: AsOf, end: End) -> Result<Moment, ReadError> {
        let frontier = end.frontier;
        match as_of {
            AsOf::Position(position) if position > frontier => {
                Err(ReadError::AsOfInFuture { frontier })
            }
            AsOf::Time(time) if time > end.now => Err(ReadError::AsOfInFuture { frontier }),
            AsOf::Time(time) => Ok(Moment { position: self.position_at(time, end).await?, time }),
            AsOf::Position(position) => {
                let statement = &self.sql.time_at;
                let failed = |cause| read_error(statement.failed(cause));
                let time = sqlx::query(statement.text()).bind(i64_of(position.get()));
                let row = self.fetch_optional(time).await.map_err(failed)?;
                let time = row.map(|row| row.try_get(0)).transpose().map_err(failed)?;
                Ok(Moment { position, time: time.map_or(end.now, Timestamp::from_micros) })
            }
        }
    }

    /// What was known of a stream at a place.
    async fn facts_at(
        &self,
        stream: &StreamName,
        position: Position,
    ) -> Result<StreamFacts, ReadError> {
        let statement = &self.sql.stream_at;
        let failed = |cause| read_error(statement.failed(cause));
        let row = sqlx::query(statement.text()).bind(stream.as_str());
        let row = row.bind(stream.metadata_stream().as_str()).bind(i64_of(position.get()));
        let row = self.fetch_one(row).await.map_err(failed)?;
        let read = || -> Result<StreamFacts, sqlx::Error> {
            let last: Option<i64> = row.try_get(0)?;
            let event_type: Option<&str> = row.try_get(1)?;
            let metadata: Option<&[u8]> = row.try_get(2)?;
            let metadata = metadata.filter(|_| !stream.is_metadata());
            Ok(StreamFacts {
                last: last.map(revision_of),
                tombstoned: event_type == Some(TOMBSTONE_TYPE),
                metadata: metadata.map(|json| Arc::new(StreamMetadata::parse(json))),
            })
        };
        read().map_err(failed)
    }

    /// A stream's row, and the rows of its first page.
    pub(crate) async fn open_stream(
        &self,
        stream: &StreamName,
        from: Option<Revision>,
        count: usize,
    ) -> Result<(StreamRow, Vec<PgRow>), ReadError> {
        let statement = &self.sql.read_stream;
        let failed = |cause| read_error(statement.failed(cause));
        let from = from.unwrap_or(Revision::FIRST).get();
        let fetched = self.fetch_again(|| async {
            let rows = sqlx::query(statement.text()).bind(stream.as_str()).bind(i64_of(from));
            let rows = rows.bind(i64_of(count as u64)).bind(i64_of(PAGE_SIZE as u64));
            self.fetch(rows).await.map_err(|cause| statement.failed(cause))
        });
        let mut rows = fetched.await?;
        let first = rows.first().ok_or_else(|| failed(sqlx::Error::RowNotFound))?;
        let facts = StreamRow::from_columns(first, 0).map_err(failed)?;
        if first.try_get::<Option<i64>, _>(FACT_COLUMNS).map_err(failed)?.is_none() {
            // The row has no event beside it.
            rows.clear();
        }
        Ok((facts, rows))
    }

    /// What a stream shows: now, or at a time.
    pub(crate) async fn retention(
        &self,
        stream: &StreamName,
        facts: &StreamFacts,
        last: Revision,
        time: Option<Timestamp>,
    ) -> Result<Retention, ReadError> {
        if stream.is_metadata() {
            return Ok(Retention::of_metadata_stream(last));
        }
        let Some(metadata) = facts.metadata.as_deref() else { return Ok(Retention::ALL) };
        let time = match time {
            Some(time) => time,
            None if metadata.max_age().is_some() => self.now().await.map_err(read_error)?,
            None => Timestamp::from_micros(0),
        };
        Ok(Retention::new(metadata, last, time))
    }

    pub(crate) async fn now(&self) -> Result<Timestamp, DatabaseError> {
        let statement = &self.sql.now;
        let row = self.fetch_one(sqlx::query(statement.text())).await;
        let now = row.and_then(|row| row.try_get(0));
        now.map(Timestamp::from_micros).map_err(|cause| statement.failed(cause))
    }

    async fn count_shown(
        &self,
        info: &mut StreamInfo,
        retention: Retention,
    ) -> Result<(), ReadError> {
        let statement = &self.sql.count_shown;
        let failed = |cause| read_error(statement.failed(cause));
        let oldest = match info.metadata.max_age() {
            Some(age) => self.now().await.map_err(read_error)?.minus(age),
            None => Timestamp::from_micros(i64::MIN),
        };
        let row = sqlx::query(statement.text()).bind(info.stream.as_str());
        let row = row.bind(i64_of(retention.first().get())).bind(oldest.as_micros());
        let row = self.fetch_one(row).await.map_err(failed)?;
        info.count = u64_of(row.try_get(0).map_err(failed)?);
        info.first = row.try_get::<Option<i64>, _>(1).map_err(failed)?.map(revision_of);
        info.size = u64_of(row.try_get(2).map_err(failed)?);
        Ok(())
    }

    /// The rows of a page of what matches a query.
    pub(crate) async fn query_page(
        &self,
        query: &Query,
        page: Page,
    ) -> Result<Vec<PgRow>, ReadError> {
        if query.items.is_empty() {
            return Ok(Vec::new());
        }
        let statement = match page.direction {
            Direction::Forward => &self.sql.log_forward,
            Direction::Backward => &self.sql.log_backward,
        };
        let fetched = self.fetch_again(|| async {
            if !query.is_all() {
                let mut select = select_page(&self.sql.schema, query, page);
                let rows = self.fetch(select.build()).await;
                return rows.map_err(|cause| DatabaseError::new("query", cause));
            }
            let rows = sqlx::query(statement.text()).bind(i64_of(page.from.get()));
            let rows = rows.bind(i64_of(page.to.get())).bind(i64_of(page.count as u64));
            let rows = self.fetch(rows.bind(i64_of(page.size as u64))).await;
            rows.map_err(|cause| statement.failed(cause))
        });
        fetched.await
    }

    /// Fetches rows, again where the connection broke.
    async fn fetch_again<F>(&self, fetch: impl Fn() -> F) -> Result<Vec<PgRow>, ReadError>
    where
        F: Future<Output = Result<Vec<PgRow>, DatabaseError>>,
    {
        let mut again = Again::default();
        loop {
            match fetch().await {
                Ok(rows) => return Ok(rows),
                Err(error) if again.helps(&error).await => {}
                Err(error) => return Err(read_error(error)),
            }
        }
    }
}

/// How many columns come before an event's where a stream is opened.
const FACT_COLUMNS: usize = 3;

/// The pages of a log read.
struct LogPages {
    shared: Arc<Shared>,
    query: Query,
    direction: Direction,
    /// What is still to be read, both included; none at the end.
    range: Option<(Position, Position)>,
    wanted: u64,
}

impl Batches for LogPages {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        Box::pin(async move {
            let Some((from, to)) = self.range.filter(|_| self.wanted > 0) else { return Ok(None) };
            let count = PAGE_COUNT.min(usize::try_from(self.wanted).unwrap_or(usize::MAX));
            let page = Page { from, to, direction: self.direction, count, size: PAGE_SIZE };
            let rows = self.shared.query_page(&self.query, page).await?;
            let read = read_page(&rows, 0, count, |_, _| true)?;
            self.wanted -= read.batch.count() as u64;
            self.range = match (read.last, read.is_last, self.direction) {
                (None, _, _) | (_, true, _) => None,
                (Some(last), _, Direction::Forward) => Some((last.0.next(), to)),
                (Some(last), _, Direction::Backward) => Some((from, last.0.previous())),
            }
            .filter(|(from, to)| from <= to);
            Ok((!read.batch.is_empty()).then_some(read.batch))
        })
    }
}

/// A page, as it was read.
pub(crate) struct ReadPage {
    pub(crate) batch: EventBatch,
    /// The last event that was read, shown or not.
    pub(crate) last: Option<(Position, Revision)>,
    /// Whether nothing comes behind it.
    pub(crate) is_last: bool,
}

/// Reads the events of a page that was asked to have `count` of them, and keeps those to be shown.
pub(crate) fn read_page(
    rows: &[PgRow],
    at: usize,
    count: usize,
    is_shown: impl Fn(Revision, Timestamp) -> bool,
) -> Result<ReadPage, ReadError> {
    let mut builder = BatchBuilder::default();
    let (mut size, mut last) = (0, None);
    for row in rows {
        let span = builder.push(row, at)?;
        size += span.data_size as usize + span.metadata_size as usize;
        last = Some((span.position, span.revision));
        if !is_shown(span.revision, span.recorded_at) {
            builder.pop();
        }
    }
    let is_last = rows.len() < count && size < PAGE_SIZE;
    Ok(ReadPage { batch: builder.build(), last, is_last })
}

/// The pages of a stream read.
struct StreamPages {
    shared: Arc<Shared>,
    stream: StreamName,
    direction: Direction,
    /// What is still to be read, both included; none at the end.
    range: Option<(Revision, Revision)>,
    retention: Retention,
    wanted: u64,
    /// The rows that came with the stream's own, and how many were asked for.
    first_page: Option<(Vec<PgRow>, usize)>,
}

impl StreamPages {
    fn none(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            stream: StreamName::new("$none").expect("it is a name"),
            direction: Direction::Forward,
            range: None,
            retention: Retention::ALL,
            wanted: 0,
            first_page: None,
        }
    }

    /// The next page, and whether it is of any use.
    async fn pull(&mut self, from: Revision, to: Revision) -> Result<EventBatch, ReadError> {
        let (rows, at, count) = if let Some((rows, count)) = self.first_page.take() {
            (rows, FACT_COLUMNS, count)
        } else {
            // Behind a filter more may be needed than are wanted.
            let wanted = usize::try_from(self.wanted).unwrap_or(usize::MAX);
            let count = PAGE_COUNT.min(wanted.max(PAGE_COUNT_MIN));
            let rows = stream_page(&self.shared, &self.stream, (from, to), self.direction, count);
            (rows.await?, 0, count)
        };
        let retention = self.retention;
        let is_shown =
            |revision, time| (from..=to).contains(&revision) && retention.shows(revision, time);
        let mut read = read_page(&rows, at, count, is_shown)?;
        read.batch.truncate(usize::try_from(self.wanted).unwrap_or(usize::MAX));
        self.wanted -= read.batch.count() as u64;
        self.range = match (read.last, self.direction) {
            (Some(last), Direction::Forward) => Some((last.1.next().max(from), to)),
            (Some(last), Direction::Backward) => {
                last.1.get().checked_sub(1).map(|last| (from, Revision::new(last)))
            }
            (None, _) => None,
        }
        .filter(|_| !read.is_last)
        .filter(|(from, to)| from <= to);
        Ok(read.batch)
    }
}

async fn stream_page(
    shared: &Shared,
    stream: &StreamName,
    (from, to): (Revision, Revision),
    direction: Direction,
    count: usize,
) -> Result<Vec<PgRow>, ReadError> {
    let statement = match direction {
        Direction::Forward => &shared.sql.page_forward,
        Direction::Backward => &shared.sql.page_backward,
    };
    let fetched = shared.fetch_again(|| async {
        let rows = sqlx::query(statement.text()).bind(stream.as_str()).bind(i64_of(from.get()));
        let rows = rows.bind(i64_of(to.get())).bind(i64_of(count as u64));
        let rows = shared.fetch(rows.bind(i64_of(PAGE_SIZE as u64))).await;
        rows.map_err(|cause| statement.failed(cause))
    });
    fetched.await
}

impl Batches for StreamPages {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        Box::pin(async move {
            while let Some((from, to)) = self.range.filter(|_| self.wanted > 0) {
                let batch = self.pull(from, to).await?;
                if !batch.is_empty() {
                    return Ok(Some(batch));
                }
            }
            Ok(None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_prefix_comes_the_next_character() {
        assert_eq!(successor("order-").as_deref(), Some("order."));
        assert_eq!(successor("a\u{D7FF}").as_deref(), Some("a\u{E000}"));
        assert_eq!(successor("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(successor(""), None);
    }
}
