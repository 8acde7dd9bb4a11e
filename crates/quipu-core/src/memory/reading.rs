//! Batches and subscriptions over the log in memory.

use std::sync::Arc;

use crate::batch::EventBatch;
use crate::event::RecordedEvent;
use crate::name::StreamName;
use crate::place::{Position, Revision};
use crate::query::Query;
use crate::read::{Batches, ReadError, StreamState};
use crate::store::BoxFuture;
use crate::subscription::{Delivery, Subscribe, SubscribeError, SubscribeFrom, Subscription};

use super::Shared;
use super::log::{Log, Moment};

/// The most events in a batch.
const BATCH_COUNT_MAX: usize = 256;
/// A batch with this many bytes takes no further event.
const BATCH_SIZE_MAX: usize = 1 << 20;
/// The most events a subscription looks at for one delivery.
const WINDOW_COUNT: usize = 4_096;

/// The events of a read, by index. What is scavenged meanwhile is left out.
pub(super) struct MemoryBatches {
    shared: Arc<Shared>,
    events: std::vec::IntoIter<usize>,
}

impl MemoryBatches {
    pub(super) fn boxed(shared: &Arc<Shared>, events: Vec<usize>) -> Box<dyn Batches> {
        Box::new(Self { shared: Arc::clone(shared), events: events.into_iter() })
    }
}

impl Batches for MemoryBatches {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        Box::pin(async move {
            let log = self.shared.lock();
            let batch = take_batch(self.events.by_ref().filter_map(|index| log.event(index)));
            Ok((!batch.is_empty()).then(|| batch.into_iter().collect()))
        })
    }
}

/// Takes events until they are enough for a batch, and none more than it keeps.
fn take_batch<'a>(events: impl Iterator<Item = &'a RecordedEvent>) -> Vec<&'a RecordedEvent> {
    let mut batch = Vec::new();
    let mut size = 0;
    for event in events {
        size += event.metadata.len() + event.data.present().map_or(0, bytes::Bytes::len);
        batch.push(event);
        if batch.len() == BATCH_COUNT_MAX || size >= BATCH_SIZE_MAX {
            break;
        }
    }
    batch
}

/// A subscription: a place in the log or in a stream, and nothing else.
pub(super) struct MemorySubscription {
    shared: Arc<Shared>,
    cursor: Cursor,
    /// Whether the end was reached.
    is_caught_up: bool,
}

enum Cursor {
    Stream {
        stream: StreamName,
        /// The first revision that was not delivered.
        next: Revision,
    },
    All {
        query: Query,
        /// The last place that was looked at.
        after: Position,
        /// Whether an event was passed over since the last delivery.
        has_skipped: bool,
    },
}

impl MemorySubscription {
    pub(super) fn begin(shared: &Arc<Shared>, to: Subscribe) -> Result<Self, SubscribeError> {
        let log = shared.lock();
        let cursor = match to {
            Subscribe::Stream { stream, from } => {
                let next = match from {
                    SubscribeFrom::Start => Revision::FIRST,
                    SubscribeFrom::After(revision) => revision.next(),
                    SubscribeFrom::End => {
                        let last = log.facts(&stream, log.count()).last;
                        last.map_or(Revision::FIRST, Revision::next)
                    }
                };
                Cursor::Stream { stream, next }
            }
            Subscribe::All { query, from } => {
                let frontier = log.last_position();
                let after = match from {
                    SubscribeFrom::Start => Position::START,
                    SubscribeFrom::After(after) if after > frontier => {
                        return Err(SubscribeError::BeyondEnd { after, frontier });
                    }
                    SubscribeFrom::After(after) => after,
                    SubscribeFrom::End => frontier,
                };
                Cursor::All { query, after, has_skipped: false }
            }
        };
        drop(log);
        Ok(Self { shared: Arc::clone(shared), cursor, is_caught_up: false })
    }

    /// What is to be delivered at once; nothing where the subscription has to wait.
    fn pull(&mut self) -> Result<Option<Delivery>, SubscribeError> {
        let log = self.shared.lock();
        let delivery = match &mut self.cursor {
            Cursor::Stream { stream, next } => pull_stream(&log, stream, next)?,
            Cursor::All { query, after, has_skipped } => pull_all(&log, query, after, has_skipped),
        };
        if delivery.is_none() && !self.is_caught_up {
            self.is_caught_up = true;
            return Ok(Some(Delivery::CaughtUp));
        }
        Ok(delivery)
    }
}

impl Subscription for MemorySubscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, SubscribeError>> {
        Box::pin(async move {
            loop {
                // Listen before looking: an append in between is not missed.
                let grown = self.shared.grown.listen();
                if let Some(delivery) = self.pull()? {
                    return Ok(delivery);
                }
                grown.await;
            }
        })
    }
}

fn pull_stream(
    log: &Log,
    stream: &StreamName,
    next: &mut Revision,
) -> Result<Option<Delivery>, SubscribeError> {
    let mut moment = log.present();
    let facts = log.facts(stream, moment.count);
    let is_tombstoned = matches!(facts.state(), StreamState::Tombstoned { .. });
    if is_tombstoned {
        // What it showed right before the tombstone is still owed.
        moment = Moment { count: log.count_before_last(stream), ..moment };
    }
    let (_, shown) = log.shown(stream, moment, *next);
    let batch = take_batch(shown.iter().filter_map(|index| log.event(*index)));
    if let Some(last) = batch.last() {
        *next = last.revision.next();
        return Ok(Some(Delivery::Events(batch.into_iter().collect())));
    }
    if is_tombstoned {
        return Err(SubscribeError::StreamTombstoned { stream: stream.clone() });
    }
    *next = facts.pass_over(*next);
    Ok(None)
}

fn pull_all(
    log: &Log,
    query: &Query,
    after: &mut Position,
    has_skipped: &mut bool,
) -> Option<Delivery> {
    let begin = log.count_up_to(*after);
    let end = log.count().min(begin + WINDOW_COUNT);
    let matching =
        (begin..end).filter_map(|it| log.event(it)).filter(|it| query.matches_recorded(it));
    let batch = take_batch(matching);
    if let Some(last) = batch.last() {
        *after = last.position;
        *has_skipped = false;
        return Some(Delivery::Events(batch.into_iter().collect()));
    }
    if begin < end {
        *after = log.position_before(end);
        *has_skipped = true;
    }
    std::mem::take(has_skipped).then_some(Delivery::Checkpoint(*after))
}
