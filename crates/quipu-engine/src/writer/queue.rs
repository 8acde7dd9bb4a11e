//! The way in: requests that wait for the writer, and the way back of their answers.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use quipu_core::decide::Plan;
use quipu_core::{AppendError, Appended};

use super::prepared::{Preparation, Prepared};

/// The most requests that may wait.
const REQUEST_COUNT_MAX: usize = 4_096;
/// The most bytes of events and of their records that may wait, unless one request is larger.
const REQUEST_SIZE_MAX: usize = 256 << 20;
/// If requests come faster than this one after the other, the writer stays awake for the next.
const WATCHED: Duration = Duration::from_micros(200);
/// The most requests that the writer takes at once.
const GROUP_COUNT_MAX: usize = 4_096;

/// What a change that was made consisted of. It goes back to whoever brought it, since memory is
/// given back most cheaply by the thread that took it, and the writer has no time to spare.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    _of: Option<(Plan, [Prepared; 3])>,
}

impl Leftovers {
    pub(super) fn new(plan: Plan, prepared: [Prepared; 3]) -> Self {
        Self { _of: Some((plan, prepared)) }
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub(crate) struct Reply(oneshot::Sender<Outcome>);

/// Where an answer comes from.
pub(crate) type Answered = oneshot::Receiver<Outcome>;

/// What became of a change.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: Result<Appended, AppendError>,
    _leftovers: Leftovers,
}

impl Reply {
    pub(crate) fn new() -> (Self, Answered) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    pub(crate) fn send(self, answer: Result<Appended, AppendError>, leftovers: Leftovers) {
        // Whoever dropped the future does not want to know.
        let _unheard = self.0.send(Outcome { answer, _leftovers: leftovers });
    }
}

/// Something that the writer is asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) wish: Wish,
    pub(crate) size: usize,
    pub(crate) reply: Reply,
}

/// What the writer is to do.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Make a change.
    Change(Box<Preparation>),
    /// Begin another segment, unless the one with this number is full already. The answer says
    /// nothing but that it is.
    Roll(u64),
}

/// The bounded queue before the writer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Guards what waits. Nothing is done under it but moving requests.
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    /// Whether something waits. A hint: it makes nobody wait.
    has_arrived: AtomicBool,
    /// Whether the writer waited for less than [`WATCHED`] the last time. Only it looks.
    was_quick: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    size: usize,
    is_closed: bool,
    /// Whether the writer sleeps and must be woken.
    is_writer_asleep: bool,
}

/// What came when the writer asked.
#[derive(Debug)]
pub(crate) enum Arrival {
    Requests(Vec<Request>),
    /// Nothing for as long as the writer was willing to wait.
    Idle,
    /// Nothing will ever come.
    Closed,
}

impl Queue {
    /// Adds a request, unless too many wait.
    pub(crate) fn push(&self, request: Request) -> Result<(), AppendError> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(AppendError::Closed);
        }
        let is_full = waiting.requests.len() >= REQUEST_COUNT_MAX
            || (waiting.size > 0 && waiting.size + request.size > REQUEST_SIZE_MAX);
        if is_full {
            return Err(AppendError::Overloaded);
        }
        waiting.size += request.size;
        waiting.requests.push_back(request);
        self.has_arrived.store(true, Ordering::Relaxed);
        let is_writer_asleep = std::mem::take(&mut waiting.is_writer_asleep);
        drop(waiting);
        if is_writer_asleep {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes all that waits, or waits for something to come.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Arrival {
        let begun = Instant::now();
        self.watch(begun);
        let mut waiting = self.lock();
        while waiting.requests.is_empty() {
            if waiting.is_closed {
                return Arrival::Closed;
            }
            waiting.is_writer_asleep = true;
            waiting = match patience {
                None => self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (waiting, timeout) = self
                        .arrived
                        .wait_timeout(waiting, patience)
                        .unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && waiting.requests.is_empty() && !waiting.is_closed {
                        let mut waiting = waiting;
                        waiting.is_writer_asleep = false;
                        return Arrival::Idle;
                    }
                    waiting
                }
            };
        }
        waiting.is_writer_asleep = false;
        self.was_quick.store(begun.elapsed() < WATCHED, Ordering::Relaxed);
        let count = waiting.requests.len().min(GROUP_COUNT_MAX);
        let requests: Vec<_> = waiting.requests.drain(..count).collect();
        // Here, where the lock keeps it true: what is left over from a request that was taken
        // would keep the next watch from watching.
        self.has_arrived.store(!waiting.requests.is_empty(), Ordering::Relaxed);
        waiting.size -= requests.iter().map(|request| request.size).sum::<usize>();
        Arrival::Requests(requests)
    }

    /// Stays awake for a moment where it has paid: who was just answered often comes back at once,
    /// and to be woken takes as long as a good part of a sync.
    fn watch(&self, begun: Instant) {
        static CORES: LazyLock<usize> =
            LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZero::get));
        if *CORES == 1 || !self.was_quick.load(Ordering::Relaxed) {
            return;
        }
        while !self.has_arrived.load(Ordering::Relaxed) && begun.elapsed() < WATCHED {
            // Who was just answered may be waiting for this very core: without this it would wait
            // for the end of the watch.
            std::thread::yield_now();
        }
    }

    /// How many requests wait, and their bytes.
    pub(crate) fn load(&self) -> (u64, u64) {
        let waiting = self.lock();
        (waiting.requests.len() as u64, waiting.size as u64)
    }

    /// Refuses what comes from now on; what waits is still taken.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    /// Refuses what comes from now on, and lets go of what waits: nobody is there to take it.
    pub(crate) fn abandon(&self) {
        self.close();
        let abandoned = std::mem::take(&mut self.lock().requests);
        drop(abandoned);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
