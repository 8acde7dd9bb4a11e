//! The in-memory store: the shortest store that keeps every promise of the contract.
//!
//! Everything is in [`log::Log`], behind one lock; an append holds it from the decision to the last
//! event, a read only to take a batch out. Other stores are compared with this one, so that it is
//! made to be read: it looks through the whole log where a durable store has an index.

mod beside;
mod log;
mod reading;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::Event;

use crate::append::{AppendError, Appended, Change};
use crate::checkpoint::Checkpoints;
use crate::decide::{self, Decision};
use crate::lease::Leases;
use crate::name::StreamName;
use crate::place::{Position, Timestamp};
use crate::read::{
    IndexRead, ListStreams, LogRead, ReadAll, ReadError, ReadIndex, ReadStream, StreamInfo,
    StreamRead,
};
use crate::registry::Registry;
use crate::snapshot::Snapshots;
use crate::store::{BoxFuture, EventStore, LogIdentity, Rights};
use crate::subscription::{Subscribe, SubscribeError, Subscription};
use log::Log;
use reading::{MemoryBatches, MemorySubscription};

/// A clock that a store asks for the time.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Keeps a log in memory, for tests and as the measure of other stores. Nothing outlives it.
///
/// Clones are handles to one log. Everything that a durable store does it does too, at once:
/// appends are visible when they are acknowledged, and `wait_visible` never waits.
///
/// ```
/// use quipu_core::{EventStore, ExpectedRevision, MemoryStore, NewEvent, Append, StreamName};
///
/// # futures_lite::future::block_on(async {
/// let store = MemoryStore::new();
/// let other_handle = store.clone();
///
/// let event = NewEvent::json("Counted", "1")?;
/// let stream = StreamName::new("counter-1")?;
/// store.append(Append::to_stream(stream, ExpectedRevision::NoStream, [event])).await?;
///
/// assert_eq!(other_handle.frontier().await?.get(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    rights: Rights,
}

/// What all handles of one log share.
struct Shared {
    /// Guards everything the store holds. Nothing is awaited and no caller's code but the clock runs
    /// while it is held.
    log: Mutex<Log>,
    /// Told after each append.
    grown: Event,
    clock: Clock,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.see_time((self.clock)());
        log
    }
}

impl MemoryStore {
    /// An empty log that goes by the machine's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(Timestamp::now))
    }

    /// An empty log that goes by this clock. Where the clock goes back, the store's time stands.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicI64, Ordering};
    /// use quipu_core::{MemoryStore, Timestamp};
    ///
    /// let micros = Arc::new(AtomicI64::new(0));
    /// let clock = Arc::clone(&micros);
    /// let store = MemoryStore::with_clock(Arc::new(move || {
    ///     Timestamp::from_micros(clock.load(Ordering::SeqCst))
    /// }));
    /// micros.store(3_600_000_000, Ordering::SeqCst);
    /// assert_eq!(store.now().as_micros(), 3_600_000_000, "an hour has passed");
    /// ```
    pub fn with_clock(clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        let shared = Shared { log: Mutex::new(Log::new()), grown: Event::new(), clock };
        Self { shared: Arc::new(shared), rights: Rights::Application }
    }

    /// A handle to the same log that may write every name.
    #[must_use]
    pub fn system(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), rights: Rights::System }
    }

    /// The store's time: the clock's, or the latest seen where the clock went back.
    pub fn now(&self) -> Timestamp {
        self.shared.lock().now()
    }

    /// Lets positions rise by `step` from one event to the next, so that a test sees whether its
    /// subject bears the gaps that stores on `PostgreSQL` leave. A step of 0 counts as 1.
    pub fn leave_gaps(&self, step: u64) {
        self.shared.lock().set_step(step.max(1));
    }

    /// Begins another life of the log at its frontier, as a restore or a failover does.
    pub fn restore_as_new_life(&self) {
        self.shared.lock().begin_life();
    }

    /// Removes what retention, deletes and tombstones hide, for good: log reads and queries no
    /// longer see it either. Answers how many events went.
    ///
    /// The last event of a stream that is not tombstoned, the latest metadata and tombstones stay.
    /// So does an event's id, for retries.
    pub fn scavenge(&self) -> usize {
        self.shared.lock().scavenge()
    }

    fn apply(&self, change: Change) -> Result<Appended, AppendError> {
        let mut log = self.shared.lock();
        let layout =
            decide::validate(&change, self.rights, log.now()).map_err(AppendError::Invalid)?;
        let decision = match decide::decide(&mut *log, change, layout) {
            Ok(decision) => decision,
            Err(never) => match never {},
        };
        match decision {
            Decision::Answer(appended) => Ok(appended),
            Decision::Refuse(error) => Err(error),
            Decision::Write(plan) => {
                let appended = log.write(&plan);
                drop(log);
                self.shared.grown.notify(usize::MAX);
                Ok(appended)
            }
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frontier = self.shared.lock().last_position();
        f.debug_struct("MemoryStore")
            .field("frontier", &frontier)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

impl EventStore for MemoryStore {
    fn identity(&self) -> LogIdentity {
        self.shared.lock().identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move { self.apply(change) })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        Box::pin(async move {
            let (state, events) = self.shared.lock().find_stream_events(&read)?;
            Ok(StreamRead { state, batches: MemoryBatches::boxed(&self.shared, events) })
        })
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        Box::pin(async move {
            let (frontier, events) = self.shared.lock().find_log_events(&read)?;
            Ok(LogRead { frontier, batches: MemoryBatches::boxed(&self.shared, events) })
        })
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
        Box::pin(async move { Ok(self.shared.lock().read_index(&read)) })
    }

    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(async move { Ok(self.shared.lock().last_position()) })
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(async move { self.shared.lock().position_at(time) })
    }

    fn wait_visible(&self, _position: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async { Ok(()) })
    }

    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        Box::pin(async move { Ok(self.shared.lock().list_streams(&list)) })
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        Box::pin(async move { Ok(self.shared.lock().stream_info(stream)) })
    }

    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(async move {
            let subscription = MemorySubscription::begin(&self.shared, subscribe)?;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use futures_lite::future::block_on;

    use super::*;
    use crate::append::Append;
    use crate::event::NewEvent;
    use crate::query::Query;
    use crate::read::collect;

    fn append(store: &MemoryStore) {
        let event = NewEvent::json("Made", "{}").unwrap();
        let stream = StreamName::new("a-1").unwrap();
        block_on(store.append(Append::new().event(stream, event))).unwrap();
    }

    fn log(store: &MemoryStore) -> Vec<crate::RecordedEvent> {
        let read = block_on(store.read_all(ReadAll::new(Query::all()))).unwrap();
        block_on(collect(read.batches)).unwrap()
    }

    #[test]
    fn time_stands_while_the_clock_goes_back() {
        let micros = Arc::new(AtomicI64::new(100));
        let clock = Arc::clone(&micros);
        let store = MemoryStore::with_clock(Arc::new(move || {
            Timestamp::from_micros(clock.load(Ordering::SeqCst))
        }));

        append(&store);
        micros.store(50, Ordering::SeqCst);
        append(&store);
        micros.store(150, Ordering::SeqCst);
        append(&store);

        let times: Vec<i64> = log(&store).iter().map(|it| it.recorded_at.as_micros()).collect();
        assert_eq!(times, [100, 100, 150]);
    }

    #[test]
    fn positions_are_dense_unless_gaps_are_asked_for() {
        let dense = MemoryStore::new();
        let gaps = MemoryStore::new();
        gaps.leave_gaps(10);

        for store in [&dense, &gaps] {
            append(store);
            append(store);
        }

        let positions = |store| log(store).iter().map(|it| it.position.get()).collect::<Vec<_>>();
        assert_eq!(positions(&dense), [1, 2]);
        assert_eq!(positions(&gaps), [10, 20]);
    }

    #[test]
    fn an_append_that_is_dropped_before_it_is_polled_does_nothing() {
        let store = MemoryStore::new();
        let event = NewEvent::json("Made", "{}").unwrap();
        let stream = StreamName::new("a-1").unwrap();

        drop(store.append(Append::new().event(stream, event)));

        assert!(log(&store).is_empty());
    }

    #[test]
    fn debug_tells_where_the_log_is_and_no_events() {
        let store = MemoryStore::new();
        append(&store);

        assert_eq!(
            format!("{:?}", store.system()),
            "MemoryStore { frontier: Position(1), rights: System, .. }"
        );
    }
}
