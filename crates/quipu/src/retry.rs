//! How often to decide again, and how long to wait before.

use std::time::Duration;

use uuid::Uuid;

/// The pause before the second try again; each further one may be twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How often a command is decided when another append comes first.
///
/// ```
/// use quipu::Retry;
///
/// assert_eq!(Retry::default(), Retry::attempts(5).jitter());
/// assert_eq!(Retry::none(), Retry::attempts(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    attempt_count: u32,
    has_jitter: bool,
}

impl Retry {
    /// Decides up to so many times in all, at least once.
    pub const fn attempts(count: u32) -> Self {
        Self { attempt_count: if count == 0 { 1 } else { count }, has_jitter: false }
    }

    /// Decides once: a conflict is the caller's.
    pub const fn none() -> Self {
        Self::attempts(1)
    }

    /// Makes the pauses of random length, so that those who lost do not meet again.
    #[must_use]
    pub const fn jitter(mut self) -> Self {
        self.has_jitter = true;
        self
    }

    pub(crate) fn allows(self, attempt: u32) -> bool {
        attempt < self.attempt_count
    }

    /// The pause after an attempt, counted from 1. The first try again comes at once.
    fn pause(self, attempt: u32) -> Duration {
        if attempt < 2 {
            return Duration::ZERO;
        }
        let doubled = PAUSE_FIRST.saturating_mul(1 << (attempt - 2).min(16)).min(PAUSE_MAX);
        if !self.has_jitter {
            return doubled;
        }
        let chance = Uuid::new_v4().as_u128() as u32;
        doubled.mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    pub(crate) async fn wait(self, attempt: u32) {
        sleep(self.pause(attempt)).await;
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::attempts(5).jitter()
    }
}

/// Waits. Outside of a runtime it is the thread that waits: whoever polls there has nothing else.
pub(crate) async fn sleep(duration: Duration) {
    if duration.is_zero() {
        return;
    }
    if tokio::runtime::Handle::try_current().is_ok() {
        tokio::time::sleep(duration).await;
    } else {
        std::thread::sleep(duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit() {
        let pauses: Vec<u128> =
            (1..6).map(|attempt| Retry::attempts(9).pause(attempt).as_millis()).collect();

        assert_eq!(pauses, [0, 2, 4, 8, 16]);
        assert_eq!(Retry::attempts(99).pause(98), PAUSE_MAX);
    }

    #[test]
    fn jitter_never_waits_longer() {
        for _ in 0..1_000 {
            assert!(Retry::default().pause(3) <= PAUSE_FIRST * 2);
        }
    }
}
