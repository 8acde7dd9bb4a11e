//! The tail: the index of a run in the making, in memory.
//!
//! Its size on the heap matters more than anything but the speed of [`Tail::push`], which runs in
//! the writer's thread: up to three positions of a key are kept beside the key itself, and ids are
//! kept by position with a table of 32-bit places over them.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use super::key::{IdKey, Key};

/// The index of consecutive events, growing at its end.
///
/// It tells places apart by their **local position**: 0 for the tail's first event.
pub(crate) struct Tail {
    first: u64,
    postings: HashMap<u64, Postings, BuildHasherDefault<IdentityHasher>>,
    ids: IdTable,
}

impl Tail {
    /// An empty tail whose first event will have the position `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self { first, postings: HashMap::default(), ids: IdTable::default() }
    }

    /// The empty tail that follows this one, with room for as much as this one has: it is likely
    /// to need it, and then the writer is spared the pauses in which a table grows.
    pub(crate) fn successor(&self) -> Self {
        let hasher = BuildHasherDefault::default();
        Self {
            first: self.first + u64::from(self.event_count()),
            postings: HashMap::with_capacity_and_hasher(self.key_count(), hasher),
            ids: IdTable::with_room(self.ids.hashes.len()),
        }
    }

    /// Adds the next event and returns its position. A key that is given twice counts once.
    pub(crate) fn push(&mut self, keys: &[Key], id: IdKey) -> u64 {
        let local = self.ids.push(id);
        for key in keys {
            self.postings.entry(key.get()).or_insert(Postings::EMPTY).push(local);
        }
        self.first + u64::from(local)
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
        self.postings.get(&key.get()).map_or(&[], Postings::as_slice)
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
    pub(crate) fn sorted_keys(&self) -> Vec<(Key, &[u32])> {
        let mut keys: Vec<_> = self
            .postings
            .iter()
            .map(|(hash, postings)| (Key::new(*hash), postings.as_slice()))
            .collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        keys
    }

    /// All ids with their local positions, in order of the ids and then of the positions.
    pub(crate) fn sorted_ids(&self) -> Vec<(IdKey, u32)> {
        let mut ids: Vec<_> =
            self.ids.hashes.iter().map(|hash| IdKey::new(*hash)).zip(0..).collect();
        ids.sort_unstable();
        ids
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

    fn as_slice(&self) -> &[u32] {
        match self {
            Self::Few { count, locals } => &locals[..usize::from(*count)],
            Self::Many(locals) => locals,
        }
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
    /// An open-addressing table, at most half full, of 1 + the last local position of an id, or 0.
    slots: Vec<u32>,
}

impl IdTable {
    const SLOT_COUNT_MIN: usize = 1024;

    fn with_room(count: usize) -> Self {
        Self {
            hashes: Vec::with_capacity(count),
            previous: Vec::with_capacity(count),
            slots: vec![0; (2 * count).next_power_of_two().max(Self::SLOT_COUNT_MIN)],
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.hashes.len()).expect("push refuses more")
    }

    fn push(&mut self, id: IdKey) -> u32 {
        let local = self.count();
        if self.hashes.len() >= self.slots.len() / 2 {
            self.grow();
        }
        let slot = self.slot(id.get());
        let entry = local.checked_add(1).expect("a tail is frozen long before it has 2^32 events");
        self.hashes.push(id.get());
        self.previous.push(std::mem::replace(&mut self.slots[slot], entry));
        local
    }

    fn last(&self, id: IdKey) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        self.slots[self.slot(id.get())].checked_sub(1)
    }

    fn previous(&self, local: u32) -> Option<u32> {
        self.previous.get(local as usize)?.checked_sub(1)
    }

    /// The slot that has this hash, or the empty one where it would go.
    fn slot(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while let Some(local) = self.slots[slot].checked_sub(1)
            && self.hashes[local as usize] != hash
        {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let count = (self.slots.len() * 2).max(Self::SLOT_COUNT_MIN);
        self.slots = vec![0; count];
        for (hash, entry) in self.hashes.iter().zip(1..) {
            let slot = self.slot(*hash);
            self.slots[slot] = entry;
        }
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("the keys of this map are u64");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_given_twice_for_one_event_counts_once() {
        let mut tail = Tail::new(1);
        let key = Key::new(5);

        for _ in 0..6 {
            tail.push(&[key, Key::new(6), key], IdKey::new(0));
        }

        assert_eq!(tail.postings(key), [0, 1, 2, 3, 4, 5]);
        assert_eq!(tail.postings(Key::new(7)), [0; 0]);
    }

    #[test]
    fn events_with_one_id_are_found_newest_first() {
        let mut tail = Tail::new(100);
        for event in 0..3_000 {
            tail.push(&[], IdKey::new(event % 1_000));
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
            tail.push(&[], IdKey::new(42));
        }

        let mut chain = std::iter::successors(tail.last_with_id(IdKey::new(42)), |local| {
            tail.previous_with_id(*local)
        });

        assert!(chain.by_ref().eq((0..50_000).rev()));
    }

    #[test]
    fn keys_and_ids_come_out_sorted() {
        let mut tail = Tail::new(1);
        tail.push(&[Key::new(9), Key::new(2)], IdKey::new(8));
        tail.push(&[Key::new(2)], IdKey::new(3));
        tail.push(&[Key::new(4)], IdKey::new(8));

        let keys = tail.sorted_keys();
        let ids = tail.sorted_ids();

        let expected: Vec<(Key, &[u32])> =
            vec![(Key::new(2), &[0, 1]), (Key::new(4), &[2]), (Key::new(9), &[0])];
        assert_eq!(keys, expected);
        assert_eq!(ids, [(IdKey::new(3), 1), (IdKey::new(8), 0), (IdKey::new(8), 2)]);
    }
}
