//! Subscriptions: a place in the log or in a stream, and nothing else.
//!
//! The log is read up to the frontier that the node's watch has seen; a stream as it is. Who has read
//! all of it waits to be woken.

use std::collections::VecDeque;
use std::sync::Arc;

use quipu_core::{
    BoxFuture, Delivery, Direction, Position, Query, Revision, StreamName, StreamState, Subscribe,
    SubscribeError, SubscribeFrom, Subscription,
};

use crate::error::{read_error, subscribe_error};
use crate::query::Page;
use crate::reading::{PAGE_COUNT, PAGE_SIZE, read_page};
use crate::store::Shared;

pub(crate) struct PostgresSubscription {
    shared: Arc<Shared>,
    cursor: Cursor,
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
    },
}

impl PostgresSubscription {
    pub(crate) async fn begin(shared: &Arc<Shared>, to: Subscribe) -> Result<Self, SubscribeError> {
        let failed = |error| subscribe_error(read_error(error));
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
                Cursor::All { query, after }
            }
        };
        Ok(Self { shared: Arc::clone(shared), cursor, is_caught_up: false, next: VecDeque::new() })
    }

    /// What is to be delivered at once; nothing where the subscription has to wait.
    async fn pull(&mut self) -> Result<Option<Delivery>, SubscribeError> {
        if let Some(next) = self.next.pop_front() {
            return Ok(Some(next));
        }
        match &mut self.cursor {
            Cursor::Stream { stream, next } => {
                if let Some(delivery) = pull_stream(&self.shared, stream, next).await? {
                    return Ok(Some(delivery));
                }
            }
            Cursor::All { query, after } => {
                self.next = pull_all(&self.shared, query, after).await?.into();
                if let Some(next) = self.next.pop_front() {
                    return Ok(Some(next));
                }
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
                // Listen before looking: an append in between is not missed.
                let shared = Arc::clone(&self.shared);
                let waiter = shared.watch.listen();
                if let Some(delivery) = self.pull().await? {
                    return Ok(delivery);
                }
                if !waiter.wait().await {
                    return Err(SubscribeError::Closed);
                }
            }
        })
    }
}

async fn pull_stream(
    shared: &Arc<Shared>,
    stream: &StreamName,
    next: &mut Revision,
) -> Result<Option<Delivery>, SubscribeError> {
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
        let StreamState::Live { last } = facts.state() else {
            return if is_tombstoned { Err(tombstoned()) } else { Ok(None) };
        };
        let retention = shared.retention(stream, &facts, last, None).await;
        let retention = retention.map_err(subscribe_error)?;
        let is_shown = |revision, time| revision <= last && retention.shows(revision, time);
        let count = PAGE_COUNT;
        let read = read_page(&rows, FACT_COLUMNS, count, is_shown).map_err(subscribe_error)?;
        if let Some(shown) = read.batch.last() {
            *next = shown.revision().next();
            return Ok(Some(Delivery::Events(read.batch)));
        }
        if let Some((_, passed)) = read.last
            && !read.is_last
        {
            // All of the page is hidden, and there is more.
            *next = passed.next();
            continue;
        }
        return if is_tombstoned { Err(tombstoned()) } else { Ok(None) };
    }
}

/// How many columns come before an event's where a stream is opened.
const FACT_COLUMNS: usize = 3;

async fn pull_all(
    shared: &Arc<Shared>,
    query: &Query,
    after: &mut Position,
) -> Result<Vec<Delivery>, SubscribeError> {
    let mut frontier = shared.seen();
    if frontier <= *after {
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
