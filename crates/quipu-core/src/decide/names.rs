//! Names found again by the thousand.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::name::StreamName;

/// Names in the order they were mentioned, found again without looking at each: an append may
/// mention 65,536 of them.
///
/// Whoever asks for names mostly asks for them in their order, or for one again and again: the name
/// after the one found last, and that one, are looked at first. Names are hashed once that fails.
#[derive(Default)]
pub(super) struct NameIndex<'a> {
    names: Vec<&'a StreamName>,
    /// The most names there will be.
    room: usize,
    /// The place after the one found last.
    next: usize,
    /// How many of the names have a slot.
    slotted: usize,
    /// An open-addressing table, at most half full: 0, or some bits of a hash and 1 + a place.
    slots: Vec<(u32, u32)>,
}

impl<'a> NameIndex<'a> {
    const HASHED_FROM: usize = 8;

    /// No names, with room for this many.
    pub(super) fn with_room(room: usize) -> Self {
        Self { names: Vec::with_capacity(room), room, ..Self::default() }
    }

    pub(super) fn get(&mut self, name: &StreamName) -> Option<usize> {
        let is_at = |place: usize| self.names.get(place).is_some_and(|own| *own == name);
        let place = if is_at(self.next) {
            self.next
        } else if self.next > 0 && is_at(self.next - 1) {
            self.next - 1
        } else {
            self.find(name)?
        };
        self.next = place + 1;
        Some(place)
    }

    /// Adds a name that is not there and answers its place.
    pub(super) fn push(&mut self, name: &'a StreamName) -> usize {
        let place = self.names.len();
        assert!(place < self.room, "callers say how many names there will be");
        self.names.push(name);
        self.next = place + 1;
        place
    }

    /// All of them.
    pub(super) fn into_names(self) -> Vec<&'a StreamName> {
        self.names
    }

    fn find(&mut self, name: &StreamName) -> Option<usize> {
        if self.names.len() < Self::HASHED_FROM {
            return self.names.iter().position(|own| *own == name);
        }
        self.slot_the_rest();
        let hash = hash(name);
        let mut slot = hash as usize;
        loop {
            let (bits, entry) = self.slots[slot & (self.slots.len() - 1)];
            let place = (entry as usize).checked_sub(1)?;
            if bits == upper(hash) && self.names[place] == name {
                return Some(place);
            }
            slot = slot.wrapping_add(1);
        }
    }

    fn slot_the_rest(&mut self) {
        if self.slots.is_empty() {
            self.slots = vec![(0, 0); (2 * self.room).next_power_of_two()];
        }
        let mask = self.slots.len() - 1;
        for place in self.slotted..self.names.len() {
            let hash = hash(self.names[place]);
            let mut slot = hash as usize & mask;
            while self.slots[slot].1 != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = (upper(hash), place as u32 + 1);
        }
        self.slotted = self.names.len();
    }
}

impl<'a> FromIterator<&'a StreamName> for NameIndex<'a> {
    fn from_iter<I: IntoIterator<Item = &'a StreamName>>(names: I) -> Self {
        let names: Vec<_> = names.into_iter().collect();
        Self { room: names.len(), names, ..Self::default() }
    }
}

/// A hash with a seed that nobody outside the process knows, so that nobody can choose names that
/// make an append slow.
fn hash(name: &StreamName) -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    xxh3_64_with_seed(name.as_str().as_bytes(), *SEED)
}

fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}
