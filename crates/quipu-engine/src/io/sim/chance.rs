//! Chance that can be had again: the same seed gives the same numbers.

/// A source of numbers that depend on nothing but its seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The numbers that belong to this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any of them as likely as any other.
    pub fn number(&mut self) -> u64 {
        // A counter in steps of the golden ratio, mixed so that every bit depends on every bit.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "no number is below 0");
        (self.number() % bound as u64) as usize
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.number() & 1 == 1
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_le_bytes()[..chunk.len()]);
        }
    }
}
