//! The layer that lies about the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::future::{block_on, pending, ready, yield_now};
use quipu_core::contract::Harness;
use quipu_core::{
    Append, AppendError, Appended, AsOf, Batches, BoxFuture, Change, Checkpoints, Delivery,
    Direction, EventBatch, EventId, EventStore, ExpectedRevision, IndexRead, Leases, ListStreams,
    LogIdentity, LogRead, MemoryStore, Position, Query, QueryItem, ReadAll, ReadError, ReadIndex,
    ReadStream, RecordedEvent, Registry, Revision, Snapshots, StreamInfo, StreamName, StreamRead,
    StreamState, Subscribe, SubscribeError, SubscribeFrom, Subscription, Tags, Timestamp, collect,
};

use crate::harness::InMemory;

/// What a store lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    ChecksNothing,
    ChecksNoConditions,
    ChecksBeforeActing,
    CountsTheEventAtAfter,
    PassesOverTheFirstEventBehindAfter,
    LosesTheLastEvent,
    AnswersTheFirstPlaceAsTheLast,
    AppendsInParts,
    AppendsReplaysAgain,
    ReplaysAtTheCurrentRevision,
    ListsOnlyTheFirstViolation,
    AcceptsReservedNames,
    TimesGoBack,
    RevivesTombstoned,
    ShowsDeleted,
    ShowsAllOfRevived,
    IgnoresRetention,
    ReadsBackwardExclusively,
    ReadsLogExclusively,
    GivesOneTooMany,
    TakesBatchesUnasked,
    LosesBatchesHalfWay,
    FrontierTooHigh,
    IgnoresAsOf,
    IgnoresAsOfTime,
    PresentMetadataAsOf,
    MatchesAnyTag,
    MatchesWithoutItems,
    RenumbersOrdinals,
    ListsInAnotherOrder,
    DeliversTwiceAtTheHandOver,
    LosesAtTheHandOver,
    BeginsAtTheCheckpoint,
    TellsNoCheckpoints,
    TellsCaughtUpAgain,
    WaitsBehindTombstones,
    GivesLaterSnapshots,
    MovesCheckpointsFromAnywhere,
    AcceptsStaleEpochs,
    AcceptsOtherLogs,
    AcceptsEndedLives,
    GivesLeasesTwice,
    GivesEpochsTwice,
    TakesRequestsTwice,
}

/// A store that is honest but for one lie.
pub(crate) struct Liar {
    pub(crate) honest: MemoryStore,
    pub(crate) lie: Lie,
    checked_count: Arc<AtomicUsize>,
}

pub(crate) struct LyingHarness {
    inner: InMemory,
    lie: Lie,
    checked_count: Arc<AtomicUsize>,
}

impl LyingHarness {
    pub(crate) fn new(lie: Lie) -> Self {
        Self { inner: InMemory::new(), lie, checked_count: Arc::default() }
    }

    fn handle(&self, honest: MemoryStore) -> Arc<dyn EventStore> {
        let checked_count = Arc::clone(&self.checked_count);
        Arc::new(Liar { honest, lie: self.lie, checked_count })
    }
}

impl Harness for LyingHarness {
    fn store(&self) -> Arc<dyn EventStore> {
        let store = &self.inner.store;
        let has_too_many_rights = self.lie == Lie::AcceptsReservedNames;
        self.handle(if has_too_many_rights { store.system() } else { store.clone() })
    }

    fn system(&self) -> Arc<dyn EventStore> {
        self.handle(self.inner.store.system())
    }

    fn advance_clock(&self, by: Duration) -> bool {
        self.inner.advance_clock(by)
    }

    fn scavenge(&self) -> bool {
        self.inner.scavenge()
    }

    fn begin_life(&self) -> bool {
        self.inner.begin_life()
    }

    fn patience(&self) -> Duration {
        // A lie that makes a store hang is found out by waiting; an honest layer is not hurried.
        if self.lie == Lie::None { Duration::from_secs(30) } else { Duration::from_millis(500) }
    }
}

impl Liar {
    fn is(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    async fn tell_append(&self, mut append: Append) -> Result<Appended, AppendError> {
        match self.lie {
            Lie::ChecksNothing => {
                append.expectations.clear();
                append.conditions.clear();
            }
            Lie::ChecksNoConditions => append.conditions.clear(),
            Lie::ChecksBeforeActing => return self.check_then_append(append).await,
            Lie::CountsTheEventAtAfter => {
                for condition in &mut append.conditions {
                    condition.after = condition.after.map(Position::previous);
                }
            }
            Lie::PassesOverTheFirstEventBehindAfter => {
                let frontier = self.honest.frontier().await.expect("memory answers");
                for condition in &mut append.conditions {
                    condition.after = condition.after.map(|after| after.next().min(frontier));
                }
            }
            Lie::LosesTheLastEvent if append.events.len() > 1 => {
                append.events.pop();
            }
            Lie::AppendsInParts => return self.append_in_parts(append).await,
            Lie::AppendsReplaysAgain => {
                for (_, event) in &mut append.events {
                    event.id = EventId::generate();
                }
            }
            Lie::ReplaysAtTheCurrentRevision => {
                let check = Append { events: Vec::new(), ..append.clone() };
                let holds = self.honest.append(check).await.is_ok();
                append.expectations.retain(|_| !holds);
            }
            Lie::ShowsAllOfRevived => return self.append_and_show_all(append).await,
            _ => {}
        }
        self.honest.append(append).await
    }

    /// Checks, lets another writer in if there is one, and appends without a check.
    async fn check_then_append(&self, mut append: Append) -> Result<Appended, AppendError> {
        self.honest.append(Append { events: Vec::new(), ..append.clone() }).await?;
        let checked = self.checked_count.fetch_add(1, Ordering::SeqCst);
        for _ in 0..10_000 {
            if self.checked_count.load(Ordering::SeqCst) > checked + 1 {
                break;
            }
            std::thread::yield_now();
        }
        append.expectations.clear();
        append.conditions.clear();
        self.honest.append(append).await
    }

    async fn append_in_parts(&self, mut append: Append) -> Result<Appended, AppendError> {
        let mut appended = Appended::default();
        for (stream, event) in std::mem::take(&mut append.events) {
            let own = append.expectations.iter().position(|(name, _)| *name == stream);
            let mut part = Append::new().event(stream.clone(), event);
            if let Some(own) = own {
                part.expectations.push(append.expectations.remove(own));
            }
            let one = self.honest.append(part).await?;
            appended.first = appended.first.or(one.first);
            appended.last = one.last;
            appended.streams.retain(|it| it.stream != stream);
            appended.streams.extend(one.streams);
        }
        self.honest.append(append).await?;
        Ok(appended)
    }

    async fn append_and_show_all(&self, append: Append) -> Result<Appended, AppendError> {
        let stream = append.events.first().map(|(stream, _)| stream.clone());
        let appended = self.honest.append(append).await?;
        if let Some(stream) = stream.filter(|it| !it.is_metadata()) {
            let info = self.honest.stream_info(stream.clone()).await.expect("memory answers");
            if info.metadata.truncate_before().is_some() {
                let json = info.metadata.json_with_truncate_before(0);
                self.honest.set_metadata(stream, ExpectedRevision::Any, json).await?;
            }
        }
        Ok(appended)
    }

    fn tell_query(&self, query: &mut Query) {
        match self.lie {
            Lie::MatchesWithoutItems if query.items.is_empty() => *query = Query::all(),
            Lie::MatchesAnyTag => {
                let split = |item: QueryItem| -> Vec<QueryItem> {
                    if item.tags.count() < 2 {
                        return vec![item];
                    }
                    let one = |tag: &str| QueryItem {
                        tags: Tags::parse([tag]).expect("it is one of the query's tags"),
                        ..item.clone()
                    };
                    item.tags.iter().map(one).collect()
                };
                query.items =
                    std::mem::take(&mut query.items).into_iter().flat_map(split).collect();
            }
            _ => {}
        }
    }

    fn tell_as_of(&self, as_of: &mut Option<AsOf>) {
        match (self.lie, *as_of) {
            (Lie::IgnoresAsOf, _) | (Lie::IgnoresAsOfTime, Some(AsOf::Time(_))) => *as_of = None,
            _ => {}
        }
    }

    fn tell_limit(&self, limit: &mut Option<u64>) {
        if self.is(Lie::GivesOneTooMany) {
            *limit = limit.map(|limit| limit.saturating_add(1));
        }
    }

    /// All events of a stream that the log has, whatever hides them.
    async fn all_of(&self, stream: StreamName) -> Vec<RecordedEvent> {
        let read = self.honest.read_all(ReadAll::new(Query::stream(stream))).await;
        collect(read.expect("memory answers").batches).await.expect("memory answers")
    }

    async fn tell_stream(&self, mut read: ReadStream) -> Result<StreamRead, ReadError> {
        self.tell_as_of(&mut read.as_of);
        self.tell_limit(&mut read.limit);
        let is_backward = read.direction == Direction::Backward;
        if self.is(Lie::ReadsBackwardExclusively) && is_backward {
            read.from = read.from.map(|from| Revision::new(from.get().saturating_sub(1)));
        }
        let (stream, as_of) = (read.stream.clone(), read.as_of);
        let mut found = self.honest.read_stream(read).await?;
        let shows_all = match self.lie {
            Lie::IgnoresRetention => matches!(found.state, StreamState::Live { .. }),
            Lie::ShowsDeleted => matches!(found.state, StreamState::Deleted { .. }),
            _ => false,
        };
        if shows_all {
            found.batches = told(&self.all_of(stream).await);
        } else if self.is(Lie::PresentMetadataAsOf) && as_of.is_some() {
            let shown = self.honest.stream_info(stream).await?.first;
            let mut events = collect(found.batches).await?;
            events.retain(|event| shown.is_some_and(|first| event.revision >= first));
            found.batches = told(&events);
        } else if self.is(Lie::TimesGoBack) {
            found.batches = backdated(found.batches).await?;
        }
        Ok(found)
    }

    async fn tell_all(&self, mut read: ReadAll) -> Result<LogRead, ReadError> {
        self.tell_as_of(&mut read.as_of);
        self.tell_limit(&mut read.limit);
        self.tell_query(&mut read.query);
        if self.is(Lie::ReadsLogExclusively) && read.direction == Direction::Forward {
            read.from = read.from.map(Position::next);
        }
        let mut found = self.honest.read_all(read).await?;
        if self.is(Lie::FrontierTooHigh) {
            found.frontier = found.frontier.next();
        }
        match self.lie {
            Lie::TimesGoBack => found.batches = backdated(found.batches).await?,
            Lie::TakesBatchesUnasked | Lie::LosesBatchesHalfWay => {
                let is_eager = self.is(Lie::TakesBatchesUnasked);
                found.batches = Box::new(Losing { honest: found.batches, is_eager });
            }
            _ => {}
        }
        Ok(found)
    }
}

/// What a future has taken is lost with it.
struct Losing {
    honest: Box<dyn Batches>,
    /// Whether futures take before they are polled.
    is_eager: bool,
}

impl Batches for Losing {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        if self.is_eager {
            return Box::pin(ready(block_on(self.honest.next())));
        }
        Box::pin(async move {
            let taken = self.honest.next().await;
            yield_now().await;
            taken
        })
    }
}

struct Told(Option<EventBatch>);

impl Batches for Told {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        Box::pin(async move { Ok(self.0.take()) })
    }
}

fn told(events: &[RecordedEvent]) -> Box<dyn Batches> {
    Box::new(Told((!events.is_empty()).then(|| events.iter().collect())))
}

async fn backdated(batches: Box<dyn Batches>) -> Result<Box<dyn Batches>, ReadError> {
    let mut events = collect(batches).await?;
    for event in &mut events {
        event.recorded_at =
            Timestamp::from_micros(1_000_000_000 - event.position.get().cast_signed());
    }
    Ok(told(&events))
}

impl EventStore for Liar {
    fn identity(&self) -> LogIdentity {
        self.honest.identity()
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let mut answer = match change {
                Change::Append(append) => self.tell_append(append).await,
                Change::Tombstone { stream, expected, id } if self.is(Lie::RevivesTombstoned) => {
                    self.honest.change(Change::Delete { stream, expected, id }).await
                }
                other => self.honest.change(other).await,
            };
            match &mut answer {
                Err(AppendError::Conflict { violations })
                    if self.is(Lie::ListsOnlyTheFirstViolation) =>
                {
                    violations.truncate(1);
                }
                Ok(appended) if self.is(Lie::AnswersTheFirstPlaceAsTheLast) => {
                    appended.last = appended.first;
                }
                _ => {}
            }
            answer
        })
    }

    fn read_stream(&self, read: ReadStream) -> BoxFuture<'_, Result<StreamRead, ReadError>> {
        Box::pin(self.tell_stream(read))
    }

    fn read_all(&self, read: ReadAll) -> BoxFuture<'_, Result<LogRead, ReadError>> {
        Box::pin(self.tell_all(read))
    }

    fn read_index(&self, read: ReadIndex) -> BoxFuture<'_, Result<IndexRead, ReadError>> {
        Box::pin(async move {
            let mut found = self.honest.read_index(read).await?;
            if self.is(Lie::RenumbersOrdinals) {
                found.entries.retain(|entry| entry.event.is_some());
                for (entry, ordinal) in found.entries.iter_mut().zip(0..) {
                    entry.ordinal = ordinal;
                }
                found.count = found.entries.len() as u64;
            }
            Ok(found)
        })
    }

    fn frontier(&self) -> BoxFuture<'_, Result<Position, ReadError>> {
        self.honest.frontier()
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        self.honest.position_at(time)
    }

    fn wait_visible(&self, position: Position) -> BoxFuture<'_, Result<(), ReadError>> {
        self.honest.wait_visible(position)
    }

    fn list_streams(&self, list: ListStreams) -> BoxFuture<'_, Result<Vec<StreamName>, ReadError>> {
        Box::pin(async move {
            let mut names = self.honest.list_streams(list).await?;
            if self.is(Lie::ListsInAnotherOrder) {
                names.reverse();
            }
            Ok(names)
        })
    }

    fn stream_info(&self, stream: StreamName) -> BoxFuture<'_, Result<StreamInfo, ReadError>> {
        self.honest.stream_info(stream)
    }

    fn subscribe(
        &self,
        mut subscribe: Subscribe,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, SubscribeError>> {
        if let Subscribe::All { from: SubscribeFrom::After(after), .. } = &mut subscribe
            && self.is(Lie::BeginsAtTheCheckpoint)
        {
            *after = after.previous();
        }
        Box::pin(async move {
            let honest = self.honest.subscribe(subscribe).await?;
            let subscription =
                LyingSubscription { honest, lie: self.lie, last: None, is_caught_up: false };
            Ok(Box::new(subscription) as Box<dyn Subscription>)
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

struct LyingSubscription {
    honest: Box<dyn Subscription>,
    lie: Lie,
    /// What was delivered last, to be delivered again.
    last: Option<Delivery>,
    is_caught_up: bool,
}

impl LyingSubscription {
    async fn tell(&mut self) -> Result<Delivery, SubscribeError> {
        if self.is_caught_up
            && matches!(self.lie, Lie::DeliversTwiceAtTheHandOver | Lie::TellsCaughtUpAgain)
            && let Some(again) = self.last.take()
        {
            return Ok(again);
        }
        loop {
            let delivery = match self.honest.next().await {
                Err(SubscribeError::StreamTombstoned { .. })
                    if self.lie == Lie::WaitsBehindTombstones =>
                {
                    pending().await
                }
                other => other?,
            };
            match (self.lie, &delivery) {
                (Lie::TellsNoCheckpoints, Delivery::Checkpoint(_)) => continue,
                (Lie::LosesAtTheHandOver, Delivery::Events(_)) if self.is_caught_up => {
                    self.is_caught_up = false;
                    continue;
                }
                (Lie::DeliversTwiceAtTheHandOver, Delivery::Events(_)) if !self.is_caught_up => {
                    self.last = Some(delivery.clone());
                }
                (Lie::TellsCaughtUpAgain, Delivery::Events(_)) if self.is_caught_up => {
                    self.last = Some(Delivery::CaughtUp);
                }
                _ => {}
            }
            self.is_caught_up |= matches!(delivery, Delivery::CaughtUp);
            return Ok(delivery);
        }
    }
}

impl Subscription for LyingSubscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, SubscribeError>> {
        Box::pin(self.tell())
    }
}
