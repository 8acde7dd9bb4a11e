//! A client that is an event store: what the contract says, over the network.

mod admin;
mod calls;
mod connecting;
mod groups;
mod notes;
mod reading;
mod subscription;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quipu_core::{
    AppendError, Appended, BoxFuture, Change, Checkpoints, EventBatch, EventStore, IndexRead,
    Leases, ListStreams, LogIdentity, LogRead, Position, ReadAll, ReadError, ReadIndex, ReadStream,
    Registry, Snapshots, StorageError, StreamInfo, StreamName, StreamRead, Subscribe,
    SubscribeError, Subscription, Timestamp,
};
use tonic::transport::Channel;

use crate::from_proto;
use crate::proto;
use crate::to_proto;
pub use admin::Watch;
use connecting::Credentials;
pub use connecting::{ClientIdentity, ClientOptions, ConnectError, RIGHTS, SYSTEM_RIGHTS};
pub use groups::{Answers, Groups, Member};
use reading::{RemoteBatches, broken, malformed};
use subscription::RemoteSubscription;

/// A log that a server holds.
///
/// Cloning gives another handle to the same two connections: one for calls, one for subscriptions,
/// so that what waits on one does not hold up the other. They are made again when they break. A
/// server lets about a hundred calls run at once on one connection: further ones wait, further
/// subscriptions too.
///
/// It needs a Tokio runtime: connect within it, and wait for answers within it or on a thread that
/// [entered](tokio::runtime::Handle::enter) it.
///
/// # Retries
///
/// A call whose connection breaks is made again, [a few times](ClientOptions::retry_count_max) with
/// growing waits between. That is safe for changes too, since all of them have ids: what was made is
/// found and not made twice. Where the last attempt does not tell how the earlier ones ended, the
/// answer is [`AppendError::OutcomeUnknown`]; where no attempt can have arrived, it is
/// [`AppendError::Storage`]. A read whose connection breaks between two batches fails.
///
/// Subscriptions go on behind the last place that they delivered, without a gap or a duplicate, and
/// tell so by [`FellBehind`](quipu_core::Delivery::FellBehind). They fail when the server stays away
/// for longer than [`ClientOptions::reconnect_timeout`], or holds another log or life by then.
///
/// # Errors
///
/// A call that the server refuses fails with the `Storage` variant of its error, in which
/// [`StorageError::downcast_ref`] finds [`Refused`](crate::Refused).
///
/// # Example
///
/// ```no_run
/// use quipu_core::EventStore;
/// use quipu_wire::{Client, ClientOptions};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let options = ClientOptions { token: Some("the token".to_owned()), ..ClientOptions::default() };
/// let store = Client::connect("http://127.0.0.1:2113", options).await?;
/// assert!(store.frontier().await? <= store.frontier().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    calls: Channel,
    subscriptions: Channel,
    credentials: Credentials,
    options: ClientOptions,
    /// What the server last said of its log. Held for a copy only.
    identity: Mutex<LogIdentity>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("identity", &self.known_identity()).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the server at `uri`: `http://host:port`, or `https://host:port` with TLS.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(uri: &str, options: ClientOptions) -> Result<Self, ConnectError> {
        connecting::connect(uri, options).await
    }

    /// Asks the server again which log it holds. [`identity`](EventStore::identity) answers it from
    /// then on.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn identify(&self) -> Result<LogIdentity, ReadError> {
        let answer = self
            .call(proto::IdentifyRequest {}, |mut store, request| async move {
                store.identify(request).await
            })
            .await;
        let answer = answer.map_err(crate::status::from_status::<ReadError>)?;
        let identity = from_proto::identity(answer).map_err(malformed)?;
        self.learn(identity.clone());
        Ok(identity)
    }

    fn known_identity(&self) -> LogIdentity {
        self.inner.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, identity: LogIdentity) {
        *self.inner.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    async fn open_stream(&self, read: ReadStream) -> Result<StreamRead, ReadError> {
        use proto::read_stream_response::Part;
        let mut messages = self
            .read(to_proto::read_stream(&read), |mut store, request| async move {
                store.read_stream(request).await
            })
            .await?;
        match reading::head(&mut messages).await?.part {
            Some(Part::State(state)) => Ok(StreamRead {
                state: from_proto::stream_state(Some(state)).map_err(malformed)?,
                batches: Box::new(RemoteBatches::new(messages, |message| match message.part {
                    Some(Part::Events(events)) => Some(events),
                    _ => None,
                })),
            }),
            _ => Err(broken("the server did not say what the stream is like")),
        }
    }

    async fn open_log(&self, read: ReadAll) -> Result<LogRead, ReadError> {
        use proto::read_all_response::Part;
        let mut messages = self
            .read(to_proto::read_all(&read), |mut store, request| async move {
                store.read_all(request).await
            })
            .await?;
        match reading::head(&mut messages).await?.part {
            Some(Part::Frontier(frontier)) => Ok(LogRead {
                frontier: Position::new(frontier),
                batches: Box::new(RemoteBatches::new(messages, |message| match message.part {
                    Some(Part::Events(events)) => Some(events),
                    _ => None,
                })),
            }),
            _ => Err(broken("the server did not say where the log is")),
        }
    }

    async fn gather_index(&self, read: ReadIndex) -> Result<IndexRead, ReadError> {
        use proto::read_index_response::Part;
        let mut messages = self
            .read(to_proto::read_index(read), |mut store, request| async move {
                store.read_index(request).await
            })
            .await?;
        let Some(Part::Head(head)) = reading::head(&mut messages).await?.part else {
            return Err(broken("the server did not say what it knows of the term"));
        };
        let mut entries = Vec::new();
        let mut pages: Vec<EventBatch> = Vec::new();
        let mut event_count = 0;
        while let Some(message) = messages.message().await.map_err(crate::status::from_status)? {
            let Some(Part::Entries(page)) = message.part else {
                return Err(broken("the server sent no entries"));
            };
            let (page, events) = from_proto::index_entries(page).map_err(malformed)?;
            entries.extend(page.into_iter().map(|mut entry| {
                entry.event = entry.event.map(|index| index + event_count);
                entry
            }));
            event_count += events.count();
            pages.push(events);
        }
        let events = match pages.as_mut_slice() {
            [only] => std::mem::take(only),
            _ => pages.iter().flat_map(EventBatch::to_vec).collect::<Vec<_>>().iter().collect(),
        };
        let frontier = Position::new(head.frontier);
        Ok(IndexRead { frontier, count: head.count, entries, events })
    }

    async fn list(&self, mut list: ListStreams) -> Result<Vec<StreamName>, ReadError> {
        let mut names: Vec<StreamName> = Vec::new();
        loop {
            let answer = self
                .call(to_proto::list_streams(list.clone()), |mut store, request| async move {
                    store.list_streams(request).await
                })
                .await
                .map_err(crate::status::from_status::<ReadError>)?;
            let page = from_proto::stream_names(answer.streams).map_err(malformed)?;
            list.limit = list.limit.saturating_sub(page.len());
            list.after = page.last().cloned();
            names.extend(page);
            // A page without names has nothing to go on behind.
            if !answer.is_cut || list.limit == 0 || list.after.is_none() {
                return Ok(names);
            }
        }
    }
}

/// Makes a call that changes nothing, and takes the answer apart.
macro_rules! ask {
    ($client:ident . $method:ident, $request:expr) => {
        $client
            .call($request, |mut service, request| async move { service.$method(request).await })
            .await
            .map_err(crate::status::from_status::<ReadError>)
    };
}

impl EventStore for Client {
    fn identity(&self) -> LogIdentity {
        self.known_identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(self.make(change))
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        Box::pin(self.open_stream(read))
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        Box::pin(self.open_log(read))
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
        Box::pin(self.gather_index(read))
    }

    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(async move {
            let answer = ask!(self.frontier, proto::FrontierRequest {})?;
            Ok(Position::new(answer.position))
        })
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(async move {
            let time = time.as_micros();
            let answer = ask!(self.position_at, proto::PositionAtRequest { time })?;
            Ok(Position::new(answer.position))
        })
    }

    fn wait_visible(&self, position: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            let request = proto::WaitVisibleRequest { position: position.get() };
            // It may take long by its nature: the limit of other calls does not count.
            let proto::WaitVisibleResponse {} =
                self.read(request, |mut store, request| async move {
                    store.wait_visible(request).await
                })
                .await?;
            Ok(())
        })
    }

    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        Box::pin(self.list(list))
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        Box::pin(async move {
            let request = proto::StreamInfoRequest { stream: stream.to_string() };
            // It takes as long as the stream is: the limit of other calls does not count.
            let answer = self
                .read(request, |mut store, request| async move { store.stream_info(request).await })
                .await?;
            from_proto::stream_info(stream, &answer).map_err(malformed)
        })
    }

    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(async move {
            let subscription = RemoteSubscription::begin(self.clone(), subscribe).await?;
            Ok(Box::new(subscription) as Box<dyn Subscription>)
        })
    }

    fn snapshots(&self) -> &dyn Snapshots {
        self
    }

    fn checkpoints(&self) -> &dyn Checkpoints {
        self
    }

    fn leases(&self) -> &dyn Leases {
        self
    }

    fn registry(&self) -> &dyn Registry {
        self
    }
}

/// What an answer that is not valid means for the caller.
fn not_valid(error: from_proto::Malformed) -> StorageError {
    StorageError::new(error)
}
