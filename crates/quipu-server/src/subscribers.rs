//! The subscriptions that callers have open, for those who operate the server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quipu_core::{Delivery, Position, Query, Subscribe, SubscribeFrom, Timestamp};

use crate::text;

/// The subscriptions that are open now, in the order in which they were opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscribers {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Nothing is awaited while it is held.
    open: Mutex<BTreeMap<u64, Arc<Subscriber>>>,
    next: AtomicU64,
}

/// A subscription, and how far it has delivered.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) principal: Arc<str>,
    /// The queries that it follows, any of which an event matches.
    pub(crate) queries: Vec<String>,
    pub(crate) opened_at: Timestamp,
    /// Whether it follows the log, so that it is told of positions that it has no events of.
    pub(crate) is_of_log: bool,
    position: AtomicU64,
    event_count: AtomicU64,
    is_live: AtomicBool,
}

impl Subscribers {
    /// Notes a subscription, until what comes back is dropped. `frontier` is where the log ends now.
    pub(crate) fn open(
        &self,
        principal: &str,
        subscribe: &Subscribe,
        frontier: Position,
    ) -> OpenSubscriber {
        let (query, position) = match subscribe {
            Subscribe::Stream { stream, .. } => (Query::stream(stream.clone()), Position::START),
            Subscribe::All { query, from: SubscribeFrom::Start } => {
                (query.clone(), Position::START)
            }
            Subscribe::All { query, from: SubscribeFrom::After(after) } => (query.clone(), *after),
            Subscribe::All { query, from: SubscribeFrom::End } => (query.clone(), frontier),
        };
        let own = Arc::new(Subscriber {
            principal: principal.into(),
            queries: query.items.iter().map(text::of_query_item).collect(),
            opened_at: Timestamp::now(),
            is_of_log: matches!(subscribe, Subscribe::All { .. }),
            position: AtomicU64::new(position.get()),
            event_count: AtomicU64::new(0),
            is_live: AtomicBool::new(false),
        });
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(number, Arc::clone(&own));
        OpenSubscriber { subscribers: self.clone(), number, own }
    }

    /// Those that are open now.
    pub(crate) fn list(&self) -> Vec<Arc<Subscriber>> {
        let open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().cloned().collect()
    }
}

impl Subscriber {
    /// The last position that it was told of.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// How many events it was given.
    pub(crate) fn event_count(&self) -> u64 {
        self.event_count.load(Ordering::Relaxed)
    }

    /// Whether it has come to the end of the log, and was not told that it fell behind since.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Relaxed)
    }
}

/// A subscription that is listed for as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenSubscriber {
    subscribers: Subscribers,
    number: u64,
    own: Arc<Subscriber>,
}

impl OpenSubscriber {
    /// Notes what it was given.
    pub(crate) fn delivered(&self, delivery: &Delivery) {
        match delivery {
            Delivery::Events(batch) => {
                self.own.event_count.fetch_add(batch.count() as u64, Ordering::Relaxed);
                if let Some(last) = batch.last() {
                    self.own.position.store(last.position().get(), Ordering::Relaxed);
                }
            }
            Delivery::Checkpoint(at) => self.own.position.store(at.get(), Ordering::Relaxed),
            Delivery::CaughtUp => self.own.is_live.store(true, Ordering::Relaxed),
            Delivery::FellBehind => self.own.is_live.store(false, Ordering::Relaxed),
        }
    }
}

impl Drop for OpenSubscriber {
    fn drop(&mut self) {
        let open = &self.subscribers.inner.open;
        open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}
