//! What to do next: a group without its clock, its connections and its store.
//!
//! The machine is told what the log holds ([`offer`](GroupMachine::offer),
//! [`reached`](GroupMachine::reached)), who comes and goes ([`join`](GroupMachine::join),
//! [`leave`](GroupMachine::leave)) and what members say ([`ack`](GroupMachine::ack),
//! [`nack`](GroupMachine::nack)). It answers what goes to whom ([`dispatch`](GroupMachine::dispatch))
//! and what is to be kept ([`next_note`](GroupMachine::next_note)). Time is an argument, so that tests
//! run it through any schedule.
//!
//! # Invariants
//!
//! - The checkpoint never passes an event that was not acknowledged, skipped or durably parked.
//! - With [`Strategy::ByKey`] at most one event of a key is with members, and none leaves before all
//!   earlier ones of its key are settled. While a key has parked events, its further ones are parked
//!   behind them, unless they are being replayed: then these wait.
//! - An answer counts only while the event is with the member that gives it: after a timeout it is
//!   not known any more. Each dispatch has a number of its own, and numbers rise.
//! - One note is carried out at a time. A parked event that was acknowledged holds up its key until
//!   that is durable, so that a crash does not bring it back behind later ones.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ParkedItem, Position};

use super::roster::{MemberId, MemberStatus, Roster};
use super::settings::{GroupSettings, Strategy};
use crate::machine::Item;
use crate::parking::UnparkReason;
use crate::policy::{Backoff, GiveUp};

const PARKING_FULL: &str = "too many events are parked: replay or drop some";

/// The most events in one note.
const NOTE_COUNT_MAX: usize = 1_000;

/// An event on its way to a member.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "drivers take it apart")]
pub struct Dispatch<T> {
    /// Who gets it.
    pub member: MemberId,
    /// What the member answers with. Of two dispatches of one key the later one has the higher
    /// number: present it with effects that can be fenced.
    pub number: u64,
    /// How often the event was tried before: not acknowledged in time, or asked to be retried.
    pub retry_count: u32,
    /// The event.
    pub item: Item<T>,
}

/// What a member wants done with an event that it did not handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the machine decides each of them")]
pub enum Nack {
    /// Try it again, up to the group's limit; then park or skip it.
    Retry,
    /// Park it.
    Park,
    /// Leave it out.
    Skip,
}

/// An event that is to be parked, or left out on record.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "keepers take it apart")]
pub struct SetAside<T> {
    /// The event.
    pub item: Item<T>,
    /// Why.
    pub cause: String,
}

/// Something to keep before the machine goes on with it. One at a time: see
/// [`finish_note`](GroupMachine::finish_note).
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "drivers carry out each of them")]
pub enum Note<T> {
    /// Keep these as parked, in this order.
    Park(Vec<SetAside<T>>),
    /// Put on record that these are left out.
    Skip(Vec<SetAside<T>>),
    /// Forget that the events at these places were parked.
    Unpark(Vec<Position>, UnparkReason),
    /// Move the checkpoint from one place to another.
    Save {
        /// Where it is.
        from: Position,
        /// Where it comes to be.
        to: Position,
    },
}

/// How many events are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct GroupCounts {
    /// With members.
    pub in_flight: usize,
    /// Ready to go to a member.
    pub ready: usize,
    /// To be tried again later.
    pub waiting: usize,
    /// Behind an earlier event of their key.
    pub blocked: usize,
    /// Parked; 0 where the keeper counts.
    pub parked: usize,
    /// Held in all.
    pub held: usize,
    /// Held since they were parked and are being replayed.
    pub replaying: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Behind an earlier event of its key.
    Blocked,
    /// In a lane.
    Ready,
    /// To be tried again at this time.
    Waiting(Duration),
    /// With a member, under this number and until this time.
    InFlight { member: MemberId, number: u64, until: Option<Duration> },
    /// What was decided about it is being made durable.
    Settling,
}

#[derive(Debug)]
struct Entry<T> {
    item: Item<T>,
    retry_count: u32,
    state: State,
    /// It was parked, and is being replayed.
    is_replay: bool,
    /// Why it is set aside.
    cause: String,
}

/// The events of one key, where events of a key wait for each other.
#[derive(Debug, Default)]
struct Key {
    /// The one that may leave, or is being settled.
    head: Option<u64>,
    /// Those behind it, by their places.
    queue: BTreeMap<Position, u64>,
    /// The places of its parked events, those that are being replayed too.
    parked: BTreeSet<Position>,
    /// How many of its events are on the way to being parked.
    parking_count: usize,
}

impl Key {
    fn is_idle(&self) -> bool {
        self.head.is_none()
            && self.queue.is_empty()
            && self.parked.is_empty()
            && self.parking_count == 0
    }
}

/// Where ready events of one member wait; of any member where it is `None`.
type Lane = Option<MemberId>;

/// What the note under way is about.
#[derive(Debug)]
enum UnderWay {
    /// Entries that are settled once it is done; with `parks` they are parked then.
    Settle {
        entries: Vec<u64>,
        parks: bool,
    },
    Unpark(Vec<Position>),
    Save(Position),
}

/// Decides which event goes to whom, and what becomes of it. See the module.
#[derive(Debug)]
pub struct GroupMachine<T> {
    settings: GroupSettings,
    roster: Roster,
    entries: HashMap<u64, Entry<T>>,
    last_entry: u64,
    keys: HashMap<Arc<str>, Key>,
    lanes: BTreeMap<Lane, BTreeSet<(Position, u64)>>,
    timers: BTreeSet<(Duration, u64)>,
    /// Dispatch numbers of what is with members.
    in_flight: BTreeMap<u64, u64>,
    last_number: u64,
    /// Places of the log that are held and not settled.
    unsettled: BTreeSet<Position>,
    read: Position,
    saved: Position,
    saved_at: Duration,
    /// Settled since the checkpoint was saved last.
    unsaved_count: u64,
    to_park: VecDeque<u64>,
    to_skip: VecDeque<u64>,
    to_unpark: VecDeque<(Position, UnparkReason)>,
    note: Option<UnderWay>,
    parked: BTreeMap<Position, ParkedItem>,
    /// Events were kept from being parked since there was no room.
    is_parking_full: bool,
    /// Which events are held since they are being replayed.
    replays: HashMap<Position, u64>,
    held_size: usize,
    settled_total: u64,
    last_error: Option<String>,
    chance: u64,
}

impl<T: Clone> GroupMachine<T> {
    /// A machine that goes on behind `checkpoint`, with these events parked. Its dispatches are
    /// numbered behind `number`, which is to rise with every owner of the group.
    pub fn new(
        mut settings: GroupSettings,
        checkpoint: Position,
        parked: Vec<ParkedItem>,
        number: u64,
        seed: u64,
    ) -> Self {
        let mut keys: HashMap<Arc<str>, Key> = HashMap::new();
        if settings.strategy.is_ordered() {
            // Order needs to know what is parked.
            settings.parked_max.get_or_insert(usize::MAX);
            for item in &parked {
                keys.entry(item.key.as_str().into()).or_default().parked.insert(item.position);
            }
        }
        Self {
            settings,
            roster: Roster::default(),
            entries: HashMap::new(),
            last_entry: 0,
            keys,
            lanes: BTreeMap::new(),
            timers: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            last_number: number,
            unsettled: BTreeSet::new(),
            read: checkpoint,
            saved: checkpoint,
            saved_at: Duration::ZERO,
            unsaved_count: 0,
            to_park: VecDeque::new(),
            to_skip: VecDeque::new(),
            to_unpark: VecDeque::new(),
            note: None,
            parked: parked.into_iter().map(|item| (item.position, item)).collect(),
            is_parking_full: false,
            replays: HashMap::new(),
            held_size: 0,
            settled_total: 0,
            last_error: None,
            chance: seed,
        }
    }

    /// A new member, with which at most `capacity` events are at a time.
    pub fn join(&mut self, capacity: usize) -> MemberId {
        let id = self.roster.join(capacity);
        self.rebalance();
        id
    }

    /// A member is gone. What was with it goes to others at once, and does not count as tried: most
    /// of it was never looked at.
    pub fn leave(&mut self, member: MemberId) {
        if !self.roster.leave(member) {
            return;
        }
        let own = |entry: &&u64| {
            let state = self.entries.get(entry).map(|entry| entry.state);
            matches!(state, Some(State::InFlight { member: own, .. }) if own == member)
        };
        let own: Vec<u64> = self.in_flight.values().filter(own).copied().collect();
        for entry in own {
            self.take_back(entry);
            self.make_ready(entry);
        }
        self.rebalance();
    }

    /// Sets how many events are with a member at most. 0 pauses it.
    pub fn set_capacity(&mut self, member: MemberId, capacity: usize) {
        self.roster.set_capacity(member, capacity);
    }

    /// A dispatch could not be handed over: the way to its member is full. The event goes back as if
    /// it had never left, and nothing more goes there until the member answers or
    /// [`unstall`](Self::unstall) is called.
    pub fn stall(&mut self, member: MemberId, number: u64) {
        self.roster.set_stalled(member, true);
        if let Some(entry) = self.held_by(member, number) {
            self.take_back(entry);
            self.make_ready(entry);
        }
    }

    /// The way to a member is free again.
    pub fn unstall(&mut self, member: MemberId) {
        self.roster.set_stalled(member, false);
    }

    /// Whether more of the log is wanted.
    pub fn has_room(&self) -> bool {
        self.entries.len() < self.settings.buffer_max
            && self.held_size < self.settings.buffer_size_max
    }

    /// Takes an event of the log, in the log's order. What was read already is passed over, and what
    /// was parked before the checkpoint came to pass it.
    pub fn offer(&mut self, item: Item<T>) {
        if item.position <= self.read {
            return;
        }
        self.reached(item.position);
        if self.parked.contains_key(&item.position) {
            return;
        }
        self.unsettled.insert(item.position);
        let (place, key) = (item.position, Arc::clone(&item.key));
        let entry = self.insert(item, 0, false);
        if self.settings.strategy.is_ordered() {
            self.keys.entry(Arc::clone(&key)).or_default().queue.insert(place, entry);
            self.advance_key(&key);
        } else {
            self.make_ready(entry);
        }
    }

    /// Everything at or before `position` was offered or is of no interest.
    pub fn reached(&mut self, position: Position) {
        if position > self.read {
            self.read = position;
            self.unsaved_count += 1;
        }
    }

    /// Which parked events to read from the log for a [`replay`](Self::replay) of `which`, or of all:
    /// with an event come those of its key, where keys are in order, and none that is being replayed.
    pub fn replayable(&self, which: Option<Position>) -> Vec<ParkedItem> {
        let key = which.and_then(|place| self.parked.get(&place)).map(|item| item.key.as_str());
        let is_wanted = |item: &&ParkedItem| match which {
            None => true,
            Some(_) if self.settings.strategy.is_ordered() => key == Some(item.key.as_str()),
            Some(place) => item.position == place,
        };
        let wanted = self.parked.values().filter(is_wanted);
        wanted.filter(|item| self.may_replay(item.position)).cloned().collect()
    }

    /// What the log was not read up to since the group began may have earlier events before it, which
    /// come from the log again.
    fn may_replay(&self, place: Position) -> bool {
        let is_known = self.settings.parked_max.is_none()
            || (place <= self.read && self.parked.contains_key(&place));
        is_known && !self.replays.contains_key(&place)
    }

    /// Tries parked events again, before anything else of their keys. Where the group knows what is
    /// parked, others are passed over.
    pub fn replay(&mut self, items: Vec<Item<T>>) {
        let is_ordered = self.settings.strategy.is_ordered();
        let mut changed: Vec<Arc<str>> = Vec::new();
        for item in items {
            if !self.may_replay(item.position) {
                continue;
            }
            let (place, key) = (item.position, Arc::clone(&item.key));
            let entry = self.insert(item, 0, true);
            if !is_ordered {
                self.make_ready(entry);
                continue;
            }
            let own = self.keys.entry(Arc::clone(&key)).or_default();
            own.queue.insert(place, entry);
            changed.push(key);
        }
        for key in changed {
            self.advance_key(&key);
        }
    }

    /// Whether events are on their way to being parked.
    pub fn is_parking(&self) -> bool {
        let is_under_way = matches!(self.note, Some(UnderWay::Settle { parks: true, .. }));
        is_under_way || !self.to_park.is_empty()
    }

    /// Forgets parked events: the one at `which`, or all. One that is being replayed is called back.
    /// How many there were.
    pub fn drop_parked(&mut self, which: Option<Position>) -> usize {
        let places: Vec<Position> = match which {
            Some(place) => self.parked.contains_key(&place).then_some(place).into_iter().collect(),
            None => self.parked.keys().copied().collect(),
        };
        let count = places.len();
        for place in places {
            match self.replays.get(&place) {
                Some(entry) => self.settle_replay(*entry, UnparkReason::Dropped),
                None => self.push_unpark(place, UnparkReason::Dropped),
            }
        }
        count
    }

    /// What goes to a member next, at the time `now`, counted from any moment that stays the same.
    pub fn dispatch(&mut self, now: Duration) -> Option<Dispatch<T>> {
        if self.in_flight.len() >= self.settings.in_flight_max {
            return None;
        }
        let (lane, member) = self.choose()?;
        let (_, id) = self.lanes.get_mut(&lane)?.pop_first()?;
        let until = self.settings.timeout.map(|timeout| now + timeout);
        self.last_number += 1;
        let number = self.last_number;
        let entry = self.entries.get_mut(&id)?;
        entry.state = State::InFlight { member, number, until };
        let (item, retry_count) = (entry.item.clone(), entry.retry_count);
        if let Some(until) = until {
            self.timers.insert((until, id));
        }
        self.in_flight.insert(number, id);
        self.roster.give(member);
        Some(Dispatch { member, number, retry_count, item })
    }

    /// Which lane to serve, and whom from it.
    fn choose(&self) -> Option<(Lane, MemberId)> {
        let first = |lane: Lane| self.lanes.get(&lane).and_then(BTreeSet::first);
        match self.settings.strategy {
            Strategy::Pinned => {
                let served = self.roster.with_room().find(|member| first(Some(*member)).is_some());
                served.map(|member| (Some(member), member))
            }
            Strategy::RoundRobin => {
                first(None)?;
                Some((None, self.roster.next_in_turn()?))
            }
            Strategy::DispatchToSingle => {
                first(None)?;
                Some((None, self.roster.oldest()?))
            }
            Strategy::ByKey => {
                let (_, entry) = first(None)?;
                let key = &self.entries.get(entry)?.item.key;
                let own = self.roster.of_key(key).filter(|member| self.roster.has_room(*member));
                Some((None, own.or_else(|| self.roster.next_in_turn())?))
            }
        }
    }

    /// A member handled an event. Whether it was with the member.
    pub fn ack(&mut self, member: MemberId, number: u64) -> bool {
        let Some(entry) = self.held_by(member, number) else { return false };
        self.roster.set_stalled(member, false);
        self.take_back(entry);
        if self.entries.get(&entry).is_some_and(|it| it.is_replay) {
            self.settle_replay(entry, UnparkReason::Handled);
        } else {
            self.settle(entry);
        }
        true
    }

    /// A member did not handle an event. Whether it was with the member.
    pub fn nack(
        &mut self,
        member: MemberId,
        number: u64,
        nack: Nack,
        cause: &str,
        now: Duration,
    ) -> bool {
        let Some(entry) = self.held_by(member, number) else { return false };
        self.roster.set_stalled(member, false);
        self.take_back(entry);
        match nack {
            Nack::Retry => self.fail(entry, cause, now),
            Nack::Park => self.park(entry, cause, now),
            Nack::Skip => self.skip(entry, cause),
        }
        true
    }

    /// Lets time pass: what is overdue counts as tried, what waited is ready.
    pub fn tick(&mut self, now: Duration) {
        while let Some((_, entry)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            let state = self.entries.get(&entry).map(|it| it.state);
            if let Some(State::InFlight { .. }) = state {
                self.take_back(entry);
                self.fail(entry, "it was not acknowledged in time", now);
            } else {
                self.timers.pop_first();
                self.make_ready(entry);
            }
        }
    }

    /// When to call [`tick`](Self::tick) or [`next_note`](Self::next_note) again, if nothing happens
    /// before.
    pub fn next_wake(&self) -> Option<Duration> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let due = self.saved_at + self.settings.save_interval;
        let save = (self.note.is_none() && self.is_worth_saving()).then_some(due);
        timer.into_iter().chain(save).min()
    }

    /// What to keep next; `None` while the last one is under way.
    pub fn next_note(&mut self, now: Duration) -> Option<Note<T>> {
        if self.note.is_some() {
            return None;
        }
        self.unpark_note().or_else(|| self.park_note()).or_else(|| self.skip_note()).or_else(|| {
            let is_due = now >= self.saved_at + self.settings.save_interval
                || self.unsaved_count >= self.settings.save_count_max;
            (is_due && self.is_worth_saving()).then(|| self.save_note(now))
        })
    }

    /// The last checkpoint to save before the machine is left, if there is one.
    pub fn last_note(&mut self, now: Duration) -> Option<Note<T>> {
        let note = self.unpark_note().or_else(|| self.park_note()).or_else(|| self.skip_note());
        note.or_else(|| (self.position() > self.saved).then(|| self.save_note(now)))
    }

    fn is_worth_saving(&self) -> bool {
        self.unsaved_count >= self.settings.save_count_min.max(1) && self.position() > self.saved
    }

    fn unpark_note(&mut self) -> Option<Note<T>> {
        let (_, reason) = *self.to_unpark.front()?;
        let mut places = Vec::new();
        while let Some((place, _)) = self.to_unpark.pop_front_if(|(_, own)| *own == reason) {
            places.push(place);
            if places.len() == NOTE_COUNT_MAX {
                break;
            }
        }
        self.note = Some(UnderWay::Unpark(places.clone()));
        Some(Note::Unpark(places, reason))
    }

    fn park_note(&mut self) -> Option<Note<T>> {
        let (entries, items) = Self::aside(&mut self.to_park, &self.entries)?;
        self.note = Some(UnderWay::Settle { entries, parks: true });
        Some(Note::Park(items))
    }

    fn skip_note(&mut self) -> Option<Note<T>> {
        let (entries, items) = Self::aside(&mut self.to_skip, &self.entries)?;
        self.note = Some(UnderWay::Settle { entries, parks: false });
        Some(Note::Skip(items))
    }

    fn aside(
        due: &mut VecDeque<u64>,
        entries: &HashMap<u64, Entry<T>>,
    ) -> Option<(Vec<u64>, Vec<SetAside<T>>)> {
        let chosen: Vec<u64> = due.drain(..due.len().min(NOTE_COUNT_MAX)).collect();
        let found = chosen.iter().filter_map(|entry| entries.get(entry));
        let aside = |it: &Entry<T>| SetAside { item: it.item.clone(), cause: it.cause.clone() };
        let items: Vec<_> = found.map(aside).collect();
        (!items.is_empty()).then_some((chosen, items))
    }

    fn save_note(&mut self, now: Duration) -> Note<T> {
        let to = self.position();
        self.note = Some(UnderWay::Save(to));
        self.saved_at = now;
        self.unsaved_count = 0;
        Note::Save { from: self.saved, to }
    }

    /// The note under way is durable.
    pub fn finish_note(&mut self) {
        match self.note.take() {
            Some(UnderWay::Settle { entries, parks: true }) => self.finish_park(entries),
            Some(UnderWay::Settle { entries, parks: false }) => {
                for entry in entries {
                    match self.entries.get(&entry) {
                        // What is left out is not parked any more either.
                        Some(it) if it.is_replay => {
                            self.push_unpark(it.item.position, UnparkReason::Dropped);
                        }
                        _ => self.settle(entry),
                    }
                }
            }
            Some(UnderWay::Unpark(places)) => self.finish_unpark(&places),
            Some(UnderWay::Save(to)) => self.saved = to,
            None => {}
        }
    }

    /// Everything at or before this place is settled.
    pub fn position(&self) -> Position {
        let first = self.unsettled.first();
        first.map_or(self.read, |first| Position::new(first.get().saturating_sub(1)))
    }

    /// Where the log was read to: to go on after.
    pub fn read_to(&self) -> Position {
        self.read
    }

    /// Where the saved checkpoint is.
    pub fn saved(&self) -> Position {
        self.saved
    }

    /// How many events are where.
    pub fn counts(&self) -> GroupCounts {
        let ready = self.lanes.values().map(BTreeSet::len).sum();
        let waiting = self.timers.len() - self.timed_in_flight();
        let settling = self.to_park.len() + self.to_skip.len();
        let rest = self.in_flight.len() + ready + waiting + settling;
        GroupCounts {
            in_flight: self.in_flight.len(),
            ready,
            waiting,
            blocked: self.entries.len().saturating_sub(rest),
            parked: self.parked.len(),
            held: self.entries.len(),
            replaying: self.replays.len(),
        }
    }

    /// How many parked events are being replayed.
    pub fn replaying_count(&self) -> usize {
        self.replays.len()
    }

    fn timed_in_flight(&self) -> usize {
        if self.settings.timeout.is_some() { self.in_flight.len() } else { 0 }
    }

    /// How the members are, oldest first.
    pub fn members(&self) -> Vec<MemberStatus> {
        self.roster.statuses().collect()
    }

    /// How many members there are.
    pub fn member_count(&self) -> usize {
        self.roster.count()
    }

    /// What is parked, in the order of the log.
    pub fn parked(&self) -> impl Iterator<Item = &ParkedItem> {
        self.parked.values()
    }

    /// How many events were settled since the machine began.
    pub fn settled_total(&self) -> u64 {
        self.settled_total
    }

    /// What went wrong last.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    fn insert(&mut self, item: Item<T>, retry_count: u32, is_replay: bool) -> u64 {
        self.last_entry += 1;
        self.held_size += item.size;
        if is_replay {
            self.replays.insert(item.position, self.last_entry);
        }
        let cause = String::new();
        let entry = Entry { item, retry_count, state: State::Blocked, is_replay, cause };
        self.entries.insert(self.last_entry, entry);
        self.last_entry
    }

    fn remove(&mut self, entry: u64) -> Option<Entry<T>> {
        let removed = self.entries.remove(&entry)?;
        self.held_size -= removed.item.size;
        if removed.is_replay {
            self.replays.remove(&removed.item.position);
        }
        Some(removed)
    }

    /// Lets the next event of a key leave, unless an earlier one is parked: then all are.
    fn advance_key(&mut self, name: &Arc<str>) {
        let Some(key) = self.keys.get_mut(name) else { return };
        // What is on the way to being parked is decided on once it is.
        if key.head.is_some() || key.parking_count > 0 {
            return;
        }
        let Some(first) = key.queue.first_entry() else {
            if key.is_idle() {
                self.keys.remove(name);
            }
            return;
        };
        if key.parked.first().is_none_or(|parked| first.key() <= parked) {
            let entry = first.remove();
            key.head = Some(entry);
            self.make_ready(entry);
        } else {
            let behind = std::mem::take(&mut key.queue);
            self.park_behind(name, behind);
        }
    }

    /// Parks events behind an earlier one of their key. Those that were parked before are so still.
    fn park_behind(&mut self, name: &Arc<str>, behind: BTreeMap<Position, u64>) {
        for (place, entry) in behind {
            if self.entries.get(&entry).is_some_and(|it| it.is_replay) {
                self.remove(entry);
            } else if self.parked_room() > 0 {
                self.mark_to_park(entry, "an earlier event of its key is parked");
            } else if let Some(key) = self.keys.get_mut(name) {
                // It waits until there is room again, and takes room in what is read meanwhile.
                key.queue.insert(place, entry);
                self.is_parking_full = true;
                self.last_error = Some(PARKING_FULL.to_owned());
            }
        }
    }

    fn parked_room(&self) -> usize {
        let max = self.settings.parked_max.unwrap_or(usize::MAX);
        let under_way = match &self.note {
            Some(UnderWay::Settle { entries, parks: true }) => entries.len(),
            _ => 0,
        };
        max.saturating_sub(self.parked.len() + self.to_park.len() + under_way)
    }

    fn mark_to_park(&mut self, entry: u64, cause: &str) {
        if let Some(it) = self.entries.get_mut(&entry) {
            it.state = State::Settling;
            cause.clone_into(&mut it.cause);
            self.to_park.push_back(entry);
            if let Some(key) = self.keys.get_mut(&it.item.key) {
                key.parking_count += 1;
            }
        }
    }

    fn push_unpark(&mut self, place: Position, reason: UnparkReason) {
        if self.to_unpark.iter().all(|(own, _)| *own != place) {
            self.to_unpark.push_back((place, reason));
        }
    }

    fn lane_of(&self, key: &str) -> Lane {
        match self.settings.strategy {
            Strategy::Pinned => self.roster.of_key(key),
            Strategy::ByKey | Strategy::RoundRobin | Strategy::DispatchToSingle => None,
        }
    }

    fn make_ready(&mut self, entry: u64) {
        let Some(it) = self.entries.get_mut(&entry) else { return };
        it.state = State::Ready;
        let (place, key) = (it.item.position, Arc::clone(&it.item.key));
        let lane = self.lane_of(&key);
        self.lanes.entry(lane).or_default().insert((place, entry));
    }

    /// Divides what is ready among the members as they are.
    fn rebalance(&mut self) {
        if self.settings.strategy == Strategy::Pinned {
            let lanes = std::mem::take(&mut self.lanes);
            for (_, entry) in lanes.into_values().flatten() {
                self.make_ready(entry);
            }
        }
    }

    fn held_by(&self, member: MemberId, number: u64) -> Option<u64> {
        let entry = *self.in_flight.get(&number)?;
        match self.entries.get(&entry)?.state {
            State::InFlight { member: own, .. } if own == member => Some(entry),
            _ => None,
        }
    }

    /// Takes an event back from the member that has it.
    fn take_back(&mut self, entry: u64) {
        let Some(it) = self.entries.get_mut(&entry) else { return };
        if let State::InFlight { member, number, until } = it.state {
            it.state = State::Settling;
            self.in_flight.remove(&number);
            if let Some(until) = until {
                self.timers.remove(&(until, entry));
            }
            self.roster.take(member);
        }
    }

    /// An event was tried in vain.
    fn fail(&mut self, entry: u64, cause: &str, now: Duration) {
        let on_error = self.settings.on_error;
        let Some(it) = self.entries.get_mut(&entry) else { return };
        it.retry_count = it.retry_count.saturating_add(1);
        let is_over = it.retry_count > on_error.retries;
        self.last_error = Some(format!("position {}: {cause}", it.item.position));
        match on_error.give_up {
            GiveUp::Park if is_over => self.park(entry, cause, now),
            GiveUp::Skip if is_over => self.skip(entry, cause),
            GiveUp::Park | GiveUp::Skip | GiveUp::Stop => self.wait(entry, on_error.backoff, now),
        }
    }

    fn wait(&mut self, entry: u64, backoff: Backoff, now: Duration) {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let Some(it) = self.entries.get_mut(&entry) else { return };
        let wait = backoff.wait(it.retry_count.max(1), self.chance >> 24);
        if wait.is_zero() {
            self.make_ready(entry);
        } else {
            it.state = State::Waiting(now + wait);
            self.timers.insert((now + wait, entry));
        }
    }

    fn park(&mut self, entry: u64, cause: &str, now: Duration) {
        let Some(it) = self.entries.get(&entry) else { return };
        if it.is_replay && self.settings.parked_max.is_some() {
            self.park_again(entry, cause);
        } else if self.parked_room() == 0 {
            self.last_error = Some(PARKING_FULL.to_owned());
            let backoff = self.settings.on_error.backoff;
            self.wait(entry, Backoff { first: backoff.max, ..backoff }, now);
        } else {
            self.mark_to_park(entry, cause);
        }
    }

    /// A parked event that was replayed in vain is parked still, and so is what was replayed behind it.
    fn park_again(&mut self, entry: u64, cause: &str) {
        let Some(removed) = self.remove(entry) else { return };
        if let Some(parked) = self.parked.get_mut(&removed.item.position) {
            cause.clone_into(&mut parked.cause);
        }
        self.release(&removed.item.key, entry);
    }

    fn skip(&mut self, entry: u64, cause: &str) {
        let Some(it) = self.entries.get_mut(&entry) else { return };
        cause.clone_into(&mut it.cause);
        it.state = State::Settling;
        self.to_skip.push_back(entry);
    }

    /// A replayed event is done with: it holds up its key until that is durable.
    fn settle_replay(&mut self, entry: u64, reason: UnparkReason) {
        self.take_back(entry);
        let Some(it) = self.entries.get_mut(&entry) else { return };
        let (place, key) = (it.item.position, Arc::clone(&it.item.key));
        match std::mem::replace(&mut it.state, State::Settling) {
            State::Ready => {
                let lane = self.lane_of(&key);
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.remove(&(place, entry));
                }
            }
            State::Waiting(at) => {
                self.timers.remove(&(at, entry));
            }
            State::Blocked => {
                self.remove(entry);
                if let Some(key) = self.keys.get_mut(&key) {
                    key.queue.remove(&place);
                }
            }
            State::InFlight { .. } | State::Settling => {}
        }
        self.push_unpark(place, reason);
    }

    /// An event is done with for good.
    fn settle(&mut self, entry: u64) {
        let Some(removed) = self.remove(entry) else { return };
        self.settled_total += 1;
        self.unsaved_count += 1;
        self.unsettled.remove(&removed.item.position);
        self.release(&removed.item.key, entry);
    }

    /// Lets the next event of a key leave, if `entry` was the one before.
    fn release(&mut self, name: &Arc<str>, entry: u64) {
        let Some(key) = self.keys.get_mut(name) else { return };
        if key.head == Some(entry) {
            key.head = None;
        }
        self.advance_key(name);
    }

    fn finish_park(&mut self, entries: Vec<u64>) {
        let mut changed: Vec<Arc<str>> = Vec::new();
        for entry in entries {
            let Some(removed) = self.remove(entry) else { continue };
            let Item { position, key, .. } = removed.item;
            self.settled_total += 1;
            self.unsaved_count += 1;
            if removed.is_replay {
                self.push_unpark(position, UnparkReason::Replayed);
            } else {
                self.unsettled.remove(&position);
            }
            if self.settings.parked_max.is_some() {
                let item = ParkedItem { position, key: key.to_string(), cause: removed.cause };
                self.parked.insert(position, item);
            }
            if let Some(own) = self.keys.get_mut(&key) {
                own.parked.insert(position);
                own.parking_count = own.parking_count.saturating_sub(1);
                if own.head == Some(entry) {
                    own.head = None;
                }
                changed.push(key);
            }
        }
        for key in changed {
            self.advance_key(&key);
        }
    }

    fn finish_unpark(&mut self, places: &[Position]) {
        for place in places {
            let key = self.parked.remove(place).map(|item| Arc::<str>::from(item.key));
            if let Some(key) = key.as_ref().and_then(|key| self.keys.get_mut(key)) {
                key.parked.remove(place);
            }
            let entry = self.replays.get(place).copied();
            let is_settled =
                |entry: &u64| self.entries.get(entry).is_some_and(|it| it.state == State::Settling);
            if let Some(entry) = entry.filter(is_settled)
                && let Some(removed) = self.remove(entry)
            {
                self.settled_total += 1;
                self.release(&removed.item.key, entry);
            } else if let Some(key) = key {
                self.advance_key(&key);
            }
        }
        if std::mem::take(&mut self.is_parking_full) {
            let keys: Vec<Arc<str>> = self.keys.keys().cloned().collect();
            for key in keys {
                self.advance_key(&key);
            }
        }
    }
}
