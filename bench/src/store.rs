//! What the bench asks of a store, and the stores.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::workload::Event;

mod quipu;
mod reference;
mod sqlite;
mod tephra;

/// Why a store failed. A bench has nothing to do about it but to say so.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A store under measurement. Every append is durable when it is answered.
pub(crate) trait Store: Send + Sync {
    /// Appends a batch, if each stream is at the revision that its first event says; answers the
    /// last position.
    fn append(&self, events: &[Event]) -> Result<u64>;

    /// Whether an append can demand something of the log.
    fn has_guards(&self) -> bool {
        true
    }

    /// Appends one event if the guard lets it, whatever its stream is like; answers its position.
    fn append_guarded(&self, event: &Event, guard: &Guard) -> Result<u64>;

    /// Asks whether these guards would let an append pass, all at once and without appending.
    fn check_all(&self, guards: &[Guard]) -> Result<()>;

    /// How appends of many callers at once are made, where the store leaves that to its user.
    fn grouped(&self) -> Option<&dyn Grouped> {
        None
    }

    /// The last position.
    fn last(&self) -> Result<u64>;

    /// Reads the whole log.
    fn scan(&self) -> Result<Tally>;

    /// Reads one stream.
    fn read_stream(&self, stream: &str) -> Result<Tally>;
}

/// A store that a harness gives one writer thread, which commits the appends of many callers
/// together.
pub(crate) trait Grouped: Sync {
    /// Appends several callers' events with one sync, each if its stream is as it says.
    fn append_group(&self, group: &[&Event]) -> Result<()>;
}

/// What an append demands of the log.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    /// No event after this position has the tag. 0 is the whole log.
    NoTag { tag: Box<str>, after: u64 },
    /// No event after this position has the type.
    NoType { event_type: Box<str>, after: u64 },
}

/// What a reader saw: each event is looked at, so that no store gets away without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) size: u64,
    mark: u64,
}

impl Tally {
    /// Looks at one event.
    pub(crate) fn add(&mut self, event_type: &str, data: &[u8]) {
        self.count += 1;
        self.size += data.len() as u64;
        let ends = data.first().zip(data.last()).map_or(0, |(a, b)| u64::from(a ^ b));
        self.mark = self.mark.rotate_left(5) ^ ends ^ event_type.len() as u64;
    }
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    Reference,
    Sqlite,
    Tephra,
    Quipu,
}

impl Which {
    /// All of them, in the order of a round.
    pub(crate) const ALL: [Self; 4] = [Self::Reference, Self::Sqlite, Self::Tephra, Self::Quipu];

    /// Its name, as the output and the arguments have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Sqlite => "sqlite",
            Self::Tephra => "tephra",
            Self::Quipu => "quipu",
        }
    }

    /// Opens the store in a directory, which is made if it is missing.
    pub(crate) fn open(self, dir: &Path, segments: Segments) -> Result<Box<dyn Store>> {
        std::fs::create_dir_all(dir)?;
        Ok(match self {
            Self::Reference => Box::new(reference::Reference::open(dir)?),
            Self::Sqlite => Box::new(sqlite::Sqlite::open(dir)?),
            Self::Tephra => Box::new(tephra::Tephra::open(dir, segments)?),
            Self::Quipu => Box::new(quipu::Quipu::open(dir, segments)?),
        })
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Which {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|which| which.name() == name);
        found.ok_or_else(|| format!("there is no store \"{name}\""))
    }
}

/// The size of a log's files, for the stores that have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segments {
    /// What the stores take by default: 256 MiB.
    Default,
    /// 16 MiB, so that a short run has many.
    Small,
}

impl Segments {
    /// Bytes in one segment.
    pub(crate) fn size(self) -> u64 {
        match self {
            Self::Default => 256 << 20,
            Self::Small => 16 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::machine::Scratch;
    use crate::workload::{Feed, LONG_STREAM, Workload};

    /// What the rows rest on: every store keeps what it was given, in order, across a reopen, and
    /// refuses what it must.
    fn keeps_its_promises(open: impl Fn(&Path) -> Box<dyn Store>, has_revisions: bool) {
        let scratch = Scratch::new(None).unwrap();
        let mut feed = Feed::after(&Arc::new(Workload::new(3_000)), 0);
        let store = open(scratch.path());

        for batch in feed.take(2_000, 100).chunks(100) {
            store.append(batch).unwrap();
        }
        for event in feed.take(20, 1) {
            store.append(&[event]).unwrap();
        }
        if let Some(grouped) = store.grouped() {
            let events = feed.take_for(4, 1);
            let group: Vec<&Event> = events.iter().flatten().collect();
            grouped.append_group(&group).unwrap();
        } else {
            for event in feed.take_for(4, 1).iter().flatten() {
                store.append(std::slice::from_ref(event)).unwrap();
            }
        }
        drop(store);
        let store = open(scratch.path());

        assert_eq!(store.last().unwrap(), 2_024);
        assert_eq!(store.scan().unwrap().count, 2_024);
        for stream in [LONG_STREAM, 1, 7, 500] {
            let tally = store.read_stream(&Workload::stream_name(stream)).unwrap();
            assert_eq!(tally.count, feed.count(stream), "stream {stream}");
        }
        let next = feed.take(1, 1).remove(0);
        let late = Event { revision: next.revision + 1, ..next.clone() };
        if has_revisions {
            assert!(store.append(&[late]).is_err(), "the stream is not that far");
        }
        assert_eq!(store.append(&[next]).unwrap(), 2_025);
        if store.has_guards() {
            guards_hold(&*store, &mut feed);
        }
    }

    fn guards_hold(store: &dyn Store, feed: &mut Feed) {
        let event = feed.take_unique(1).remove(0);
        let again = feed.take(1, 1).remove(0);
        let guard = Guard::NoTag { tag: event.tags[2].clone(), after: 0 };

        let position = store.append_guarded(&event, &guard).unwrap();
        assert!(store.append_guarded(&again, &guard).is_err(), "the tag is there");

        let event_type = event.event_type;
        let stale = Guard::NoType { event_type: event_type.clone(), after: position - 1 };
        assert!(store.append_guarded(&again, &stale).is_err(), "the type has come");
        let fresh = Guard::NoType { event_type, after: position };
        store.append_guarded(&again, &fresh).unwrap();
    }

    fn opener(which: Which) -> impl Fn(&Path) -> Box<dyn Store> {
        move |dir| which.open(dir, Segments::Small).unwrap()
    }

    #[test]
    fn the_reference_keeps_its_promises() {
        keeps_its_promises(opener(Which::Reference), true);
    }

    #[test]
    fn sqlite_keeps_its_promises() {
        keeps_its_promises(opener(Which::Sqlite), true);
    }

    #[test]
    fn tephra_keeps_its_promises() {
        keeps_its_promises(opener(Which::Tephra), false);
    }

    #[test]
    fn quipu_keeps_its_promises() {
        keeps_its_promises(opener(Which::Quipu), true);
    }

    /// The adapter asks the contract for nothing but what it promises.
    #[test]
    fn the_store_in_memory_keeps_its_promises() {
        let store = quipu_core::MemoryStore::new();

        keeps_its_promises(|_| Box::new(quipu::Quipu::over(Arc::new(store.clone()))), true);
    }
}
