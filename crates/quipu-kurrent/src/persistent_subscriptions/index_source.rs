//! Streams of system projections as sources: read from the store's indexes, nothing is written.
//!
//! A place is one more than an ordinal of the index. Indexes that the store does not number are
//! counted along the log, from its beginning whenever a source begins.

use std::sync::Arc;

use quipu_core::{
    BoxFuture, Delivery, Direction, EventBatch, EventStore, Position, ReadAll, ReadError,
    ReadIndex, StorageError, Subscribe, SubscribeError, SubscribeFrom, Subscription, Term,
};
use quipu_groups::group::{Pulled, Source};
use quipu_groups::machine::Item;

use super::backing::{Delivered, item_of_entry};
use super::settings::Config;
use crate::indexes::Kind;

/// How many entries are read at once.
const PAGE: u64 = 256;

/// The entries of an index from the ordinal `next` on.
pub(super) async fn begin(
    store: Arc<dyn EventStore>,
    config: Arc<Config>,
    kind: Kind,
    next: u64,
) -> Result<Box<dyn Source<Delivered>>, SubscribeError> {
    if let Some(term) = kind.term() {
        return Ok(Box::new(IndexSource::begin(store, config, &kind, term, next).await?));
    }
    let (query, from) = (kind.query(), SubscribeFrom::Start);
    let events = store.subscribe(Subscribe::All { query, from }).await?;
    Ok(Box::new(CountedSource { config, kind, events, next, count: 0 }))
}

/// How many entries an index has that the store does not number: what was counted is not read again.
#[derive(Debug, Default)]
pub(super) struct Tally {
    read_to: Position,
    count: u64,
}

impl Tally {
    /// How many entries the index has now.
    pub(super) async fn count(
        &mut self,
        store: &dyn EventStore,
        kind: &Kind,
    ) -> Result<u64, ReadError> {
        if let Some(term) = kind.term() {
            let read = ReadIndex { term, from: None, direction: Direction::Forward, limit: 0 };
            return Ok(store.read_index(read).await?.count);
        }
        let read = ReadAll::new(kind.query()).from(self.read_to.next());
        let mut read = store.read_all(read).await?;
        while let Some(batch) = read.batches.next().await? {
            for event in batch.iter() {
                self.read_to = event.position();
                self.count += u64::from(kind.counts(event));
            }
        }
        Ok(self.count)
    }
}

/// The event of one entry: where it is in which batch. None where it was scavenged or there is no
/// such entry.
pub(super) async fn entry(
    store: &dyn EventStore,
    kind: &Kind,
    ordinal: u64,
) -> Result<Option<(EventBatch, usize)>, ReadError> {
    if let Some(term) = kind.term() {
        let read = ReadIndex { term, from: Some(ordinal), direction: Direction::Forward, limit: 1 };
        let read = store.read_index(read).await?;
        let found = read.entries.first().filter(|entry| entry.ordinal == ordinal);
        return Ok(found.and_then(|entry| entry.event).map(|index| (read.events, index)));
    }
    let mut read = store.read_all(ReadAll::new(kind.query())).await?;
    let mut left = ordinal;
    while let Some(batch) = read.batches.next().await? {
        let own = batch.iter().enumerate().filter(|(_, event)| kind.counts(*event));
        let own: Vec<usize> = own.map(|(index, _)| index).collect();
        match own.get(usize::try_from(left).unwrap_or(usize::MAX)) {
            Some(index) => return Ok(Some((batch, *index))),
            None => left -= own.len() as u64,
        }
    }
    Ok(None)
}

/// An index that is counted along the log.
struct CountedSource {
    config: Arc<Config>,
    kind: Kind,
    /// Everything that may be an entry, from the log's beginning.
    events: Box<dyn Subscription>,
    /// The first ordinal wanted.
    next: u64,
    /// How many entries came so far.
    count: u64,
}

impl CountedSource {
    async fn pull(&mut self) -> Result<Pulled<Delivered>, SubscribeError> {
        let batch = match self.events.next().await? {
            Delivery::Events(batch) => Arc::new(batch),
            Delivery::Checkpoint(_) => EventBatch::default().into(),
            Delivery::CaughtUp => return Ok(Pulled::CaughtUp),
            Delivery::FellBehind => return Ok(Pulled::FellBehind),
        };
        let mut items = Vec::new();
        for (index, event) in batch.iter().enumerate() {
            if !self.kind.counts(event) {
                continue;
            }
            if self.count >= self.next {
                items.extend(item_of_entry(&self.config, Arc::clone(&batch), index, self.count));
            }
            self.count += 1;
        }
        Ok(Pulled::Items(items, Position::new(self.count)))
    }
}

impl Source<Delivered> for CountedSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Pulled<Delivered>, SubscribeError>> {
        Box::pin(self.pull())
    }
}

/// An index that the store numbers.
struct IndexSource {
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
    async fn begin(
        store: Arc<dyn EventStore>,
        config: Arc<Config>,
        kind: &Kind,
        term: Term,
        next: u64,
    ) -> Result<Self, SubscribeError> {
        // Begun before entries are read, so that nothing between is missed.
        let begin = store.frontier().await.map_err(unread)?;
        let from = SubscribeFrom::After(begin);
        let wake = store.subscribe(Subscribe::All { query: kind.query(), from }).await?;
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
