//! The machine under random schedules, against an oracle that knows what was handled.
//!
//! The oracle holds what is durable: the checkpoints, the parked events, and every effect in the
//! order in which it happened. It refuses an effect that overtakes an earlier event of its key, and
//! with the checkpoint in the work's transaction a second effect of one event.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ComponentRequest, ParkedItem, Position};
use quipu_groups::machine::{Action, Failure, Fault, Item, Keeping, Machine, Settings};
use quipu_groups::{GiveUp, Move, OnError, SlicePlace, SlicePlaces, divide, slice_of};

use crate::random::{Random, ShowSeed, seeds};

type Step = Action<u64>;

/// What outlives a crash.
struct World {
    keeping: Keeping,
    /// The log: positions in order, with gaps, and keys.
    log: BTreeMap<Position, Arc<str>>,
    rows: Vec<SlicePlace>,
    parked: BTreeMap<Position, ParkedItem>,
    effects: Vec<Position>,
    handled: BTreeSet<Position>,
    left_out: BTreeSet<Position>,
    /// Events that cannot be handled, and for how many attempts more.
    poison: BTreeMap<Position, u32>,
}

impl World {
    fn handle(&mut self, position: Position) {
        let key = &self.log[&position];
        for (earlier, _) in self.log.range(..position).filter(|(_, own)| *own == key) {
            let is_settled = self.handled.contains(earlier) || self.left_out.contains(earlier);
            assert!(is_settled, "{position} of {key} overtook {earlier}");
        }
        let is_first = self.handled.insert(position);
        assert!(is_first || self.keeping == Keeping::Apart, "{position} was handled twice");
        self.effects.push(position);
    }

    fn advance(&mut self, moves: &[Move]) {
        for own in moves {
            let row = self.rows.iter_mut().find(|row| row.slices == own.slices).unwrap();
            assert_eq!(row.position, own.from, "the machine knows where its checkpoints are");
            assert!(own.to > own.from, "checkpoints go forward");
            row.position = own.to;
        }
        let settled = |position: &Position| {
            self.handled.contains(position)
                || self.left_out.contains(position)
                || self.parked.contains_key(position)
        };
        let places = SlicePlaces::from_rows(&self.rows, Position::START);
        for (position, key) in &self.log {
            let is_passed = *position <= places.of(slice_of(key));
            assert!(!is_passed || settled(position), "the checkpoint passed {position}");
        }
    }

    /// Does what the action is for.
    fn carry_out(&mut self, action: &Step) {
        match action {
            Action::Handle { items, moves } => {
                items.iter().for_each(|item| self.handle(item.position));
                if self.keeping == Keeping::WithWork {
                    self.advance(moves);
                }
            }
            Action::Retry(item) => {
                self.handle(item.position);
                self.parked.remove(&item.position).unwrap();
            }
            Action::Park(items) => {
                self.parked.extend(items.iter().map(|item| (item.position, item.clone())));
            }
            Action::Skip(item) => {
                self.left_out.insert(item.position);
            }
            Action::Unpark(item) => {
                self.parked.remove(&item.position).unwrap();
                self.left_out.insert(item.position);
            }
            Action::Save(moves) => self.advance(moves),
        }
    }

    /// Whether the poison of this event makes an attempt fail.
    fn is_poisoned(&mut self, position: Position) -> bool {
        let Some(left) = self.poison.get_mut(&position) else { return false };
        *left -= 1;
        if *left == 0 {
            self.poison.remove(&position);
        }
        true
    }

    fn attempt(&mut self, action: &Step, random: &mut Random) -> Result<(), Failure> {
        let failure = |handled, fault| Failure { handled, fault, cause: "test".to_owned() };
        if random.once_in(12) {
            return Err(failure(0, Fault::World { retry_after: None }));
        }
        let at_fault = match action {
            Action::Handle { items, .. } => {
                items.iter().position(|item| self.is_poisoned(item.position))
            }
            Action::Retry(item) => self.is_poisoned(item.position).then_some(0),
            Action::Park(_) | Action::Skip(_) | Action::Unpark(_) | Action::Save(_) => None,
        };
        let Some(index) = at_fault else {
            self.carry_out(action);
            return Ok(());
        };
        if let (Action::Handle { items, .. }, Keeping::Apart) = (action, self.keeping) {
            items[..index].iter().for_each(|item| self.handle(item.position));
        }
        Err(failure(index, Fault::Event))
    }
}

struct Run {
    world: World,
    machine: Machine<u64>,
    settings: Settings,
    under_way: Vec<(usize, Step)>,
    cursor: Position,
    now: Duration,
    random: Random,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let keeping = if random.once_in(2) { Keeping::WithWork } else { Keeping::Apart };
        let (mut log, mut poison) = (BTreeMap::new(), BTreeMap::new());
        let mut position = 0;
        for _ in 0..=random.below(150) {
            position += 1 + random.below(3);
            let key: Arc<str> = format!("key-{}", random.below(8)).into();
            log.insert(Position::new(position), key);
            if random.once_in(10) {
                poison.insert(Position::new(position), 1 + random.below(8) as u32);
            }
        }
        let give_up = [GiveUp::Stop, GiveUp::Park, GiveUp::Skip][random.below(3) as usize];
        let settings = Settings {
            batch_max: 1 + random.below(6) as usize,
            batch_size_max: 1 + random.below(9) as usize,
            queue_size_max: 1 + random.below(40) as usize,
            queue_max: 1 + random.below(12) as usize,
            parked_max: if random.once_in(4) { 2 } else { 1_000 },
            // Long ones leave much between what is done and what is saved when a crash comes.
            save_interval: Duration::from_millis([1, 300, 60_000][random.below(3) as usize]),
            on_error: OnError { give_up, ..OnError::retry(random.below(3) as u32) },
            keeping,
        };
        let world = World {
            keeping,
            log,
            rows: Vec::new(),
            parked: BTreeMap::new(),
            effects: Vec::new(),
            handled: BTreeSet::new(),
            left_out: BTreeSet::new(),
            poison,
        };
        let machine = Machine::new(settings, &[], &SlicePlaces::all_at(Position::START), vec![], 0);
        let (cursor, now) = (Position::START, Duration::ZERO);
        let mut run = Self { world, machine, settings, under_way: vec![], cursor, now, random };
        run.start();
        run
    }

    /// Begins again from what is durable, with another number of partitions.
    fn start(&mut self) {
        let count = NonZeroU16::new(1 + self.random.below(9) as u16).unwrap();
        let partitions = divide(count);
        let places = SlicePlaces::from_rows(&self.world.rows, Position::START);
        self.world.rows = places.rows(&partitions);
        let parked = self.world.parked.values().cloned().collect();
        let seed = self.random.next();
        self.machine = Machine::new(self.settings, &partitions, &places, parked, seed);
        self.under_way.clear();
        self.cursor = self.machine.resume_after().unwrap();
    }

    fn crash(&mut self) {
        for (_, action) in std::mem::take(&mut self.under_way) {
            if self.random.once_in(2) {
                self.world.carry_out(&action);
            }
        }
        self.start();
    }

    fn deliver(&mut self) {
        if self.machine.take_rewind() {
            self.cursor = self.machine.resume_after().unwrap();
        }
        if !self.machine.has_room() {
            return;
        }
        let count = 1 + self.random.below(6) as usize;
        let after = self.cursor.next();
        let events: Vec<_> = self.world.log.range(after..).take(count).collect();
        for (position, key) in events {
            self.cursor = *position;
            let size = position.get() as usize % 4;
            let (position, key) = (*position, Arc::clone(key));
            let item = Item { position, key, size, event: position.get() };
            self.machine.offer(item);
        }
        self.machine.reached(self.cursor);
    }

    fn begin(&mut self) {
        let index = self.random.below(self.machine.partition_count() as u64) as usize;
        if let Some(action) = self.machine.next(index, self.now) {
            assert!(self.under_way.iter().all(|(busy, _)| *busy != index), "one at a time");
            self.under_way.push((index, action));
        }
    }

    fn end(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let which = self.random.below(self.under_way.len() as u64) as usize;
        let (index, action) = self.under_way.swap_remove(which);
        let outcome = self.world.attempt(&action, &mut self.random);
        self.machine.finish(index, outcome, self.now);
    }

    fn ask(&mut self) {
        let parked: Vec<_> = self.machine.parked().iter().map(|item| item.position).collect();
        let stopped: Vec<_> = self.machine.stopped().map(|at| at.position).collect();
        let known = [parked, stopped].concat();
        let some =
            (!known.is_empty()).then(|| known[self.random.below(known.len() as u64) as usize]);
        self.machine.request(match self.random.below(6) {
            0 => ComponentRequest::Pause,
            1 | 2 => ComponentRequest::Resume,
            3 => ComponentRequest::Retry(None),
            4 => ComponentRequest::Retry(some),
            _ if some.is_some() && self.random.once_in(3) => ComponentRequest::Drop(some),
            _ => ComponentRequest::Resume,
        });
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.deliver(),
            30..60 => self.begin(),
            60..90 => self.end(),
            90..95 => self.now += Duration::from_millis(self.random.below(400)),
            95..99 => self.ask(),
            _ => self.crash(),
        }
        assert!(
            self.machine.rows().iter().all(|row| row.position >= self.machine.position()),
            "the position is the lowest of the checkpoints"
        );
    }

    /// Lets everything that can be handled be handled.
    fn settle(&mut self) {
        self.world.poison.clear();
        for round in 0.. {
            assert!(round < 5_000, "the machine comes to rest: {:?}", self.machine);
            if round % 20 == 0 {
                self.machine.request(ComponentRequest::Resume);
                self.machine.request(ComponentRequest::Retry(None));
            }
            self.now += Duration::from_secs(1);
            self.deliver();
            for _ in 0..20 {
                self.begin();
                self.end();
            }
            let last = *self.world.log.keys().next_back().unwrap();
            let is_saved = self.world.rows.iter().all(|row| row.position >= last);
            if is_saved && self.machine.parked_count() == 0 && self.under_way.is_empty() {
                return;
            }
        }
    }
}

#[test]
fn every_event_is_handled_in_the_order_of_its_key_under_any_schedule() {
    for seed in seeds(300) {
        let _show = ShowSeed(seed);
        let mut run = Run::new(seed);

        for _ in 0..1_500 {
            run.step();
        }
        run.settle();

        let world = &run.world;
        for position in world.log.keys() {
            let is_settled = world.handled.contains(position) || world.left_out.contains(position);
            assert!(is_settled, "{position} is missing");
        }
        assert!(world.parked.is_empty());
    }
}
