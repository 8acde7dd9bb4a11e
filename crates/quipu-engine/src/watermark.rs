//! The watermark: how far the log is durable, and so how far anyone may see.

use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use event_listener::{Event, EventListener, IntoNotification};

use crate::index::Key;

/// Into how many parts those are divided who wait for events of one stream. A commit wakes the
/// parts of the streams it wrote to, so most of ten thousand who wait sleep on.
const PART_COUNT: usize = 4_096;

/// The position of the last durable event, and whoever waits for it to move.
///
/// # Invariants
///
/// - It only rises, and only after the sync that made the events durable.
/// - Whoever sees a position here finds its event in the segments, and in the index by
///   [`Log::index_reader`](crate::log::Log::index_reader).
#[derive(Debug)]
pub(crate) struct Watermark {
    position: AtomicU64,
    closed: AtomicBool,
    /// For those who wait for any event.
    moved: Event,
    /// For those who wait for events of one stream, by its key.
    streams: Box<[Event]>,
}

/// Which streams got events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Touched<'a> {
    /// Those of these keys.
    Streams(&'a [Key]),
    /// Nobody has kept count: any may have.
    Any,
}

impl Default for Watermark {
    fn default() -> Self {
        Self {
            position: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            moved: Event::new(),
            streams: iter::repeat_with(Event::new).take(PART_COUNT).collect(),
        }
    }
}

impl Watermark {
    pub(crate) fn get(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub(crate) fn raise(&self, position: u64, touched: Touched<'_>) {
        let before = self.position.swap(position, Ordering::Release);
        assert!(before <= position, "the watermark never falls");
        self.moved.notify(usize::MAX);
        // Once for all that follow, instead of once for each: whoever begins to listen after this
        // sees the new position.
        fence(Ordering::SeqCst);
        match touched {
            Touched::Streams(keys) => {
                for key in keys {
                    self.part(*key).notify(usize::MAX.relaxed());
                }
            }
            Touched::Any => self.wake_streams(),
        }
    }

    /// Wakes everyone for good: nothing more will come.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.moved.notify(usize::MAX);
        self.wake_streams();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Something that resolves when the watermark moves after this call. Look at the position
    /// between this call and waiting, or a move may be missed.
    pub(crate) fn listen(&self) -> EventListener {
        self.moved.listen()
    }

    /// As [`listen`](Self::listen), for moves by which the stream with this key got events, and now
    /// and then for others.
    pub(crate) fn listen_to(&self, stream: Key) -> EventListener {
        self.part(stream).listen()
    }

    fn part(&self, stream: Key) -> &Event {
        &self.streams[stream.get() as usize % PART_COUNT]
    }

    fn wake_streams(&self) {
        for part in &self.streams {
            part.notify(usize::MAX);
        }
    }
}
