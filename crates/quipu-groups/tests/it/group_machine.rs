//! A group's machine under random schedules: members that are slow, paused and killed, an owner that
//! crashes, against an oracle that knows what was handled.
//!
//! The oracle holds what is durable: the checkpoint, the parked events, what was left out, and every
//! effect in the order in which it happened. Effects carry their dispatch's number, and the sink
//! refuses one that is older than what it has of the key: that is how a member that was paused for too
//! long is kept from doing harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{ParkedItem, Position};
use quipu_groups::group::{
    Dispatch, GroupMachine, GroupSettings, MemberId, Nack, Note, SetAside, Strategy,
};
use quipu_groups::machine::Item;
use quipu_groups::{Backoff, GiveUp, OnError};

use crate::random::{Random, ShowSeed, seeds};

/// What outlives a crash.
struct World {
    strategy: Strategy,
    /// The log: positions in order, with gaps, and keys.
    log: BTreeMap<Position, Arc<str>>,
    checkpoint: Position,
    parked: BTreeMap<Position, ParkedItem>,
    left_out: BTreeSet<Position>,
    handled: BTreeSet<Position>,
    /// For each key: the highest number that had an effect, its owner's epoch, and the event.
    sink: BTreeMap<Arc<str>, (u64, u64, Position)>,
    refused_count: usize,
    /// Events that cannot be handled, and for how many attempts more.
    poison: BTreeMap<Position, u32>,
}

impl World {
    fn new(strategy: Strategy, random: &mut Random) -> Self {
        let (mut log, mut position) = (BTreeMap::new(), 0);
        let key_count = 1 + random.below(12);
        for _ in 0..20 + random.below(200) {
            position += 1 + random.below(3);
            let key: Arc<str> = format!("key-{}", random.below(key_count)).into();
            log.insert(Position::new(position), key);
        }
        let mut poison = BTreeMap::new();
        for place in log.keys() {
            if random.once_in(15) {
                poison.insert(*place, random.below(12) as u32);
            }
        }
        Self {
            strategy,
            poison,
            log,
            checkpoint: Position::START,
            parked: BTreeMap::new(),
            left_out: BTreeSet::new(),
            handled: BTreeSet::new(),
            sink: BTreeMap::new(),
            refused_count: 0,
        }
    }

    /// An effect at the sink, if it is not too late.
    fn handle(&mut self, dispatch: &Dispatch<()>) {
        let (place, number) = (dispatch.item.position, dispatch.number);
        let epoch = number >> EPOCH_SHIFT;
        if !self.strategy.is_ordered() {
            self.handled.insert(place);
            return;
        }
        let key = Arc::clone(&self.log[&place]);
        if let Some((newest, newest_epoch, last)) = self.sink.get(&key).copied() {
            if number < newest {
                self.refused_count += 1;
                return;
            }
            let is_forward = place >= last || epoch > newest_epoch;
            assert!(is_forward, "{place} of {key} came behind {last}");
        }
        for (earlier, _) in self.log.range(..place).filter(|(_, own)| **own == key) {
            let is_done = self.handled.contains(earlier) || self.left_out.contains(earlier);
            assert!(is_done, "{place} of {key} overtook {earlier}");
        }
        self.sink.insert(key, (number, epoch, place));
        self.handled.insert(place);
    }

    fn keep(&mut self, note: Note<()>) {
        match note {
            Note::Park(items) => {
                for SetAside { item, cause } in items {
                    let Item { position, key, .. } = item;
                    let key = key.to_string();
                    self.parked.insert(position, ParkedItem { position, key, cause });
                }
            }
            Note::Skip(items) => self.left_out.extend(items.iter().map(|it| it.item.position)),
            Note::Unpark(places, _) => {
                for place in places {
                    self.parked.remove(&place);
                    if !self.handled.contains(&place) {
                        self.left_out.insert(place);
                    }
                }
            }
            Note::Save { from, to } => {
                assert_eq!(from, self.checkpoint, "the machine knows where its checkpoint is");
                assert!(to > from, "checkpoints go forward");
                for place in self.log.range(..=to).map(|(place, _)| place) {
                    assert!(self.is_settled(*place), "the checkpoint passed {place}");
                }
                self.checkpoint = to;
            }
        }
    }

    fn is_settled(&self, place: Position) -> bool {
        self.handled.contains(&place)
            || self.left_out.contains(&place)
            || self.parked.contains_key(&place)
    }
}

/// A member as it looks from its own side.
#[derive(Default)]
struct Member {
    capacity: usize,
    inbox: Vec<Dispatch<()>>,
    /// What the group counts as being with it, until when.
    with_it: BTreeMap<u64, Duration>,
    paused_until: Duration,
}

struct Sim {
    world: World,
    settings: GroupSettings,
    machine: GroupMachine<()>,
    members: BTreeMap<MemberId, Member>,
    /// Members that were killed and do not know it: they still have effects.
    zombies: Vec<Member>,
    note: Option<Note<()>>,
    epoch: u64,
    now: Duration,
    is_calm: bool,
}

/// Dispatches are numbered behind their owner's epoch.
const EPOCH_SHIFT: u32 = 40;
const TIMEOUT: Duration = Duration::from_millis(50);

impl Sim {
    fn new(strategy: Strategy, random: &mut Random) -> Self {
        let backoff = if random.once_in(2) {
            Backoff { first: Duration::from_millis(5), max: Duration::from_millis(20) }
        } else {
            Backoff { first: Duration::ZERO, max: Duration::ZERO }
        };
        let give_up = if random.once_in(4) { GiveUp::Skip } else { GiveUp::Park };
        let on_error = OnError { retries: random.below(4) as u32, backoff, give_up };
        let settings = GroupSettings {
            strategy,
            in_flight_max: 1 + random.below(30) as usize,
            buffer_max: 1 + random.below(60) as usize,
            timeout: Some(TIMEOUT),
            on_error,
            parked_max: Some(random.below(100) as usize + 5),
            save_interval: Duration::from_millis(random.below(20)),
            save_count_min: 1 + random.below(10),
            ..GroupSettings::default()
        };
        let world = World::new(strategy, random);
        let machine = GroupMachine::new(settings, Position::START, Vec::new(), 0, random.next());
        Self {
            world,
            settings,
            machine,
            members: BTreeMap::new(),
            zombies: Vec::new(),
            note: None,
            epoch: 0,
            now: Duration::ZERO,
            is_calm: false,
        }
    }

    fn step(&mut self, random: &mut Random) {
        self.now += Duration::from_millis(random.below(4));
        self.machine.tick(self.now);
        for member in self.members.values_mut() {
            member.with_it.retain(|_, until| *until > self.now);
        }
        match random.below(12) {
            0..3 => self.read(random),
            3..6 => self.dispatch(random),
            6..9 => self.act(random),
            9 => self.take_note(random),
            10 if !self.is_calm => self.trouble(random),
            _ => self.join(random),
        }
        let status = self.machine.counts();
        assert!(status.in_flight <= self.settings.in_flight_max);
        for (id, member) in &self.members {
            let count = member.with_it.len();
            assert!(count <= member.capacity, "{id:?} has {count} of {}", member.capacity);
        }
    }

    fn read(&mut self, random: &mut Random) {
        for _ in 0..random.below(20) {
            let next = self.machine.read_to();
            let next = self.world.log.range(Position::new(next.get() + 1)..).next();
            if !self.machine.has_room() {
                return;
            }
            match next {
                Some((place, key)) => {
                    let key = Arc::clone(key);
                    self.machine.offer(Item { position: *place, key, size: 1, event: () });
                }
                None => self.machine.reached(Position::new(1_000)),
            }
        }
    }

    fn dispatch(&mut self, random: &mut Random) {
        for _ in 0..random.below(20) {
            let Some(dispatch) = self.machine.dispatch(self.now) else { return };
            let member = self.members.get_mut(&dispatch.member).expect("it goes to a member");
            if random.once_in(30) {
                self.machine.stall(dispatch.member, dispatch.number);
            } else {
                member.with_it.insert(dispatch.number, self.now + TIMEOUT);
                member.inbox.push(dispatch);
            }
        }
    }

    fn pick(&self, random: &mut Random) -> Option<MemberId> {
        let count = self.members.len() as u64;
        (count > 0).then(|| *self.members.keys().nth(random.below(count) as usize).unwrap())
    }

    /// A member works at what it has, in any order.
    fn act(&mut self, random: &mut Random) {
        if !self.zombies.is_empty() && random.once_in(3) {
            let index = random.below(self.zombies.len() as u64) as usize;
            for dispatch in self.zombies.swap_remove(index).inbox {
                self.world.handle(&dispatch);
            }
        }
        let Some(id) = self.pick(random) else { return };
        self.machine.unstall(id);
        let member = self.members.get_mut(&id).unwrap();
        if member.paused_until > self.now {
            return;
        }
        // Once everything is well, a member keeps up with what it is given.
        let count = if self.is_calm { usize::MAX } else { random.below(6) as usize };
        for _ in 0..count {
            let member = self.members.get_mut(&id).unwrap();
            if member.inbox.is_empty() {
                return;
            }
            let index = random.below(member.inbox.len() as u64) as usize;
            let dispatch = member.inbox.swap_remove(index);
            let (number, place) = (dispatch.number, dispatch.item.position);
            let was_with_it = member.with_it.remove(&number).is_some();
            let is_known = self.answer(id, &dispatch, random);
            assert_eq!(is_known, was_with_it, "the answer for {place}");
        }
    }

    fn answer(&mut self, id: MemberId, dispatch: &Dispatch<()>, random: &mut Random) -> bool {
        let (number, place) = (dispatch.number, dispatch.item.position);
        let is_well = |left: &mut u32| {
            *left = left.saturating_sub(1);
            *left == 0
        };
        if self.world.poison.get_mut(&place).is_none_or(is_well) {
            self.world.handle(dispatch);
            return self.machine.ack(id, number);
        }
        let nack = match random.below(8) {
            0 => Nack::Park,
            1 if !self.is_calm => Nack::Skip,
            _ => Nack::Retry,
        };
        self.machine.nack(id, number, nack, "it is poison", self.now)
    }

    /// Something is written, now or later.
    fn take_note(&mut self, random: &mut Random) {
        if self.note.is_none() {
            self.note = self.machine.next_note(self.now);
        }
        if random.once_in(2)
            && let Some(note) = self.note.take()
        {
            self.world.keep(note);
            self.machine.finish_note();
        }
    }

    fn join(&mut self, random: &mut Random) {
        if self.members.len() < 5 {
            let capacity = 1 + random.below(8) as usize;
            let id = self.machine.join(capacity);
            self.members.insert(id, Member { capacity, ..Member::default() });
        }
    }

    fn trouble(&mut self, random: &mut Random) {
        match random.below(6) {
            0 => self.crash(random),
            1 => self.operate(random),
            2 | 3 => {
                if let Some(id) = self.pick(random) {
                    let killed = self.members.remove(&id).unwrap();
                    self.machine.leave(id);
                    self.zombies.push(killed);
                }
            }
            _ => {
                if let Some(id) = self.pick(random) {
                    let until = self.now + Duration::from_millis(random.below(150));
                    self.members.get_mut(&id).unwrap().paused_until = until;
                }
            }
        }
    }

    /// The owner dies; what it was writing may have come through. Another one takes over.
    fn crash(&mut self, random: &mut Random) {
        if let Some(note) = self.note.take()
            && random.once_in(2)
        {
            self.world.keep(note);
        }
        self.epoch += 1;
        let parked = self.world.parked.values().cloned().collect();
        let (checkpoint, number) = (self.world.checkpoint, self.epoch << EPOCH_SHIFT);
        self.machine = GroupMachine::new(self.settings, checkpoint, parked, number, random.next());
        self.now = Duration::ZERO;
        self.zombies.extend(std::mem::take(&mut self.members).into_values());
    }

    fn operate(&mut self, random: &mut Random) {
        let which = self.world.parked.keys().copied().nth(random.below(5) as usize);
        if random.once_in(6) {
            self.machine.drop_parked(which);
            // What is dropped while it is being replayed is called back.
            let parked = &self.world.parked;
            let is_dropped =
                |place| which.is_none_or(|own| own == place) && parked.contains_key(&place);
            for member in self.members.values_mut() {
                for dispatch in member.inbox.iter().filter(|it| is_dropped(it.item.position)) {
                    member.with_it.remove(&dispatch.number);
                }
            }
        } else {
            self.replay(which.filter(|_| random.once_in(2)));
        }
    }

    fn replay(&mut self, which: Option<Position>) {
        let items = self.machine.replayable(which).into_iter().map(|parked| Item {
            position: parked.position,
            key: parked.key.as_str().into(),
            size: 1,
            event: (),
        });
        self.machine.replay(items.collect());
    }

    /// Without further trouble everything comes to an end.
    fn calm_down(&mut self, random: &mut Random) {
        self.is_calm = true;
        let is_done = |sim: &Self| {
            let held = sim.machine.counts().held;
            let last = *sim.world.log.last_key_value().unwrap().0;
            held == 0 && sim.note.is_none() && sim.world.checkpoint >= last
        };
        for round in 0.. {
            assert!(round < 400_000, "it goes on for ever: {:?}", self.machine.counts());
            self.step(random);
            if round % 50 == 0 {
                self.replay(None);
            }
            if is_done(self) && self.world.parked.is_empty() {
                return;
            }
            if round % 10 == 0 && self.note.is_none() && self.machine.counts().held == 0 {
                self.note = self.machine.last_note(self.now);
            }
        }
    }
}

fn run(strategy: Strategy) -> usize {
    let mut refused_count = 0;
    for seed in seeds(150) {
        let _shown = ShowSeed(seed);
        let mut random = Random::new(seed);
        let mut sim = Sim::new(strategy, &mut random);

        for _ in 0..random.below(3_000) {
            sim.step(&mut random);
        }
        sim.calm_down(&mut random);

        for place in sim.world.log.keys() {
            let is_done = sim.world.handled.contains(place) || sim.world.left_out.contains(place);
            assert!(is_done, "{place} was lost");
        }
        refused_count += sim.world.refused_count;
    }
    refused_count
}

#[test]
fn keys_are_in_order_and_nothing_is_lost_whoever_is_paused_and_killed() {
    let refused_count = run(Strategy::ByKey);

    assert!(refused_count > 0, "members were paused for long enough to come too late");
}

#[test]
fn nothing_is_lost_by_any_strategy() {
    for strategy in [Strategy::RoundRobin, Strategy::DispatchToSingle, Strategy::Pinned] {
        run(strategy);
    }
}
