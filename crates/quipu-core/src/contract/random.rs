//! Numbers that look random and follow from a seed.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// The seed of a run: `QUIPU_SEED` where it is set, another one each time otherwise.
pub(super) fn seed() -> u64 {
    let given = std::env::var("QUIPU_SEED").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or_else(|| RandomState::new().hash_one(()))
}

/// A sequence of numbers. Adding a constant and mixing the bits makes every seed a good one.
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether something that happens once in `count` times happens.
    pub(super) fn once_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = self.below(from.len() as u64) as usize;
        from.get(index).expect("a number below the count is an index")
    }
}
