//! Reads that may wait for the disk, kept from holding up those who do not wait for it.
//!
//! The embedded store reads where it is asked to: a poll of its futures returns when the disk has
//! answered. What is in the system's cache takes microseconds, and another thread would take longer to
//! wake. So a read runs where it is asked for,
//!
//! - as long as no more than half of the runtime's workers read: a disk that hangs stops none of the
//!   others;
//! - and until it takes long: then the rest of it runs on the threads that are there to wait.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_fn, poll_once};
use quipu_core::{
    AppendError, Appended, Batches, BoxFuture, Change, Checkpoints, Delivery, EventBatch,
    EventStore, IndexRead, Leases, ListStreams, LogIdentity, LogRead, Position, ReadAll, ReadError,
    ReadIndex, ReadStream, Registry, Snapshots, StorageError, StreamInfo, StreamName, StreamRead,
    Subscribe, SubscribeError, Subscription, Timestamp,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

/// From how long on a read is taken to wait for the disk. What a read gathers at once from memory, up
/// to a megabyte, takes less.
const LONG: Duration = Duration::from_millis(2);

/// A store whose reads wait for the disk while they are polled.
pub struct Aside {
    store: Arc<dyn EventStore>,
    workers: Workers,
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").finish_non_exhaustive()
    }
}

/// The workers that may read at a time.
#[derive(Clone)]
struct Workers(Arc<Semaphore>);

impl Workers {
    /// Half of those of the runtime that this runs in.
    fn new() -> Self {
        let count = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Self(Arc::new(Semaphore::new((count / 2).max(1))))
    }

    /// Reads here, and says how long that kept this worker; `None` where enough others read.
    async fn read<T>(&self, reading: impl Future<Output = T>) -> (Option<T>, Duration) {
        let mut reading = pin!(reading);
        let mut longest = Duration::ZERO;
        let read = poll_fn(|context| {
            let Ok(_permit) = self.0.try_acquire() else { return Poll::Ready(None) };
            let begun = Instant::now();
            let polled = reading.as_mut().poll(context);
            longest = longest.max(begun.elapsed());
            polled.map(Some)
        });
        (read.await, longest)
    }
}

/// Something that is read from in turns, some of them on a thread that is there to wait. Dropping
/// the future of a turn loses nothing: the next one goes on with it.
struct Turns<S, T> {
    own: Option<S>,
    under_way: Option<JoinHandle<(S, T, Duration)>>,
}

impl<S: Send + 'static, T: Send + 'static> Turns<S, T> {
    fn new(own: S) -> Self {
        Self { own: Some(own), under_way: None }
    }

    /// What is read from, unless a turn is under way elsewhere.
    fn here(&mut self) -> Option<&mut S> {
        self.own.as_mut()
    }

    /// Takes a turn elsewhere, or waits for the one that is under way.
    async fn elsewhere(
        &mut self,
        turn: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<(T, Duration), StorageError> {
        if let Some(mut own) = self.own.take() {
            self.under_way = Some(spawn_blocking(move || {
                let begun = Instant::now();
                let read = turn(&mut own);
                (own, read, begun.elapsed())
            }));
        }
        let Some(under_way) = &mut self.under_way else {
            return Err(StorageError::new("an earlier read broke"));
        };
        let ended = under_way.await;
        self.under_way = None;
        let (own, read, took) = ended.map_err(StorageError::new)?;
        self.own = Some(own);
        Ok((read, took))
    }
}

impl Aside {
    /// The same store with its reads aside. Half of the workers of the runtime that this runs in may
    /// read at a time.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, workers: Workers::new() }
    }

    /// Makes a call that is answered when the disk has.
    async fn ask<T: Send + 'static, E: Send + 'static>(
        &self,
        failed: fn(StorageError) -> E,
        call: impl FnOnce(Arc<dyn EventStore>) -> BoxFuture<'static, Result<T, E>>,
    ) -> Result<T, E> {
        let reading = call(Arc::clone(&self.store));
        match self.workers.0.try_acquire() {
            Ok(_permit) => reading.await,
            Err(_) => wait(failed, reading).await,
        }
    }

    fn batches(&self, batches: Box<dyn Batches>) -> Box<dyn Batches> {
        let workers = self.workers.clone();
        Box::new(AsideBatches { turns: Turns::new(batches), workers, is_long: false })
    }
}

/// Makes a call that takes as long as there is to look at.
async fn wait<T: Send + 'static, E: Send + 'static>(
    failed: fn(StorageError) -> E,
    reading: BoxFuture<'static, Result<T, E>>,
) -> Result<T, E> {
    let read = spawn_blocking(move || block_on(reading)).await;
    read.map_err(|error| failed(StorageError::new(error)))?
}

type NextBatch = Result<Option<EventBatch>, ReadError>;

/// A read under way.
struct AsideBatches {
    turns: Turns<Box<dyn Batches>, NextBatch>,
    workers: Workers,
    /// Whether the last batch took long.
    is_long: bool,
}

impl Batches for AsideBatches {
    fn next(&mut self) -> BoxFuture<'_, NextBatch> {
        Box::pin(async move {
            if let (false, Some(batches)) = (self.is_long, self.turns.here()) {
                let (read, took) = self.workers.read(batches.next()).await;
                self.is_long = took >= LONG;
                if let Some(batch) = read {
                    return batch;
                }
            }
            let turn = self.turns.elsewhere(|batches| block_on(batches.next())).await;
            let (batch, took) = turn.map_err(ReadError::Storage)?;
            self.is_long = took >= LONG;
            batch
        })
    }
}

type NextDelivery = Result<Delivery, SubscribeError>;

/// A subscription under way.
struct AsideSubscription {
    turns: Turns<Box<dyn Subscription>, Option<NextDelivery>>,
    workers: Workers,
    /// Whether the last delivery took long to read.
    is_long: bool,
}

impl Subscription for AsideSubscription {
    fn next(&mut self) -> BoxFuture<'_, NextDelivery> {
        Box::pin(async move {
            if let (false, Some(subscription)) = (self.is_long, self.turns.here()) {
                let (read, took) = self.workers.read(subscription.next()).await;
                self.is_long = took >= LONG;
                if let Some(delivery) = read {
                    return delivery;
                }
            }
            // A look at what is there. What is not there yet is waited for here: it will have been
            // written a moment before.
            let look =
                |subscription: &mut Box<dyn Subscription>| block_on(poll_once(subscription.next()));
            let turn = self.turns.elsewhere(look).await;
            let (found, took) = turn.map_err(SubscribeError::Storage)?;
            self.is_long = took >= LONG;
            match (found, self.turns.here()) {
                (Some(delivery), _) => delivery,
                (None, Some(subscription)) => subscription.next().await,
                (None, None) => Err(SubscribeError::Closed),
            }
        })
    }
}

impl EventStore for Aside {
    fn identity(&self) -> LogIdentity {
        self.store.identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.store.change(change)
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        Box::pin(async move {
            let call = |store: Arc<dyn EventStore>| -> BoxFuture<'static, _> {
                Box::pin(async move { store.read_stream(read).await })
            };
            let StreamRead { state, batches } = self.ask(ReadError::Storage, call).await?;
            Ok(StreamRead { state, batches: self.batches(batches) })
        })
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        Box::pin(async move {
            let call = |store: Arc<dyn EventStore>| -> BoxFuture<'static, _> {
                Box::pin(async move { store.read_all(read).await })
            };
            let LogRead { frontier, batches } = self.ask(ReadError::Storage, call).await?;
            Ok(LogRead { frontier, batches: self.batches(batches) })
        })
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
        Box::pin(
            self.ask(ReadError::Storage, |store| {
                Box::pin(async move { store.read_index(read).await })
            }),
        )
    }

    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> {
        self.store.frontier()
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(self.ask(ReadError::Storage, move |store| {
            Box::pin(async move { store.position_at(time).await })
        }))
    }

    fn wait_visible(&self, position: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        self.store.wait_visible(position)
    }

    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        let store = Arc::clone(&self.store);
        let reading = Box::pin(async move { store.list_streams(list).await });
        Box::pin(wait(ReadError::Storage, reading))
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        let store = Arc::clone(&self.store);
        let reading = Box::pin(async move { store.stream_info(stream).await });
        Box::pin(wait(ReadError::Storage, reading))
    }

    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(async move {
            let call = |store: Arc<dyn EventStore>| -> BoxFuture<'static, _> {
                Box::pin(async move { store.subscribe(subscribe).await })
            };
            let subscription = self.ask(SubscribeError::Storage, call).await?;
            let workers = self.workers.clone();
            let aside =
                AsideSubscription { turns: Turns::new(subscription), workers, is_long: false };
            Ok(Box::new(aside) as Box<dyn Subscription>)
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
