//! Numbers that look random and follow from a seed.

use std::hash::{BuildHasher, RandomState};

/// The seeds of a test: `QUIPU_SEED` alone where it is set, `count` others each time otherwise.
pub(crate) fn seeds(count: usize) -> Vec<u64> {
    let given = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    given.map_or_else(
        || (0..count).map(|index| RandomState::new().hash_one(index)).collect(),
        |seed| vec![seed],
    )
}

/// Names the seed if the test panics.
pub(crate) struct ShowSeed(pub(crate) u64);

#[expect(clippy::print_stderr, reason = "a failure has to name its seed")]
impl Drop for ShowSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with QUIPU_SEED={}", self.0);
        }
    }
}

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether something that happens once in `count` times happens.
    pub(crate) fn once_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}
