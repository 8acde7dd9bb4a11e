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
    /// An open-addressing table of all names, at most half full: 0, or some bits of a hash and 1 + a
    /// place. Empty as long as names are few.
    slots: Vec<(u32, u32)>,
}

impl<'a> NameIndex<'a> {
    const HASHED_FROM: usize = 8;

    /// No names, with room for this many.
    pub(super) fn with_room(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// All of them.
    pub(super) fn names(&self) -> &[&'a StreamName] {
        &self.names
    }

    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    pub(super) fn find(&mut self, name: &StreamName) -> Option<usize> {
        let place = self.guess(name).or_else(|| self.look_up(name).ok())?;
        self.next = place + 1;
        Some(place)
    }

    /// The place of a name, and whether it was added just now.
    pub(super) fn find_or_add(&mut self, name: &'a StreamName) -> (usize, bool) {
        let found = self.guess(name).map_or_else(|| self.look_up(name), Ok);
        let (place, is_added) = match found {
            Ok(place) => (place, false),
            Err(free) => (self.add(name, free), true),
        };
        self.next = place + 1;
        (place, is_added)
    }

    fn guess(&self, name: &StreamName) -> Option<usize> {
        let likely = [self.next, self.next.wrapping_sub(1)];
        likely.into_iter().find(|at| self.names.get(*at).is_some_and(|own| *own == name))
    }

    /// The place of a name, or where in the table it would have its slot.
    fn look_up(&self, name: &StreamName) -> Result<usize, Free> {
        if self.slots.is_empty() {
            let place = self.names.iter().position(|own| *own == name);
            return place.ok_or(Free { hash: None, slot: 0 });
        }
        let hash = hash(name);
        let mut slot = hash as usize & (self.slots.len() - 1);
        loop {
            let (bits, entry) = self.slots[slot];
            match (entry as usize).checked_sub(1) {
                None => return Err(Free { hash: Some(hash), slot }),
                Some(place) if bits == upper(hash) && self.names[place] == name => {
                    return Ok(place);
                }
                Some(_) => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }

    fn add(&mut self, name: &'a StreamName, free: Free) -> usize {
        let place = self.names.len();
        assert!(place < self.room, "callers say how many names there will be");
        self.names.push(name);
        match free.hash {
            Some(hash) => self.slots[free.slot] = (upper(hash), place as u32 + 1),
            None if place + 1 == Self::HASHED_FROM => self.hash_all(),
            None => {}
        }
        place
    }

    fn hash_all(&mut self) {
        self.slots = vec![(0, 0); (2 * self.room).next_power_of_two()];
        let mask = self.slots.len() - 1;
        for (name, entry) in self.names.iter().zip(1..) {
            let hash = hash(name);
            let mut slot = hash as usize & mask;
            while self.slots[slot].1 != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = (upper(hash), entry);
        }
    }
}

/// Where a name that is not there would go.
#[derive(Clone, Copy)]
struct Free {
    /// Its hash, if names are hashed by now.
    hash: Option<u64>,
    slot: usize,
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
