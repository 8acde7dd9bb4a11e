//! The watch: a task that sees the log grow, wakes who waits for that, and tells other nodes.
//!
//! It looks at the frontier: at once after an append of this node, soon after another node told that
//! it appended, and from time to time where nobody told, since who appends in a transaction of their
//! own tells nobody. It looks at nothing while nobody waits. It tells others at most so often, in a
//! transaction of its own: a notification inside an append would make commits wait for each other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use event_listener::{Event, EventListener};
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::store::Shared;

/// How often the log is looked at where nobody tells of it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often it is looked at while an append holds the frontier back.
const HELD_INTERVAL: Duration = Duration::from_millis(5);
/// How often it is looked whether a transaction holds readers back for long.
const HELD_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often other nodes are told at most.
const TELL_INTERVAL: Duration = Duration::from_millis(20);
/// How long to wait before the database is asked again after it failed, at first and at most.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// What a store counted since it was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Appends that were tried again since other transactions were in their way.
    pub(crate) conflicts_retried: AtomicU64,
    /// Appends that were tried again since the connection broke.
    pub(crate) cuts_retried: AtomicU64,
    /// Looks at the frontier that failed.
    pub(crate) looks_failed: AtomicU64,
    /// For how many milliseconds readers were held back at the last look.
    pub(crate) held_back: AtomicU64,
}

impl Counters {
    /// How often an append was done again because of a serialization failure or a deadlock.
    pub fn conflicts_retried(&self) -> u64 {
        self.conflicts_retried.load(Ordering::Relaxed)
    }

    /// How often an append was done again because the connection broke.
    pub fn cuts_retried(&self) -> u64 {
        self.cuts_retried.load(Ordering::Relaxed)
    }

    /// How long the oldest transaction that holds readers back was open when the store last looked,
    /// which it does every few seconds.
    pub fn held_back(&self) -> Duration {
        Duration::from_millis(self.held_back.load(Ordering::Relaxed))
    }

    /// How often the frontier could not be looked at for those who wait.
    pub fn looks_failed(&self) -> u64 {
        self.looks_failed.load(Ordering::Relaxed)
    }
}

/// What the task and those who wait share.
pub(crate) struct Watch {
    grown: Event,
    /// Something may have been appended, or somebody began to wait.
    hint: Notify,
    waiting_count: AtomicUsize,
    /// Whether this node appended since it last told the others.
    has_appended: AtomicBool,
    is_stopped: AtomicBool,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            grown: Event::new(),
            hint: Notify::new(),
            waiting_count: AtomicUsize::new(0),
            has_appended: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Starts the tasks of a store. They end with it.
    pub(crate) fn start(shared: &Arc<Shared>) {
        tokio::spawn(look(Arc::downgrade(shared)));
        tokio::spawn(listen(Arc::downgrade(shared)));
    }

    pub(crate) fn tell_appended(&self) {
        self.has_appended.store(true, Ordering::SeqCst);
        self.hint.notify_one();
    }

    /// Whoever waits is told that nothing more comes.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.grown.notify(usize::MAX);
        self.hint.notify_one();
    }

    /// A place among those who wait.
    pub(crate) fn listen(&self) -> Waiter<'_> {
        Waiter { listener: self.grown.listen(), watch: self }
    }
}

/// One who waits for the log to grow.
pub(crate) struct Waiter<'a> {
    listener: EventListener,
    watch: &'a Watch,
}

impl Waiter<'_> {
    /// Waits. Answers whether the store is still open.
    pub(crate) async fn wait(self) -> bool {
        let Self { listener, watch } = self;
        let _waiting = Waiting::begin(watch);
        if watch.is_stopped.load(Ordering::SeqCst) {
            return false;
        }
        watch.hint.notify_one();
        listener.await;
        !watch.is_stopped.load(Ordering::SeqCst)
    }
}

struct Waiting<'a>(&'a Watch);

impl<'a> Waiting<'a> {
    fn begin(watch: &'a Watch) -> Self {
        watch.waiting_count.fetch_add(1, Ordering::SeqCst);
        Self(watch)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting_count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the task knows from one look to the next.
struct Looker {
    /// The last event that was seen, be it above the frontier or not.
    last: quipu_core::Position,
    told_at: Instant,
    /// When it was last looked whether a transaction holds readers back.
    held_at: Instant,
    retry: Duration,
}

async fn look(store: Weak<Shared>) {
    let mut looker = Looker {
        last: quipu_core::Position::START,
        told_at: Instant::now(),
        held_at: Instant::now(),
        retry: RETRY[0],
    };
    loop {
        let Some(shared) = store.upgrade() else { return };
        if shared.watch.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let pause = looker.step(&shared).await;
        // Either will do. A store that was dropped meanwhile is held no longer than this.
        tokio::time::timeout(pause, shared.watch.hint.notified()).await.ok();
    }
}

impl Looker {
    /// Looks at the log if somebody waits, wakes and tells. Answers how long to wait then.
    async fn step(&mut self, shared: &Shared) -> Duration {
        let watch = &shared.watch;
        let is_waited_for = watch.waiting_count.load(Ordering::SeqCst) > 0;
        let mut pause = LOOK_INTERVAL;
        if is_waited_for {
            if let Ok(end) = shared.end().await {
                self.retry = RETRY[0];
                let seen = end.frontier.max(end.last);
                let is_held = end.frontier < end.last;
                if seen > self.last || is_held {
                    self.last = seen;
                    watch.grown.notify(usize::MAX);
                }
                if is_held {
                    pause = HELD_INTERVAL;
                }
            } else {
                // Those who wait find out themselves what is the matter when they look.
                shared.counters.looks_failed.fetch_add(1, Ordering::Relaxed);
                watch.grown.notify(usize::MAX);
                pause = self.retry;
                self.retry = (self.retry * 2).min(RETRY[1]);
            }
        }
        if self.held_at.elapsed() > HELD_LOOK_INTERVAL {
            self.held_at = Instant::now();
            if let Ok(held_back) = shared.held_back().await {
                let millis = u64::try_from(held_back.as_millis()).unwrap_or(u64::MAX);
                shared.counters.held_back.store(millis, Ordering::Relaxed);
            }
        }
        let since = self.told_at.elapsed();
        if watch.has_appended.load(Ordering::SeqCst) {
            if since < TELL_INTERVAL {
                return pause.min(TELL_INTERVAL.saturating_sub(since));
            }
            watch.has_appended.store(false, Ordering::SeqCst);
            self.told_at = Instant::now();
            let told = sqlx::query(shared.sql.notify.text()).bind(channel(shared));
            // Nobody misses it for good: the others look from time to time.
            told.execute(&shared.pool).await.ok();
        }
        pause
    }
}

/// What nodes of one store tell each other on.
fn channel(shared: &Shared) -> String {
    format!("{}_appended", shared.sql.schema)
}

async fn begin_listening(shared: &Shared) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(&shared.listening).await?;
    listener.listen(&channel(shared)).await?;
    Ok(listener)
}

/// Hears other nodes.
async fn listen(store: Weak<Shared>) {
    let mut retry = RETRY[0];
    loop {
        let Some(shared) = store.upgrade() else { return };
        if shared.watch.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut listener) = begin_listening(&shared).await else {
            drop(shared);
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(RETRY[1]);
            continue;
        };
        retry = RETRY[0];
        drop(shared);
        loop {
            let heard = tokio::time::timeout(Duration::from_secs(1), listener.try_recv()).await;
            let Some(shared) = store.upgrade() else { return };
            if shared.watch.is_stopped.load(Ordering::SeqCst) {
                return;
            }
            match heard {
                Err(_) => {}
                Ok(Ok(Some(_))) => shared.watch.hint.notify_one(),
                Ok(Ok(None) | Err(_)) => break,
            }
        }
    }
}
