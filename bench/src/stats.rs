//! Medians and percentiles.

use std::time::Duration;

/// How long a store took for single appends, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Latency {
    /// The percentiles of some durations.
    pub(crate) fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |per_mille: usize| {
            let rank = (per_mille * durations.len()).div_ceil(1_000);
            durations.get(rank.saturating_sub(1)).map_or(f64::NAN, |d| d.as_secs_f64() * 1e6)
        };
        Self { p50: at(500), p99: at(990), p999: at(999) }
    }

    /// Of each percentile the median over some rounds.
    pub(crate) fn median(rounds: &[Self]) -> Option<Self> {
        let each = |part: fn(&Self) -> f64| median(rounds.iter().map(part));
        Some(Self { p50: each(|l| l.p50)?, p99: each(|l| l.p99)?, p999: each(|l| l.p999)? })
    }
}

/// The median: the mean of the two in the middle where the count is even.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(values[middle - 1], upper))
}

/// Things in a second.
pub(crate) fn rate(count: u64, duration: Duration) -> f64 {
    count as f64 / duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_between_the_two_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let latency = Latency::of((1..=1_000).map(Duration::from_micros).collect());

        assert!((latency.p50 - 500.0).abs() < 1e-6);
        assert!((latency.p99 - 990.0).abs() < 1e-6);
        assert!((latency.p999 - 999.0).abs() < 1e-6);
    }
}
