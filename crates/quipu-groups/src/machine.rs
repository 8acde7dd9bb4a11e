//! What to do next: the runner without its clock, its tasks and its store.
//!
//! The machine is told what the log holds ([`offer`](Machine::offer), [`reached`](Machine::reached))
//! and how actions ended ([`finish`](Machine::finish)), and answers what each partition is to do
//! ([`next`](Machine::next)). Time is an argument and chance a seed, so that tests run it through any
//! schedule.
//!
//! # Invariants
//!
//! - A partition has one action at a time, so that its events are handled in the order of the log.
//! - A partition's checkpoint never passes an event that was not handled, parked or skipped.
//! - While a key has parked events, its further events are parked behind them.
//! - A stopped partition holds no events; once it goes on, the log is read from its checkpoint again
//!   and the other partitions pass over what they had.

mod partition;

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ComponentRequest, ComponentState, ParkedItem, Position};

use crate::places::{Move, SlicePlace, SlicePlaces};
use crate::policy::OnError;
use crate::slice::{SliceRange, slice_of};
use partition::Partition;

/// An event on its way to a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the runner builds it")]
pub struct Item<T> {
    /// Its place in the log.
    pub position: Position,
    /// The key within which order is kept.
    pub key: Arc<str>,
    /// Bytes it takes.
    pub size: usize,
    /// The event.
    pub event: T,
}

/// What a partition is to do. Nothing else is to be done for it until it is finished.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the runner carries out each of them")]
pub enum Action<T> {
    /// Handle these events in order. A handler that keeps its checkpoints carries out the moves in
    /// the same transaction; another one leaves them be.
    Handle {
        /// The events, at least one.
        items: Arc<[Item<T>]>,
        /// What moves once all of them are handled.
        moves: Vec<Move>,
    },
    /// Handle a parked event again and, if that succeeds, forget that it was parked.
    Retry(ParkedItem),
    /// Keep these as parked.
    Park(Vec<ParkedItem>),
    /// Put on record that this event is left out.
    Skip(ParkedItem),
    /// Forget that this event was parked.
    Unpark(ParkedItem),
    /// Save checkpoints.
    Save(Vec<Move>),
}

/// How an action went wrong.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the runner builds it")]
pub struct Failure {
    /// How many of the action's events were handled before it went wrong, the first ones.
    pub handled: usize,
    /// Whose fault it is.
    pub fault: Fault,
    /// What went wrong, for people.
    pub cause: String,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third that goes on")]
pub enum Fault {
    /// The event's: attempts are counted.
    Event,
    /// The world's: try again for as long as it takes.
    World {
        /// The least time to wait, where the world asked for one.
        retry_after: Option<Duration>,
    },
}

/// What the machine goes by.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Settings {
    /// The most events in one action.
    pub batch_max: usize,
    /// The most bytes in one action; a larger event comes alone.
    pub batch_size_max: usize,
    /// The most events that wait in one partition before no more are asked for.
    pub queue_max: usize,
    /// The most bytes that wait in all partitions before no more are asked for.
    pub queue_size_max: usize,
    /// The most parked events. What would be parked beyond stops its partition.
    pub parked_max: usize,
    /// The least time between two savings of one partition's checkpoints.
    pub save_interval: Duration,
    /// What to do about errors.
    pub on_error: OnError,
    /// Whether checkpoints are moved by handling already.
    pub keeping: Keeping,
}

/// Who moves the checkpoints of events that were handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Keeping {
    /// The handler, with its work.
    WithWork,
    /// The runner, afterwards.
    Apart,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_max: 500,
            batch_size_max: 16 << 20,
            queue_max: 1_000,
            queue_size_max: 64 << 20,
            parked_max: 10_000,
            save_interval: Duration::from_millis(250),
            on_error: OnError::default(),
            keeping: Keeping::Apart,
        }
    }
}

/// Why a partition does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct StoppedAt {
    /// The partition's slices.
    pub slices: SliceRange,
    /// The event at fault.
    pub position: Position,
    /// Its key.
    pub key: String,
    /// What went wrong.
    pub cause: String,
}

/// Decides what each partition does next. See the module.
#[derive(Debug)]
pub struct Machine<T> {
    settings: Settings,
    partitions: Vec<Partition<T>>,
    is_paused: bool,
    is_caught_up: bool,
    needs_rewind: bool,
    last_error: Option<String>,
    /// How many events are parked in all partitions.
    parked_count: usize,
    /// Where chance comes from.
    chance: u64,
}

impl<T: Clone> Machine<T> {
    /// A machine whose partitions have these slices, cover all of them, and begin where `places`
    /// says, with these events parked.
    pub fn new(
        settings: Settings,
        partitions: &[SliceRange],
        places: &SlicePlaces,
        parked: Vec<ParkedItem>,
        seed: u64,
    ) -> Self {
        let partitions = partitions.iter().map(|own| Partition::new(*own, places.rows(&[*own])));
        let mut machine = Self {
            settings,
            partitions: partitions.collect(),
            is_paused: false,
            is_caught_up: false,
            needs_rewind: false,
            last_error: None,
            parked_count: 0,
            chance: seed,
        };
        for item in parked {
            let index = machine.partition_of(&item.key);
            if let Some(partition) = machine.partitions.get_mut(index) {
                partition.add_parked(item);
            }
        }
        machine.parked_count = machine.partitions.iter().map(Partition::parked_count).sum();
        machine
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Which partition a key's events go to.
    pub fn partition_of(&self, key: &str) -> usize {
        let slice = slice_of(key);
        self.partitions.partition_point(|partition| partition.slices().last() < slice)
    }

    /// Whether more of the log is wanted. While it is not, nothing should be offered; what one
    /// delivery holds may exceed the bound.
    pub fn has_room(&self) -> bool {
        let fits = |it: &Partition<T>| it.queued_count() < self.settings.queue_max;
        let size: usize = self.partitions.iter().map(Partition::queued_size).sum();
        self.resume_after().is_some()
            && size < self.settings.queue_size_max
            && self.partitions.iter().all(fits)
    }

    /// Takes an event of the log, in the log's order. What was handled already is passed over.
    pub fn offer(&mut self, item: Item<T>) {
        let (index, slice) = (self.partition_of(&item.key), slice_of(&item.key));
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.offer(slice, item);
        }
    }

    /// Everything at or before `position` was offered or is of no interest.
    pub fn reached(&mut self, position: Position) {
        for partition in &mut self.partitions {
            partition.reach(position);
        }
    }

    /// The subscription is at the end of the log, or behind it again.
    pub fn set_caught_up(&mut self, is_caught_up: bool) {
        self.is_caught_up = is_caught_up;
    }

    /// Where to read the log from, exclusive. `None`: every partition is stopped, do not read.
    pub fn resume_after(&self) -> Option<Position> {
        self.partitions.iter().filter_map(Partition::read).min()
    }

    /// Whether the log has to be read from [`resume_after`](Self::resume_after) again, since a
    /// stopped partition goes on. Asked once.
    pub fn take_rewind(&mut self) -> bool {
        std::mem::take(&mut self.needs_rewind)
    }

    /// What a partition is to do at the time `now`, counted from any moment that stays the same.
    pub fn next(&mut self, index: usize, now: Duration) -> Option<Action<T>> {
        let parked_room = self.settings.parked_max.saturating_sub(self.parked_count);
        let (settings, is_paused) = (&self.settings, self.is_paused);
        let partition = self.partitions.get_mut(index)?;
        partition.next(settings, is_paused, parked_room, now)
    }

    /// What a partition is still to save before the machine is left.
    pub fn next_last(&mut self, index: usize) -> Option<Action<T>> {
        self.partitions.get_mut(index)?.save()
    }

    /// Takes how a partition's action ended.
    pub fn finish(&mut self, index: usize, outcome: Result<(), Failure>, now: Duration) {
        if let Err(failure) = &outcome {
            self.last_error = Some(failure.cause.clone());
        }
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (settings, chance) = (&self.settings, self.chance >> 24);
        if let Some(partition) = self.partitions.get_mut(index) {
            self.parked_count -= partition.parked_count();
            partition.finish(settings, outcome, now, chance);
            self.parked_count += partition.parked_count();
        }
    }

    /// When to ask for actions again, if nothing happens before.
    pub fn next_wake(&self, now: Duration) -> Option<Duration> {
        let interval = self.settings.save_interval;
        self.partitions.iter().filter_map(|it| it.next_wake(interval, now)).min()
    }

    /// Carries out what an operator asks for. `Promote` and `ReplayFrom` are not the machine's.
    pub fn request(&mut self, request: ComponentRequest) {
        match request {
            ComponentRequest::Pause => self.is_paused = true,
            ComponentRequest::Resume => self.is_paused = false,
            ComponentRequest::Retry(which) => {
                for partition in &mut self.partitions {
                    self.needs_rewind |= partition.retry(which);
                }
            }
            ComponentRequest::Drop(which) => {
                for partition in &mut self.partitions {
                    self.needs_rewind |= partition.drop_parked(which);
                }
            }
            ComponentRequest::Promote | ComponentRequest::ReplayFrom(_) => {}
        }
    }

    /// The position up to which everything was handled, parked or skipped.
    pub fn position(&self) -> Position {
        self.partitions.iter().map(Partition::done).min().unwrap_or_default()
    }

    /// The checkpoints as they are to be, saved or not.
    pub fn rows(&self) -> Vec<SlicePlace> {
        self.partitions.iter().flat_map(Partition::rows_to_be).collect()
    }

    /// What to report.
    pub fn state(&self) -> ComponentState {
        let any = |is: fn(&Partition<T>) -> bool| self.partitions.iter().any(is);
        if self.is_paused {
            ComponentState::Paused
        } else if any(|it| it.stopped().is_some()) {
            ComponentState::Stopped
        } else if any(Partition::is_waiting) {
            ComponentState::Retrying
        } else if self.is_caught_up {
            ComponentState::Live
        } else {
            ComponentState::CatchingUp
        }
    }

    /// What went wrong last.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// The partitions that do not go on, and why.
    pub fn stopped(&self) -> impl Iterator<Item = &StoppedAt> {
        self.partitions.iter().filter_map(Partition::stopped)
    }

    /// How many events are parked.
    pub fn parked_count(&self) -> usize {
        self.parked_count
    }

    /// The parked events, in the order of the log.
    pub fn parked(&self) -> Vec<ParkedItem> {
        let mut parked: Vec<_> = self.partitions.iter().flat_map(Partition::parked).collect();
        parked.sort_by_key(|item| item.position);
        parked
    }

    /// Whether an action is under way.
    pub fn is_busy(&self) -> bool {
        self.partitions.iter().any(Partition::is_busy)
    }
}
