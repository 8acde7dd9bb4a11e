//! The watch: a task that sees the log grow, calls whom that concerns, and tells other nodes.
//!
//! It looks at the frontier: at once after an append of this node, soon after another node told that
//! it appended, and from time to time where nobody told, since who appends in a transaction of their
//! own tells nobody. Where something came it looks at its names, once for all who follow
//! (`followers`). It looks at nothing while nobody waits. It tells others at most so often, in a
//! transaction of its own: a notification inside an append would make commits wait for each other.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use quipu_core::Position;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::DatabaseError;
use crate::followers::{Came, Followed, Follower, Followers, Part, State};
use crate::rows::i64_of;
use crate::store::Shared;

/// How often the log is looked at where nobody tells of it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often it is looked at while an append holds the frontier back, at first and later.
const HELD_INTERVALS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];
/// Of so many events that came the names are not looked at: everybody has to look.
const NAMES_MAX: usize = 1_024;
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
#[derive(Default)]
pub(crate) struct Watch {
    followers: Followers,
    /// Something may have been appended, or somebody began to wait.
    hint: Notify,
    waiting_count: AtomicUsize,
    /// Whether this node appended since it last told the others.
    has_appended: AtomicBool,
    is_stopped: AtomicBool,
}

impl Watch {
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
        self.followers.call_all();
        self.hint.notify_one();
    }
}

/// A place among those who follow. What comes from when it is taken on is not missed.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    follower: Arc<Follower>,
}

/// Why one who waited was called.
#[derive(Debug)]
pub(crate) enum Called {
    /// It has to look.
    Look,
    /// Nothing that it follows is there up to this place of the log.
    Passed(Position),
    /// Nothing more comes.
    Closed,
}

impl Seat {
    pub(crate) fn take(shared: &Arc<Shared>, followed: Followed) -> Self {
        let follower = shared.watch.followers.add(followed);
        Self { shared: Arc::clone(shared), follower }
    }

    /// Waits to be called. Who follows the log says up to where it knows what is there.
    pub(crate) async fn wait(&self, known: Option<Position>) -> Called {
        let watch = &self.shared.watch;
        let _waiting = Waiting::begin(watch);
        if let Some(known) = known {
            self.follower.set(State::Waiting(known));
            // What was seen before this was not told.
            if self.shared.seen() > known {
                self.follower.set(State::Busy);
                return Called::Look;
            }
        }
        if watch.is_stopped.load(Ordering::SeqCst) {
            return Called::Closed;
        }
        watch.hint.notify_one();
        let told = self.follower.called().await;
        match told {
            _ if watch.is_stopped.load(Ordering::SeqCst) => Called::Closed,
            State::Passed(position) => Called::Passed(position),
            State::Busy | State::Waiting(_) => Called::Look,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.watch.followers.remove(&self.follower);
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
    /// Everything up to here was told.
    frontier: Position,
    /// What is above the frontier, and was told to those who follow streams.
    told: HashSet<Position>,
    /// When to look again while an append holds the frontier back.
    held_pause: Duration,
    told_at: Instant,
    /// When it was last looked whether a transaction holds readers back.
    held_at: Instant,
    retry: Duration,
}

async fn look(store: Weak<Shared>) {
    let mut looker = Looker {
        frontier: Position::START,
        told: HashSet::new(),
        held_pause: HELD_INTERVALS[0],
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
    /// Looks at the log if somebody waits, calls and tells. Answers how long to wait then.
    async fn step(&mut self, shared: &Shared) -> Duration {
        let watch = &shared.watch;
        let is_waited_for = watch.waiting_count.load(Ordering::SeqCst) > 0;
        let mut pause = LOOK_INTERVAL;
        if is_waited_for {
            if let Ok(next) = self.see(shared).await {
                self.retry = RETRY[0];
                pause = next;
            } else {
                // Those who wait find out themselves what is the matter when they look.
                shared.counters.looks_failed.fetch_add(1, Ordering::Relaxed);
                watch.followers.call_all();
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
            shared.execute(told).await.ok();
        }
        pause
    }

    /// Sees what came, and calls those whom it concerns. Answers when to look again.
    async fn see(&mut self, shared: &Shared) -> Result<Duration, DatabaseError> {
        let followers = &shared.watch.followers;
        let end = shared.end().await?;
        if end.frontier < self.frontier {
            // Another life of the log: what was told may not hold.
            self.told.clear();
            self.frontier = end.frontier;
            followers.call_all();
            return Ok(LOOK_INTERVAL);
        }
        let top = end.last.max(end.frontier);
        if top > self.frontier {
            let came = self.names_up_to(top, shared).await?;
            match &came {
                Some(came) => {
                    for event in came {
                        if self.told.insert(event.position) {
                            followers.call_stream(&event.stream);
                        }
                    }
                }
                None => followers.call_streams(),
            }
            let came = came.as_deref();
            followers.tell_log(Part { after: self.frontier, frontier: end.frontier, came });
        }
        let is_held = end.frontier < end.last;
        if end.frontier > self.frontier || !is_held {
            self.held_pause = HELD_INTERVALS[0];
        }
        self.frontier = end.frontier;
        self.told.retain(|position| *position > end.frontier);
        if !is_held {
            return Ok(LOOK_INTERVAL);
        }
        let pause = self.held_pause;
        self.held_pause = (self.held_pause * 2).min(HELD_INTERVALS[1]);
        Ok(pause)
    }

    /// The names of what is behind the last frontier; none where they matter to nobody, or where
    /// there are too many.
    async fn names_up_to(
        &self,
        top: Position,
        shared: &Shared,
    ) -> Result<Option<Vec<Came>>, DatabaseError> {
        if !shared.watch.followers.want_names() {
            return Ok(None);
        }
        let statement = &shared.sql.came;
        let came = sqlx::query(statement.text()).bind(i64_of(self.frontier.get()));
        let came = came.bind(i64_of(top.get())).bind(i64_of(NAMES_MAX as u64));
        let rows = shared.fetch(came).await;
        let came =
            rows.and_then(|rows| rows.iter().map(Came::from_row).collect::<Result<Vec<_>, _>>());
        let came = came.map_err(|cause| statement.failed(cause))?;
        Ok((came.len() < NAMES_MAX).then_some(came))
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
