//! An append, from what is asked to what is answered.
//!
//! 1. An ordinary append is one statement, with others that are under way (`group`), and decided by
//!    the database.
//! 2. What does not simply hold there is decided here, with all the rules, in a transaction that has
//!    locked what the decision rests on.
//! 3. Where another transaction was in the way, all of it is done again. Where the connection broke,
//!    too: the ids tell what had been done.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quipu_core::decide::{self, Decision, Layout, Plan};
use quipu_core::{
    Append, AppendError, Appended, AppendedStream, Change, ExpectedRevision, METADATA_TYPE,
    Position, QueryItem, Revision, StorageError, StreamMetadata, StreamName, TOMBSTONE_TYPE,
    Timestamp,
};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::Instant;

use crate::error::{DatabaseError, Failure, append_error};
use crate::facts::Facts;
use crate::locks::{Locks, locks_of, locks_of_change, root, roots_of};
use crate::query::{item_to_json, names_of_types};
use crate::rows::{EventColumns, StreamRow, i64_of, position_of, revision_of};
use crate::sql::Sql;
use crate::store::{PostgresStore, Shared, hung};

/// How often an append is tried again where other transactions are in its way.
const ATTEMPTS_MAX: u32 = 30;

/// An append that failed below the contract.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Nothing was done.
    Before(Arc<DatabaseError>),
    /// It may have been done.
    Unknown(Arc<DatabaseError>),
}

impl Trouble {
    pub(crate) fn before(error: DatabaseError) -> Self {
        Self::Before(Arc::new(error))
    }

    /// The failure of a statement that would have committed.
    fn committing(error: DatabaseError) -> Self {
        match error.kind() {
            Failure::Cut => Self::Unknown(Arc::new(error)),
            _ => Self::before(error),
        }
    }
}

impl PostgresStore {
    pub(crate) async fn apply(&self, change: Change) -> Result<Appended, AppendError> {
        let now = Timestamp::now();
        decide::validate(&change, self.rights, now).map_err(AppendError::Invalid)?;
        let layout =
            || decide::validate(&change, self.rights, now).expect("what was valid stays valid");
        let mut attempt = Attempts::begin(&self.shared);
        loop {
            let answer = self.try_once(&change, &layout).await;
            match answer {
                Ok(answer) => return attempt.settle(answer),
                Err(trouble) => attempt.after(trouble).await?,
            }
        }
    }

    async fn try_once(
        &self,
        change: &Change,
        layout: &impl Fn() -> Layout,
    ) -> Result<Result<Appended, AppendError>, Trouble> {
        if let Change::Append(append) = change
            && is_ordinary(append)
            && let Some(appended) = self.shared.write_in_group(append).await?
        {
            self.shared.watch.tell_appended();
            return Ok(Ok(appended));
        }
        let answer = self.shared.decide_and_write(change, layout).await?;
        if answer.is_ok() {
            self.shared.watch.tell_appended();
        }
        Ok(answer)
    }
}

/// How an append goes on after a failure.
struct Attempts<'a> {
    shared: &'a Shared,
    count: u32,
    deadline: Instant,
    /// The failure after which the outcome was not known.
    unknown: Option<Arc<DatabaseError>>,
}

impl<'a> Attempts<'a> {
    fn begin(shared: &'a Shared) -> Self {
        Self { shared, count: 0, deadline: Instant::now() + shared.patience, unknown: None }
    }

    /// The answer of an attempt that came to its end. After one whose outcome was not known only a
    /// success says something: the events of the first one are there.
    fn settle(self, answer: Result<Appended, AppendError>) -> Result<Appended, AppendError> {
        match (answer, self.unknown) {
            (Err(_), Some(unknown)) => Err(AppendError::OutcomeUnknown(StorageError::new(unknown))),
            (answer, _) => answer,
        }
    }

    /// Waits until the next attempt, or gives up.
    async fn after(&mut self, trouble: Trouble) -> Result<(), AppendError> {
        self.count += 1;
        let error = match trouble {
            Trouble::Before(error) => error,
            Trouble::Unknown(error) => {
                self.unknown.get_or_insert_with(|| Arc::clone(&error));
                error
            }
        };
        let counters = &self.shared.counters;
        let (is_repeatable, pause) = match error.kind() {
            Failure::InTheWay => {
                counters.conflicts_retried.fetch_add(1, Ordering::Relaxed);
                (self.count < ATTEMPTS_MAX, jitter(Duration::from_millis(2) * self.count.min(20)))
            }
            Failure::Cut => {
                counters.cuts_retried.fetch_add(1, Ordering::Relaxed);
                (Instant::now() < self.deadline, jitter(Duration::from_millis(50) * self.count))
            }
            Failure::OtherLife => {
                let found = self.shared.find_life().await.is_ok();
                (found && self.count < ATTEMPTS_MAX, jitter(Duration::from_millis(50) * self.count))
            }
            Failure::DiskFull
            | Failure::Locked
            | Failure::Busy
            | Failure::Closed
            | Failure::Other => (false, Duration::ZERO),
        };
        if is_repeatable {
            tokio::time::sleep(pause).await;
            return Ok(());
        }
        if let Some(unknown) = self.unknown.take() {
            return Err(AppendError::OutcomeUnknown(StorageError::new(unknown)));
        }
        Err(shared_error(error))
    }
}

/// What an append answers where nothing was done.
fn shared_error(error: Arc<DatabaseError>) -> AppendError {
    match Arc::try_unwrap(error) {
        Ok(error) => append_error(error),
        Err(error) => match error.kind() {
            Failure::DiskFull => AppendError::DiskFull,
            Failure::Locked | Failure::Busy => AppendError::Overloaded,
            Failure::Closed => AppendError::Closed,
            _ => AppendError::Storage(StorageError::new(error)),
        },
    }
}

/// Between half of a time and all of it, so that those who were in each other's way part.
fn jitter(time: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    time / 2 + time / 2 * (random % 1_000) / 1_000
}

/// Whether an append has nothing but events and demands that the database decides. Metadata and
/// tombstones change what other streams are like.
fn is_ordinary(append: &Append) -> bool {
    let is_plain = |expected: &ExpectedRevision| {
        !matches!(expected, ExpectedRevision::Deleted | ExpectedRevision::Tombstoned)
    };
    let mut events = append.events.iter();
    let mut expectations = append.expectations.iter();
    !append.events.is_empty()
        && events.all(|(stream, event)| !stream.is_metadata() && event.event_type != TOMBSTONE_TYPE)
        && expectations.all(|(stream, expected)| !stream.is_metadata() && is_plain(expected))
}

/// What the function `append` is called with.
#[derive(Default)]
pub(crate) struct Call<'a> {
    locks: Locks,
    conditions: Option<String>,
    stream: Vec<&'a str>,
    append: Vec<i32>,
    expected: Vec<Option<i64>>,
    count: Vec<i64>,
    events: EventColumns<'a>,
}

/// What is demanded of a stream, and how many events it gets.
struct Entry {
    append: i32,
    expected: ExpectedRevision,
    count: i64,
}

impl<'a> Call<'a> {
    /// Of appends that the database decides, none of which touches a stream of another.
    pub(crate) fn of_group(table: u32, appends: &[&'a Append]) -> Self {
        let mut entries: BTreeMap<&'a StreamName, Entry> = BTreeMap::new();
        for (append, number) in appends.iter().zip(0..) {
            let entry = |expected| Entry { append: number, expected, count: 0 };
            for (stream, expected) in &append.expectations {
                entries.insert(stream, entry(*expected));
            }
            for (stream, _) in &append.events {
                entries.entry(stream).or_insert_with(|| entry(ExpectedRevision::Any)).count += 1;
            }
        }
        // Anything may be true of a stream that nothing is written to.
        entries.retain(|_, it| it.count > 0 || it.expected != ExpectedRevision::Any);
        let mut call = Self {
            locks: locks_of(table, appends.iter().copied()),
            conditions: conditions_of(appends),
            ..Self::default()
        };
        for (stream, entry) in &entries {
            call.push_stream(stream, entry.append, Some(code_of(entry.expected)), entry.count);
        }
        let index: HashMap<&StreamName, usize> = entries.into_keys().zip(0..).collect();
        let mut offsets = vec![0; index.len()];
        for (stream, event) in appends.iter().flat_map(|append| &append.events) {
            let at = index.get(stream).copied().unwrap_or_default();
            call.push_event(at, &mut offsets, event);
        }
        call
    }

    /// Of events that are decided. The locks are held.
    fn of_plan(plan: &'a Plan) -> Self {
        let mut call = Self::default();
        let mut counts = vec![0; plan.streams.len()];
        for stream in plan.stream_indexes() {
            if let Some(count) = counts.get_mut(stream) {
                *count += 1;
            }
        }
        for ((stream, _), count) in plan.streams.iter().zip(counts) {
            call.push_stream(stream, 0, None, count);
        }
        let mut offsets = vec![0; plan.streams.len()];
        for (stream, event) in plan.events() {
            call.push_event(stream, &mut offsets, event);
        }
        call
    }

    fn push_stream(&mut self, stream: &'a StreamName, append: i32, expected: Option<i64>, n: i64) {
        self.stream.push(stream.as_str());
        self.append.push(append);
        self.expected.push(expected);
        self.count.push(n);
    }

    fn push_event(&mut self, stream: usize, offsets: &mut [i64], event: &'a quipu_core::NewEvent) {
        if let Some(offset) = offsets.get_mut(stream) {
            self.events.push(stream + 1, *offset, event);
            *offset += 1;
        }
    }

    pub(crate) async fn run(
        self,
        sql: &Sql,
        timeline: &str,
        connection: &mut PgConnection,
    ) -> Result<Written, DatabaseError> {
        let failed = |cause| sql.append.failed(cause);
        let query = sqlx::query(sql.append.text())
            .bind(timeline)
            .bind(self.locks.keys)
            .bind(self.locks.exclusive)
            .bind(self.conditions)
            .bind(self.stream)
            .bind(self.append)
            .bind(self.expected)
            .bind(self.count)
            .bind(self.events.stream)
            .bind(self.events.offset)
            .bind(self.events.id)
            .bind(self.events.event_type)
            .bind(self.events.tags)
            .bind(self.events.content_type)
            .bind(self.events.data)
            .bind(self.events.metadata)
            .bind(self.events.recorded_at);
        let row = query.fetch_one(connection).await.map_err(failed)?;
        let read = || -> Result<_, sqlx::Error> {
            let (positions, revisions) = (row.try_get(1)?, row.try_get(2)?);
            let (positions, revisions): (Vec<i64>, Vec<i64>) = (positions, revisions);
            let place = |(position, revision)| (position_of(position), revision_of(revision));
            let places = positions.into_iter().zip(revisions).map(place).collect();
            Ok(Written { refused: row.try_get(0)?, places })
        };
        read().map_err(failed)
    }
}

/// What the function `append` answers.
pub(crate) struct Written {
    /// The appends that nothing was written of, by their number.
    pub(crate) refused: Vec<i32>,
    /// The places of the other appends' events.
    pub(crate) places: Vec<(Position, Revision)>,
}

/// The conditions of some appends as the function `append` takes them.
fn conditions_of(appends: &[&Append]) -> Option<String> {
    let numbered = appends.iter().zip(0_u32..);
    let conditions = numbered.flat_map(|(append, number)| {
        append.conditions.iter().flat_map(move |condition| {
            let after = i64_of(condition.after.map_or(0, Position::get));
            let (of_tag, others): (Vec<_>, Vec<_>) =
                condition.query.items.iter().partition(|item| is_of_one_tag(item));
            let of_tag = of_tag.into_iter().map(move |item| {
                let types = (!item.types.is_empty()).then(|| names_of_types(item));
                let tag = item.tags.iter().next();
                json!({ "append": number, "after": after, "tag": tag, "types": types })
            });
            let others = (!others.is_empty()).then(|| {
                let items: Vec<Value> = others.into_iter().map(item_to_json).collect();
                json!({ "append": number, "after": after, "items": items })
            });
            of_tag.chain(others).collect::<Vec<_>>()
        })
    });
    let conditions: Vec<Value> = conditions.collect();
    (!conditions.is_empty()).then(|| Value::Array(conditions).to_string())
}

/// Whether an item demands one tag, and perhaps a type: what most conditions do.
fn is_of_one_tag(item: &QueryItem) -> bool {
    item.tags.count() == 1 && item.stream.is_none() && item.category.is_none()
}

fn code_of(expected: ExpectedRevision) -> i64 {
    match expected {
        ExpectedRevision::Any => -1,
        ExpectedRevision::NoStream => -2,
        ExpectedRevision::StreamExists => -3,
        ExpectedRevision::Exactly(revision) => i64_of(revision.get()),
        ExpectedRevision::Deleted | ExpectedRevision::Tombstoned => {
            unreachable!("the database is not asked to decide these")
        }
    }
}

/// What an append is answered, given where its events are.
pub(crate) fn answer<'a>(
    streams: impl Iterator<Item = &'a StreamName>,
    places: impl Iterator<Item = (Position, Revision)>,
) -> Appended {
    let mut appended = Appended::default();
    let mut index: HashMap<&StreamName, usize> = HashMap::new();
    for (stream, (position, revision)) in streams.zip(places) {
        appended.first.get_or_insert(position);
        appended.last = Some(position);
        let last = AppendedStream { stream: stream.clone(), position, revision };
        if let Some(own) = index.get(stream).and_then(|at| appended.streams.get_mut(*at)) {
            *own = last;
        } else {
            index.insert(stream, appended.streams.len());
            appended.streams.push(last);
        }
    }
    appended
}

impl Shared {
    /// Writes appends that are decided by the database, in a transaction of their own.
    pub(crate) async fn write(&self, appends: &[&Append]) -> Result<Written, Trouble> {
        let failed = |cause| Trouble::before(self.sql.append.failed(cause));
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let timeline = self.life().timeline;
        let call = Call::of_group(self.table, appends);
        let written = self.in_time(call.run(&self.sql, &timeline, &mut connection)).await;
        let Some(written) = written else {
            return Err(Trouble::committing(self.sql.append.failed(hung(connection))));
        };
        written.map_err(Trouble::committing)
    }

    /// Decides a change with all its rules, and does what is decided.
    async fn decide_and_write(
        &self,
        change: &Change,
        layout: &impl Fn() -> Layout,
    ) -> Result<Result<Appended, AppendError>, Trouble> {
        let failed = |cause| Trouble::before(self.sql.hold.failed(cause));
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let deciding = self.decide_and_commit(&mut connection, change, layout);
        match self.in_time(deciding).await {
            Some(answer) => answer,
            None => Err(Trouble::committing(self.sql.hold.failed(hung(connection)))),
        }
    }

    async fn decide_and_commit(
        &self,
        connection: &mut PgConnection,
        change: &Change,
        layout: &impl Fn() -> Layout,
    ) -> Result<Result<Appended, AppendError>, Trouble> {
        let failed = |cause| Trouble::before(self.sql.hold.failed(cause));
        let mut transaction = connection.begin().await.map_err(failed)?;
        let decided = self.decide_in(&mut transaction, change, layout).await;
        let appended = match decided.map_err(Trouble::before)? {
            Ok(Outcome::Written(appended)) => appended,
            Ok(Outcome::Unchanged(appended)) => {
                // The answer does not hang on whether this succeeds.
                transaction.rollback().await.ok();
                return Ok(Ok(appended));
            }
            Err(refusal) => {
                transaction.rollback().await.ok();
                return Ok(Err(refusal));
            }
        };
        let committed = transaction.commit().await;
        committed.map_err(|cause| Trouble::committing(DatabaseError::new("commit", cause)))?;
        Ok(Ok(appended))
    }

    /// Decides a change in a transaction, and writes there what is decided.
    pub(crate) async fn decide_in(
        &self,
        connection: &mut PgConnection,
        change: &Change,
        layout: &impl Fn() -> Layout,
    ) -> Result<Result<Outcome, AppendError>, DatabaseError> {
        let facts = self.hold(connection, change).await?;
        match facts.decide(&self.sql, connection, change, layout).await? {
            Decision::Answer(appended) => Ok(Ok(Outcome::Unchanged(appended))),
            Decision::Refuse(error) => Ok(Err(error)),
            Decision::Write(plan) => {
                Ok(Ok(Outcome::Written(self.write_plan(connection, &plan).await?)))
            }
        }
    }

    /// Locks what a decision rests on, and looks at its streams.
    async fn hold(
        &self,
        connection: &mut PgConnection,
        change: &Change,
    ) -> Result<Facts, DatabaseError> {
        let roots = roots_of(change);
        let locks = locks_of_change(self.table, change, &roots);
        let mut streams: Vec<StreamName> = roots.clone();
        streams.extend(roots.iter().map(StreamName::metadata_stream));
        if let Change::Append(append) = change {
            let named = append.events.iter().map(|(stream, _)| stream);
            let named = named.chain(append.expectations.iter().map(|(stream, _)| stream));
            streams.extend(named.filter(|stream| stream.is_metadata()).cloned());
        }
        streams.sort_unstable();
        streams.dedup();
        let names: Vec<&str> = streams.iter().map(StreamName::as_str).collect();
        let held: Vec<&str> = roots.iter().map(StreamName::as_str).collect();
        let rows = sqlx::query(self.sql.hold.text()).bind(locks.keys).bind(locks.exclusive);
        let rows = rows.bind(held).bind(names).fetch_all(connection).await;
        let rows = rows.and_then(|rows| StreamRow::from_rows(&rows));
        let mut facts = Facts::default();
        facts.add_streams(streams, rows.map_err(|cause| self.sql.hold.failed(cause))?);
        Ok(facts)
    }

    async fn write_plan(
        &self,
        connection: &mut PgConnection,
        plan: &Plan,
    ) -> Result<Appended, DatabaseError> {
        let timeline = self.life().timeline;
        let written = Call::of_plan(plan).run(&self.sql, &timeline, connection).await?;
        self.keep_metadata(connection, plan).await?;
        self.keep_tombstones(connection, plan).await?;
        let own = plan.own();
        let places = written.places.into_iter().skip(own.start).take(own.len());
        Ok(answer(plan.append.events.iter().map(|(stream, _)| stream), places))
    }

    /// Keeps the latest metadata in the rows of the streams that it describes.
    async fn keep_metadata(
        &self,
        connection: &mut PgConnection,
        plan: &Plan,
    ) -> Result<(), DatabaseError> {
        let mut latest: BTreeMap<StreamName, &[u8]> = BTreeMap::new();
        for (stream, event) in plan.events() {
            let stream = plan.streams.get(stream).map(|(stream, _)| stream);
            let base = stream.and_then(StreamName::metadata_of);
            if let Some(base) = base.filter(|base| !base.is_metadata())
                && event.event_type == METADATA_TYPE
            {
                latest.insert(base, &event.data);
            }
        }
        if latest.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = latest.keys().map(StreamName::as_str).collect();
        let deleted: Vec<bool> =
            latest.values().map(|json| StreamMetadata::parse(json).is_deleted()).collect();
        let described = sqlx::query(self.sql.describe_streams.text()).bind(names);
        let described = described.bind(latest.values().copied().collect::<Vec<_>>()).bind(deleted);
        let described = described.execute(connection).await;
        described.map_err(|cause| self.sql.describe_streams.failed(cause))?;
        Ok(())
    }

    async fn keep_tombstones(
        &self,
        connection: &mut PgConnection,
        plan: &Plan,
    ) -> Result<(), DatabaseError> {
        let ended = plan.events().filter(|(_, event)| event.event_type == TOMBSTONE_TYPE);
        let ended: Vec<&str> = ended
            .filter_map(|(stream, _)| plan.streams.get(stream))
            .filter(|(stream, _)| root(stream) == *stream)
            .map(|(stream, _)| stream.as_str())
            .collect();
        if ended.is_empty() {
            return Ok(());
        }
        let done = sqlx::query(self.sql.end_streams.text()).bind(ended).execute(connection).await;
        done.map_err(|cause| self.sql.end_streams.failed(cause))?;
        Ok(())
    }
}

/// What a decision did.
pub(crate) enum Outcome {
    Written(Appended),
    Unchanged(Appended),
}
