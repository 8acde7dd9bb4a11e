//! A store that counts what it was asked for, and fails when it is told to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quipu_core::{
    AppendError, Appended, Batches, BoxFuture, Change, Checkpoints, EventBatch, EventStore,
    IndexRead, Leases, ListStreams, LogIdentity, LogRead, MemoryStore, Position, ReadAll,
    ReadError, ReadIndex, ReadStream, Registry, Snapshots, StreamInfo, StreamName, StreamRead,
    Subscribe, SubscribeError, Subscription, Timestamp,
};

pub(super) struct Spied {
    inner: MemoryStore,
    /// Events that reads of the log gave out.
    pub(super) read_count: Arc<AtomicU64>,
    /// What the next changes are answered with.
    pub(super) failures: Mutex<VecDeque<AppendError>>,
    /// Reads of the log wait while this is held, as for a disk that hangs.
    pub(super) disk: Arc<Mutex<()>>,
    /// What the next reads of the log are answered with.
    pub(super) read_failures: Mutex<VecDeque<ReadError>>,
}

impl Spied {
    pub(super) fn new(inner: MemoryStore) -> Arc<Self> {
        Arc::new(Self {
            inner,
            read_count: Arc::default(),
            failures: Mutex::default(),
            disk: Arc::default(),
            read_failures: Mutex::default(),
        })
    }
}

struct Counted {
    inner: Box<dyn Batches>,
    read_count: Arc<AtomicU64>,
}

impl Batches for Counted {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        Box::pin(async move {
            let batch = self.inner.next().await?;
            let count = batch.as_ref().map_or(0, EventBatch::count) as u64;
            self.read_count.fetch_add(count, Ordering::SeqCst);
            Ok(batch)
        })
    }
}

impl EventStore for Spied {
    fn identity(&self) -> LogIdentity {
        self.inner.identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        match self.failures.lock().unwrap().pop_front() {
            Some(failure) => Box::pin(async { Err(failure) }),
            None => self.inner.change(change),
        }
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        self.inner.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        if let Some(failure) = self.read_failures.lock().unwrap().pop_front() {
            return Box::pin(async { Err(failure) });
        }
        Box::pin(async {
            drop(self.disk.lock());
            let found = self.inner.read_all(read).await?;
            let read_count = Arc::clone(&self.read_count);
            let batches = Box::new(Counted { inner: found.batches, read_count });
            Ok(LogRead { frontier: found.frontier, batches })
        })
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
        self.inner.read_index(read)
    }

    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> {
        self.inner.frontier()
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        self.inner.position_at(time)
    }

    fn wait_visible(&self, position: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        self.inner.wait_visible(position)
    }

    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        self.inner.list_streams(list)
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        self.inner.stream_info(stream)
    }

    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        self.inner.subscribe(subscribe)
    }

    fn snapshots(&self) -> &dyn Snapshots {
        self.inner.snapshots()
    }

    fn checkpoints(&self) -> &dyn Checkpoints {
        self.inner.checkpoints()
    }

    fn leases(&self) -> &dyn Leases {
        self.inner.leases()
    }

    fn registry(&self) -> &dyn Registry {
        self.inner.registry()
    }
}
