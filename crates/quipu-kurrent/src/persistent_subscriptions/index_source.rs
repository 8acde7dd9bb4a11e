//! Streams of system projections as sources: read from the store's indexes, nothing is written.
//!
//! A place is one more than an ordinal of the index.

use std::sync::Arc;

use quipu_core::{
    BoxFuture, Direction, EventBatch, EventStore, EventType, Position, Query, QueryItem, ReadError,
    ReadIndex, StorageError, Subscribe, SubscribeError, SubscribeFrom, Subscription, Term,
};
use quipu_groups::group::{Pulled, Source};
use quipu_groups::machine::Item;

use super::backing::{Delivered, item_of_entry};
use super::settings::Config;

/// How many entries are read at once.
const PAGE: u64 = 256;

/// The index whose entries a stream shows, if it is one that the store numbers.
pub(super) fn term_of(stream: &str) -> Option<Term> {
    if stream == "$streams" {
        return Some(Term::StreamNames);
    }
    match stream.split_once('-')? {
        ("$ce", category) if !category.is_empty() => Some(Term::Category(category.to_owned())),
        ("$et", event_type) => Some(Term::Type(EventType::new(event_type).ok()?)),
        _ => None,
    }
}

/// A query that every event of the index matches.
fn query_of(term: &Term) -> Query {
    match term {
        Term::Category(name) => {
            QueryItem { category: Some(name.clone()), ..QueryItem::default() }.into()
        }
        Term::Type(name) => QueryItem { types: vec![name.clone()], ..QueryItem::default() }.into(),
        Term::StreamNames => Query::all(),
    }
}

/// How many entries an index has.
pub(super) async fn count_of(store: &dyn EventStore, term: Term) -> Result<u64, ReadError> {
    let read = ReadIndex { term, from: None, direction: Direction::Forward, limit: 0 };
    Ok(store.read_index(read).await?.count)
}

/// The event of one entry; none where it was scavenged or there is no such entry.
pub(super) async fn entry(
    store: &dyn EventStore,
    term: Term,
    ordinal: u64,
) -> Result<EventBatch, ReadError> {
    let read = ReadIndex { term, from: Some(ordinal), direction: Direction::Forward, limit: 1 };
    let read = store.read_index(read).await?;
    let found = read.entries.first().filter(|entry| entry.ordinal == ordinal);
    let is_there = found.is_some_and(|entry| entry.event.is_some());
    Ok(if is_there { read.events } else { EventBatch::default() })
}

pub(super) struct IndexSource {
    store: Arc<dyn EventStore>,
    config: Arc<Config>,
    term: Term,
    /// The next ordinal.
    next: u64,
    /// Delivers something whenever the index may have more.
    wake: Box<dyn Subscription>,
    has_caught_up: bool,
}

impl IndexSource {
    pub(super) async fn begin(
        store: Arc<dyn EventStore>,
        config: Arc<Config>,
        term: Term,
        next: u64,
    ) -> Result<Self, SubscribeError> {
        // Begun before entries are read, so that nothing between is missed.
        let begin = store.frontier().await.map_err(unread)?;
        let from = SubscribeFrom::After(begin);
        let wake = store.subscribe(Subscribe::All { query: query_of(&term), from }).await?;
        Ok(Self { store, config, term, next, wake, has_caught_up: false })
    }

    async fn pull(&mut self) -> Result<Pulled<Delivered>, SubscribeError> {
        loop {
            let (term, from) = (self.term.clone(), Some(self.next));
            let read = ReadIndex { term, from, direction: Direction::Forward, limit: PAGE };
            let read = self.store.read_index(read).await.map_err(unread)?;
            if let Some(last) = read.entries.last() {
                self.next = last.ordinal + 1;
                let place = Position::new(self.next);
                let batch = Arc::new(read.events);
                let item = |entry: &quipu_core::IndexEntry| {
                    let index = entry.event?;
                    item_of_entry(&self.config, Arc::clone(&batch), index, entry.ordinal)
                };
                let items: Vec<Item<Delivered>> = read.entries.iter().filter_map(item).collect();
                return Ok(Pulled::Items(items, place));
            }
            if !self.has_caught_up {
                self.has_caught_up = true;
                return Ok(Pulled::CaughtUp);
            }
            // Whatever comes, the index says what there is.
            drop(self.wake.next().await?);
        }
    }
}

impl Source<Delivered> for IndexSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Pulled<Delivered>, SubscribeError>> {
        Box::pin(self.pull())
    }
}

fn unread(error: ReadError) -> SubscribeError {
    match error {
        ReadError::Closed => SubscribeError::Closed,
        other => SubscribeError::Storage(StorageError::new(other)),
    }
}
