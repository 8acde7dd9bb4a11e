//! Slices: how keys are divided, for ever, so that who handles them may change at any time.

use std::fmt;
use std::num::NonZeroU16;

use xxhash_rust::xxh3::xxh3_64;

/// How many slices there are. Stored checkpoints depend on it, so that it never changes.
pub const SLICE_COUNT: u16 = 1_024;

/// The slice of a key: the same one in every version, on every machine.
pub fn slice_of(key: &str) -> u16 {
    (xxh3_64(key.as_bytes()) % u64::from(SLICE_COUNT)) as u16
}

/// Some neighbouring slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceRange {
    first: u16,
    last: u16,
}

impl SliceRange {
    /// Every slice.
    pub const ALL: Self = Self { first: 0, last: SLICE_COUNT - 1 };

    /// The slices from `first` to `last`, both included; `None` where there are no such slices.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last && last < SLICE_COUNT).then_some(Self { first, last })
    }

    /// The first slice.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last slice, which is in the range.
    pub fn last(self) -> u16 {
        self.last
    }

    /// How many slices there are.
    pub fn count(self) -> u16 {
        self.last - self.first + 1
    }

    /// Whether the slice is in the range.
    pub fn contains(self, slice: u16) -> bool {
        (self.first..=self.last).contains(&slice)
    }

    /// The slices that are in both ranges.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }
}

impl fmt::Display for SliceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:04}", self.first, self.last)
    }
}

/// Divides all slices into `count` ranges that differ by one slice at most. More than
/// [`SLICE_COUNT`] partitions are as many as there are slices.
///
/// ```
/// use std::num::NonZeroU16;
/// use quipu_groups::divide;
///
/// let thirds = divide(NonZeroU16::new(3).unwrap());
/// let text: Vec<String> = thirds.iter().map(ToString::to_string).collect();
/// assert_eq!(text, ["0000-0340", "0341-0681", "0682-1023"]);
/// ```
pub fn divide(count: NonZeroU16) -> Vec<SliceRange> {
    let count = u32::from(count.get().min(SLICE_COUNT));
    let edge = |index: u32| (index * u32::from(SLICE_COUNT) / count) as u16;
    (0..count).map(|index| SliceRange { first: edge(index), last: edge(index + 1) - 1 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_slice() {
        // Stored checkpoints speak of these slices: a change of one of them loses events.
        let slices = ["", "order-1", "account-42"].map(slice_of);
        assert_eq!(slices, [194, 118, 191]);
    }

    #[test]
    fn ranges_cover_every_slice_once() {
        for count in [1, 2, 3, 7, 8, 100, 1_023, 1_024, 2_000, u16::MAX] {
            let ranges = divide(NonZeroU16::new(count).unwrap());

            assert_eq!(ranges.len(), usize::from(count.min(SLICE_COUNT)));
            assert_eq!(ranges.first().map(|it| it.first()), Some(0));
            assert_eq!(ranges.last().map(|it| it.last()), Some(SLICE_COUNT - 1));
            assert!(ranges.windows(2).all(|pair| pair[0].last() + 1 == pair[1].first()));
        }
    }
}
