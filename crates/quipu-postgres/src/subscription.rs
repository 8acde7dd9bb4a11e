//! Subscriptions: a place in the log or in a stream, and nothing else.
//!
//! The log is read up to the frontier that the node's watch has seen; a stream as it is. Who has read
//! all of it waits to be called, and is called for what it follows only.

use std::collections::VecDeque;
use std::sync::Arc;

use quipu_core::{
    BoxFuture, Checkpoint, CheckpointError, Delivery, Direction, Incarnation, Position, Query,
    Revision, StorageError, StreamName, StreamState, Subscribe, SubscribeError, SubscribeFrom,
    Subscription,
};

use crate::error::{read_error, subscribe_error};
use crate::followers::Followed;
use crate::query::Page;
use crate::reading::{PAGE_COUNT, PAGE_SIZE, read_page};
use crate::store::Shared;
use crate::watch::{Called, Seat};

pub(crate) struct PostgresSubscription {
    shared: Arc<Shared>,
    seat: Seat,
    cursor: Cursor,
    /// Whether the database has to be asked for what is there: it was not since the last call.
    has_to_look: bool,
    /// Whether the end was reached.
    is_caught_up: bool,
    /// What was found along with what was delivered last.
    next: VecDeque<Delivery>,
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
        /// The life of the log that the place is of.
        life: Incarnation,
    },
}

impl PostgresSubscription {
    pub(crate) async fn begin(shared: &Arc<Shared>, to: Subscribe) -> Result<Self, SubscribeError> {
        let failed = |error| subscribe_error(read_error(error));
        // Before anything is looked at: what comes in between is not missed.
        let seat = Seat::take(
            shared,
            match &to {
                Subscribe::Stream { stream, .. } => Followed::Stream(stream.clone()),
                Subscribe::All { query, .. } => Followed::Log(query.clone()),
            },
        );
        let cursor = match to {
            Subscribe::Stream { stream, from } => {
                let next = match from {
                    SubscribeFrom::Start => Revision::FIRST,
                    SubscribeFrom::After(revision) => revision.next(),
                    SubscribeFrom::End => {
                        let opened = shared.open_stream(&stream, None, 0).await;
                        let last = opened.map_err(subscribe_error)?.0.last;
                        last.map_or(Revision::FIRST, Revision::next)
                    }
                };
                Cursor::Stream { stream, next }
            }
            Subscribe::All { query, from } => {
                let end = shared.end().await.map_err(failed)?;
                let after = match from {
                    SubscribeFrom::Start => Position::START,
                    // It may be the frontier that another node saw.
                    SubscribeFrom::After(after) if after > end.frontier.max(end.last) => {
                        let frontier = end.frontier;
                        return Err(SubscribeError::BeyondEnd { after, frontier });
                    }
                    SubscribeFrom::After(after) => after,
                    SubscribeFrom::End => end.frontier,
                };
                Cursor::All { query, after, life: shared.incarnation() }
            }
        };
        Ok(Self {
            shared: Arc::clone(shared),
            seat,
            cursor,
            has_to_look: true,
            is_caught_up: false,
            next: VecDeque::new(),
        })
    }

    /// What is to be delivered at once; nothing where the subscription has to wait.
    async fn pull(&mut self) -> Result<Option<Delivery>, SubscribeError> {
        if let Some(next) = self.next.pop_front() {
            return Ok(Some(next));
        }
        match &mut self.cursor {
            Cursor::Stream { stream, next } if self.has_to_look => {
                let pulled = pull_stream(&self.shared, stream, next).await?;
                self.has_to_look = pulled.is_more;
                if let Some(events) = pulled.events {
                    return Ok(Some(events));
                }
            }
            Cursor::Stream { .. } => {}
            Cursor::All { query, after, life } => {
                check_life(&self.shared, *after, life)?;
                self.next = pull_all(&self.shared, query, after, self.has_to_look).await?.into();
                if let Some(next) = self.next.pop_front() {
                    return Ok(Some(next));
                }
                self.has_to_look = false;
            }
        }
        if self.is_caught_up {
            return Ok(None);
        }
        self.is_caught_up = true;
        Ok(Some(Delivery::CaughtUp))
    }
}

impl Subscription for PostgresSubscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, SubscribeError>> {
        Box::pin(async move {
            loop {
                if let Some(delivery) = self.pull().await? {
                    return Ok(delivery);
                }
                let known = match &self.cursor {
                    Cursor::Stream { .. } => None,
                    Cursor::All { after, .. } => Some(*after),
                };
                match self.seat.wait(known).await {
                    Called::Look => self.has_to_look = true,
                    Called::Passed(frontier) => {
                        if let Cursor::All { after, life, .. } = &mut self.cursor {
                            check_life(&self.shared, *after, life)?;
                            *after = frontier.max(*after);
                        }
                        return Ok(Delivery::Checkpoint(frontier));
                    }
                    Called::Closed => return Err(SubscribeError::Closed),
                }
            }
        })
    }
}

/// What was read of a stream.
struct Pulled {
    events: Option<Delivery>,
    /// Whether there was more, be it the stream's end.
    is_more: bool,
}

async fn pull_stream(
    shared: &Arc<Shared>,
    stream: &StreamName,
    next: &mut Revision,
) -> Result<Pulled, SubscribeError> {
    loop {
        let opened = shared.open_stream(stream, Some(*next), PAGE_COUNT).await;
        let (row, rows) = opened.map_err(subscribe_error)?;
        let mut facts = row.facts();
        let tombstoned = || SubscribeError::StreamTombstoned { stream: stream.clone() };
        let is_tombstoned = facts.tombstoned;
        if is_tombstoned {
            // What it showed right before the tombstone is still owed.
            facts.tombstoned = false;
            facts.last = match facts.last {
                Some(last) if last > Revision::FIRST => Some(Revision::new(last.get() - 1)),
                _ => return Err(tombstoned()),
            };
        }
        let pass = |next: &mut Revision| {
            *next = facts.pass_over(*next);
            Ok(Pulled { events: None, is_more: false })
        };
        let StreamState::Live { last } = facts.state() else {
            return if is_tombstoned { Err(tombstoned()) } else { pass(next) };
        };
        let retention = shared.retention(stream, &facts, last, None).await;
        let retention = retention.map_err(subscribe_error)?;
        let is_shown = |revision, time| revision <= last && retention.shows(revision, time);
        let count = PAGE_COUNT;
        let read = read_page(&rows, FACT_COLUMNS, count, is_shown).map_err(subscribe_error)?;
        if let Some(shown) = read.batch.last() {
            *next = shown.revision().next();
            let is_more = is_tombstoned || !read.is_last;
            return Ok(Pulled { events: Some(Delivery::Events(read.batch)), is_more });
        }
        if let Some((_, passed)) = read.last
            && !read.is_last
        {
            // All of the page is hidden, and there is more.
            *next = passed.next();
            continue;
        }
        return if is_tombstoned { Err(tombstoned()) } else { pass(next) };
    }
}

/// Whether the log that is there goes on from a place of the life that it is of. A failover may have
/// taken back what was delivered, and going on would skip what came in its place.
fn check_life(
    shared: &Shared,
    after: Position,
    life: &mut Incarnation,
) -> Result<(), SubscribeError> {
    let current = shared.incarnation();
    if current == *life {
        return Ok(());
    }
    let own = Checkpoint { position: after, log: shared.log(), incarnation: *life };
    match shared.life().lives.check(&own, Position::MAX) {
        Ok(()) => *life = current,
        Err(CheckpointError::OtherLife { began_at: Some(frontier), .. }) => {
            return Err(SubscribeError::BeyondEnd { after, frontier });
        }
        Err(other) => return Err(SubscribeError::Storage(StorageError::new(other))),
    }
    Ok(())
}

/// How many columns come before an event's where a stream is opened.
const FACT_COLUMNS: usize = 3;

async fn pull_all(
    shared: &Arc<Shared>,
    query: &Query,
    after: &mut Position,
    has_to_look: bool,
) -> Result<Vec<Delivery>, SubscribeError> {
    let mut frontier = shared.seen();
    if frontier < *after || (frontier == *after && has_to_look) {
        let end = shared.end().await.map_err(|error| subscribe_error(read_error(error)))?;
        frontier = end.frontier;
        if *after > end.frontier.max(end.last) {
            // A failover took back what was delivered: going on here would skip what now comes.
            return Err(SubscribeError::BeyondEnd { after: *after, frontier });
        }
    }
    if frontier <= *after {
        return Ok(Vec::new());
    }
    let page = Page {
        from: after.next(),
        to: frontier,
        direction: Direction::Forward,
        count: PAGE_COUNT,
        size: PAGE_SIZE,
    };
    let rows = shared.query_page(query, page).await.map_err(subscribe_error)?;
    let read = read_page(&rows, 0, PAGE_COUNT, |_, _| true).map_err(subscribe_error)?;
    let mut deliveries = Vec::new();
    if let Some((last, _)) = read.last {
        *after = last;
        deliveries.push(Delivery::Events(read.batch));
    }
    if read.is_last && *after < frontier {
        *after = frontier;
        // A query for everything passes over nothing: what is there are gaps.
        if !query.is_all() {
            deliveries.push(Delivery::Checkpoint(frontier));
        }
    }
    Ok(deliveries)
}
