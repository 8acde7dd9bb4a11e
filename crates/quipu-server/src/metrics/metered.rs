//! A store that counts and times what is asked of it.

use std::sync::Arc;
use std::time::Instant;

use quipu_core::{
    AppendError, Appended, Batches, BoxFuture, Change, Checkpoints, Delivery, EventBatch,
    EventStore, IndexRead, Leases, ListStreams, LogIdentity, LogRead, Position, ReadAll, ReadError,
    ReadIndex, ReadStream, Registry, Snapshots, StreamInfo, StreamName, StreamRead, Subscribe,
    SubscribeError, SubscribeFrom, Subscription, Timestamp,
};

use super::{Kind, Metrics, OpenSubscription, Outcome};

/// A store, and what counts its work.
pub(crate) struct Metered {
    store: Arc<dyn EventStore>,
    metrics: Arc<Metrics>,
}

impl Metered {
    pub(crate) fn new(store: Arc<dyn EventStore>, metrics: &Arc<Metrics>) -> Self {
        Self { store, metrics: Arc::clone(metrics) }
    }

    fn begin_read(&self, kind: &'static str) {
        self.metrics.reads.get_or_create(&Kind { kind }).inc();
    }

    fn count(&self, batches: Box<dyn Batches>) -> Box<dyn Batches> {
        Box::new(Counted { batches, metrics: Arc::clone(&self.metrics) })
    }
}

fn outcome_of(answer: &Result<Appended, AppendError>) -> &'static str {
    match answer {
        Ok(appended) if appended.replayed => "replayed",
        Ok(_) => "done",
        Err(AppendError::Conflict { .. }) => "conflict",
        Err(AppendError::Invalid(_)) => "invalid",
        Err(AppendError::Overloaded) => "overloaded",
        Err(AppendError::DiskFull) => "disk_full",
        Err(AppendError::OutcomeUnknown(_)) => "unknown",
        Err(_) => "failed",
    }
}

impl EventStore for Metered {
    fn identity(&self) -> LogIdentity {
        self.store.identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        let count = match &change {
            Change::Append(append) => append.events.len() as u64,
            Change::Delete { .. } | Change::Tombstone { .. } | Change::SetMetadata { .. } => 1,
        };
        Box::pin(async move {
            let begun = Instant::now();
            let answer = self.store.change(change).await;
            self.metrics.change_duration.observe(begun.elapsed().as_secs_f64());
            let outcome = outcome_of(&answer);
            self.metrics.changes.get_or_create(&Outcome { outcome }).inc();
            if outcome == "done" {
                self.metrics.appended_events.inc_by(count);
            }
            answer
        })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        self.begin_read("stream");
        Box::pin(async move {
            let StreamRead { state, batches } = self.store.read_stream(read).await?;
            Ok(StreamRead { state, batches: self.count(batches) })
        })
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        self.begin_read("log");
        Box::pin(async move {
            let LogRead { frontier, batches } = self.store.read_all(read).await?;
            Ok(LogRead { frontier, batches: self.count(batches) })
        })
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
        self.begin_read("index");
        self.store.read_index(read)
    }

    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> {
        self.store.frontier()
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        self.store.position_at(time)
    }

    fn wait_visible(&self, position: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        self.store.wait_visible(position)
    }

    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        self.begin_read("streams");
        self.store.list_streams(list)
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        self.store.stream_info(stream)
    }

    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(async move {
            let place = match &subscribe {
                Subscribe::Stream { .. } => None,
                Subscribe::All { from: SubscribeFrom::Start, .. } => Some(0),
                Subscribe::All { from: SubscribeFrom::After(after), .. } => Some(after.get()),
                Subscribe::All { from: SubscribeFrom::End, .. } => {
                    let frontier = self.store.frontier().await;
                    frontier.ok().map(Position::get)
                }
            };
            let inner = self.store.subscribe(subscribe).await?;
            let open = self.metrics.open_subscription(place);
            Ok(Box::new(Followed { inner, open, metrics: Arc::clone(&self.metrics) })
                as Box<dyn Subscription>)
        })
    }

    fn snapshots(&self) -> &dyn Snapshots {
        self.store.snapshots()
    }

    fn checkpoints(&self) -> &dyn Checkpoints {
        self.store.checkpoints()
    }

    fn leases(&self) -> &dyn Leases {
        self.store.leases()
    }

    fn registry(&self) -> &dyn Registry {
        self.store.registry()
    }
}

struct Counted {
    batches: Box<dyn Batches>,
    metrics: Arc<Metrics>,
}

impl Batches for Counted {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        Box::pin(async move {
            let batch = self.batches.next().await?;
            let count = batch.as_ref().map_or(0, EventBatch::count);
            self.metrics.read_events.inc_by(count as u64);
            Ok(batch)
        })
    }
}

struct Followed {
    inner: Box<dyn Subscription>,
    open: OpenSubscription,
    metrics: Arc<Metrics>,
}

impl Subscription for Followed {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, SubscribeError>> {
        Box::pin(async move {
            let delivery = self.inner.next().await?;
            match &delivery {
                Delivery::Events(batch) => {
                    self.metrics.delivered_events.inc_by(batch.count() as u64);
                    if let Some(last) = batch.last() {
                        self.open.reach(last.position().get());
                    }
                }
                Delivery::Checkpoint(position) => self.open.reach(position.get()),
                Delivery::CaughtUp | Delivery::FellBehind => {}
            }
            Ok(delivery)
        })
    }
}
