//! What a persistent subscription stands on: its events, and the streams that keep its state.
//!
//! # Places
//!
//! A group counts places from 1. Over `$all` a place is a position; over a stream it is one more than
//! a revision.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use quipu_core::{
    Append, AppendError, BoxFuture, Delivery, EventBatch, EventRef, EventStore, EventType,
    ExpectedRevision, NewEvent, Position, Query, ReadError, ReadStream, Revision, StreamName,
    Subscribe, SubscribeError, SubscribeFrom, Subscription, Timestamp,
};
use quipu_groups::KeepError;
use quipu_groups::group::{
    Backing, Fetched, Kept, Note, Pulled, Reading, Replay, SetAside, Source,
};
use quipu_groups::machine::Item;
use serde_json::json;

use super::index_source::{self, Tally};
use super::settings::{Config, Key, Origin};
use crate::convert::LINK_TYPE;
use crate::indexes::Kind;
use crate::streams::{Filter, find_in, target};

/// About what an event takes beside its data and metadata.
const EVENT_SIZE: usize = 512;
/// How many parked events a replay brings back at a time: when they are settled, it goes on.
const REPLAY_COUNT_MAX: u64 = 1_000;

const CHECKPOINT_TYPE: &str = "$SubscriptionCheckpoint";

/// An event as consumers get it: one of a batch, and what it stands for if it is a link.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    batch: Arc<EventBatch>,
    index: usize,
    /// Where links are resolved and it is one: what it stands for, which may be gone.
    target: Option<Arc<EventBatch>>,
    /// Where it comes by an index: its ordinal there. Then the event is what an entry stands for.
    ordinal: Option<u64>,
}

impl Delivered {
    /// The event of the log that was delivered: the link, if it is one.
    pub(super) fn event(&self) -> EventRef<'_> {
        self.batch.get(self.index).expect("it was made with an index of the batch")
    }

    /// Its ordinal in the index that it comes by, if it does.
    pub(super) fn ordinal(&self) -> Option<u64> {
        self.ordinal
    }

    /// Whether it is a link that was resolved.
    pub(super) fn is_resolved(&self) -> bool {
        self.target.is_some()
    }

    /// What a link that was resolved stands for, if that is still there.
    pub(super) fn target(&self) -> Option<EventRef<'_>> {
        self.target.as_ref().and_then(|target| target.first())
    }
}

/// The streams of a subscription.
pub(super) struct Streams {
    pub(super) checkpoint: StreamName,
    pub(super) parked: StreamName,
}

impl Streams {
    pub(super) fn of(key: &Key) -> Result<Self, quipu_core::NameError> {
        let id = key.id();
        Ok(Self {
            checkpoint: StreamName::new(format!("$persistentsubscription-{id}-checkpoint"))?,
            parked: StreamName::new(format!("$persistentsubscription-{id}-parked"))?,
        })
    }
}

/// Whether `$all` without a filter hides the stream from everybody.
fn is_hidden(stream: &str) -> bool {
    stream == "$epoch-information"
        || stream
            .strip_prefix("$persistentsubscription-$all::")
            .is_some_and(|rest| rest.ends_with("-checkpoint") || rest.ends_with("-parked"))
}

/// What a subscription stands on.
pub(super) struct SubscriptionBacking {
    store: Arc<dyn EventStore>,
    config: Arc<Config>,
    streams: Streams,
    /// Where the stream of checkpoints is, so that another owner's checkpoint is noticed. Held while
    /// one is written.
    known: tokio::sync::Mutex<ExpectedRevision>,
    /// Parked events that are being replayed: their places among the parked ones, and whose.
    replaying: Mutex<Replaying>,
    /// How many entries the stream has, where it is an index that is counted. Held while counting.
    tally: tokio::sync::Mutex<Tally>,
}

#[derive(Default)]
struct Replaying {
    /// By their revision in the stream of parked events.
    rows: BTreeMap<u64, Position>,
    /// Behind the last one that was ever replayed.
    end: u64,
}

impl SubscriptionBacking {
    pub(super) fn new(
        store: Arc<dyn EventStore>,
        config: Arc<Config>,
    ) -> Result<Self, quipu_core::NameError> {
        let streams = Streams::of(&config.key)?;
        let known = tokio::sync::Mutex::new(ExpectedRevision::Any);
        let (replaying, tally) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { store, config, streams, known, replaying, tally })
    }

    /// The last checkpoint, and where its stream is.
    async fn checkpoint(&self) -> Result<(Option<u64>, ExpectedRevision), ReadError> {
        let stream = self.streams.checkpoint.clone();
        let mut read = self.store.read_stream(ReadStream::new(stream).backward().limit(1)).await?;
        let last = read.state.last();
        let end = last.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exactly);
        let batch = read.batches.next().await?.unwrap_or_default();
        let place = batch.first().and_then(|event| place_of(&self.config.key, event.data_bytes()));
        Ok((place, end))
    }

    /// Where the subscription would go on, for those who only look.
    pub(super) async fn saved(&self) -> Result<Option<u64>, ReadError> {
        Ok(self.checkpoint().await?.0)
    }

    /// The place of the last event that there is.
    pub(super) async fn last_place(&self) -> Result<Option<u64>, ReadError> {
        last_place(&*self.store, &self.config.key, &mut *self.tally.lock().await).await
    }

    /// How many events are parked.
    pub(super) async fn parked_count(&self) -> Result<u64, ReadError> {
        let stream = self.streams.parked.clone();
        let mut read = self.store.read_stream(ReadStream::new(stream).limit(1)).await?;
        let batch = read.batches.next().await?.unwrap_or_default();
        let (first, last) = (batch.first().map(EventRef::revision), read.state.last());
        Ok(match (first, last) {
            (Some(first), Some(last)) => (last.get() + 1).saturating_sub(first.get()),
            _ => 0,
        })
    }

    async fn save(&self, place: Position) -> Result<(), KeepError> {
        let mut known = self.known.lock().await;
        let is_first = *known == ExpectedRevision::NoStream;
        let text = json!(place_text(&self.config.key, place.get())).to_string();
        let event = NewEvent::json(CHECKPOINT_TYPE, text).map_err(refused)?;
        let stream = self.streams.checkpoint.clone();
        let append = Append::to_stream(stream.clone(), *known, [event]);
        match self.store.append(append).await {
            Ok(appended) => {
                let last = appended.streams.first().map(|own| own.revision);
                *known = last.map_or(ExpectedRevision::Any, ExpectedRevision::Exactly);
            }
            Err(AppendError::Conflict { .. }) => return Err(KeepError::Fenced),
            Err(error) => return Err(of_append(error)),
        }
        if is_first {
            let metadata = json!({ "$maxCount": 2 }).to_string().into();
            let set = self.store.set_metadata(stream, ExpectedRevision::Any, metadata).await;
            set.map_err(of_append)?;
        }
        Ok(())
    }

    async fn park(&self, items: &[SetAside<Delivered>]) -> Result<(), KeepError> {
        let link = EventType::new(LINK_TYPE).map_err(refused)?;
        let mut events = Vec::with_capacity(items.len());
        for SetAside { item, cause } in items {
            let event = item.event.event();
            let data = match item.event.ordinal {
                Some(ordinal) => format!("{ordinal}@{}", self.config.key.origin.name()),
                None => format!("{}@{}", event.revision(), event.stream()),
            };
            let metadata = json!({
                "added": Timestamp::now().as_micros() / 1_000,
                "reason": cause,
                "subscriptionEventNumber": place_text(&self.config.key, item.position.get()),
            });
            let text = quipu_core::ContentType::octets();
            let parked = NewEvent::new(link.clone(), text, data.into());
            events.push(parked.with_metadata(metadata.to_string()));
        }
        let stream = self.streams.parked.clone();
        let append = Append::to_stream(stream, ExpectedRevision::Any, events);
        self.store.append(append).await.map(drop).map_err(of_append)
    }

    /// Forgets those that were replayed and are done with, as far as none before them is under way.
    async fn unpark(&self, places: &[Position]) -> Result<(), KeepError> {
        let before = {
            let mut replaying = self.replaying.lock().unwrap_or_else(PoisonError::into_inner);
            replaying.rows.retain(|_, place| !places.contains(place));
            replaying.rows.first_key_value().map_or(replaying.end, |(first, _)| *first)
        };
        self.truncate(before).await
    }

    async fn truncate(&self, before: u64) -> Result<(), KeepError> {
        let metadata = json!({ "$tb": before }).to_string().into();
        let stream = self.streams.parked.clone();
        let set = self.store.set_metadata(stream, ExpectedRevision::Any, metadata).await;
        set.map(drop).map_err(of_append)
    }

    /// Drops parked events before this place among them, or all.
    pub(super) async fn truncate_parked(&self, before: Option<u64>) -> Result<(), KeepError> {
        let read = ReadStream::new(self.streams.parked.clone()).limit(0);
        let state = self.store.read_stream(read).await.map_err(of_read)?.state;
        let Some(last) = state.last() else { return Ok(()) };
        self.truncate(before.unwrap_or(u64::MAX).min(last.get() + 1)).await
    }

    async fn read_parked(
        &self,
        from: u64,
        before: Option<u64>,
    ) -> Result<Fetched<Delivered>, KeepError> {
        let read = ReadStream::new(self.streams.parked.clone());
        let read = read.from(Revision::new(from)).limit(REPLAY_COUNT_MAX);
        let mut read = self.store.read_stream(read).await.map_err(of_read)?;
        let last = read.state.last();
        // What is parked again meanwhile is not meant.
        let before = before.or_else(|| last.map(|last| last.get() + 1)).unwrap_or_default();
        let (mut items, mut rows, mut end) = (Vec::new(), BTreeMap::new(), 0);
        while let Some(batch) = read.batches.next().await.map_err(of_read)? {
            for parked in batch.iter().filter(|parked| parked.revision().get() < before) {
                let revision = parked.revision().get();
                end = end.max(revision + 1);
                if let Some(item) = self.parked_item(parked).await.map_err(of_read)? {
                    rows.insert(revision, item.position);
                    items.push(item);
                }
            }
        }
        let is_done = {
            let mut replaying = self.replaying.lock().unwrap_or_else(PoisonError::into_inner);
            replaying.end = replaying.end.max(end);
            replaying.rows.extend(rows);
            replaying.rows.is_empty() && end > 0
        };
        if is_done {
            // Nothing of what was parked is there any more.
            self.truncate(end).await?;
        }
        let rest =
            (end > 0 && end < before).then_some(Replay::Range { from: end, before: Some(before) });
        Ok(Fetched { items, rest })
    }

    /// The event that a parked one stands for, if it is still there.
    async fn parked_item(
        &self,
        parked: EventRef<'_>,
    ) -> Result<Option<Item<Delivered>>, ReadError> {
        let Some((stream, revision)) = target(parked.data_bytes()) else { return Ok(None) };
        if let Some((kind, _)) = Kind::of(stream.as_str()) {
            let ordinal = revision.get();
            let found = index_source::entry(&*self.store, &kind, ordinal).await?;
            return Ok(found.and_then(|(batch, index)| {
                item_of_entry(&self.config, Arc::new(batch), index, ordinal)
            }));
        }
        let batch = find_in(&*self.store, stream, revision).await?;
        if batch.is_empty() {
            return Ok(None);
        }
        Ok(Some(item_of(&*self.store, &self.config, Arc::new(batch), 0).await?))
    }
}

impl Backing for SubscriptionBacking {
    type Event = Delivered;

    fn claim(&self, _epoch: u64) -> BoxFuture<'_, Result<Kept, KeepError>> {
        Box::pin(async move {
            let (place, end) = self.checkpoint().await.map_err(of_read)?;
            *self.known.lock().await = end;
            let checkpoint = Position::new(place.unwrap_or(self.config.after));
            Ok(Kept { checkpoint, parked: Vec::new() })
        })
    }

    fn read_after(&self, place: Position) -> Reading<'_, Delivered> {
        Box::pin(async move {
            let filter = self.config.filter.as_ref().map(super::settings::KeptFilter::filter);
            // It was looked at when the subscription was created.
            let filter = filter.transpose().ok().flatten();
            let index = Kind::of(self.config.key.origin.name()).map(|(kind, _)| kind);
            let (store, config) = (Arc::clone(&self.store), Arc::clone(&self.config));
            if let Some(kind) = index {
                return index_source::begin(store, config, kind, place.get()).await;
            }
            let subscribe = if let Some(stream) = config.stream() {
                let behind = place.get().checked_sub(1).map(Revision::new);
                let from = behind.map_or(SubscribeFrom::Start, SubscribeFrom::After);
                Subscribe::Stream { stream, from }
            } else {
                let query = filter.as_ref().map_or_else(Query::all, Filter::query);
                Subscribe::All { query, from: SubscribeFrom::After(place) }
            };
            let subscription = self.store.subscribe(subscribe).await?;
            let source = EventSource { store, config, filter, subscription };
            Ok(Box::new(source) as Box<dyn Source<Delivered>>)
        })
    }

    fn keep<'a>(
        &'a self,
        _epoch: u64,
        note: &'a Note<Delivered>,
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            match note {
                Note::Park(items) => self.park(items).await,
                // Nobody keeps what a consumer skipped.
                Note::Skip(_) => Ok(()),
                Note::Unpark(places, _) => self.unpark(places).await,
                Note::Save { to, .. } => self.save(*to).await,
            }
        })
    }

    fn read_parked(
        &self,
        _epoch: u64,
        replay: Replay,
    ) -> BoxFuture<'_, Result<Fetched<Delivered>, KeepError>> {
        Box::pin(async move {
            match replay {
                Replay::Range { from, before } => self.read_parked(from, before).await,
                Replay::Items(_) => Ok(Fetched { items: Vec::new(), rest: None }),
            }
        })
    }

    fn reset(&self, _epoch: u64, place: Position) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(self.save(place))
    }

    fn lag(&self, place: Position) -> BoxFuture<'_, u64> {
        Box::pin(async move {
            let end = self.last_place().await.ok().flatten();
            end.unwrap_or_default().saturating_sub(place.get())
        })
    }
}

/// The place of the last event that there is. Where entries are counted, `tally` goes on counting.
pub(super) async fn last_place(
    store: &dyn EventStore,
    key: &Key,
    tally: &mut Tally,
) -> Result<Option<u64>, ReadError> {
    match &key.origin {
        Origin::All => {
            let frontier = store.frontier().await?.get();
            Ok((frontier > 0).then_some(frontier))
        }
        Origin::Stream(stream) => {
            if let Some((kind, _)) = Kind::of(stream) {
                let count = tally.count(store, &kind).await?;
                return Ok((count > 0).then_some(count));
            }
            let Ok(stream) = StreamName::new(stream) else { return Ok(None) };
            let state = store.read_stream(ReadStream::new(stream).limit(0)).await?.state;
            Ok(state.last().map(|last| last.get() + 1))
        }
    }
}

/// A place as clients and checkpoints have it: a revision, or a position of two parts.
pub(super) fn place_text(key: &Key, place: u64) -> String {
    match key.origin {
        Origin::Stream(_) => place.saturating_sub(1).to_string(),
        Origin::All => format!("C:{place}/P:{place}"),
    }
}

/// The place that a checkpoint says.
fn place_of(key: &Key, data: &[u8]) -> Option<u64> {
    let text: String = serde_json::from_slice(data).ok()?;
    match key.origin {
        Origin::Stream(_) => text.parse::<u64>().ok()?.checked_add(1),
        Origin::All => text.strip_prefix("C:")?.split_once("/P:")?.0.parse().ok(),
    }
}

struct EventSource {
    store: Arc<dyn EventStore>,
    config: Arc<Config>,
    filter: Option<Filter>,
    subscription: Box<dyn Subscription>,
}

impl EventSource {
    fn shows(&self, event: EventRef<'_>) -> bool {
        match &self.filter {
            // What takes too many steps to match does not.
            Some(filter) => filter.shows(event).unwrap_or(false),
            None => self.config.stream().is_some() || !is_hidden(event.stream()),
        }
    }

    async fn pull(&mut self) -> Result<Pulled<Delivered>, SubscribeError> {
        let batch = match self.subscription.next().await? {
            Delivery::Events(batch) => Arc::new(batch),
            Delivery::Checkpoint(place) => return Ok(Pulled::Items(Vec::new(), place)),
            Delivery::CaughtUp => return Ok(Pulled::CaughtUp),
            Delivery::FellBehind => return Ok(Pulled::FellBehind),
        };
        let mut items = Vec::with_capacity(batch.count());
        let mut place = Position::START;
        for (index, event) in batch.iter().enumerate() {
            place = place_in(&self.config.key, event);
            if self.shows(event) {
                let item = item_of(&*self.store, &self.config, Arc::clone(&batch), index).await;
                let unread = |error: ReadError| match error {
                    ReadError::Closed => SubscribeError::Closed,
                    other => SubscribeError::Storage(quipu_core::StorageError::new(other)),
                };
                items.push(item.map_err(unread)?);
            }
        }
        Ok(Pulled::Items(items, place))
    }
}

impl Source<Delivered> for EventSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Pulled<Delivered>, SubscribeError>> {
        Box::pin(self.pull())
    }
}

fn place_in(key: &Key, event: EventRef<'_>) -> Position {
    match key.origin {
        Origin::Stream(_) => Position::new(event.revision().get() + 1),
        Origin::All => event.position(),
    }
}

async fn item_of(
    store: &dyn EventStore,
    config: &Config,
    batch: Arc<EventBatch>,
    index: usize,
) -> Result<Item<Delivered>, ReadError> {
    let mut delivered = Delivered { batch, index, target: None, ordinal: None };
    if config.resolves_links && delivered.event().event_type() == LINK_TYPE {
        let found = match target(delivered.event().data_bytes()) {
            Some((stream, revision)) => find_in(store, stream, revision).await?,
            None => EventBatch::default(),
        };
        delivered.target = Some(Arc::new(found));
    }
    let event = delivered.event();
    let key = config.pin(event, delivered.target());
    Ok(Item {
        position: place_in(&config.key, event),
        key: key.into(),
        size: event.data_bytes().len() + event.metadata_bytes().len() + EVENT_SIZE,
        event: delivered,
    })
}

/// An entry of an index, if its event is still there.
pub(super) fn item_of_entry(
    config: &Config,
    batch: Arc<EventBatch>,
    index: usize,
    ordinal: u64,
) -> Option<Item<Delivered>> {
    batch.get(index)?;
    let delivered = Delivered { batch, index, target: None, ordinal: Some(ordinal) };
    let event = delivered.event();
    Some(Item {
        position: Position::new(ordinal + 1),
        key: config.pin(event, None).into(),
        size: event.data_bytes().len() + event.metadata_bytes().len() + EVENT_SIZE,
        event: delivered,
    })
}

fn refused(error: quipu_core::NameError) -> KeepError {
    KeepError::Refused(error.into())
}

fn of_append(error: AppendError) -> KeepError {
    match error {
        invalid @ (AppendError::Invalid(_) | AppendError::ReadOnly) => {
            KeepError::Refused(invalid.into())
        }
        other => KeepError::Unavailable(other.into()),
    }
}

fn of_read(error: ReadError) -> KeepError {
    KeepError::Unavailable(error.into())
}
