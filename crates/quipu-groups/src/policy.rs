//! What happens when an event cannot be handled.

use std::time::Duration;

/// How long to wait before each further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Backoff {
    /// The longest wait before the second attempt. Each further one may be twice as long.
    pub first: Duration,
    /// The longest wait before any attempt.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// How long to wait after `attempts` attempts. `chance` picks the wait from the upper half of
    /// what is due: instances that failed together do not come back together, and none at once.
    pub fn wait(&self, attempts: u32, chance: u64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let due = self.first.saturating_mul(1 << doublings).min(self.max);
        let half = u64::try_from((due / 2).as_micros()).unwrap_or(u64::MAX);
        due / 2 + Duration::from_micros(chance % half.saturating_add(1))
    }
}

/// What to do with an event that was attempted often enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the machine decides each of them")]
pub enum GiveUp {
    /// Stop the event's partition until somebody asks for a retry or a drop. Others go on.
    #[default]
    Stop,
    /// Set the event aside, and every later event of its key behind it. Other keys go on.
    Park,
    /// Leave the event out, on record.
    Skip,
}

/// What to do with an event that cannot be handled: try again, then give up.
///
/// It is about events that are at fault. A handler that says that its world is
/// [unavailable](crate::HandleError::Unavailable) is tried again for as long as it takes.
///
/// ```
/// use quipu_groups::{GiveUp, OnError};
///
/// assert_eq!(OnError::default(), OnError::retry(5).then_stop());
/// assert_eq!(OnError::retry(3).then_park().give_up, GiveUp::Park);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct OnError {
    /// How often to try again.
    pub retries: u32,
    /// How long to wait in between.
    pub backoff: Backoff,
    /// What to do then.
    pub give_up: GiveUp,
}

impl Default for OnError {
    fn default() -> Self {
        Self::retry(5)
    }
}

impl OnError {
    /// Tries again that often, then stops the partition.
    pub fn retry(retries: u32) -> Self {
        Self { retries, backoff: Backoff::default(), give_up: GiveUp::Stop }
    }

    /// The same with other waits.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Then stops the event's partition.
    #[must_use]
    pub fn then_stop(mut self) -> Self {
        self.give_up = GiveUp::Stop;
        self
    }

    /// Then parks the event, and later ones of its key behind it.
    #[must_use]
    pub fn then_park(mut self) -> Self {
        self.give_up = GiveUp::Park;
        self
    }

    /// Then leaves the event out, on record.
    #[must_use]
    pub fn then_skip(mut self) -> Self {
        self.give_up = GiveUp::Skip;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_short() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };

        for (attempts, due) in [(1, 100), (2, 200), (4, 800), (5, 1_000), (u32::MAX, 1_000)] {
            for chance in [0, 1, 77_777, u64::MAX] {
                let wait = backoff.wait(attempts, chance);
                assert!(wait >= Duration::from_millis(due / 2), "{attempts}: {wait:?}");
                assert!(wait <= Duration::from_millis(due), "{attempts}: {wait:?}");
            }
        }
    }
}
