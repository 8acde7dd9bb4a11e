//! A store that loses answers, refuses, and lets tests in between its steps.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use quipu::core::{
    Append, AppendError, Appended, BoxFuture, Change, Checkpoints, EventStore, IndexRead, Leases,
    ListStreams, LogIdentity, LogRead, MemoryStore, ReadAll, ReadError, ReadIndex, ReadStream,
    Registry, Snapshot, Snapshots, StorageError, StreamInfo, StreamRead, Subscribe, SubscribeError,
    Subscription,
};
use quipu::{Position, Quipu, StreamName, Timestamp};

/// What happens to an append.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is written, and the answer lost.
    LoseAnswer,
    /// It is lost, and nobody says so.
    LoseRequest,
    /// The store says that it is closed.
    Close,
    /// The store says that it is busy.
    Overload,
    /// Something else is appended just before.
    Before(Append),
}

/// A store in memory with faults, used up one an append.
#[derive(Clone)]
pub(crate) struct FaultyStore {
    store: MemoryStore,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    /// The reads of the log and of streams so far, as they were asked for.
    reads: Arc<Mutex<Vec<String>>>,
    /// The keys that snapshots were put under.
    keys: Arc<Mutex<BTreeSet<String>>>,
}

impl FaultyStore {
    pub(crate) fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            faults: Arc::default(),
            reads: Arc::default(),
            keys: Arc::default(),
        }
    }

    pub(crate) fn app(&self) -> Quipu {
        Quipu::over(Arc::new(self.clone()))
    }

    /// The store without faults.
    pub(crate) fn memory(&self) -> &MemoryStore {
        &self.store
    }

    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// The keys that snapshots were put under.
    pub(crate) fn snapshot_keys(&self) -> Vec<String> {
        self.keys.lock().unwrap().iter().cloned().collect()
    }

    /// The reads since the last call.
    pub(crate) fn take_reads(&self) -> Vec<String> {
        std::mem::take(&mut *self.reads.lock().unwrap())
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").finish_non_exhaustive()
    }
}

fn unknown() -> AppendError {
    AppendError::OutcomeUnknown(StorageError::new("the line went dead"))
}

impl EventStore for FaultyStore {
    fn identity(&self) -> LogIdentity {
        self.store.identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        let fault = self.faults.lock().unwrap().pop_front();
        Box::pin(async move {
            match fault {
                None => self.store.change(change).await,
                Some(Fault::LoseAnswer) => {
                    self.store.change(change).await?;
                    Err(unknown())
                }
                Some(Fault::LoseRequest) => Err(unknown()),
                Some(Fault::Close) => Err(AppendError::Closed),
                Some(Fault::Overload) => Err(AppendError::Overloaded),
                Some(Fault::Before(other)) => {
                    self.store.append(other).await?;
                    self.store.change(change).await
                }
            }
        })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        let from = read.from.map_or("start".to_owned(), |revision| revision.to_string());
        self.reads.lock().unwrap().push(format!("{} from {from}", read.stream));
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        let from = read.from.map_or("start".to_owned(), |position| position.to_string());
        self.reads.lock().unwrap().push(format!("log from {from}"));
        self.store.read_all(read)
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
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
        self.store.list_streams(list)
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        self.store.stream_info(stream)
    }

    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        self.store.subscribe(subscribe)
    }

    fn snapshots(&self) -> &dyn Snapshots {
        self
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

impl Snapshots for FaultyStore {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Position,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, StorageError>> {
        self.store.snapshots().get(key, at)
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        self.keys.lock().unwrap().insert(key.to_owned());
        self.store.snapshots().put(key, snapshot)
    }

    fn prune<'a>(
        &'a self,
        key: &'a str,
        keep: usize,
    ) -> BoxFuture<'a, Result<usize, StorageError>> {
        self.store.snapshots().prune(key, keep)
    }
}
