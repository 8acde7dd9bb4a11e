//! What is made of the log and kept, and goes on from where it was.
//!
//! It is kept for each query that is asked for, the last few of them. When it is asked for again, it
//! takes in what has come meanwhile. Whoever asks must be allowed to read all that the query may
//! match: the store that they read it with checks that, also where nothing new has come. It has
//! nothing that the log does not have: it is dropped and made again at will.

use std::sync::{Arc, PoisonError};

use quipu_core::{AsOf, EventRef, EventStore, Position, Query, ReadAll, ReadError};
use tokio::sync::Mutex;

/// How many are kept of a kind. Each takes some tens of megabytes at most.
const KEPT_COUNT_MAX: usize = 4;
/// How many events are taken in before others get their turn.
const STEP_COUNT: u64 = 8_192;

/// What is made of events, one after the other.
pub(crate) trait Derived {
    /// Everything up to here is in it.
    fn position(&self) -> Position;

    /// Takes in the next event of the log.
    fn add(&mut self, event: EventRef<'_>);

    /// Notes that everything up to here is in it.
    fn reach(&mut self, position: Position);
}

/// Whether the event is the store's own. Those are no part of what is derived.
pub(crate) fn is_reserved(event: EventRef<'_>) -> bool {
    event.stream().starts_with('$') || event.event_type().starts_with('$')
}

/// What was asked for last, by what it was asked for with.
#[derive(Debug)]
pub(crate) struct LastFew<K, D> {
    /// The one asked for last comes last. Nothing but looking up and adding happens under it.
    kept: std::sync::Mutex<Vec<(K, Arc<Mutex<D>>)>>,
}

impl<K, D> Default for LastFew<K, D> {
    fn default() -> Self {
        Self { kept: std::sync::Mutex::default() }
    }
}

impl<K: PartialEq, D> LastFew<K, D> {
    /// What is kept for this key, as far as it has come; else a new one.
    pub(crate) fn get(&self, key: K, make: impl FnOnce() -> D) -> Arc<Mutex<D>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(own, _)| *own == key);
        let own = match found {
            Some(index) => kept.remove(index).1,
            None => Arc::new(Mutex::new(make())),
        };
        kept.push((key, Arc::clone(&own)));
        if kept.len() > KEPT_COUNT_MAX {
            kept.remove(0);
        }
        own
    }
}

/// Something derived on its way to some place in the log. Dropping it stops the work; what is kept
/// goes on from there when it is asked for again.
pub(crate) struct Scan<D> {
    store: Arc<dyn EventStore>,
    query: Query,
    derived: Arc<Mutex<D>>,
    through: Position,
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) position: Position,
    pub(crate) through: Position,
    pub(crate) is_done: bool,
}

impl<D: Derived> Scan<D> {
    /// Begins, on the way to the frontier or to an earlier moment.
    pub(crate) async fn begin(
        store: Arc<dyn EventStore>,
        query: Query,
        derived: Arc<Mutex<D>>,
        as_of: Option<AsOf>,
    ) -> Result<Self, ReadError> {
        let through = match as_of {
            None => store.frontier().await?,
            Some(AsOf::Position(position)) => position,
            Some(AsOf::Time(time)) => store.position_at(time).await?,
        };
        Ok(Self { store, query, derived, through })
    }

    /// Takes in some more events. Asks the store also where there is nothing more to take in, so that
    /// nobody sees what was made of events that they may not read.
    pub(crate) async fn step(&self) -> Result<Progress, ReadError> {
        let mut derived = self.derived.lock().await;
        let read = ReadAll::new(self.query.clone())
            .from(Position::new(derived.position().get() + 1))
            .limit(STEP_COUNT)
            .as_of(AsOf::Position(self.through.max(derived.position())));
        let mut batches = self.store.read_all(read).await?.batches;
        let mut count = 0;
        while let Some(batch) = batches.next().await? {
            count += batch.count() as u64;
            // All of a batch or none of it: between batches this may be dropped.
            batch.iter().for_each(|event| derived.add(event));
        }
        let is_done = count < STEP_COUNT;
        if is_done {
            derived.reach(self.through);
        }
        let position = derived.position();
        drop(derived);
        tokio::task::yield_now().await;
        Ok(Progress { position, through: self.through, is_done })
    }

    /// Looks at it as it is.
    pub(crate) async fn look<T>(&self, then: impl FnOnce(&D) -> T) -> T {
        then(&*self.derived.lock().await)
    }
}
