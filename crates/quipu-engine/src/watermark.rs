//! The watermark: how far the log is durable, and so how far anyone may see.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use event_listener::{Event, EventListener};

/// The position of the last durable event, and whoever waits for it to move.
///
/// # Invariants
///
/// - It only rises, and only after the sync that made the events durable.
/// - Whoever sees a position here finds its event in the segments, and in the index by
///   [`Log::index_reader`](crate::log::Log::index_reader).
#[derive(Debug, Default)]
pub(crate) struct Watermark {
    position: AtomicU64,
    closed: AtomicBool,
    moved: Event,
}

impl Watermark {
    pub(crate) fn get(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub(crate) fn raise(&self, position: u64) {
        let before = self.position.swap(position, Ordering::Release);
        assert!(before <= position, "the watermark never falls");
        self.moved.notify(usize::MAX);
    }

    /// Wakes everyone for good: nothing more will come.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.moved.notify(usize::MAX);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Something that resolves when the watermark moves after this call. Look at the position
    /// between this call and waiting, or a move may be missed.
    pub(crate) fn listen(&self) -> EventListener {
        self.moved.listen()
    }
}
