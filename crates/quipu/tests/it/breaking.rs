//! A store that breaks for good at an append, as the machine of a process does.

use std::fmt;
use std::sync::Arc;

use quipu::core::{
    AppendError, Appended, BoxFuture, Change, Checkpoints, EventStore, IndexRead, Leases,
    ListStreams, LogIdentity, LogRead, ReadAll, ReadError, ReadIndex, ReadStream, Registry,
    Snapshots, StorageError, StreamInfo, StreamRead, Subscribe, SubscribeError, Subscription,
};
use quipu::{Position, StreamName, Timestamp};
use tokio::sync::watch;

/// What happens to the append that breaks it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// It is written, and nobody hears of it.
    LoseAnswer,
    /// It is not written.
    LoseRequest,
    /// It waits until it is let on, and is written then; and so is everything after it. As from a
    /// process that was asleep, and does not know that another one has taken over.
    Pause,
}

/// A handle to a store that breaks after so many appends.
#[derive(Clone)]
pub(crate) struct BreakingStore {
    store: Arc<dyn EventStore>,
    how: How,
    left: Arc<watch::Sender<Option<usize>>>,
    is_let_on: Arc<watch::Sender<bool>>,
}

impl BreakingStore {
    pub(crate) fn new(store: Arc<dyn EventStore>, how: How, appends: usize) -> Self {
        let left = Arc::new(watch::channel(Some(appends)).0);
        Self { store, how, left, is_let_on: Arc::new(watch::channel(false).0) }
    }

    /// Lets the append go on that waits, and all later ones.
    pub(crate) fn let_on(&self) {
        self.is_let_on.send_replace(true);
    }

    /// Waits until it is broken, or an append waits.
    pub(crate) async fn broken(&self) {
        self.left.subscribe().wait_for(Option::is_none).await.unwrap();
    }

    fn is_broken(&self) -> bool {
        !matches!(self.how, How::Pause) && self.left.borrow().is_none()
    }
}

impl fmt::Debug for BreakingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakingStore").finish_non_exhaustive()
    }
}

impl EventStore for BreakingStore {
    fn identity(&self) -> LogIdentity {
        self.store.identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let unknown = || Err(AppendError::OutcomeUnknown(StorageError::new("it broke")));
            let left = *self.left.borrow();
            match left {
                None | Some(0) if matches!(self.how, How::Pause) => {
                    self.left.send_replace(None);
                    self.is_let_on.subscribe().wait_for(|is_let_on| *is_let_on).await.unwrap();
                    self.store.change(change).await
                }
                None => unknown(),
                Some(0) => {
                    if matches!(self.how, How::LoseAnswer) {
                        self.store.change(change).await?;
                    }
                    self.left.send_replace(None);
                    unknown()
                }
                Some(left) => {
                    let answer = self.store.change(change).await?;
                    self.left.send_replace(Some(left - 1));
                    Ok(answer)
                }
            }
        })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        if self.is_broken() {
            return Box::pin(async { Err(ReadError::Closed) });
        }
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        if self.is_broken() {
            return Box::pin(async { Err(ReadError::Closed) });
        }
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
