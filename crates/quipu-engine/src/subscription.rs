//! Never-ending reads: a cursor, a place, and a listener on the watermark.
//!
//! There is no queue: a subscriber that does not pull costs nothing and reads from disk later. The
//! hand-over from history to what comes is a comparison of positions.

use std::sync::Arc;

use event_listener::EventListener;
use quipu_core::{
    BoxFuture, Delivery, Direction, Position, Query, Revision, StreamName, StreamState, Subscribe,
    SubscribeError, SubscribeFrom, Subscription,
};

use crate::error::DiskError;
use crate::index::Key;
use crate::log::Log;
use crate::lookup;
use crate::reader::{Picked, StreamRange, read_stretch, retention_of};

/// A subscriber that kept up and is now this many positions behind is told so.
const BEHIND_COUNT: u64 = 65_536;
/// How far one pull walks through a log that it wants all of.
const STRETCH_COUNT: u64 = 1_024;

/// A subscription to a stream or to the log.
#[derive(Debug)]
pub(crate) struct LogSubscription {
    log: Arc<Log>,
    place: Place,
    /// Whether the end was reached, and not lost since.
    is_caught_up: bool,
    /// Up to here it waited for events, and so did not fall behind.
    waited_until: u64,
}

#[derive(Debug)]
enum Place {
    Stream {
        stream: StreamName,
        key: Key,
        /// The first revision that was not delivered.
        next: Revision,
        /// The stream was looked at up to here.
        looked_at: u64,
    },
    All {
        query: Query,
        /// The first position that was not looked at.
        next: u64,
        has_skipped: bool,
        picked: Option<Box<(Picked, u64)>>,
    },
}

impl LogSubscription {
    pub(crate) fn begin(log: Arc<Log>, to: Subscribe) -> Result<Self, SubscribeError> {
        let upto = log.frontier();
        let place = match to {
            Subscribe::Stream { stream, from } => {
                let next = match from {
                    SubscribeFrom::Start => Revision::FIRST,
                    SubscribeFrom::After(revision) => revision.next(),
                    SubscribeFrom::End => {
                        let reader = log.index_reader(upto);
                        let facts = lookup::facts(&*log, &reader, log.hasher, &stream);
                        facts.map_err(storage)?.last.map_or(Revision::FIRST, Revision::next)
                    }
                };
                let key = log.hasher.stream(stream.as_str());
                Place::Stream { stream, key, next, looked_at: 0 }
            }
            Subscribe::All { query, from } => {
                let after = match from {
                    SubscribeFrom::Start => 0,
                    SubscribeFrom::After(after) if after.get() > upto => {
                        let frontier = Position::new(upto);
                        return Err(SubscribeError::BeyondEnd { after, frontier });
                    }
                    SubscribeFrom::After(after) => after.get(),
                    SubscribeFrom::End => upto,
                };
                Place::All { query, next: after + 1, has_skipped: false, picked: None }
            }
        };
        Ok(Self { log, place, is_caught_up: false, waited_until: 0 })
    }

    /// What is to be delivered at once; nothing where the subscription has to wait.
    fn pull(&mut self) -> Result<Option<Delivery>, SubscribeError> {
        let upto = self.log.frontier();
        if self.is_caught_up && self.is_behind(upto)? {
            self.is_caught_up = false;
            return Ok(Some(Delivery::FellBehind));
        }
        let delivery = self.place.pull(&self.log, upto)?;
        if delivery.is_none() && !self.is_caught_up {
            self.is_caught_up = true;
            return Ok(Some(Delivery::CaughtUp));
        }
        Ok(delivery)
    }

    /// Whether there is something to deliver that came long ago.
    fn is_behind(&self, upto: u64) -> Result<bool, SubscribeError> {
        match &self.place {
            Place::Stream { key, looked_at, .. } => {
                let is_old = (*looked_at).max(self.waited_until) + BEHIND_COUNT < upto;
                Ok(is_old && has_new(&self.log, upto, *key, *looked_at)?)
            }
            Place::All { next, .. } => Ok(next + BEHIND_COUNT < upto),
        }
    }

    fn listen(&self) -> EventListener {
        match &self.place {
            // A follower may not know which streams got events, and is not asked by many.
            Place::Stream { key, .. } => self.log.watermark.listen_to(*key),
            Place::All { .. } => self.log.watermark.listen(),
        }
    }
}

impl Subscription for LogSubscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, SubscribeError>> {
        Box::pin(async move {
            loop {
                // Listen before looking: an append in between is not missed.
                let moved = self.listen();
                if let Some(delivery) = self.pull()? {
                    return Ok(delivery);
                }
                if self.log.watermark.is_closed() {
                    return Err(SubscribeError::Closed);
                }
                moved.await;
                self.waited_until = self.log.watermark.get();
            }
        })
    }
}

impl Place {
    fn pull(&mut self, log: &Arc<Log>, upto: u64) -> Result<Option<Delivery>, SubscribeError> {
        match self {
            Self::Stream { stream, key, next, looked_at } => {
                if *looked_at > 0 && !has_new(log, upto, *key, *looked_at)? {
                    *looked_at = upto;
                    return Ok(None);
                }
                pull_stream(log, upto, stream, next, looked_at)
            }
            Self::All { query, next, has_skipped, .. } if query.is_all() => {
                pull_all(log, upto, next, has_skipped).map_err(storage)
            }
            Self::All { query, next, has_skipped, picked } => {
                pull_query(log, upto, query, next, has_skipped, picked).map_err(storage)
            }
        }
    }
}

/// Whether a stream's own key has events after a position. If not, there is no need to look at its
/// records: metadata may have changed what it shows, but only ever to show less.
fn has_new(log: &Log, upto: u64, key: Key, after: u64) -> Result<bool, SubscribeError> {
    let reader = log.index_reader(upto);
    let next = reader.cursor(key, after + 1, Direction::Forward).next();
    Ok(next.map_err(|error| storage(error.into()))?.is_some())
}

fn pull_stream(
    log: &Arc<Log>,
    upto: u64,
    stream: &StreamName,
    next: &mut Revision,
    looked_at: &mut u64,
) -> Result<Option<Delivery>, SubscribeError> {
    let reader = log.index_reader(upto);
    let facts = lookup::facts(&**log, &reader, log.hasher, stream).map_err(storage)?;
    let last = match facts.state() {
        StreamState::Absent | StreamState::Deleted { .. } => None,
        StreamState::Live { last } => Some(last),
        // What it showed right before the tombstone is still owed.
        StreamState::Tombstoned { last } => last.get().checked_sub(1).map(Revision::new),
    };
    let is_deleted = facts.metadata.as_ref().is_some_and(|metadata| metadata.is_deleted());
    if let Some(last) = last.filter(|_| !is_deleted) {
        let range = StreamRange {
            retention: retention_of(stream, &facts, last, log.io.now()),
            stream: stream.clone(),
            from: Some(*next),
            direction: Direction::Forward,
            limit: None,
            last,
        };
        let mut picked = log.pick_stream(&reader, range).map_err(storage)?;
        loop {
            let gathered = picked.gather().map_err(storage)?;
            if let Some(event) = gathered.batch.last() {
                *next = event.revision().next();
                return Ok(Some(Delivery::Events(gathered.batch)));
            }
            if gathered.is_done {
                break;
            }
        }
    }
    if facts.tombstoned {
        return Err(SubscribeError::StreamTombstoned { stream: stream.clone() });
    }
    *next = facts.pass_over(*next);
    *looked_at = upto;
    Ok(None)
}

fn pull_all(
    log: &Arc<Log>,
    upto: u64,
    next: &mut u64,
    has_skipped: &mut bool,
) -> Result<Option<Delivery>, DiskError> {
    while *next <= upto {
        let last = upto.min(*next + STRETCH_COUNT - 1);
        let (batch, after) = read_stretch(&log.segments(), *next, last)?;
        *next = after;
        if !batch.is_empty() {
            *has_skipped = batch.last().is_none_or(|event| event.position().get() + 1 < after);
            return Ok(Some(Delivery::Events(batch)));
        }
        *has_skipped = true;
    }
    let checkpoint = Position::new(*next - 1);
    Ok(std::mem::take(has_skipped).then_some(Delivery::Checkpoint(checkpoint)))
}

fn pull_query(
    log: &Arc<Log>,
    upto: u64,
    query: &Query,
    next: &mut u64,
    has_skipped: &mut bool,
    picked: &mut Option<Box<(Picked, u64)>>,
) -> Result<Option<Delivery>, DiskError> {
    if *next > upto {
        let checkpoint = Position::new(*next - 1);
        return Ok(std::mem::take(has_skipped).then_some(Delivery::Checkpoint(checkpoint)));
    }
    // A search goes on until it has seen all up to where it began; then a new one begins.
    let search = picked.get_or_insert_with(|| {
        let picked = log.pick_query(query.clone(), *next, upto, Direction::Forward, None);
        Box::new((picked, upto))
    });
    let end = search.1;
    let gathered = search.0.gather()?;
    let last = gathered.batch.last().map(|event| event.position().get());
    let seen = if gathered.is_done { end } else { gathered.last_seen.unwrap_or(end) };
    if gathered.is_done {
        *picked = None;
    }
    *next = seen + 1;
    *has_skipped = last.is_none_or(|last| last < seen);
    if last.is_some() {
        return Ok(Some(Delivery::Events(gathered.batch)));
    }
    Ok(std::mem::take(has_skipped).then_some(Delivery::Checkpoint(Position::new(seen))))
}

fn storage(error: DiskError) -> SubscribeError {
    SubscribeError::Storage(error.into())
}
