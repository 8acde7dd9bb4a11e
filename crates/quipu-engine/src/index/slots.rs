//! An open-addressing table: from hashes to places in a list that someone else keeps.

/// At most half full. A slot is 0, or the upper half of a hash and 1 + a place, so that nearly all
/// slots of other hashes are passed over without a look at the list.
#[derive(Default)]
pub(super) struct Slots(Vec<u64>);

/// A slot, until the table grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(usize);

impl Slots {
    const COUNT_MIN: usize = 1024;
    const UPPER: u64 = !(u32::MAX as u64);

    /// A table that does not grow before it has `count` places.
    pub(super) fn with_room(count: usize) -> Self {
        Self(vec![0; (2 * count).next_power_of_two().max(Self::COUNT_MIN)])
    }

    /// The place that is most likely that of a hash. Cheap to ask of many hashes in a row: no
    /// answer waits for another.
    pub(super) fn guess(&self, hash: u64) -> Option<u32> {
        let slot = *self.0.get(hash as usize & self.mask())?;
        (slot as u32).checked_sub(1)
    }

    /// The place that has a hash, which `has_hash` confirms.
    pub(super) fn find(&self, hash: u64, has_hash: impl Fn(u32) -> bool) -> Option<u32> {
        if self.0.is_empty() {
            return None;
        }
        self.place(self.slot(hash, has_hash))
    }

    /// The slot of a hash, empty or not. The table must have room for one more.
    pub(super) fn slot(&self, hash: u64, has_hash: impl Fn(u32) -> bool) -> Slot {
        let mut slot = hash as usize & self.mask();
        loop {
            let found = self.0[slot];
            if found == 0
                || (found & Self::UPPER == hash & Self::UPPER && has_hash(found as u32 - 1))
            {
                return Slot(slot);
            }
            slot = (slot + 1) & self.mask();
        }
    }

    /// The place in a slot, unless it is empty.
    pub(super) fn place(&self, slot: Slot) -> Option<u32> {
        (self.0[slot.0] as u32).checked_sub(1)
    }

    /// Puts a place in the slot of its hash.
    pub(super) fn set(&mut self, slot: Slot, hash: u64, place: u32) {
        let entry = place.checked_add(1).expect("a tail is frozen long before it has 2^32 places");
        self.0[slot.0] = hash & Self::UPPER | u64::from(entry);
    }

    /// Makes room for one more than the first `count` places, if there is none. Of places with one
    /// hash the last is found.
    pub(super) fn reserve(&mut self, count: u32, hash_at: impl Fn(u32) -> u64) {
        if 2 * (count as usize) < self.0.len() {
            return;
        }
        self.0 = vec![0; (2 * self.0.len()).max(Self::COUNT_MIN)];
        for place in 0..count {
            let hash = hash_at(place);
            let slot = self.slot(hash, |other| hash_at(other) == hash);
            self.set(slot, hash, place);
        }
    }

    fn mask(&self) -> usize {
        self.0.len().wrapping_sub(1)
    }
}
