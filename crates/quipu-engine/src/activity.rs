//! What the writer has done since the store was opened, and what waits for it: for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::Engine;

/// How many bounds a [`Distribution`] has: 1, 2, 4, ... up to 2^23, and one for what is beyond.
const BOUND_COUNT: usize = 25;

/// What a store has done since it was opened, and what waits to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// How many changes shared one sync, for each group that the writer made.
    pub group_counts: Distribution,
    /// How long each sync of the log took, in microseconds.
    pub sync_micros: Distribution,
    /// Changes that wait for the writer.
    pub waiting_count: u64,
    /// Bytes of the changes that wait for the writer.
    pub waiting_size: u64,
    /// Times that the writer remembered what a stream is like.
    pub remembered_count: u64,
    /// Times that the writer had to look up what a stream is like.
    pub looked_up_count: u64,
    /// Events that only the index in memory knows, because they are in no run on the disk yet.
    pub unsealed_count: u64,
}

/// How many values came in each range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distribution {
    /// For each range its upper bound, inclusive, and how many values are in it and in none before.
    /// The last bound is [`u64::MAX`].
    pub ranges: Vec<(u64, u64)>,
    /// All values added up.
    pub sum: u64,
}

/// A [`Distribution`] that is being counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: [AtomicU64; BOUND_COUNT],
    sum: AtomicU64,
}

impl Tally {
    pub(crate) fn add(&self, value: u64) {
        let exponent = value.max(1).next_power_of_two().trailing_zeros() as usize;
        let range = exponent.min(BOUND_COUNT - 1);
        self.counts[range].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn add_micros(&self, time: Duration) {
        self.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn look(&self) -> Distribution {
        let bound = |range| if range + 1 < BOUND_COUNT { 1_u64 << range } else { u64::MAX };
        let counts = self.counts.iter().enumerate();
        Distribution {
            ranges: counts
                .map(|(range, own)| (bound(range), own.load(Ordering::Relaxed)))
                .collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// What the writer counts.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) group_counts: Tally,
    pub(crate) sync_micros: Tally,
    pub(crate) remembered_count: AtomicU64,
    pub(crate) looked_up_count: AtomicU64,
}

impl Engine {
    /// What the store has done since it was opened, and what waits for the writer right now. It
    /// reads counters, so it can be asked often.
    pub fn activity(&self) -> Activity {
        let log = self.log();
        let tallies = &log.tallies;
        let (waiting_count, waiting_size) = self.waiting();
        let sealed = log.index.runs().last().map_or(0, |run| run.name().last);
        Activity {
            group_counts: tallies.group_counts.look(),
            sync_micros: tallies.sync_micros.look(),
            waiting_count,
            waiting_size,
            remembered_count: tallies.remembered_count.load(Ordering::Relaxed),
            looked_up_count: tallies.looked_up_count.load(Ordering::Relaxed),
            unsealed_count: log.watermark.get().saturating_sub(sealed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_range_that_holds_it() {
        let tally = Tally::default();
        for value in [0, 1, 2, 3, 4, 5, 1 << 23, (1 << 23) + 1, u64::MAX >> 1] {
            tally.add(value);
        }

        let Distribution { ranges, sum } = tally.look();

        let some: Vec<_> = ranges.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(some, [(1, 2), (2, 1), (4, 2), (8, 1), (1 << 23, 1), (u64::MAX, 2)]);
        assert_eq!(sum, 15 + (1 << 24) + 1 + (u64::MAX >> 1));
    }
}
