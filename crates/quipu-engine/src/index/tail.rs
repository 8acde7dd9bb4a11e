//! The tail: the index of a run in the making, in memory.
//!
//! [`Tail::push`] runs in the writer's thread, and what it costs is waiting for memory: every key
//! of every event is somewhere else. So tables are small and flat, up to three positions of a key
//! are kept beside the key itself, and events are added by the batch: first all places that they go
//! to are fetched, which the processor does for many keys at once, then they are changed. And the
//! tail that is added to is small enough to stay in the processor's cache: maintenance joins it to
//! the one before it, see [`Index::join`](super::Index::join).

use std::fmt;
use std::ops::Range;

use super::entries::Part;
use super::key::{IdKey, Key};
use super::order::in_order;
use super::slots::Slots;
use super::source::to_count;

/// How much a tail holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    key_count: usize,
    event_count: usize,
}

/// The index of consecutive events, growing at its end.
///
/// It tells places apart by their **local position**: 0 for the tail's first event.
pub(crate) struct Tail {
    first: u64,
    postings: KeyTable,
    ids: IdTable,
}

impl Tail {
    /// An empty tail whose first event will have the position `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self { first, postings: KeyTable::default(), ids: IdTable::default() }
    }

    /// An empty tail whose first event will have the position `first`, with room for so much: what
    /// adds to it is spared the pauses in which a table grows.
    pub(crate) fn with_room(first: u64, room: Room) -> Self {
        Self {
            first,
            postings: KeyTable::with_room(room.key_count),
            ids: IdTable::with_room(room.event_count),
        }
    }

    /// The room that it takes.
    pub(crate) fn room(&self) -> Room {
        Room { key_count: self.key_count(), event_count: self.ids.hashes.len() }
    }

    /// Adds the next events. A key that one of them has twice counts once.
    pub(crate) fn push(&mut self, events: Part<'_>) {
        let mut guesses = Vec::with_capacity(LOOKAHEAD);
        for chunk in events.chunks(LOOKAHEAD) {
            self.ids.fetch(chunk);
            self.postings.guess(chunk.keys(), &mut guesses);
            let mut guesses = guesses.iter();
            for (id, keys) in chunk.iter() {
                let local = self.ids.push(id);
                for (key, guess) in keys.iter().zip(guesses.by_ref()) {
                    self.postings.of(key.get(), *guess).push(local);
                }
            }
        }
    }

    /// How many steps it takes to add a tail to another.
    pub(crate) fn step_count(&self) -> usize {
        self.key_count().max(self.ids.hashes.len()).div_ceil(LOOKAHEAD)
    }

    /// Takes a step to add `next`, whose events follow these. Steps are taken in their order, and
    /// each takes a few microseconds.
    pub(crate) fn join(&mut self, next: &Self, step: usize) {
        let shift = to_count(usize::try_from(next.first - self.first).expect("a run has its size"));
        let part = step * LOOKAHEAD..(step + 1) * LOOKAHEAD;
        let keys = next.postings.part(part.clone());
        let hashes: Vec<Key> = keys.iter().map(|(hash, _)| Key::new(*hash)).collect();
        let mut guesses = Vec::with_capacity(LOOKAHEAD);
        self.postings.guess(&hashes, &mut guesses);
        for ((hash, postings), guess) in keys.iter().zip(guesses) {
            let own = self.postings.of(*hash, guess);
            postings.as_slice().iter().for_each(|local| own.push(local + shift));
        }
        let end = next.ids.hashes.len();
        for hash in &next.ids.hashes[part.start.min(end)..part.end.min(end)] {
            self.ids.push(IdKey::new(*hash));
        }
    }

    /// The position of the first event, the one that will be it in an empty tail.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// How many events there are.
    pub(crate) fn event_count(&self) -> u32 {
        self.ids.count()
    }

    /// How many different keys the events have.
    pub(crate) fn key_count(&self) -> usize {
        self.postings.len()
    }

    /// The local positions that have a key, rising.
    pub(crate) fn postings(&self, key: Key) -> &[u32] {
        self.postings.get(key.get()).map_or(&[], Postings::as_slice)
    }

    /// The last local position that has this id.
    pub(crate) fn last_with_id(&self, id: IdKey) -> Option<u32> {
        self.ids.last(id)
    }

    /// The last local position before `local` that has the same id.
    pub(crate) fn previous_with_id(&self, local: u32) -> Option<u32> {
        self.ids.previous(local)
    }

    /// All keys with their local positions, in order of the keys.
    pub(crate) fn sorted_keys(&self, make_way: &dyn Fn()) -> impl Iterator<Item = (Key, &[u32])> {
        let keys = self.postings.iter();
        let keys = keys.map(|(hash, postings)| (Key::new(hash), postings.as_slice()));
        in_order(keys, self.key_count(), |(key, _)| key.get(), |(key, _)| *key, make_way)
    }

    /// All ids with their local positions, in order of the ids and then of the positions.
    pub(crate) fn sorted_ids(&self, make_way: &dyn Fn()) -> impl Iterator<Item = (IdKey, u32)> {
        let ids = self.ids.hashes.iter().map(|hash| IdKey::new(*hash)).zip(0..);
        in_order(ids, self.ids.hashes.len(), |(id, _)| id.get(), |entry| *entry, make_way)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("first", &self.first)
            .field("event_count", &self.event_count())
            .field("key_count", &self.key_count())
            .finish_non_exhaustive()
    }
}

/// The local positions of one key, in 16 bytes as long as they are few.
enum Postings {
    Few {
        count: u8,
        locals: [u32; FEW],
    },
    #[expect(clippy::box_collection, reason = "a vector in place would make every key larger")]
    Many(Box<Vec<u32>>),
}

const FEW: usize = 3;
const _: () = assert!(size_of::<Postings>() == 16);

impl Postings {
    const EMPTY: Self = Self::Few { count: 0, locals: [0; FEW] };

    fn push(&mut self, local: u32) {
        match self {
            Self::Few { count, locals } => {
                let at = usize::from(*count);
                if at > 0 && locals[at - 1] == local {
                    return;
                }
                if at < FEW {
                    locals[at] = local;
                    *count += 1;
                } else {
                    let mut many = Vec::with_capacity(2 * FEW);
                    many.extend_from_slice(locals);
                    many.push(local);
                    *self = Self::Many(Box::new(many));
                }
            }
            Self::Many(locals) => {
                if locals.last() != Some(&local) {
                    locals.push(local);
                }
            }
        }
    }

    fn last(&self) -> Option<u32> {
        self.as_slice().last().copied()
    }

    fn as_slice(&self) -> &[u32] {
        match self {
            Self::Few { count, locals } => &locals[..usize::from(*count)],
            Self::Many(locals) => locals,
        }
    }
}

/// Keys that are looked up before any of them is added.
const LOOKAHEAD: usize = 128;

/// The keys and their positions.
#[derive(Default)]
struct KeyTable {
    keys: Vec<(u64, Postings)>,
    slots: Slots,
}

impl KeyTable {
    fn with_room(count: usize) -> Self {
        Self { keys: Vec::with_capacity(count), slots: Slots::with_room(count) }
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &Postings)> {
        self.keys.iter().map(|(hash, postings)| (*hash, postings))
    }

    fn part(&self, part: Range<usize>) -> &[(u64, Postings)] {
        let end = self.keys.len();
        &self.keys[part.start.min(end)..part.end.min(end)]
    }

    fn get(&self, hash: u64) -> Option<&Postings> {
        let place = self.slots.find(hash, |place| self.keys[place as usize].0 == hash)?;
        Some(&self.keys[place as usize].1)
    }

    /// Where keys most likely are, and in passing has all memory fetched that they will need. Each
    /// step is taken for all keys before the next, so that none waits for another.
    fn guess(&self, keys: &[Key], guesses: &mut Vec<Option<u32>>) {
        guesses.clear();
        guesses.extend(keys.iter().map(|key| self.slots.guess(key.get())));
        for (key, guess) in keys.iter().zip(guesses.iter_mut()) {
            *guess = guess.filter(|place| self.keys[*place as usize].0 == key.get());
        }
        let last = |place: &u32| self.keys[*place as usize].1.last();
        std::hint::black_box(guesses.iter().flatten().filter_map(last).fold(0, u32::wrapping_add));
    }

    /// The positions of a key that may be where it was guessed to be.
    fn of(&mut self, hash: u64, guess: Option<u32>) -> &mut Postings {
        let place = guess.unwrap_or_else(|| self.find_or_add(hash));
        &mut self.keys[place as usize].1
    }

    fn find_or_add(&mut self, hash: u64) -> u32 {
        let count = to_count(self.keys.len());
        self.slots.reserve(count, |place| self.keys[place as usize].0);
        let slot = self.slots.slot(hash, |place| self.keys[place as usize].0 == hash);
        self.slots.place(slot).unwrap_or_else(|| {
            self.keys.push((hash, Postings::EMPTY));
            self.slots.set(slot, hash, count);
            count
        })
    }
}

/// The ids of consecutive events. Events with one id are chained, newest first, so that a client
/// that uses one id for everything does not make it slow.
#[derive(Default)]
struct IdTable {
    /// By local position.
    hashes: Vec<u64>,
    /// By local position: 1 + the local position before it that has the same id, or 0.
    previous: Vec<u32>,
    /// From an id's hash to the last local position that has it.
    slots: Slots,
}

impl IdTable {
    fn with_room(count: usize) -> Self {
        Self {
            hashes: Vec::with_capacity(count),
            previous: Vec::with_capacity(count),
            slots: Slots::with_room(count),
        }
    }

    fn count(&self) -> u32 {
        to_count(self.hashes.len())
    }

    /// Has the memory fetched that these events will need.
    fn fetch(&self, events: Part<'_>) {
        let guess = |(id, _): (IdKey, _)| self.slots.guess(id.get());
        std::hint::black_box(events.iter().filter_map(guess).fold(0, u32::wrapping_add));
    }

    fn push(&mut self, id: IdKey) -> u32 {
        let local = self.count();
        let hash = id.get();
        self.slots.reserve(local, |place| self.hashes[place as usize]);
        let slot = self.slots.slot(hash, |local| self.hashes[local as usize] == hash);
        self.previous.push(self.slots.place(slot).map_or(0, |previous| previous + 1));
        self.slots.set(slot, hash, local);
        self.hashes.push(hash);
        local
    }

    fn last(&self, id: IdKey) -> Option<u32> {
        self.slots.find(id.get(), |local| self.hashes[local as usize] == id.get())
    }

    fn previous(&self, local: u32) -> Option<u32> {
        self.previous.get(local as usize)?.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entries::Entries;
    use super::*;

    #[test]
    fn a_key_given_twice_for_one_event_counts_once() {
        let mut tail = Tail::new(1);
        let key = Key::new(5);

        for _ in 0..6 {
            tail.add(&[key, Key::new(6), key], IdKey::new(0));
        }

        assert_eq!(tail.postings(key), [0, 1, 2, 3, 4, 5]);
        assert_eq!(tail.postings(Key::new(7)), [0; 0]);
    }

    #[test]
    fn events_added_together_are_found_like_events_added_one_by_one() {
        let (mut together, mut one_by_one) = (Tail::new(1), Tail::new(1));
        let mut events = Entries::default();
        for event in 0..5_000_u64 {
            let keys = [event % 7, event / 3, event, (u64::MAX << 32) | (event % 11)].map(Key::new);
            let keys = &keys[..=(event % 4) as usize];
            events.push(|all| {
                all.extend_from_slice(keys);
                IdKey::new(event % 900)
            });
            one_by_one.add(keys, IdKey::new(event % 900));
        }

        together.push(events.all());

        assert_eq!(together.event_count(), 5_000);
        assert!(together.sorted_keys(&|| ()).eq(one_by_one.sorted_keys(&|| ())));
        assert!(together.sorted_ids(&|| ()).eq(one_by_one.sorted_ids(&|| ())));
    }

    /// An event with more keys than are looked up at once.
    #[test]
    fn an_event_may_have_any_number_of_keys() {
        let keys: Vec<Key> = (0..200).map(Key::new).collect();
        let mut tail = Tail::new(1);

        tail.add(&keys, IdKey::new(0));
        tail.add(&keys, IdKey::new(1));

        assert!(keys.iter().all(|key| tail.postings(*key) == [0, 1]));
    }

    #[test]
    fn events_with_one_id_are_found_newest_first() {
        let mut tail = Tail::new(100);
        for event in 0..3_000 {
            tail.add(&[], IdKey::new(event % 1_000));
        }

        let last = tail.last_with_id(IdKey::new(7)).unwrap();
        let before = tail.previous_with_id(last).unwrap();
        let first = tail.previous_with_id(before).unwrap();

        assert_eq!((first, before, last), (7, 1_007, 2_007));
        assert_eq!(tail.previous_with_id(first), None);
        assert_eq!(tail.last_with_id(IdKey::new(1_000)), None);
    }

    /// A client may use one id for all of its events; each of them must stay cheap to add.
    #[test]
    fn one_id_for_everything_is_one_chain() {
        let mut tail = Tail::new(1);
        for _ in 0..50_000 {
            tail.add(&[], IdKey::new(42));
        }

        let mut chain = std::iter::successors(tail.last_with_id(IdKey::new(42)), |local| {
            tail.previous_with_id(*local)
        });

        assert!(chain.by_ref().eq((0..50_000).rev()));
    }

    #[test]
    fn keys_and_ids_come_out_sorted() {
        let mut tail = Tail::new(1);
        tail.add(&[Key::new(9), Key::new(2)], IdKey::new(8));
        tail.add(&[Key::new(2)], IdKey::new(3));
        tail.add(&[Key::new(4)], IdKey::new(8));

        let keys: Vec<_> = tail.sorted_keys(&|| ()).collect();
        let ids: Vec<_> = tail.sorted_ids(&|| ()).collect();

        let expected: Vec<(Key, &[u32])> =
            vec![(Key::new(2), &[0, 1]), (Key::new(4), &[2]), (Key::new(9), &[0])];
        assert_eq!(keys, expected);
        assert_eq!(ids, [(IdKey::new(3), 1), (IdKey::new(8), 0), (IdKey::new(8), 2)]);
    }
}
