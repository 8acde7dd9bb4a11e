//! Ordinals of terms, and places of times: what can be counted, and is not counted from the start.
//!
//! An ordinal is how many entries a term has before one; the place of a time is where the latest time
//! of all events before exceeds it. Both follow from the part of the log that is settled, so whoever
//! counts keeps marks on the way, and the next one begins at the last of them. Appends know nothing
//! of it.

use quipu_core::{
    Direction, IndexEntry, IndexRead, Position, ReadError, ReadIndex, Term, Timestamp,
};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::read_error;
use crate::reading::{PAGE_SIZE, read_page};
use crate::rows::{i64_of, position_of, u64_of};
use crate::sql::Statement;
use crate::store::{End, PostgresStore, Shared};

/// How many entries are between two marks.
const STEP: u64 = 1_024;
/// The most entries in one answer.
const ENTRY_COUNT_MAX: u64 = 65_536;
/// The most positions that are fetched at once.
const FETCH_COUNT: u64 = 16 * STEP;
/// How many events are fetched at once.
const EVENT_COUNT: usize = 512;
/// An answer with this many bytes takes no further entry.
const ANSWER_SIZE: usize = 16 << 20;

/// A term as the tables have it.
struct Key<'a> {
    kind: i16,
    term: &'a str,
}

impl<'a> Key<'a> {
    fn of(term: &'a Term) -> Self {
        match term {
            Term::Category(category) => Self { kind: 0, term: category },
            Term::Type(event_type) => Self { kind: 1, term: event_type.as_str() },
            Term::StreamNames => Self { kind: 2, term: "" },
        }
    }

    fn positions<'s>(&self, shared: &'s Shared) -> &'s Statement {
        match self.kind {
            0 => &shared.sql.category_positions,
            1 => &shared.sql.type_positions,
            _ => &shared.sql.first_positions,
        }
    }
}

/// So many entries are at or before this place.
#[derive(Clone, Copy)]
struct Mark {
    count: u64,
    position: Position,
}

impl PostgresStore {
    pub(crate) async fn read_term(&self, read: ReadIndex) -> Result<IndexRead, ReadError> {
        let shared = &self.shared;
        let frontier = shared.end().await.map_err(read_error)?.frontier;
        let key = Key::of(&read.term);
        let count = shared.count_term(&key, frontier).await?;
        let limit = read.limit.min(ENTRY_COUNT_MAX);
        let (first, end) = match read.direction {
            Direction::Forward => {
                let first = read.from.unwrap_or(0);
                (first, first.saturating_add(limit).min(count))
            }
            Direction::Backward => {
                let end = read.from.map_or(count, |from| from.saturating_add(1).min(count));
                (end.saturating_sub(limit), end)
            }
        };
        let mut positions = Vec::new();
        if first < end {
            positions = shared.term_positions(&key, first, end, frontier).await?;
        }
        let mut numbered: Vec<(u64, Position)> = (first..end).zip(positions).collect();
        if read.direction == Direction::Backward {
            numbered.reverse();
        }
        let answer = IndexRead { frontier, count, ..IndexRead::default() };
        shared.fill_index(answer, &numbered).await
    }

    pub(crate) async fn find_time(&self, time: Timestamp) -> Result<Position, ReadError> {
        let end = self.shared.end().await.map_err(read_error)?;
        if time > end.now {
            return Err(ReadError::AsOfInFuture { frontier: end.frontier });
        }
        self.shared.position_at(time, end).await
    }
}

/// A row of a position and a time.
fn two_of(row: &PgRow) -> Result<(i64, i64), sqlx::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

impl Shared {
    /// How many entries a term has up to a frontier. Leaves marks on the way.
    async fn count_term(&self, key: &Key<'_>, frontier: Position) -> Result<u64, ReadError> {
        let mut at = self.mark_before(key, u64::MAX).await?;
        loop {
            let positions = self.fetch_positions(key, at.position, frontier, FETCH_COUNT).await?;
            let fetched = positions.len() as u64;
            let numbered = (at.count + 1..).zip(&positions);
            let marks: Vec<_> = numbered.filter(|(count, _)| count.is_multiple_of(STEP)).collect();
            if !marks.is_empty() {
                self.put_marks(key, &marks).await?;
            }
            at.count += fetched;
            match positions.last() {
                Some(last) if fetched == FETCH_COUNT => at.position = *last,
                _ => return Ok(at.count),
            }
        }
    }

    /// The places of a term's entries from one ordinal to another.
    async fn term_positions(
        &self,
        key: &Key<'_>,
        first: u64,
        end: u64,
        frontier: Position,
    ) -> Result<Vec<Position>, ReadError> {
        let mark = self.mark_before(key, first).await?;
        let count = end - mark.count;
        let mut positions = self.fetch_positions(key, mark.position, frontier, count).await?;
        positions.drain(..((first - mark.count) as usize).min(positions.len()));
        Ok(positions)
    }

    async fn mark_before(&self, key: &Key<'_>, ordinal: u64) -> Result<Mark, ReadError> {
        let statement = &self.sql.last_mark;
        let failed = |cause| read_error(statement.failed(cause));
        let row = sqlx::query(statement.text()).bind(key.kind).bind(key.term);
        let row = self.fetch_optional(row.bind(i64_of(ordinal))).await.map_err(failed)?;
        let Some(row) = row else { return Ok(Mark { count: 0, position: Position::START }) };
        let count = u64_of(row.try_get(0).map_err(failed)?);
        Ok(Mark { count, position: position_of(row.try_get(1).map_err(failed)?) })
    }

    async fn put_marks(&self, key: &Key<'_>, marks: &[(u64, &Position)]) -> Result<(), ReadError> {
        let statement = &self.sql.put_marks;
        let counts: Vec<i64> = marks.iter().map(|(count, _)| i64_of(*count)).collect();
        let positions: Vec<i64> = marks.iter().map(|(_, at)| i64_of(at.get())).collect();
        let put = sqlx::query(statement.text()).bind(key.kind).bind(key.term);
        let put = self.execute(put.bind(counts).bind(positions)).await;
        put.map_err(|cause| read_error(statement.failed(cause)))?;
        Ok(())
    }

    async fn fetch_positions(
        &self,
        key: &Key<'_>,
        after: Position,
        frontier: Position,
        count: u64,
    ) -> Result<Vec<Position>, ReadError> {
        let statement = key.positions(self);
        let failed = |cause| read_error(statement.failed(cause));
        let positions = sqlx::query(statement.text()).bind(key.term);
        let positions = positions.bind(i64_of(after.get())).bind(i64_of(frontier.get()));
        let rows = self.fetch(positions.bind(i64_of(count))).await.map_err(failed)?;
        let position = |row: &PgRow| row.try_get(0).map(position_of);
        rows.iter().map(position).collect::<Result<_, _>>().map_err(failed)
    }

    /// Fills an answer with the entries and their events, as many as it may hold.
    async fn fill_index(
        &self,
        mut answer: IndexRead,
        numbered: &[(u64, Position)],
    ) -> Result<IndexRead, ReadError> {
        let statement = &self.sql.events_at;
        let mut events = Vec::new();
        let mut size = 0;
        let mut rest = numbered;
        while !rest.is_empty() && size < ANSWER_SIZE {
            let page = rest.get(..EVENT_COUNT.min(rest.len())).unwrap_or_default();
            let wanted: Vec<i64> = page.iter().map(|(_, at)| i64_of(at.get())).collect();
            let rows = sqlx::query(statement.text()).bind(wanted).bind(i64_of(PAGE_SIZE as u64));
            let rows = self.fetch(rows).await;
            let rows = rows.map_err(|cause| read_error(statement.failed(cause)))?;
            let found = read_page(&rows, 0, page.len(), |_, _| true)?;
            // A page that was cut ends with the last event that it has.
            let mut done = page.len();
            let page_size: usize = found
                .batch
                .iter()
                .map(|event| event.data_bytes().len() + event.metadata_bytes().len())
                .sum();
            if page_size >= PAGE_SIZE
                && let Some((last, _)) = found.last
            {
                let at = page.iter().position(|(_, position)| *position == last);
                done = at.map_or(page.len(), |at| at + 1);
            }
            size += page_size;
            let mut found = found.batch.to_vec().into_iter().peekable();
            for (ordinal, position) in page.iter().take(done) {
                let event = found.next_if(|event| event.position == *position);
                let index = event.map(|event| {
                    events.push(event);
                    events.len() - 1
                });
                let entry = IndexEntry { ordinal: *ordinal, position: *position, event: index };
                answer.entries.push(entry);
            }
            rest = rest.get(done..).unwrap_or_default();
        }
        answer.events = events.iter().collect();
        Ok(answer)
    }

    /// The place before the first event that was recorded after a time.
    pub(crate) async fn position_at(
        &self,
        time: Timestamp,
        end: End,
    ) -> Result<Position, ReadError> {
        self.mark_times(end.frontier).await?;
        let statement = &self.sql.time_mark_before;
        let failed = |cause| read_error(statement.failed(cause));
        let before = sqlx::query(statement.text()).bind(time.as_micros());
        let before = self.fetch_one(before).await.map_err(failed)?;
        let before: i64 = before.try_get(0).map_err(failed)?;
        let statement = &self.sql.first_later;
        let failed = |cause| read_error(statement.failed(cause));
        let first = sqlx::query(statement.text()).bind(before);
        let first = first.bind(i64_of(end.frontier.get())).bind(time.as_micros());
        let first = self.fetch_optional(first).await.map_err(failed)?;
        let first = first.map(|row| row.try_get(0)).transpose().map_err(failed)?;
        Ok(first.map_or(end.frontier, |first| position_of(first).previous()))
    }

    /// Keeps marks of times up to a frontier.
    async fn mark_times(&self, frontier: Position) -> Result<(), ReadError> {
        let statement = &self.sql.last_time_mark;
        let failed = |cause| read_error(statement.failed(cause));
        let last = self.fetch_optional(sqlx::query(statement.text())).await.map_err(failed)?;
        let last = last.map(|row| two_of(&row)).transpose().map_err(failed)?;
        let (mut position, mut latest) = last.unwrap_or((0, i64::MIN));
        loop {
            let statement = &self.sql.times;
            let failed = |cause| read_error(statement.failed(cause));
            let times = sqlx::query(statement.text()).bind(position);
            let times = times.bind(i64_of(frontier.get())).bind(i64_of(FETCH_COUNT));
            let times = self.fetch(times).await.map_err(failed)?;
            let times: Result<Vec<_>, _> = times.iter().map(two_of).collect();
            let times = times.map_err(failed)?;
            let mut marks = (Vec::new(), Vec::new());
            for step in times.chunks_exact(STEP as usize) {
                latest = step.iter().map(|(_, time)| *time).fold(latest, i64::max);
                if let Some((at, _)) = step.last() {
                    position = *at;
                    marks.0.push(*at);
                    marks.1.push(latest);
                }
            }
            if marks.0.is_empty() {
                return Ok(());
            }
            let statement = &self.sql.put_time_marks;
            let failed = |cause| read_error(statement.failed(cause));
            let put = sqlx::query(statement.text()).bind(marks.0).bind(marks.1);
            self.execute(put).await.map_err(failed)?;
        }
    }
}
