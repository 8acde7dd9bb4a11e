//! A log, and a handler that remembers what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quipu_core::{
    Append, BoxFuture, ComponentKey, ComponentKind, ComponentStatus, EventStore, NewEvent,
    ParkedItem, Position, StreamName,
};
use quipu_groups::{
    Backoff, HandleError, Handler, KeepError, Move, OnError, Origin, Parking, PlaceKeeper, Runner,
    SlicePlace, UnparkReason, Work,
};
use tokio::sync::watch;

pub(crate) async fn append(store: &dyn EventStore, key: &str) -> Position {
    let event = NewEvent::json("Counted", "{}").unwrap();
    let append = Append::new().event(StreamName::new(key).unwrap(), event);
    store.append(append).await.unwrap().last.unwrap()
}

/// Appends that many events to streams `a-0`, `a-1`, … in turn.
pub(crate) async fn fill(store: &dyn EventStore, count: u64, keys: u64) -> Position {
    let mut last = Position::START;
    for number in 0..count {
        last = append(store, &format!("a-{}", number % keys)).await;
    }
    last
}

pub(crate) fn retry(retries: u32) -> OnError {
    let (first, max) = (Duration::from_millis(1), Duration::from_millis(4));
    OnError::retry(retries).backoff(Backoff { first, max })
}

pub(crate) fn parts(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

pub(crate) fn runner(store: &Arc<dyn EventStore>, handler: &Arc<Ledger>) -> Runner {
    let handler: Arc<dyn Handler> = handler.clone();
    Runner::new(Arc::clone(store), ComponentKind::Projection, "ledger", handler)
        .on_error(retry(2))
        .save_interval(Duration::from_millis(2))
        .request_interval(Duration::from_millis(2))
}

pub(crate) fn component() -> ComponentKey {
    ComponentKey { kind: ComponentKind::Projection, name: "ledger".to_owned(), version: 1 }
}

pub(crate) async fn reported(store: &dyn EventStore) -> ComponentStatus {
    let components = store.registry().components().await.unwrap();
    components.into_iter().find(|status| status.key == component()).unwrap()
}

/// Remembers what was handled, as a database would: it outlives the runner.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Whether checkpoints and parked events are in here too, moved with the work.
    pub(crate) is_transactional: bool,
    pub(crate) state: Mutex<State>,
    /// How many works were attempted, told when each of them ends.
    attempts: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Positions and keys in the order in which they were handled.
    pub(crate) handled: Vec<(Position, String)>,
    /// Keys whose events cannot be handled.
    pub(crate) poisoned: BTreeSet<String>,
    /// Keys whose events make the handler panic.
    pub(crate) panicking: BTreeSet<String>,
    pub(crate) is_down: bool,
    rows: Vec<SlicePlace>,
    parked: BTreeMap<Position, ParkedItem>,
    epoch: u64,
}

impl Ledger {
    pub(crate) fn transactional() -> Self {
        Self { is_transactional: true, ..Self::default() }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub(crate) fn attempts(&self) -> u64 {
        *self.attempts.borrow()
    }

    /// Waits until what was handled is as wanted.
    pub(crate) async fn wait_until(&self, mut is_wanted: impl FnMut(&Self) -> bool) {
        self.attempts.subscribe().wait_for(|_| is_wanted(self)).await.unwrap();
    }

    /// The positions that were handled, in order, each key's apart.
    pub(crate) fn by_key(&self) -> BTreeMap<String, Vec<u64>> {
        let mut keys = BTreeMap::<_, Vec<u64>>::new();
        for (position, key) in &self.state.lock().unwrap().handled {
            keys.entry(key.clone()).or_default().push(position.get());
        }
        keys
    }

    pub(crate) fn of_key(&self, key: &str) -> Vec<u64> {
        self.by_key().remove(key).unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.state.lock().unwrap().handled.len()
    }
}

impl State {
    fn fence(&mut self, epoch: u64) -> Result<(), KeepError> {
        if epoch < self.epoch {
            return Err(KeepError::Fenced);
        }
        self.epoch = epoch;
        Ok(())
    }

    fn move_rows(&mut self, moves: &[Move]) -> Result<(), KeepError> {
        for own in moves {
            let is_row =
                |row: &&mut SlicePlace| row.slices == own.slices && row.position == own.from;
            self.rows.iter_mut().find(is_row).ok_or(KeepError::Fenced)?.position = own.to;
        }
        Ok(())
    }
}

impl Handler for Ledger {
    fn handle<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async move {
            // Somebody else's turn, so that works of several partitions interleave.
            tokio::task::yield_now().await;
            let outcome = self.attempt(work);
            self.attempts.send_modify(|count| *count += 1);
            outcome
        })
    }

    fn places(&self) -> Option<&dyn PlaceKeeper> {
        self.is_transactional.then_some(self)
    }

    fn parking(&self) -> Option<&dyn Parking> {
        self.is_transactional.then_some(self)
    }
}

impl Ledger {
    fn attempt(&self, work: &Work) -> Result<(), HandleError> {
        let mut state = self.state.lock().unwrap();
        if state.is_down {
            return Err(HandleError::unavailable("the database is down"));
        }
        if self.is_transactional {
            state.fence(work.epoch).map_err(|_| HandleError::Fenced)?;
        }
        let begin = state.handled.len();
        for (handled, item) in work.events.iter().enumerate() {
            assert!(!state.panicking.contains(&*item.key), "a bug in the handler");
            if state.poisoned.contains(&*item.key) {
                if !self.is_transactional {
                    return Err(HandleError::Failed { handled, source: "poison".into() });
                }
                state.handled.truncate(begin);
                return Err(HandleError::failed("poison"));
            }
            state.handled.push((item.position, item.key.to_string()));
            if work.origin == Origin::Parked && self.is_transactional {
                state.parked.remove(&item.position);
            }
        }
        if self.is_transactional && state.move_rows(&work.moves).is_err() {
            state.handled.truncate(begin);
            return Err(HandleError::Fenced);
        }
        Ok(())
    }
}

impl PlaceKeeper for Ledger {
    fn load(&self) -> BoxFuture<'_, Result<Vec<SlicePlace>, KeepError>> {
        Box::pin(async { Ok(self.state.lock().unwrap().rows.clone()) })
    }

    fn claim<'a>(
        &'a self,
        epoch: u64,
        loaded: &'a [SlicePlace],
        rows: &'a [SlicePlace],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            state.fence(epoch)?;
            if state.rows != loaded {
                return Err(KeepError::Moved);
            }
            state.rows = rows.to_vec();
            Ok(())
        })
    }

    fn advance<'a>(
        &'a self,
        epoch: u64,
        moves: &'a [Move],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            state.fence(epoch)?;
            state.move_rows(moves)
        })
    }

    fn reset(&self, epoch: u64, position: Position) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            state.fence(epoch)?;
            state.rows.iter_mut().for_each(|row| row.position = position);
            Ok(())
        })
    }
}

impl Parking for Ledger {
    fn load(&self) -> BoxFuture<'_, Result<Vec<ParkedItem>, KeepError>> {
        Box::pin(async { Ok(self.state.lock().unwrap().parked.values().cloned().collect()) })
    }

    fn park<'a>(
        &'a self,
        epoch: u64,
        items: &'a [ParkedItem],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            state.fence(epoch)?;
            state.parked.extend(items.iter().map(|item| (item.position, item.clone())));
            Ok(())
        })
    }

    fn unpark(
        &self,
        epoch: u64,
        position: Position,
        _reason: UnparkReason,
    ) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            state.fence(epoch)?;
            state.parked.remove(&position);
            Ok(())
        })
    }

    fn skip<'a>(
        &'a self,
        _epoch: u64,
        _item: &'a ParkedItem,
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async { Ok(()) })
    }
}
