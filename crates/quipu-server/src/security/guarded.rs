//! The store as one caller may use it: every call is checked, then made.
//!
//! Nothing is filtered out of answers: a read or subscription that could meet an event which the
//! caller may not read is refused as a whole, since gaps and counts would tell of it. For the same
//! reason demands of an append are checked like reads.

mod beside;

use std::sync::Arc;

use quipu_core::{
    Append, AppendError, Appended, Batches, BoxFuture, Change, Checkpoints, Delivery, EventBatch,
    EventStore, ExpectedRevision, IndexRead, Leases, ListStreams, LogIdentity, LogRead, Position,
    Query, ReadAll, ReadError, ReadIndex, ReadStream, Registry, Snapshots, StorageError,
    StreamInfo, StreamName, StreamRead, Subscribe, SubscribeError, SubscribeFrom, Subscription,
    Term, Timestamp,
};

use super::access::{Access, Denied};
use super::permissions::Action;
use super::rules::Region;
use crate::subscribers::OpenSubscriber;

/// A store that asks [`Access`] before each call.
pub(super) struct Guarded {
    store: Arc<dyn EventStore>,
    access: Access,
    names: Names,
}

/// Which reserved names may be changed through a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// As the store itself decides by its rights.
    Store,
    /// Those that KurrentDB's protocol writes: the store has system rights, the caller may not.
    Protocol,
    /// All but the record of what administrators do.
    System,
}

/// What only the server writes, whatever protocol is asked for it.
const OWN_PREFIXES: [&str; 3] = [AUDIT_PREFIX, "$persistent", "$projections-"];
/// What nobody writes but the server, an administrator neither.
const AUDIT_PREFIX: &str = "$audit";

fn append_error(denied: Denied) -> AppendError {
    AppendError::Storage(StorageError::new(denied))
}

fn read_error(denied: Denied) -> ReadError {
    ReadError::Storage(StorageError::new(denied))
}

fn subscribe_error(denied: Denied) -> SubscribeError {
    SubscribeError::Storage(StorageError::new(denied))
}

impl Guarded {
    pub(super) fn new(store: Arc<dyn EventStore>, access: Access) -> Self {
        Self { store, access, names: Names::Store }
    }

    /// A store with system rights, for an administrator.
    pub(super) fn system(store: Arc<dyn EventStore>, access: Access) -> Self {
        Self { store, access, names: Names::System }
    }

    /// A store with system rights, for the reserved names that callers may write.
    pub(super) fn reserved(store: Arc<dyn EventStore>, access: Access) -> Self {
        Self { store, access, names: Names::Protocol }
    }

    /// Refuses changes of what only the server writes; of other reserved streams, to all but
    /// administrators. The metadata of a stream is as free as the stream.
    fn check_names(&self, change: &Change) -> Result<(), Denied> {
        if self.names == Names::Store {
            return Ok(());
        }
        match change {
            Change::Append(append) => {
                append.events.iter().try_for_each(|(stream, _)| self.check_name(stream))
            }
            Change::Delete { stream, .. }
            | Change::Tombstone { stream, .. }
            | Change::SetMetadata { stream, .. } => self.check_name(stream),
        }
    }

    fn check_name(&self, stream: &StreamName) -> Result<(), Denied> {
        let own = stream.as_str().strip_prefix("$$").unwrap_or(stream.as_str());
        if !own.starts_with('$') || own.starts_with("$quipu.") {
            return Ok(());
        }
        let is_system = self.names == Names::System;
        let own_prefixes = if is_system { &OWN_PREFIXES[..1] } else { &OWN_PREFIXES[..] };
        if own_prefixes.iter().any(|prefix| own.starts_with(prefix)) {
            return Err(self.access.forbidden(format!("write \"{stream}\"")));
        }
        if is_system || self.access.service().authority().is_open() {
            return Ok(());
        }
        self.access.may(Action::Administer)
    }

    fn check_change(&self, change: &Change) -> Result<(), Denied> {
        match change {
            Change::Append(append) => self.check_append(append),
            Change::Delete { stream, expected, .. }
            | Change::Tombstone { stream, expected, .. } => {
                self.access.may_on(Action::Delete, &Region::stream(stream))?;
                self.check_expectation(stream, *expected)
            }
            Change::SetMetadata { stream, expected, .. } => {
                self.access.may_on(Action::Metadata, &Region::stream(stream))?;
                self.check_expectation(stream, *expected)
            }
        }
    }

    fn check_append(&self, append: &Append) -> Result<(), Denied> {
        let grants = self.access.standing()?.grants;
        let may_append_all = grants.allows_everything(Action::Append);
        for (stream, event) in &append.events {
            // Metadata that comes as an event is metadata all the same.
            let action = if stream.is_metadata() { Action::Metadata } else { Action::Append };
            if may_append_all && action == Action::Append {
                continue;
            }
            grants
                .check(action, &Region::event(stream, event))
                .map_err(|what| self.access.forbidden(what))?;
        }
        // An append without events asks about the log only.
        for (stream, expected) in &append.expectations {
            self.check_expectation(stream, *expected)?;
        }
        append.conditions.iter().try_for_each(|condition| self.access.may_query(&condition.query))
    }

    /// What is demanded of a stream tells the caller about it.
    fn check_expectation(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<(), Denied> {
        if expected == ExpectedRevision::Any {
            return Ok(());
        }
        self.access.may_on(Action::Read, &Region::stream(stream))
    }

    fn check_index(&self, term: &Term) -> Result<(), Denied> {
        let region = match term {
            Term::Category(category) => Region::category(category),
            Term::Type(_) | Term::StreamNames => Region::everything(),
        };
        self.access.may_on(Action::Read, &region)
    }

    fn check_list(&self, list: &ListStreams) -> Result<(), Denied> {
        let by_prefix = self.access.may_on(Action::Read, &Region::prefix(&list.prefix));
        match &list.category {
            // What is listed is in both: one that may be read is enough.
            Some(category) if by_prefix.is_err() => {
                self.access.may_on(Action::Read, &Region::category(category))
            }
            _ => by_prefix,
        }
    }
}

impl EventStore for Guarded {
    fn identity(&self) -> LogIdentity {
        self.store.identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            self.check_names(&change).map_err(append_error)?;
            self.check_change(&change).map_err(append_error)?;
            self.store.change(change).await
        })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        Box::pin(async move {
            let guard = Guard::stream(&self.access, &read.stream);
            guard.check().map_err(read_error)?;
            let StreamRead { state, batches } = self.store.read_stream(read).await?;
            Ok(StreamRead { state, batches: Box::new(GuardedBatches { batches, guard }) })
        })
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        Box::pin(async move {
            let guard = Guard::query(&self.access, &read.query);
            guard.check().map_err(read_error)?;
            let LogRead { frontier, batches } = self.store.read_all(read).await?;
            Ok(LogRead { frontier, batches: Box::new(GuardedBatches { batches, guard }) })
        })
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
        Box::pin(async move {
            self.check_index(&read.term).map_err(read_error)?;
            self.store.read_index(read).await
        })
    }

    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(async move {
            self.access.still_holds().map_err(read_error)?;
            self.store.frontier().await
        })
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(async move {
            self.access.still_holds().map_err(read_error)?;
            self.store.position_at(time).await
        })
    }

    fn wait_visible(&self, position: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            self.access.still_holds().map_err(read_error)?;
            self.store.wait_visible(position).await
        })
    }

    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        Box::pin(async move {
            self.check_list(&list).map_err(read_error)?;
            self.store.list_streams(list).await
        })
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        Box::pin(async move {
            let region = Region::stream(&stream);
            self.access.may_on(Action::Read, &region).map_err(read_error)?;
            self.store.stream_info(stream).await
        })
    }

    fn subscribe(
        &self,
        subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(async move {
            let guard = match &subscribe {
                Subscribe::Stream { stream, .. } => Guard::stream(&self.access, stream),
                Subscribe::All { query, .. } => Guard::query(&self.access, query),
            };
            guard.check().map_err(subscribe_error)?;
            let frontier = match &subscribe {
                Subscribe::All { from: SubscribeFrom::End, .. } => self.store.frontier().await,
                Subscribe::All { .. } | Subscribe::Stream { .. } => Ok(Position::START),
            };
            let subscription = self.store.subscribe(subscribe.clone()).await?;
            let subscribers = self.access.service().subscribers();
            let principal = self.access.principal();
            let open = subscribers.open(principal, &subscribe, frontier.unwrap_or_default());
            Ok(Box::new(GuardedSubscription { subscription, guard, open }) as Box<dyn Subscription>)
        })
    }

    fn snapshots(&self) -> &dyn Snapshots {
        self
    }

    fn checkpoints(&self) -> &dyn Checkpoints {
        self
    }

    fn leases(&self) -> &dyn Leases {
        self
    }

    fn registry(&self) -> &dyn Registry {
        self
    }
}

/// What a read or a subscription may show, asked again before each delivery.
struct Guard {
    access: Access,
    query: Query,
}

impl Guard {
    fn stream(access: &Access, stream: &StreamName) -> Self {
        Self::query(access, &Query::stream(stream.clone()))
    }

    fn query(access: &Access, query: &Query) -> Self {
        Self { access: access.clone(), query: query.clone() }
    }

    fn check(&self) -> Result<(), Denied> {
        self.access.may_query(&self.query)
    }
}

struct GuardedBatches {
    batches: Box<dyn Batches>,
    guard: Guard,
}

impl Batches for GuardedBatches {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        Box::pin(async move {
            let batch = self.batches.next().await?;
            self.guard.check().map_err(read_error)?;
            Ok(batch)
        })
    }
}

struct GuardedSubscription {
    subscription: Box<dyn Subscription>,
    guard: Guard,
    open: OpenSubscriber,
}

impl Subscription for GuardedSubscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, SubscribeError>> {
        Box::pin(async move {
            // Listen before checking: a change in between is not missed.
            let mut changes = self.guard.access.changes();
            loop {
                self.guard.check().map_err(subscribe_error)?;
                tokio::select! {
                    delivery = self.subscription.next() => {
                        let delivery = delivery?;
                        self.guard.check().map_err(subscribe_error)?;
                        self.open.delivered(&delivery);
                        return Ok(delivery);
                    }
                    () = changes.next() => {}
                    () = self.guard.access.expired() => {}
                }
            }
        })
    }
}
