//! The store in memory as the contract suite takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quipu_core::contract::Harness;
use quipu_core::{EventStore, MemoryStore, Timestamp};

/// A store whose clock stands until it is moved.
pub(crate) struct InMemory {
    pub(crate) store: MemoryStore,
    micros: Arc<AtomicI64>,
}

impl InMemory {
    pub(crate) fn new() -> Self {
        let micros = Arc::new(AtomicI64::new(1_750_000_000_000_000));
        let clock = Arc::clone(&micros);
        let store = MemoryStore::with_clock(Arc::new(move || {
            Timestamp::from_micros(clock.load(Ordering::SeqCst))
        }));
        Self { store, micros }
    }

    pub(crate) fn with_gaps() -> Self {
        let made = Self::new();
        made.store.leave_gaps(7);
        made
    }
}

impl Harness for InMemory {
    fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.store.clone())
    }

    fn system(&self) -> Arc<dyn EventStore> {
        Arc::new(self.store.system())
    }

    fn advance_clock(&self, by: Duration) -> bool {
        let micros = i64::try_from(by.as_micros()).expect("cases move the clock by hours at most");
        self.micros.fetch_add(micros, Ordering::SeqCst);
        true
    }

    fn scavenge(&self) -> bool {
        self.store.scavenge();
        true
    }

    fn begin_life(&self) -> bool {
        self.store.restore_as_new_life();
        true
    }
}
