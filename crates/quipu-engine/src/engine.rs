//! The engine's handle: where the contract meets the log.

use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake};
use std::thread::JoinHandle;
use std::time::Duration;

use quipu_core::decide::validate;
use quipu_core::{
    Append, AppendError, Appended, BoxFuture, Change, Checkpoints, EventStore, IndexRead, Leases,
    ListStreams, LogIdentity, LogRead, Position, ReadAll, ReadError, ReadIndex, ReadStream,
    Registry, Rights, Snapshots, StorageError, StreamInfo, StreamName, StreamRead, Subscribe,
    SubscribeError, Subscription, Timestamp,
};

use crate::beside::Beside;
use crate::error::DiskError;
use crate::follower::Poller;
use crate::io::SeededBug;
use crate::log::Log;
use crate::maintenance::Maintenance;
use crate::opening::{self, Opened};
use crate::options::{OpenError, OpenOptions};
use crate::reader::storage;
use crate::space::Space;
use crate::subscription::LogSubscription;
use crate::writer::{Answered, Arrival, Preparation, Queue, Reply, Request, Wish, Writer};

/// How long after the last change the durable floor is written to the manifest.
const IDLE: Duration = Duration::from_secs(1);

/// A log in a directory.
///
/// Cloning gives another handle to the same store. The store closes when the last handle is
/// dropped: what was acknowledged is durable anyway, closing makes the next opening quicker.
///
/// Appends are made by one thread, in groups: every group costs one sync, whoever is in it. Reads
/// run in the thread that asks, and never wait for appends.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    rights: Rights,
}

struct Inner {
    log: Arc<Log>,
    identity: LogIdentity,
    recovery: Recovery,
    changes: Changes,
    maintenance: Arc<Maintenance>,
    /// Closed before the lock is given back, since its file belongs to who holds the lock.
    beside: Beside,
    /// Held as long as the store is open for writing.
    _lock: Option<Box<dyn crate::io::Lock>>,
}

/// How changes are made.
enum Changes {
    /// By a thread of its own, which takes them from a queue.
    Threads { queue: Arc<Queue>, space: Arc<Space>, threads: Mutex<Option<Threads>> },
    /// By whoever asks.
    Inline(Box<Mutex<Writer>>),
    /// Not at all. A thread follows whoever makes them, unless all is done inline.
    ReadOnly { poller: Arc<Poller>, thread: Mutex<Option<JoinHandle<()>>> },
}

/// The threads of a store that is open for writing.
struct Threads {
    writer: JoinHandle<()>,
    filler: JoinHandle<()>,
    index: JoinHandle<()>,
}

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Events in the log.
    pub event_count: u64,
    /// Events that the store did not know to be whole: those of the segment written last that came
    /// after the last run of the index, or all of it where less is known. They were checked again.
    pub checked_count: u64,
    /// Events that were not in the index's runs and were indexed again.
    pub indexed_count: u64,
    /// Bytes of a batch that was cut off by a crash before it was acknowledged. They were kept
    /// aside in the directory `torn`.
    pub torn_size: u64,
    /// Runs of the index that were damaged or missing and are built again.
    pub lost_run_count: u64,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("identity", &self.inner.identity)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn open(directory: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        let rights = options.rights;
        let inline = options.inline;
        let Opened { log, identity, recovery, writer, space, beside, lock } =
            opening::open(directory, options)?;
        let maintenance = Arc::new(Maintenance::new(Arc::clone(&log)));
        let changes = match writer {
            None => follow(&log, inline),
            Some(writer) if inline => Changes::Inline(Box::new(Mutex::new(writer))),
            Some(writer) => start_threads(writer, &space, &maintenance),
        };
        let inner = Inner { log, identity, recovery, changes, maintenance, beside, _lock: lock };
        Ok(Self { inner: Arc::new(inner), rights })
    }

    /// A handle to the same store with these rights.
    #[must_use]
    pub fn with_rights(&self, rights: Rights) -> Self {
        Self { inner: Arc::clone(&self.inner), rights }
    }

    /// The directory of the store.
    pub fn directory(&self) -> &Path {
        self.log().layout.root()
    }

    /// What opening found.
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Closes the store for every handle: answers what is under way, ends subscriptions, and
    /// writes down that the log is whole.
    ///
    /// # Errors
    ///
    /// A [`StorageError`] if that could not be written: nothing acknowledged is lost.
    pub fn close(&self) -> Result<(), StorageError> {
        self.inner.close().map_err(StorageError::from)
    }

    /// Whether this store takes no changes.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.inner.changes, Changes::ReadOnly { .. })
    }

    /// Makes changes in one group, as the writer's thread does with those that wait for it: they
    /// share batches and syncs. For simulations of a store that is open
    /// [inline](OpenOptions::inline), where nothing ever waits.
    #[doc(hidden)]
    pub async fn change_together(
        &self,
        changes: Vec<Change>,
    ) -> Vec<Result<Appended, AppendError>> {
        let mut requests = Vec::new();
        let mut answers = Vec::new();
        for change in changes {
            answers.push(self.request(change).map(|(request, answered)| {
                requests.push(request);
                answered
            }));
        }
        let refused = self.inner.submit(requests);
        let mut done = Vec::new();
        for answered in answers {
            done.push(match (answered, &refused) {
                (Err(error), _) => Err(error),
                (Ok(_), Err(_)) => Err(AppendError::Closed),
                (Ok(answered), Ok(())) => wait_for(answered).await,
            });
        }
        done
    }

    /// A change on its way to the writer, and where its answer will come from.
    fn request(&self, change: Change) -> Result<(Request, Answered), AppendError> {
        let io = &self.log().io;
        let change = match change {
            Change::Append(append) if io.has_bug(SeededBug::SkipRevisionCheck) => {
                Change::Append(Append { expectations: Vec::new(), ..append })
            }
            change => change,
        };
        let layout = validate(&change, self.rights, io.now()).map_err(AppendError::Invalid)?;
        let preparation = Box::new(Preparation::new(self.log().hasher, change, layout));
        let size = preparation.size();
        let (reply, answered) = Reply::new();
        Ok((Request { wish: Wish::Change(preparation), size, reply }, answered))
    }

    /// Has the writer begin another segment, unless the one with this number is full already. Waits
    /// until that is durable.
    pub(crate) fn roll(&self, segment: u64) -> Result<(), AppendError> {
        let (reply, answered) = Reply::new();
        self.inner.submit(vec![Request { wish: Wish::Roll(segment), size: 0, reply }])?;
        block_on(wait_for(answered)).map(drop)
    }

    /// Has done what of the index was put off.
    pub(crate) fn catch_up_index(&self) {
        match self.inner.changes {
            Changes::Threads { .. } => self.inner.maintenance.ask(),
            Changes::Inline(_) => {
                // What fails is tried again with the next change.
                let _later = self.inner.maintenance.work();
            }
            Changes::ReadOnly { .. } => {}
        }
    }

    pub(crate) fn beside(&self) -> &Beside {
        &self.inner.beside
    }

    /// How many changes wait for the writer, and their bytes.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        match &self.inner.changes {
            Changes::Threads { queue, .. } => queue.load(),
            Changes::Inline(_) | Changes::ReadOnly { .. } => (0, 0),
        }
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.inner.log
    }
}

async fn wait_for(answered: Answered) -> Result<Appended, AppendError> {
    match answered.await {
        Ok(outcome) => outcome.answer,
        Err(_dropped) => Err(AppendError::OutcomeUnknown(StorageError::new("the store stopped"))),
    }
}

/// Waits for a future in the calling thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left who could hear of a failure, and it costs only time at the next opening.
        let _unheard = self.close();
    }
}

impl Inner {
    fn close(&self) -> Result<(), DiskError> {
        self.log.health.close();
        match &self.changes {
            Changes::Threads { queue, space, threads } => {
                queue.close();
                let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(Threads { writer, filler, index }) = threads.take() {
                    // A thread that panicked has stopped the store already. The writer goes first:
                    // to come to its end it may need what the others do.
                    let _panicked = writer.join();
                    space.stop();
                    self.maintenance.stop();
                    let _panicked = (filler.join(), index.join());
                }
                self.log.watermark.close();
                Ok(())
            }
            Changes::Inline(_) => {
                self.log.watermark.close();
                self.log.write_floor()
            }
            Changes::ReadOnly { poller, thread } => {
                poller.stop();
                let mut thread = thread.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(thread) = thread.take() {
                    // It changes nothing, so neither does a panic of its.
                    let _panicked = thread.join();
                }
                self.log.watermark.close();
                Ok(())
            }
        }
    }

    /// Hands requests to whoever makes changes.
    fn submit(&self, requests: Vec<Request>) -> Result<(), AppendError> {
        match &self.changes {
            Changes::ReadOnly { .. } => Err(AppendError::ReadOnly),
            Changes::Threads { queue, .. } => {
                requests.into_iter().try_for_each(|request| queue.push(request))
            }
            Changes::Inline(writer) => {
                self.change_inline(writer, requests);
                Ok(())
            }
        }
    }

    fn change_inline(&self, writer: &Mutex<Writer>, requests: Vec<Request>) {
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.commit(requests);
        if self.log.health.is_open() {
            // What is derived is made again later.
            let _later = self.maintenance.work();
        }
    }
}

fn follow(log: &Arc<Log>, inline: bool) -> Changes {
    let poller = Arc::new(Poller::default());
    let thread = (!inline).then(|| {
        let (poller, log) = (Arc::clone(&poller), Arc::clone(log));
        std::thread::Builder::new()
            .name("quipu-follower".to_owned())
            .spawn(move || poller.run(&log))
            .expect("the system can start a thread")
    });
    Changes::ReadOnly { poller, thread: Mutex::new(thread) }
}

fn start_threads(
    mut writer: Writer,
    space: &Arc<Space>,
    maintenance: &Arc<Maintenance>,
) -> Changes {
    let queue = Arc::new(Queue::default());
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(format!("quipu-{name}"))
            .spawn(work)
            .expect("the system can start three threads")
    };
    let fail_stop = FailStop {
        log: writer.log(),
        queue: Arc::clone(&queue),
        space: Arc::clone(space),
        maintenance: Arc::clone(maintenance),
    };
    let filler = {
        let (space, guard) = (Arc::clone(space), fail_stop.clone());
        let work = move || {
            guard.log.io.lower_priority();
            guard.run(|| space.run());
        };
        spawn("filler", Box::new(work))
    };
    let index = {
        let (maintenance, guard) = (Arc::clone(maintenance), fail_stop.clone());
        let work = move || {
            guard.log.io.lower_priority();
            guard.run(|| maintenance.run());
        };
        spawn("index", Box::new(work))
    };
    let writer = {
        let (queue, maintenance) = (Arc::clone(&queue), Arc::clone(maintenance));
        let work = move || run_writer(&mut writer, &queue, &maintenance);
        spawn("writer", Box::new(move || fail_stop.run(work)))
    };
    let threads = Mutex::new(Some(Threads { writer, filler, index }));
    Changes::Threads { queue, space: Arc::clone(space), threads }
}

/// Stops the store when one of its threads panics: a broken invariant must not leave a store that
/// looks open, nor threads that wait for one that is gone.
#[derive(Clone)]
struct FailStop {
    log: Arc<Log>,
    queue: Arc<Queue>,
    space: Arc<Space>,
    maintenance: Arc<Maintenance>,
}

impl FailStop {
    fn run(self, work: impl FnOnce()) {
        // A panic in the work drops it on its way.
        let _armed = self;
        work();
    }
}

impl Drop for FailStop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.log.fail();
            self.queue.abandon();
            self.space.stop();
            self.maintenance.stop();
        }
    }
}

fn run_writer(writer: &mut Writer, queue: &Queue, maintenance: &Maintenance) {
    let mut is_floor_low = false;
    loop {
        match queue.take(is_floor_low.then_some(IDLE)) {
            Arrival::Requests(requests) => {
                writer.commit(requests);
                is_floor_low = true;
                if writer.needs_maintenance() {
                    maintenance.ask();
                    maintenance.hold_back();
                }
            }
            Arrival::Idle => is_floor_low = writer.log().write_floor().is_err(),
            Arrival::Closed => break,
        }
    }
    // Without it the next opening looks at the last batch more closely.
    let _slower = writer.log().write_floor();
}

impl EventStore for Engine {
    fn identity(&self) -> LogIdentity {
        self.inner.identity.clone()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let (request, answered) = self.request(change)?;
            self.inner.submit(vec![request])?;
            wait_for(answered).await
        })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        Box::pin(async move {
            let (state, batches) = self.log().read_stream(read)?;
            Ok(StreamRead { state, batches: Box::new(batches) })
        })
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        Box::pin(async move {
            let (frontier, batches) = self.log().read_all(read)?;
            Ok(LogRead { frontier: Position::new(frontier), batches })
        })
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
        Box::pin(async move { self.log().read_index(&read).map_err(storage) })
    }

    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(async move { Ok(Position::new(self.log().frontier())) })
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(async move {
            let moment = self.log().moment(Some(quipu_core::AsOf::Time(time)))?;
            Ok(Position::new(moment.upto))
        })
    }

    fn wait_visible(&self, position: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            let log = self.log();
            loop {
                let moved = log.watermark.listen();
                if log.frontier() >= position.get() {
                    return Ok(());
                }
                if log.watermark.is_closed() {
                    return Err(ReadError::Closed);
                }
                moved.await;
            }
        })
    }

    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        Box::pin(async move { self.log().list_streams(&list).map_err(storage) })
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        Box::pin(async move { self.log().stream_info(stream).map_err(storage) })
    }

    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(async move {
            let subscription = LogSubscription::begin(Arc::clone(self.log()), subscribe)?;
            Ok(Box::new(subscription) as Box<dyn Subscription>)
        })
    }

    fn snapshots(&self) -> &dyn Snapshots {
        self.inner.beside.snapshots()
    }

    fn checkpoints(&self) -> &dyn Checkpoints {
        self.inner.beside.checkpoints()
    }

    fn leases(&self) -> &dyn Leases {
        self.inner.beside.leases()
    }

    fn registry(&self) -> &dyn Registry {
        self.inner.beside.registry()
    }
}
