//! A model of the index: maps of everything, in order.

use std::collections::{BTreeMap, BTreeSet};

use quipu_core::{Direction, LogId};

use super::super::wanted::Wanted;
use super::super::{IdKey, Index, Key, Origin, Reader};

/// A small generator of chance, seeded.
pub(super) struct Chance(u64);

impl Chance {
    /// The seed is `QUIPU_SEED` where that is set. It is printed, so that a failure shows it.
    pub(super) fn new(default: u64) -> Self {
        let seed = match std::env::var("QUIPU_SEED") {
            Ok(seed) => seed.parse().expect("QUIPU_SEED is a number"),
            Err(_) => default,
        };
        println!("QUIPU_SEED={seed}");
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub(super) fn origin() -> Origin {
    Origin { log: LogId::from_uuid(uuid::Uuid::from_bytes([3; 16])), seed: 77 }
}

/// Spreads small numbers like hashes.
pub(super) fn key(number: u64) -> Key {
    Key::new(Chance(number).next())
}

pub(super) fn id(number: u64) -> IdKey {
    IdKey::new(Chance(!number).next())
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) last: u64,
    pub(super) keys: BTreeMap<Key, BTreeSet<u64>>,
    pub(super) ids: BTreeMap<IdKey, BTreeSet<u64>>,
}

impl Model {
    pub(super) fn push(&mut self, keys: &[Key], id: IdKey) {
        self.last += 1;
        for key in keys {
            self.keys.entry(*key).or_default().insert(self.last);
        }
        self.ids.entry(id).or_default().insert(self.last);
    }

    pub(super) fn wanted(&self, wanted: &Wanted) -> BTreeSet<u64> {
        match wanted {
            Wanted::Everything => (1..=self.last).collect(),
            Wanted::Key(key) => self.keys.get(key).cloned().unwrap_or_default(),
            Wanted::All(all) => {
                let mut sets = all.iter().map(|wanted| self.wanted(wanted));
                let first = sets.next().expect("tests want all of something");
                sets.fold(first, |one, other| one.intersection(&other).copied().collect())
            }
            Wanted::Any(any) => any.iter().flat_map(|wanted| self.wanted(wanted)).collect(),
        }
    }
}

/// Adds an event with some of the keys below `KEY_COUNT`, small numbers more often.
pub(super) fn push_some(index: &Index, model: &mut Model, chance: &mut Chance) {
    let mut keys = Vec::new();
    for _ in 0..chance.below(6) {
        let bound = 1 + chance.below(KEY_COUNT);
        keys.push(key(chance.below(bound)));
    }
    let id = id(chance.below(ID_COUNT));
    model.push(&keys, id);
    assert_eq!(index.add(&keys, id), model.last);
}

pub(super) const KEY_COUNT: u64 = 40;
pub(super) const ID_COUNT: u64 = 300;

pub(super) fn some_wanted(chance: &mut Chance, depth: u64) -> Wanted {
    match chance.below(if depth == 0 { 6 } else { 10 }) {
        0 => Wanted::Everything,
        1..6 => Wanted::Key(key(chance.below(KEY_COUNT + 2))),
        6 | 7 => {
            Wanted::All((0..=chance.below(3)).map(|_| some_wanted(chance, depth - 1)).collect())
        }
        _ => Wanted::Any((0..chance.below(4)).map(|_| some_wanted(chance, depth - 1)).collect()),
    }
}

/// Walks a cursor with seeks in between, and the model with it.
pub(super) fn compare_walk(reader: &Reader, model: &Model, chance: &mut Chance) {
    let wanted = some_wanted(chance, 2);
    let direction = if chance.below(2) == 0 { Direction::Forward } else { Direction::Backward };
    let from = match chance.below(4) {
        0 => 0,
        1 => u64::MAX,
        _ => chance.below(model.last + 3),
    };
    let seeks = chance.below(3) == 0;
    let mut expected: Vec<u64> =
        model.wanted(&wanted).into_iter().filter(|at| *at <= reader.upto()).collect();
    match direction {
        Direction::Forward => expected.retain(|at| *at >= from),
        Direction::Backward => {
            expected.retain(|at| *at <= from);
            expected.reverse();
        }
    }
    let mut expected = expected.into_iter().peekable();

    let mut cursor = reader.cursor(wanted.clone(), from, direction);
    loop {
        if seeks && chance.below(4) == 0 {
            let target = chance.below(model.last + 3);
            cursor.seek(target);
            while expected
                .next_if(|at| match direction {
                    Direction::Forward => *at < target,
                    Direction::Backward => *at > target,
                })
                .is_some()
            {}
        }
        let found = cursor.next().unwrap();
        assert_eq!(
            found,
            expected.next(),
            "{wanted:?} {direction:?} from {from} up to {} seeking {seeks}",
            reader.upto()
        );
        if found.is_none() {
            break;
        }
    }
    assert_eq!(cursor.next().unwrap(), None, "the end stays the end");
}

pub(super) fn compare_lookups(reader: &Reader, model: &Model, chance: &mut Chance) {
    let key = key(chance.below(KEY_COUNT + 2));
    let positions: Vec<u64> =
        model.wanted(&key.into()).into_iter().filter(|at| *at <= reader.upto()).collect();

    assert_eq!(reader.count(key).unwrap(), positions.len() as u64);
    assert_eq!(reader.last(key).unwrap(), positions.last().copied());
    let ordinal = chance.below(positions.len() as u64 + 2);
    assert_eq!(reader.nth(key, ordinal).unwrap(), positions.get(ordinal as usize).copied());

    let id = id(chance.below(ID_COUNT + 2));
    let mut ids = reader.find_ids(id);
    let expected =
        model.ids.get(&id).into_iter().flatten().rev().filter(|at| **at <= reader.upto());
    for at in expected {
        assert_eq!(ids.next().unwrap(), Some(*at));
    }
    assert_eq!(ids.next().unwrap(), None);
}

#[test]
fn tails_answer_as_the_model_does() {
    let mut chance = Chance::new(11);
    for run_event_count in [1, 2, 7, 50, 300, 5_000] {
        let index = Index::new(origin(), run_event_count, 1, Vec::new()).unwrap();
        let mut model = Model::default();

        for _ in 0..2_000 {
            push_some(&index, &mut model, &mut chance);
            if chance.below(8) == 0 {
                let reader = index.reader(chance.below(model.last + 1));
                compare_walk(&reader, &model, &mut chance);
                compare_lookups(&reader, &model, &mut chance);
            }
        }

        assert_eq!(index.frozen_count() as u64, model.last / u64::from(run_event_count));
    }
}

#[test]
fn a_reader_sees_nothing_that_came_after_it() {
    let mut chance = Chance::new(12);
    let index = Index::new(origin(), 100, 1, Vec::new()).unwrap();
    let mut model = Model::default();
    for _ in 0..250 {
        push_some(&index, &mut model, &mut chance);
    }
    let upto = model.last;
    let early = index.reader(upto);
    let mut walk = early.cursor(Wanted::Everything, 1, Direction::Forward);
    let first = walk.next().unwrap();

    let mut later = Model { last: upto, ..Model::default() };
    for _ in 0..500 {
        push_some(&index, &mut later, &mut chance);
    }

    assert_eq!(first, Some(1));
    assert!((2..=upto).all(|position| walk.next().unwrap() == Some(position)));
    assert_eq!(walk.next().unwrap(), None);
    for _ in 0..200 {
        compare_walk(&early, &model, &mut chance);
        compare_lookups(&early, &model, &mut chance);
    }
}
