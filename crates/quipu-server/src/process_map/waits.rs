//! How long things took, as counts in buckets that grow with the time: quantiles are within one per
//! cent, whatever the times are, and the memory does not grow with their number.

use std::collections::BTreeMap;

/// Buckets of each power of two, as a power of two: 64.
const PARTS_LOG: u32 = 6;
const PARTS: u64 = 1 << PARTS_LOG;

/// Times in microseconds.
#[derive(Debug, Default)]
pub(super) struct Waits {
    buckets: BTreeMap<u16, u64>,
    count: u64,
}

impl Waits {
    pub(super) fn add(&mut self, micros: u64) {
        *self.buckets.entry(bucket_of(micros)).or_default() += 1;
        self.count += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The time that `percent` of all are not longer than; `None` where there are none.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut below = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            below += **count;
            below >= wanted
        });
        found.map(|(bucket, _)| middle_of(*bucket))
    }
}

fn bucket_of(micros: u64) -> u16 {
    if micros < PARTS {
        return u16::try_from(micros).expect("fewer than the parts");
    }
    let shift = micros.ilog2() - PARTS_LOG;
    let part = (micros >> shift) - PARTS;
    u16::try_from(u64::from(shift + 1) * PARTS + part).expect("64 powers of 64 parts")
}

fn middle_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < PARTS {
        return bucket;
    }
    let shift = bucket / PARTS - 1;
    let low = (PARTS + bucket % PARTS) << shift;
    low + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_times_are_exact_and_large_ones_within_a_hundredth() {
        for micros in (0..10_000).chain([1 << 40, (1 << 40) + 12_345, u64::MAX]) {
            let middle = middle_of(bucket_of(micros));

            let error = middle.abs_diff(micros);
            assert!(error <= micros / 100, "{micros} became {middle}");
        }
    }

    #[test]
    fn a_percentile_is_the_one_that_counting_finds() {
        let mut waits = Waits::default();
        assert_eq!(waits.percentile(50), None);
        for micros in [5, 1, 3, 2, 4, 60, 7, 8, 9, 10] {
            waits.add(micros);
        }

        assert_eq!((waits.percentile(50), waits.percentile(90)), (Some(5), Some(10)));
        assert_eq!((waits.percentile(0), waits.percentile(100)), (Some(1), Some(60)));
        assert_eq!(waits.count(), 10);
    }
}
