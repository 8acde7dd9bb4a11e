//! A clock that stands until it is told to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quipu_core::Timestamp;

use crate::app::Clock;

/// A clock for tests. Clones show the same time.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use quipu::Quipu;
/// use quipu::core::MemoryStore;
/// use quipu::testing::ManualClock;
///
/// let clock = ManualClock::default();
/// let store = MemoryStore::with_clock(clock.as_clock());
/// let app = Quipu::over(Arc::new(store.clone())).with_clock(clock.as_clock());
///
/// clock.advance(Duration::from_secs(60));
///
/// assert_eq!((app.now(), store.now()), (clock.now(), clock.now()));
/// assert_eq!(clock.now().as_micros(), 60_000_000);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    micros: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock that stands at this time.
    pub fn at(time: Timestamp) -> Self {
        Self { micros: Arc::new(AtomicI64::new(time.as_micros())) }
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let now = self.now().plus(duration);
        self.micros.store(now.as_micros(), Ordering::SeqCst);
    }

    /// The clock as stores and [`Quipu::with_clock`](crate::Quipu::with_clock) take it.
    pub fn as_clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}
