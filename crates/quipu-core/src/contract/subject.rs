//! The store that a case looks at, with short ways to do the usual things to it.
//!
//! What a helper does not expect of the store is a panic, which fails the case.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::append::{Append, AppendError, Appended, ExpectedRevision, InvalidAppend, Violation};
use crate::event::{NewEvent, RecordedEvent};
use crate::name::StreamName;
use crate::place::{Position, Revision, Timestamp};
use crate::query::{Query, QueryItem};
use crate::read::{Batches, ReadAll, ReadStream, StreamState, collect};
use crate::store::EventStore;
use crate::subscription::{Delivery, Subscribe, SubscribeError, SubscribeFrom, Subscription};

use super::Harness;

/// Unwinds out of a case that needs an ability its harness lacks.
pub(super) struct Skip(pub(super) &'static str);

pub(super) struct Subject<'a> {
    harness: &'a dyn Harness,
}

impl<'a> Subject<'a> {
    pub(super) fn new(harness: &'a dyn Harness) -> Self {
        Self { harness }
    }

    pub(super) fn store(&self) -> Arc<dyn EventStore> {
        self.harness.store()
    }

    pub(super) fn system(&self) -> Arc<dyn EventStore> {
        self.harness.system()
    }

    /// Waits for an answer, and fails the case when none comes.
    pub(super) fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        let patience = self.harness.patience();
        let answer = wait_at_most(patience, answer);
        answer.unwrap_or_else(|| panic!("no answer came within {patience:?}"))
    }

    /// Runs threads that do the same thing, and answers what each answered.
    pub(super) fn race<T: Send>(&self, count: usize, body: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let gate = std::sync::Barrier::new(count);
        let enter = |index| {
            let mut answer = None;
            self.harness.enter(&mut || {
                gate.wait();
                answer = Some(body(index));
            });
            answer.expect("a harness runs what it is given")
        };
        let enter = &enter;
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..count).map(|index| scope.spawn(move || enter(index))).collect();
            threads
                .into_iter()
                .map(|it| it.join().unwrap_or_else(|payload| resume_unwind(payload)))
                .collect()
        })
    }

    pub(super) fn advance_clock(&self, by: Duration) {
        need("clock that can be moved", self.harness.advance_clock(by));
    }

    pub(super) fn set_clock_back(&self, by: Duration) {
        need("clock that can be set back", self.harness.set_clock_back(by));
    }

    pub(super) fn scavenge(&self) {
        need("scavenging", self.harness.scavenge());
    }

    pub(super) fn begin_life(&self) {
        need("way to begin a life", self.harness.begin_life());
    }

    pub(super) fn reopen(&self) {
        need("way to open the store again", self.harness.reopen());
    }

    /// Appends in a transaction of the caller's own, where the store takes part in such.
    pub(super) fn transact(&self, appends: Vec<Append>, commits: bool) -> Option<bool> {
        self.harness.transact(appends, commits)
    }

    pub(super) fn need_times_in_order(&self) {
        need("order of times", self.harness.keeps_times_in_order());
    }

    // Appending.

    pub(super) fn try_append(&self, append: Append) -> Result<Appended, AppendError> {
        self.settle(self.wait(self.store().append(append)))
    }

    /// Waits until log reads see what was appended.
    pub(super) fn settle(
        &self,
        answer: Result<Appended, AppendError>,
    ) -> Result<Appended, AppendError> {
        if let Some(last) = answer.as_ref().ok().and_then(|appended| appended.last) {
            self.see(last);
        }
        answer
    }

    pub(super) fn see(&self, position: Position) {
        self.wait(self.store().wait_visible(position)).expect("what is appended becomes visible");
    }

    pub(super) fn append(&self, append: Append) -> Appended {
        self.try_append(append).expect("the append succeeds")
    }

    /// Appends with system rights.
    pub(super) fn append_as_system(&self, append: Append) -> Appended {
        self.settle(self.wait(self.system().append(append))).expect("the append succeeds")
    }

    /// Appends one event of each type to a stream, whatever it is like.
    pub(super) fn add(&self, stream: &str, types: &[&str]) -> Appended {
        let events: Vec<NewEvent> = types.iter().map(|it| event(it)).collect();
        self.append(Append::to_stream(name(stream), ExpectedRevision::Any, events))
    }

    /// Appends one event with these tags.
    pub(super) fn add_tagged(&self, stream: &str, event_type: &str, tags: &[&str]) -> Appended {
        self.append(Append::new().event(name(stream), tagged(event_type, tags)))
    }

    pub(super) fn conflict(&self, append: Append) -> Vec<Violation> {
        conflict_of(self.try_append(append))
    }

    pub(super) fn invalid(&self, append: Append) -> InvalidAppend {
        invalid_of(self.try_append(append))
    }

    pub(super) fn delete(&self, stream: &str) -> Appended {
        let deleted = self.wait(self.store().delete(name(stream), ExpectedRevision::Any));
        self.settle(deleted).expect("the stream is deleted")
    }

    pub(super) fn tombstone(&self, stream: &str) -> Appended {
        let ended = self.wait(self.store().tombstone(name(stream), ExpectedRevision::Any));
        self.settle(ended).expect("the stream is tombstoned")
    }

    pub(super) fn set_metadata(&self, stream: &str, json: &'static str) -> Appended {
        let json = Bytes::from_static(json.as_bytes());
        let any = ExpectedRevision::Any;
        let set = self.wait(self.store().set_metadata(name(stream), any, json));
        self.settle(set).expect("the metadata is set")
    }

    // Reading.

    pub(super) fn read(&self, read: ReadStream) -> Vec<RecordedEvent> {
        self.read_with_state(read).1
    }

    pub(super) fn read_with_state(&self, read: ReadStream) -> (StreamState, Vec<RecordedEvent>) {
        let found = self.wait(self.store().read_stream(read)).expect("the stream is read");
        let events = self.wait(collect(found.batches)).expect("the events are read");
        (found.state, events)
    }

    /// The types of the events that a stream shows.
    pub(super) fn types(&self, stream: &str) -> Vec<String> {
        types_of(&self.read(ReadStream::new(name(stream))))
    }

    pub(super) fn state(&self, stream: &str) -> StreamState {
        self.read_with_state(ReadStream::new(name(stream))).0
    }

    pub(super) fn read_all(&self, read: ReadAll) -> Vec<RecordedEvent> {
        self.read_all_with_frontier(read).1
    }

    pub(super) fn read_all_with_frontier(&self, read: ReadAll) -> (Position, Vec<RecordedEvent>) {
        let found = self.wait(self.store().read_all(read)).expect("the log is read");
        let events = self.wait(collect(found.batches)).expect("the events are read");
        (found.frontier, events)
    }

    /// The events of a read by somebody who lets go of futures: of some before they are polled, of
    /// others after they were polled once or twice and had no answer yet.
    pub(super) fn collect_letting_go(&self, mut batches: Box<dyn Batches>) -> Vec<RecordedEvent> {
        let patience = self.harness.patience();
        let mut events = Vec::new();
        loop {
            drop(batches.next());
            let answer = (1..=2).find_map(|it| poll_at_most(it, patience, batches.next()));
            let answer = answer.unwrap_or_else(|| self.wait(batches.next()));
            match answer.expect("the events are read") {
                Some(batch) => events.extend(batch.to_vec()),
                None => return events,
            }
        }
    }

    /// The types of the events of the log that match.
    pub(super) fn matching(&self, query: Query) -> Vec<String> {
        types_of(&self.read_all(ReadAll::new(query)))
    }

    /// The types of all events of the log.
    pub(super) fn log(&self) -> Vec<String> {
        self.matching(Query::all())
    }

    pub(super) fn frontier(&self) -> Position {
        self.wait(self.store().frontier()).expect("the frontier is known")
    }

    // Subscribing.

    pub(super) fn subscribe(&self, to: Subscribe) -> Following<'_> {
        let subscription = self.wait(self.store().subscribe(to)).expect("the subscription begins");
        Following { subject: self, subscription }
    }

    pub(super) fn follow_stream(
        &self,
        stream: &str,
        from: SubscribeFrom<Revision>,
    ) -> Following<'_> {
        self.subscribe(Subscribe::Stream { stream: name(stream), from })
    }

    pub(super) fn follow(&self, query: Query, from: SubscribeFrom<Position>) -> Following<'_> {
        self.subscribe(Subscribe::All { query, from })
    }
}

fn need(ability: &'static str, has_it: bool) {
    if !has_it {
        resume_unwind(Box::new(Skip(ability)));
    }
}

/// A subscription under way.
pub(super) struct Following<'a> {
    subject: &'a Subject<'a>,
    subscription: Box<dyn Subscription>,
}

impl Following<'_> {
    pub(super) fn try_next(&mut self) -> Result<Delivery, SubscribeError> {
        self.subject.wait(self.subscription.next())
    }

    pub(super) fn next(&mut self) -> Delivery {
        self.try_next().expect("the subscription goes on")
    }

    /// The next event-bearing deliveries until there are this many events.
    pub(super) fn events(&mut self, count: usize) -> Vec<RecordedEvent> {
        let mut events = Vec::new();
        for _ in 0..100_000 {
            if events.len() >= count {
                return events;
            }
            if let Delivery::Events(batch) = self.next() {
                assert!(!batch.is_empty(), "a delivery of events has some");
                events.extend(batch.to_vec());
            }
        }
        panic!("{count} events were expected, {} came", events.len());
    }

    pub(super) fn types(&mut self, count: usize) -> Vec<String> {
        types_of(&self.events(count))
    }

    /// Everything up to the end of the log.
    pub(super) fn until_caught_up(&mut self) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        loop {
            match self.next() {
                Delivery::CaughtUp => return deliveries,
                other => deliveries.push(other),
            }
            assert!(deliveries.len() < 100_000, "the end is never reached");
        }
    }

    /// The events up to the end of the log.
    pub(super) fn events_until_caught_up(&mut self) -> Vec<RecordedEvent> {
        let deliveries = self.until_caught_up();
        deliveries.iter().flat_map(events_of).collect()
    }

    /// Whether nothing is there to be delivered at once.
    pub(super) fn is_waiting(&mut self) -> bool {
        let mut next = self.subscription.next();
        let mut context = Context::from_waker(Waker::noop());
        next.as_mut().poll(&mut context).is_pending()
    }
}

pub(super) fn events_of(delivery: &Delivery) -> Vec<RecordedEvent> {
    if let Delivery::Events(batch) = delivery { batch.to_vec() } else { Vec::new() }
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait_at_most<T>(patience: Duration, answer: impl Future<Output = T>) -> Option<T> {
    poll_at_most(usize::MAX, patience, answer)
}

/// Polls so many times, and again when it is woken; then lets go of the future.
fn poll_at_most<T>(polls: usize, patience: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut answer = pin!(answer);
    let begun = Instant::now();
    for poll in 1.. {
        if let Poll::Ready(value) = answer.as_mut().poll(&mut context) {
            return Some(value);
        }
        if poll == polls {
            break;
        }
        let rest = patience.checked_sub(begun.elapsed())?;
        thread::park_timeout(rest);
    }
    None
}

pub(super) fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("the suite's names are names")
}

pub(super) fn event(event_type: &str) -> NewEvent {
    NewEvent::json(event_type, "{}").expect("the suite's names are names")
}

pub(super) fn tagged(event_type: &str, tags: &[&str]) -> NewEvent {
    let with_tag = |it: NewEvent, tag: &&str| it.with_tag(tag).expect("the suite's tags are tags");
    tags.iter().fold(event(event_type), with_tag)
}

/// The query that a text in the syntax of items means.
pub(super) fn query(text: &str) -> Query {
    text.parse().expect("the suite's queries are queries")
}

pub(super) fn item(text: &str) -> QueryItem {
    text.parse().expect("the suite's queries are queries")
}

pub(super) fn exactly(revision: u64) -> ExpectedRevision {
    ExpectedRevision::Exactly(Revision::new(revision))
}

pub(super) fn revision(number: u64) -> Revision {
    Revision::new(number)
}

/// A moment that no clock has reached.
pub(super) const FAR_FUTURE: Timestamp = Timestamp::from_micros(i64::MAX);

pub(super) fn types_of(events: &[RecordedEvent]) -> Vec<String> {
    events.iter().map(|event| event.event_type.to_string()).collect()
}

pub(super) fn revisions_of(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.revision.get()).collect()
}

pub(super) fn positions_of(events: &[RecordedEvent]) -> Vec<Position> {
    events.iter().map(|event| event.position).collect()
}

pub(super) fn conflict_of(answer: Result<Appended, AppendError>) -> Vec<Violation> {
    match answer {
        Err(AppendError::Conflict { violations }) => violations,
        other => panic!("a conflict was expected, got {other:?}"),
    }
}

pub(super) fn invalid_of(answer: Result<Appended, AppendError>) -> InvalidAppend {
    match answer {
        Err(AppendError::Invalid(reason)) => reason,
        other => panic!("an invalid append was expected, got {other:?}"),
    }
}

/// The only violation, which is of a stream: what was expected, and what was found.
pub(super) fn only_stream_violation(
    violations: &[Violation],
) -> (&StreamName, ExpectedRevision, StreamState) {
    match violations {
        [Violation::Stream { stream, expected, found }] => (stream, *expected, *found),
        other => panic!("one stream's violation was expected, got {other:?}"),
    }
}

/// The only violation, which is of a condition: its index, and the event that matches.
pub(super) fn only_query_violation(violations: &[Violation]) -> (usize, Position) {
    match violations {
        [Violation::Query { index, position }] => (*index, *position),
        other => panic!("one condition's violation was expected, got {other:?}"),
    }
}
