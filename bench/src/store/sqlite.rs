//! SQLite as an event store: WAL, `synchronous=FULL`, one connection.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::{Error, Grouped, Guard, Result, Store, Tally};
use crate::workload::Event;

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA cache_size = -262144;
PRAGMA wal_autocheckpoint = 16384;
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    revision INTEGER NOT NULL,
    id BLOB NOT NULL,
    type TEXT NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS by_stream ON events (stream, revision);
CREATE INDEX IF NOT EXISTS by_type ON events (type);
CREATE TABLE IF NOT EXISTS tags (
    tag TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tag, position)
) WITHOUT ROWID;
";

/// A table of events and a table of tags, with an index on all that queries ask for.
pub(super) struct Sqlite(Mutex<Connection>);

impl Sqlite {
    /// Opens the database.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let connection = Connection::open(dir.join("events.sqlite"))?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }

    /// One transaction: it is rolled back if a part of it fails.
    fn commit(&self, work: impl FnOnce(&Connection) -> Result<u64>) -> Result<u64> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let position = work(&transaction)?;
        transaction.commit()?;
        Ok(position)
    }
}

impl Store for Sqlite {
    fn append(&self, events: &[Event]) -> Result<u64> {
        self.commit(|connection| insert_all(connection, events.iter()))
    }

    fn append_guarded(&self, event: &Event, guard: &Guard) -> Result<u64> {
        self.commit(|connection| {
            check(connection, guard)?;
            let revision = next_revision(connection, event)?;
            insert(connection, event, revision)
        })
    }

    fn check_all(&self, guards: &[Guard]) -> Result<()> {
        let connection = self.connection();
        guards.iter().try_for_each(|guard| check(&connection, guard))
    }

    fn grouped(&self) -> Option<&dyn Grouped> {
        Some(self)
    }

    fn last(&self) -> Result<u64> {
        let last = "SELECT coalesce(max(position), 0) FROM events";
        let last: i64 = self.connection().prepare_cached(last)?.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(last)?)
    }

    fn scan(&self) -> Result<Tally> {
        let connection = self.connection();
        tally(connection.prepare_cached("SELECT type, data FROM events ORDER BY position")?, [])
    }

    fn read_stream(&self, stream: &str) -> Result<Tally> {
        let select = "SELECT type, data FROM events WHERE stream = ?1 ORDER BY revision";
        tally(self.connection().prepare_cached(select)?, [stream])
    }
}

impl Grouped for Sqlite {
    fn append_group(&self, group: &[&Event]) -> Result<()> {
        self.commit(|connection| insert_all(connection, group.iter().copied())).map(|_| ())
    }
}

fn insert_all<'a>(connection: &Connection, events: impl Iterator<Item = &'a Event>) -> Result<u64> {
    let mut position = 0;
    for event in events {
        // Within a batch the unique index refuses a revision that is taken, and the first event of
        // each stream shows that none before it is missing.
        if event.opens_stream {
            let next = next_revision(connection, event)?;
            if next != event.revision {
                return Err(Error::from(format!("{} is at {next}", event.stream)));
            }
        }
        position = insert(connection, event, event.revision)?;
    }
    Ok(position)
}

fn next_revision(connection: &Connection, event: &Event) -> Result<u32> {
    let last = "SELECT max(revision) FROM events WHERE stream = ?1";
    let last: Option<u32> =
        connection.prepare_cached(last)?.query_row([&event.stream], |row| row.get(0))?;
    Ok(last.map_or(0, |last| last + 1))
}

fn insert(connection: &Connection, event: &Event, revision: u32) -> Result<u64> {
    let insert = "INSERT INTO events (stream, revision, id, type, data) VALUES (?1,?2,?3,?4,?5)";
    let mut insert = connection.prepare_cached(insert)?;
    let position =
        insert.insert(params![event.stream, revision, event.id, event.event_type, event.data])?;
    let mut tag = connection.prepare_cached("INSERT INTO tags (tag, position) VALUES (?1, ?2)")?;
    for text in &event.tags {
        tag.execute(params![text, position])?;
    }
    Ok(u64::try_from(position)?)
}

fn check(connection: &Connection, guard: &Guard) -> Result<()> {
    let (select, name, after) = match guard {
        Guard::NoTag { tag, after } => {
            ("SELECT position FROM tags WHERE tag = ?1 AND position > ?2 LIMIT 1", tag, after)
        }
        Guard::NoType { event_type, after } => (
            "SELECT position FROM events WHERE type = ?1 AND position > ?2 LIMIT 1",
            event_type,
            after,
        ),
    };
    let after = i64::try_from(*after)?;
    let mut select = connection.prepare_cached(select)?;
    let found: Option<i64> = select.query_row(params![name, after], |row| row.get(0)).optional()?;
    found.map_or(Ok(()), |position| Err(Error::from(format!("{position} matches {name}"))))
}

fn tally(mut select: CachedStatement<'_>, arguments: impl rusqlite::Params) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut rows = select.query(arguments)?;
    while let Some(row) = rows.next()? {
        tally.add(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_blob()?);
    }
    Ok(tally)
}
