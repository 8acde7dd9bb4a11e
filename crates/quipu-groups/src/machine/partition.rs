//! One partition of the machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ParkedItem, Position};

use super::{Action, Failure, Fault, Item, Keeping, Settings, StoppedAt};
use crate::places::{Move, SlicePlace};
use crate::policy::GiveUp;
use crate::slice::SliceRange;

/// The events of some slices, handled one action at a time.
///
/// # Invariants
///
/// - Everything of the partition at or before `done` is handled, parked or skipped; what is queued
///   or in the current action lies between `done` and `read`.
/// - While the partition is stopped, the queue is empty and no action is under way but a save.
#[derive(Debug)]
pub(super) struct Partition<T> {
    slices: SliceRange,
    /// The checkpoints as they were saved last.
    rows: Vec<SlicePlace>,
    done: Position,
    read: Position,
    queue: VecDeque<Item<T>>,
    /// Bytes in the queue.
    queued_size: usize,
    current: Option<Action<T>>,
    /// Nothing is done before this time. A stopped partition may have to wait too.
    wait_until: Option<Duration>,
    stopped: Option<StoppedAt>,
    /// How often the event at the front failed.
    attempts: u32,
    /// How often the world failed in a row.
    outages: u32,
    /// Up to here events are handled one by one, to find the one at fault.
    one_by_one_until: Position,
    /// What was decided about the event at the front.
    verdict: Option<Verdict>,
    parked: BTreeMap<Arc<str>, VecDeque<ParkedItem>>,
    retries: VecDeque<Arc<str>>,
    drops: BTreeSet<Position>,
    /// The event to leave out when it comes, since somebody asked for it.
    drop_at: Option<Position>,
    last_save: Duration,
}

#[derive(Debug)]
enum Verdict {
    Park(String),
    Skip(String),
}

impl<T: Clone> Partition<T> {
    pub(super) fn new(slices: SliceRange, rows: Vec<SlicePlace>) -> Self {
        let done = rows.iter().map(|row| row.position).min().unwrap_or_default();
        Self {
            slices,
            rows,
            done,
            read: done,
            queue: VecDeque::new(),
            queued_size: 0,
            current: None,
            wait_until: None,
            stopped: None,
            attempts: 0,
            outages: 0,
            one_by_one_until: Position::START,
            verdict: None,
            parked: BTreeMap::new(),
            retries: VecDeque::new(),
            drops: BTreeSet::new(),
            drop_at: None,
            last_save: Duration::ZERO,
        }
    }

    pub(super) fn slices(&self) -> SliceRange {
        self.slices
    }

    pub(super) fn done(&self) -> Position {
        self.done
    }

    pub(super) fn queued_count(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn queued_size(&self) -> usize {
        self.queued_size
    }

    pub(super) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.wait_until.is_some()
    }

    pub(super) fn stopped(&self) -> Option<&StoppedAt> {
        self.stopped.as_ref()
    }

    /// How far the log was read for this partition, unless it is stopped.
    pub(super) fn read(&self) -> Option<Position> {
        self.stopped().is_none().then_some(self.read)
    }

    pub(super) fn rows_to_be(&self) -> impl Iterator<Item = SlicePlace> {
        let at_least = self.done;
        self.rows.iter().map(move |row| SlicePlace { position: row.position.max(at_least), ..*row })
    }

    pub(super) fn offer(&mut self, slice: u16, item: Item<T>) {
        let is_handled =
            |row: &SlicePlace| row.slices.contains(slice) && item.position <= row.position;
        if self.stopped().is_some()
            || item.position <= self.read
            || self.rows.iter().any(is_handled)
        {
            return;
        }
        // A batch may hold several events of one partition, so that `read` follows each of them.
        self.read = item.position;
        // A crash between parking and saving brings an event back that is parked already.
        let parked = self.parked.get(&item.key);
        let is_own = |parked: &ParkedItem| parked.position == item.position;
        if !parked.is_some_and(|parked| parked.iter().any(is_own)) {
            self.queued_size += item.size;
            self.queue.push_back(item);
        }
    }

    pub(super) fn reach(&mut self, position: Position) {
        if self.stopped().is_some() {
            return;
        }
        self.read = self.read.max(position);
        self.rest();
    }

    /// With nothing left to handle, everything that was read is done.
    fn rest(&mut self) {
        let is_handling = self.current.as_ref().is_some_and(Action::is_of_the_queue);
        if self.queue.is_empty() && !is_handling && self.stopped().is_none() {
            self.done = self.done.max(self.read);
        }
    }

    fn moves_to(&self, position: Position) -> Vec<Move> {
        let behind = self.rows.iter().filter(|row| row.position < position);
        behind.map(|row| Move { slices: row.slices, from: row.position, to: position }).collect()
    }

    pub(super) fn next(
        &mut self,
        settings: &Settings,
        is_paused: bool,
        parked_room: usize,
        now: Duration,
    ) -> Option<Action<T>> {
        if self.current.is_some() {
            return None;
        }
        if self.wait_until.is_some_and(|until| now < until) {
            return None;
        }
        self.wait_until = None;
        if now.saturating_sub(self.last_save) >= settings.save_interval
            && let Some(action) = self.save()
        {
            self.last_save = now;
            return Some(action);
        }
        let action = self.next_of_parked(is_paused);
        let action = if action.is_some() || is_paused || self.stopped().is_some() {
            action
        } else {
            self.next_of_queue(settings, parked_room)
        };
        self.current.clone_from(&action);
        action
    }

    pub(super) fn save(&mut self) -> Option<Action<T>> {
        if self.current.is_some() {
            return None;
        }
        let moves = self.moves_to(self.done);
        if moves.is_empty() {
            return None;
        }
        self.current = Some(Action::Save(moves));
        self.current.clone()
    }

    fn next_of_parked(&mut self, is_paused: bool) -> Option<Action<T>> {
        let parked = &self.parked;
        let find = |position| parked.values().flatten().find(|item| item.position == position);
        self.drops.retain(|position| find(*position).is_some());
        self.retries.retain(|key| parked.contains_key(key));
        // Parked events that a crash left beyond `done` wait until the log has come to them again.
        let is_reached = |item: &&ParkedItem| item.position <= self.done;
        let dropped = self.drops.iter().filter_map(|position| find(*position)).find(is_reached);
        if let Some(item) = dropped.cloned() {
            return self.once_saved(item, Action::Unpark);
        }
        if is_paused || self.stopped().is_some() {
            return None;
        }
        let mut firsts = self.retries.iter().filter_map(|key| parked.get(key)?.front());
        let item = firsts.find(is_reached).cloned()?;
        self.once_saved(item, Action::Retry)
    }

    /// What is about a parked event waits until the saved checkpoints are past the event: were it
    /// forgotten before, a crash would bring it back from the log.
    fn once_saved(
        &mut self,
        item: ParkedItem,
        action: fn(ParkedItem) -> Action<T>,
    ) -> Option<Action<T>> {
        if self.rows.iter().any(|row| row.position < item.position) {
            return self.save();
        }
        Some(action(item))
    }

    fn next_of_queue(&mut self, settings: &Settings, parked_room: usize) -> Option<Action<T>> {
        let front = self.queue.front()?;
        let aside = |item: &Item<T>, cause: &str| ParkedItem {
            position: item.position,
            key: item.key.to_string(),
            cause: cause.to_owned(),
        };
        if self.drop_at == Some(front.position) {
            return Some(Action::Skip(aside(front, "dropped on request")));
        }
        let wants_park = matches!(self.verdict, Some(Verdict::Park(_)));
        if parked_room == 0 && (wants_park || self.is_behind_parked(front)) {
            let mut at = aside(front, "no more events can be parked");
            if let Some(Verdict::Park(cause)) = self.verdict.take() {
                at.cause = format!("{cause}; no more events can be parked");
            }
            self.stop(at);
            return None;
        }
        match &self.verdict {
            Some(Verdict::Park(cause)) => return Some(Action::Park(vec![aside(front, cause)])),
            Some(Verdict::Skip(cause)) => return Some(Action::Skip(aside(front, cause))),
            None => {}
        }
        let is_parked = |item: &Item<T>| self.is_behind_parked(item);
        if is_parked(front) {
            let most = parked_room.min(settings.batch_max.max(1));
            let behind = self.queue.iter().take_while(|item| is_parked(item)).take(most);
            let cause = "an earlier event of its key is parked";
            return Some(Action::Park(behind.map(|item| aside(item, cause)).collect()));
        }
        let is_single = front.position <= self.one_by_one_until;
        let most = if is_single { 1 } else { settings.batch_max.max(1) };
        let mut size = 0;
        let fits = |item: &&Item<T>| {
            let is_first = size == 0;
            size += item.size.max(1);
            is_first || size <= settings.batch_size_max
        };
        let unparked = self.queue.iter().take_while(|item| !is_parked(item));
        let items: Arc<[Item<T>]> = unparked.take(most).take_while(fits).cloned().collect();
        let moves = items.last().map(|item| self.moves_to(item.position)).unwrap_or_default();
        Some(Action::Handle { items, moves })
    }

    /// Whether an earlier event of the key is parked. A later one may be, where a crash brought back
    /// what was handled before it.
    fn is_behind_parked(&self, item: &Item<T>) -> bool {
        let first = self.parked.get(&item.key).and_then(VecDeque::front);
        first.is_some_and(|first| first.position < item.position)
    }

    pub(super) fn finish(
        &mut self,
        settings: &Settings,
        outcome: Result<(), Failure>,
        now: Duration,
        chance: u64,
    ) {
        let Some(action) = self.current.take() else { return };
        match outcome {
            Ok(()) => {
                self.outages = 0;
                self.succeed(action, settings.keeping);
            }
            Err(failure) => self.fail(&action, failure, settings, now, chance),
        }
        self.rest();
    }

    fn succeed(&mut self, action: Action<T>, keeping: Keeping) {
        match action {
            Action::Handle { items, moves } => {
                self.pass(items.len());
                if keeping == Keeping::WithWork {
                    self.apply(&moves);
                }
            }
            Action::Park(parked) => {
                self.pass(parked.len());
                for item in parked {
                    self.add_parked(item);
                }
            }
            Action::Skip(_) => self.pass(1),
            Action::Retry(item) | Action::Unpark(item) => self.remove_parked(&item),
            Action::Save(moves) => self.apply(&moves),
        }
    }

    /// The first events of the queue are done.
    fn pass(&mut self, count: usize) {
        for item in self.queue.drain(..count.min(self.queue.len())) {
            self.done = self.done.max(item.position);
            self.queued_size -= item.size;
        }
        if count > 0 {
            self.attempts = 0;
            self.verdict = None;
        }
    }

    fn apply(&mut self, moves: &[Move]) {
        for own in moves {
            for row in self.rows.iter_mut().filter(|row| row.slices == own.slices) {
                row.position = own.to;
            }
        }
    }

    fn fail(
        &mut self,
        action: &Action<T>,
        failure: Failure,
        settings: &Settings,
        now: Duration,
        chance: u64,
    ) {
        let Failure { handled, fault, cause } = failure;
        // With the checkpoint in the handler's transaction nothing is handled until all is.
        let handled = if settings.keeping == Keeping::Apart { handled } else { 0 };
        if let Action::Handle { items, .. } = action {
            self.pass(handled.min(items.len()));
        }
        let wait = match fault {
            Fault::World { retry_after } => {
                self.outages = self.outages.saturating_add(1);
                let wait = settings.on_error.backoff.wait(self.outages, chance);
                wait.max(retry_after.unwrap_or_default())
            }
            Fault::Event => {
                self.outages = 0;
                match self.blame(action, handled, cause, settings) {
                    Some(attempts) => settings.on_error.backoff.wait(attempts, chance),
                    None => return,
                }
            }
        };
        self.wait_until = Some(now.saturating_add(wait));
    }

    /// Decides about the event at fault. Answers how often it was attempted, if that is to go on
    /// after a wait.
    fn blame(
        &mut self,
        action: &Action<T>,
        handled: usize,
        cause: String,
        settings: &Settings,
    ) -> Option<u32> {
        match action {
            Action::Handle { items, .. } => {
                let last = items.last().map(|item| item.position).unwrap_or_default();
                let is_known = items.len() == 1 || handled + 1 == items.len();
                if !is_known {
                    self.one_by_one_until = last;
                    return None;
                }
            }
            Action::Retry(item) => {
                self.retries.retain(|key| **key != *item.key);
                self.set_cause(item, cause);
                return None;
            }
            // Keeping checkpoints and parked events is never an event's fault.
            Action::Park(_) | Action::Skip(_) | Action::Unpark(_) | Action::Save(_) => {
                self.outages = self.outages.saturating_add(1);
                return Some(self.outages);
            }
        }
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts <= settings.on_error.retries {
            return Some(self.attempts);
        }
        match settings.on_error.give_up {
            GiveUp::Park => self.verdict = Some(Verdict::Park(cause)),
            GiveUp::Skip => self.verdict = Some(Verdict::Skip(cause)),
            GiveUp::Stop => {
                if let Some(front) = self.queue.front() {
                    let (position, key) = (front.position, front.key.to_string());
                    self.stop(ParkedItem { position, key, cause });
                }
            }
        }
        None
    }

    fn stop(&mut self, at: ParkedItem) {
        let ParkedItem { position, key, cause } = at;
        self.stopped = Some(StoppedAt { slices: self.slices, position, key, cause });
        self.queue.clear();
        self.queued_size = 0;
        self.attempts = 0;
    }

    /// Goes on if it was stopped at `which`, or anywhere. Answers whether the log has to be read
    /// again.
    fn revive(&mut self, which: Option<Position>) -> bool {
        let is_meant = self.stopped().is_some_and(|at| which.is_none_or(|it| it == at.position));
        if is_meant {
            self.stopped = None;
            self.read = self.done;
        }
        is_meant
    }

    pub(super) fn retry(&mut self, which: Option<Position>) -> bool {
        self.wait_until = None;
        let is_meant = |own: &VecDeque<ParkedItem>| {
            which.is_none_or(|position| own.iter().any(|item| item.position == position))
        };
        let meant = self.parked.iter().filter(|(_, own)| is_meant(own)).map(|(key, _)| key);
        let meant: Vec<_> = meant.filter(|key| !self.retries.contains(*key)).cloned().collect();
        self.retries.extend(meant);
        self.revive(which)
    }

    pub(super) fn drop_parked(&mut self, which: Option<Position>) -> bool {
        let is_meant = |item: &&ParkedItem| which.is_none_or(|it| it == item.position);
        let meant = self.parked.values().flatten().filter(is_meant).map(|item| item.position);
        self.drops.extend(meant.collect::<Vec<_>>());
        // The event at which a partition stopped is dropped by name only: "all" is all parked.
        let Some(position) = which else { return false };
        let is_revived = self.revive(Some(position));
        if is_revived {
            self.drop_at = Some(position);
        }
        is_revived
    }

    pub(super) fn add_parked(&mut self, item: ParkedItem) {
        let own = self.parked.entry(item.key.as_str().into()).or_default();
        match own.binary_search_by_key(&item.position, |parked| parked.position) {
            Ok(_) => {}
            Err(index) => own.insert(index, item),
        }
    }

    fn set_cause(&mut self, item: &ParkedItem, cause: String) {
        let own = self.parked.get_mut(item.key.as_str()).and_then(VecDeque::front_mut);
        if let Some(parked) = own {
            parked.cause = cause;
        }
    }

    fn remove_parked(&mut self, item: &ParkedItem) {
        self.drops.remove(&item.position);
        if let Some(own) = self.parked.get_mut(item.key.as_str()) {
            own.retain(|parked| parked.position != item.position);
            if own.is_empty() {
                self.parked.remove(item.key.as_str());
            }
        }
    }

    pub(super) fn parked_count(&self) -> usize {
        self.parked.values().map(VecDeque::len).sum()
    }

    pub(super) fn parked(&self) -> impl Iterator<Item = ParkedItem> {
        self.parked.values().flatten().cloned()
    }

    pub(super) fn next_wake(&self, save_interval: Duration, now: Duration) -> Option<Duration> {
        if self.current.is_some() {
            return None;
        }
        if let Some(until) = self.wait_until {
            return Some(until.max(now));
        }
        let is_unsaved = self.rows.iter().any(|row| row.position < self.done);
        is_unsaved.then_some((self.last_save + save_interval).max(now))
    }
}

impl<T> Action<T> {
    /// Whether it is about the events at the front of the queue.
    fn is_of_the_queue(&self) -> bool {
        matches!(self, Self::Handle { .. } | Self::Park(_) | Self::Skip(_))
    }
}
