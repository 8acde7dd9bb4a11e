//! Groups of a store: their events by a query, their state beside the log and in reserved streams.

use std::sync::Arc;

use bytes::Bytes;
use quipu_core::{
    BoxFuture, Checkpoint, CheckpointError, Delivery, EventBatch, EventRef, EventStore, Position,
    Query, ReadAll, RecordedEvent, StreamName, Subscribe, SubscribeError, SubscribeFrom,
    Subscription, SwapCheckpoint, collect,
};

use super::backing::{Backing, Fetched, Kept, Pulled, Reading, Replay, Source};
use super::config::GroupConfig;
use super::machine::{Note, SetAside};
use crate::checkpoints::explain;
use crate::machine::Item;
use crate::parking::{Parking, StreamParking, UnparkReason};
use crate::places::KeepError;

/// About what an event takes beside its data and metadata.
const EVENT_SIZE: usize = 512;

/// What a group of a store stands on.
pub(super) struct StoreBacking {
    store: Arc<dyn EventStore>,
    config: Arc<GroupConfig>,
    /// What its checkpoint is called.
    name: String,
    parking: StreamParking,
}

impl StoreBacking {
    /// The backing of a group whose lease and checkpoint have this name.
    pub(super) fn new(
        store: Arc<dyn EventStore>,
        config: Arc<GroupConfig>,
        name: String,
    ) -> Result<Self, quipu_core::NameError> {
        let stream = StreamName::new(format!("$quipu.parked-{name}"))?;
        let parking = StreamParking::new(Arc::clone(&store), stream);
        Ok(Self { store, config, name, parking })
    }

    /// What is kept, without taking it over.
    pub(super) async fn load(&self) -> Result<Kept, KeepError> {
        let found = self.store.checkpoints().get(&self.name).await.map_err(explain)?;
        let checkpoint = found.map_or(self.config.after, |found| found.position);
        let mut parked = self.parking.load().await?;
        parked.sort_by_key(|item| item.position);
        Ok(Kept { checkpoint, parked })
    }

    async fn swap(
        &self,
        epoch: u64,
        old: Option<Position>,
        new: Position,
    ) -> Result<(), KeepError> {
        let name = self.name.clone();
        let new = Checkpoint::new(new, &self.store.identity());
        let swapped = self.store.checkpoints().swap(SwapCheckpoint { name, epoch, old, new });
        swapped.await.map_err(explain)
    }

    async fn save(&self, epoch: u64, from: Position, to: Position) -> Result<(), KeepError> {
        let name = self.name.clone();
        let new = Checkpoint::new(to, &self.store.identity());
        let swap = SwapCheckpoint { name, epoch, old: Some(from), new };
        match self.store.checkpoints().swap(swap).await {
            // An attempt before this one came through, though it was not known.
            Err(CheckpointError::Moved { actual, .. }) if actual == Some(to) => Ok(()),
            Err(CheckpointError::Moved { .. }) => Err(KeepError::Fenced),
            other => other.map_err(explain),
        }
    }
}

impl Backing for StoreBacking {
    type Event = Arc<RecordedEvent>;

    fn claim(&self, epoch: u64) -> BoxFuture<'_, Result<Kept, KeepError>> {
        Box::pin(async move {
            let kept = self.load().await?;
            let found = self.store.checkpoints().get(&self.name).await.map_err(explain)?;
            self.swap(epoch, found.map(|found| found.position), kept.checkpoint).await?;
            Ok(kept)
        })
    }

    fn read_after(&self, place: Position) -> Reading<'_, Self::Event> {
        Box::pin(async move {
            let from = SubscribeFrom::After(place);
            let subscribe = Subscribe::All { query: self.config.query.clone(), from };
            let subscription = self.store.subscribe(subscribe).await?;
            let config = Arc::clone(&self.config);
            Ok(Box::new(QuerySource { subscription, config }) as Box<dyn Source<Self::Event>>)
        })
    }

    fn keep<'a>(
        &'a self,
        epoch: u64,
        note: &'a Note<Self::Event>,
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            match note {
                Note::Park(items) => self.parking.park(epoch, &parked(items)).await,
                Note::Skip(items) => self.parking.skip_all(epoch, &parked(items)).await,
                Note::Unpark(places, reason) => {
                    self.parking.unpark_all(epoch, places, *reason).await
                }
                Note::Save { from, to } => self.save(epoch, *from, *to).await,
            }
        })
    }

    fn read_parked(
        &self,
        epoch: u64,
        replay: Replay,
    ) -> BoxFuture<'_, Result<Fetched<Self::Event>, KeepError>> {
        Box::pin(async move {
            let Replay::Items(wanted) = replay else {
                return Ok(Fetched { items: Vec::new(), rest: None });
            };
            let (mut items, mut gone) = (Vec::new(), Vec::new());
            for parked in wanted {
                let read = ReadAll::new(Query::all()).from(parked.position).limit(1);
                let read = self.store.read_all(read).await.map_err(unavailable)?;
                let found = collect(read.batches).await.map_err(unavailable)?;
                match found.into_iter().find(|event| event.position == parked.position) {
                    Some(event) => items.push(Item {
                        position: parked.position,
                        key: parked.key.as_str().into(),
                        size: size_of(event.data.present().map_or(0, Bytes::len)),
                        event: Arc::new(event),
                    }),
                    None => gone.push(parked.position),
                }
            }
            if !gone.is_empty() {
                // What was scavenged has nothing left to handle.
                self.parking.unpark_all(epoch, &gone, UnparkReason::Dropped).await?;
            }
            Ok(Fetched { items, rest: None })
        })
    }

    fn reset(&self, epoch: u64, place: Position) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(async move {
            let kept = self.load().await?;
            let behind = kept.parked.iter().map(|item| item.position).filter(|own| *own > place);
            let behind: Vec<Position> = behind.collect();
            if !behind.is_empty() {
                self.parking.unpark_all(epoch, &behind, UnparkReason::Replayed).await?;
            }
            self.swap(epoch, Some(kept.checkpoint), place).await
        })
    }

    fn lag(&self, place: Position) -> BoxFuture<'_, u64> {
        Box::pin(async move {
            let frontier = self.store.frontier().await.unwrap_or(place);
            frontier.get().saturating_sub(place.get())
        })
    }
}

fn size_of(data_size: usize) -> usize {
    data_size + EVENT_SIZE
}

fn parked(items: &[SetAside<Arc<RecordedEvent>>]) -> Vec<quipu_core::ParkedItem> {
    let parked = |it: &SetAside<_>| quipu_core::ParkedItem {
        position: it.item.position,
        key: it.item.key.to_string(),
        cause: it.cause.clone(),
    };
    items.iter().map(parked).collect()
}

fn unavailable(error: quipu_core::ReadError) -> KeepError {
    KeepError::Unavailable(error.into())
}

/// The events of a query.
struct QuerySource {
    subscription: Box<dyn Subscription>,
    config: Arc<GroupConfig>,
}

impl QuerySource {
    fn items(&self, batch: &EventBatch) -> Vec<Item<Arc<RecordedEvent>>> {
        let own = batch.iter().filter(|event| self.config.is_own(*event));
        let item = |event: EventRef<'_>| Item {
            position: event.position(),
            key: self.config.key.key(event),
            size: size_of(event.data_bytes().len() + event.metadata_bytes().len()),
            event: Arc::new(event.to_recorded()),
        };
        own.map(item).collect()
    }
}

impl Source<Arc<RecordedEvent>> for QuerySource {
    fn next(&mut self) -> BoxFuture<'_, Result<Pulled<Arc<RecordedEvent>>, SubscribeError>> {
        Box::pin(async move {
            Ok(match self.subscription.next().await? {
                Delivery::Events(batch) => {
                    let place = batch.last().map_or(Position::START, EventRef::position);
                    Pulled::Items(self.items(&batch), place)
                }
                Delivery::Checkpoint(place) => Pulled::Items(Vec::new(), place),
                Delivery::CaughtUp => Pulled::CaughtUp,
                Delivery::FellBehind => Pulled::FellBehind,
            })
        })
    }
}
