//! Clients that ask at random, and write down what they were answered.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quipu_core::{
    Append, AppendCondition, AppendError, Delivery, EventStore, ExpectedRevision, NewEvent,
    Position, Query, ReadAll, ReadStream, Revision, StreamName, Subscribe, SubscribeFrom,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::record::{Attempt, Call, Demand, Entry, History, Kind, Outcome};

const WRITER_COUNT: usize = 6;
const SUBSCRIBER_COUNT: usize = 2;
const STREAM_COUNT: u64 = 12;
const TAG_COUNT: u64 = 6;
/// How many of the last events a read of the log looks at.
const TAIL_COUNT: u64 = 40;
/// How long a call may take: one to a server that was killed may wait for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// The nodes of a store that clients ask, as long as there are some.
#[derive(Clone, Default)]
pub(super) struct Source {
    nodes: watch::Sender<Vec<Arc<dyn EventStore>>>,
    asked: Arc<AtomicUsize>,
}

impl Source {
    pub(super) fn serve(&self, nodes: Vec<Arc<dyn EventStore>>) {
        self.nodes.send_replace(nodes);
    }

    pub(super) fn withdraw(&self) {
        self.nodes.send_replace(Vec::new());
    }

    fn is_withdrawn(&self) -> bool {
        self.nodes.borrow().is_empty()
    }

    /// The next node in turn, once there is one.
    async fn store(&self) -> Arc<dyn EventStore> {
        let mut watched = self.nodes.subscribe();
        let nodes = watched.wait_for(|nodes| !nodes.is_empty()).await.unwrap();
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&nodes[turn % nodes.len()])
    }
}

/// Numbers that look random, the same for the same seed.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What all clients share.
#[derive(Default)]
struct Shared {
    clock: AtomicU64,
    is_over: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

impl Shared {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn note(&self, client: usize, began: u64, kind: Kind) {
        let ended = self.tick();
        self.calls.lock().unwrap().push(Call { client, began, ended, kind });
    }
}

/// Clients at work.
pub(super) struct Driver {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Driver {
    pub(super) fn start(runtime: &Runtime, source: &Source, seed: u64) -> Self {
        let shared = Arc::<Shared>::default();
        let mut tasks = Vec::new();
        for number in 0..WRITER_COUNT + SUBSCRIBER_COUNT {
            let client = Client {
                number,
                shared: Arc::clone(&shared),
                source: source.clone(),
                chance: Chance::new(seed.wrapping_add(number as u64 * 7919 + 1)),
            };
            if number < WRITER_COUNT {
                tasks.push(runtime.spawn(client.work()));
            } else {
                tasks.push(runtime.spawn(client.follow()));
            }
        }
        Self { shared, tasks }
    }

    /// Has everybody end what they are at, and reads the log that is left.
    pub(super) async fn end(self, store: &dyn EventStore) -> History {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes those who wait for what comes next.
        let last = Append::to_stream(name("end"), ExpectedRevision::Any, [event(0, None, "end")]);
        let began = self.shared.tick();
        let id = id_of(&last);
        let done = store.append(last).await.unwrap();
        let attempt =
            Attempt { stream: "end".into(), demand: Demand::Nothing, tag: None, ids: vec![id] };
        let outcome =
            Outcome::Done { first: done.first.unwrap().get(), revision: 0, replayed: false };
        self.shared.note(usize::MAX, began, Kind::Append(attempt, outcome));
        for task in self.tasks {
            tokio::time::timeout(3 * PATIENCE, task).await.expect("a client hangs").unwrap();
        }
        store.wait_visible(done.last.unwrap()).await.unwrap();
        let read = store.read_all(ReadAll::new(Query::all())).await.unwrap();
        let events = quipu_core::collect(read.batches).await.unwrap();
        let entry = |own: quipu_core::RecordedEvent| Entry {
            position: own.position.get(),
            stream: own.stream.to_string(),
            revision: own.revision.get(),
            id: own.id.as_uuid().as_u128(),
            tag: own.tags.iter().next().map(ToString::to_string),
        };
        let calls = std::mem::take(&mut *self.shared.calls.lock().unwrap());
        History { calls, log: events.into_iter().map(entry).collect() }
    }
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn event(number: u64, tag: Option<&str>, padding: &str) -> NewEvent {
    let event =
        NewEvent::json("Happened", format!("{{\"n\":{number},\"p\":{padding:?}}}")).unwrap();
    match tag {
        Some(tag) => event.with_tag(tag).unwrap(),
        None => event,
    }
}

fn id_of(append: &Append) -> u128 {
    append.events[0].1.id.as_uuid().as_u128()
}

struct Client {
    number: usize,
    shared: Arc<Shared>,
    source: Source,
    chance: Chance,
}

impl Client {
    /// Appends and reads until it is over.
    async fn work(mut self) {
        while !self.shared.is_over() {
            let store = self.source.store().await;
            match self.chance.below(10) {
                0 => self.read_frontier(&*store).await,
                1 => self.read_tail(&*store).await,
                2 => drop(self.read_stream(&*store).await),
                _ => self.append(&*store).await,
            }
        }
    }

    async fn append(&mut self, store: &dyn EventStore) {
        let Some((attempt, append)) = self.invent(store).await else { return };
        let mut store = None::<Arc<dyn EventStore>>;
        // What is not known is asked again, with the same ids, of whoever serves then. Some of what is
        // done is asked again too.
        let mut asks = 1 + usize::from(self.chance.below(8) == 0);
        for _ in 0..6 {
            let source = match &store {
                Some(store) => Arc::clone(store),
                None => self.source.store().await,
            };
            let began = self.shared.tick();
            let answered = tokio::time::timeout(PATIENCE, source.append(append.clone())).await;
            let outcome = match answered {
                Ok(Ok(done)) => {
                    let first = done.first.unwrap().get();
                    let last = done.streams[0].revision.get();
                    let revision = last + 1 - attempt.ids.len() as u64;
                    Outcome::Done { first, revision, replayed: done.replayed }
                }
                Ok(Err(AppendError::Conflict { .. })) => Outcome::Conflict,
                Err(_) | Ok(Err(AppendError::OutcomeUnknown(_))) => Outcome::Unknown,
                Ok(Err(_)) => Outcome::Refused,
            };
            let kind = Kind::Append(attempt.clone(), outcome.clone());
            self.shared.note(self.number, began, kind);
            asks -= usize::from(!matches!(outcome, Outcome::Unknown));
            if asks == 0 || self.shared.is_over() {
                return;
            }
            store = None;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// An append that is likely to hold, and may well not.
    async fn invent(&mut self, store: &dyn EventStore) -> Option<(Attempt, Append)> {
        let stream = format!("s-{}", self.chance.below(STREAM_COUNT));
        let tag = format!("t:{}", self.chance.below(TAG_COUNT));
        let tag = (self.chance.below(2) == 0).then_some(tag);
        let count = if self.chance.below(4) == 0 { 1 + self.chance.below(5) } else { 1 };
        let padding = "x".repeat(self.chance.below(400) as usize);
        let events: Vec<NewEvent> =
            (0..count).map(|number| event(number, tag.as_deref(), &padding)).collect();
        let ids = events.iter().map(|own| own.id.as_uuid().as_u128()).collect();
        let (demand, expected) = match self.chance.below(5) {
            0 => (Demand::NoStream, ExpectedRevision::NoStream),
            1 | 2 => match self.last_revision(store, &stream).await? {
                Some(last) => {
                    (Demand::Exactly(last), ExpectedRevision::Exactly(Revision::new(last)))
                }
                None => (Demand::NoStream, ExpectedRevision::NoStream),
            },
            _ => (Demand::Nothing, ExpectedRevision::Any),
        };
        let mut append = Append::to_stream(name(&stream), expected, events);
        let mut attempt = Attempt { stream, demand, tag, ids };
        if attempt.demand == Demand::Nothing && self.chance.below(2) == 0 {
            let began = self.shared.tick();
            let after = tokio::time::timeout(PATIENCE, store.frontier()).await.ok()?.ok()?;
            self.shared.note(self.number, began, Kind::Frontier(after.get()));
            let tag = format!("t:{}", self.chance.below(TAG_COUNT));
            let query: Query = format!("tag:{tag}").parse().unwrap();
            append.conditions.push(AppendCondition { query, after: Some(after) });
            attempt.demand = Demand::NoTag(tag, after.get());
        }
        Some((attempt, append))
    }

    async fn last_revision(&mut self, store: &dyn EventStore, stream: &str) -> Option<Option<u64>> {
        let read = ReadStream::new(name(stream)).limit(0);
        let read = tokio::time::timeout(PATIENCE, store.read_stream(read)).await.ok()?.ok()?;
        Some(read.state.last().map(Revision::get))
    }

    async fn read_frontier(&mut self, store: &dyn EventStore) {
        let began = self.shared.tick();
        if let Ok(Ok(frontier)) = tokio::time::timeout(PATIENCE, store.frontier()).await {
            self.shared.note(self.number, began, Kind::Frontier(frontier.get()));
        }
    }

    async fn read_tail(&mut self, store: &dyn EventStore) {
        let began = self.shared.tick();
        let read = ReadAll::new(Query::all()).backward().limit(TAIL_COUNT);
        let Ok(Ok(read)) = tokio::time::timeout(PATIENCE, store.read_all(read)).await else {
            return;
        };
        let frontier = read.frontier.get();
        let Ok(Ok(events)) =
            tokio::time::timeout(PATIENCE, quipu_core::collect(read.batches)).await
        else {
            return;
        };
        let events =
            events.iter().map(|own| (own.position.get(), own.id.as_uuid().as_u128())).collect();
        self.shared.note(self.number, began, Kind::ReadAll { frontier, events });
    }

    async fn read_stream(&mut self, store: &dyn EventStore) -> Option<()> {
        let stream = format!("s-{}", self.chance.below(STREAM_COUNT));
        let began = self.shared.tick();
        let read = store.read_stream(ReadStream::new(name(&stream)));
        let read = tokio::time::timeout(PATIENCE, read).await.ok()?.ok()?;
        let events = quipu_core::collect(read.batches);
        let events = tokio::time::timeout(PATIENCE, events).await.ok()?.ok()?;
        let events = events
            .iter()
            .map(|own| (own.revision.get(), own.position.get(), own.id.as_uuid().as_u128()))
            .collect();
        self.shared.note(self.number, began, Kind::ReadStream { stream, events });
        Some(())
    }

    /// Follows the log, from where it was when the server went.
    async fn follow(self) {
        let mut place = 0;
        while !self.shared.is_over() {
            let store = self.source.store().await;
            let after = place;
            let began = self.shared.tick();
            let mut events = Vec::new();
            let from = SubscribeFrom::After(Position::new(after));
            let begun = store.subscribe(Subscribe::All { query: Query::all(), from }).await;
            if let Ok(mut subscription) = begun {
                while let Ok(Ok(delivery)) =
                    tokio::time::timeout(PATIENCE, subscription.next()).await
                {
                    if let Delivery::Events(batch) = delivery {
                        events.extend(
                            batch
                                .iter()
                                .map(|own| (own.position().get(), own.id().as_uuid().as_u128())),
                        );
                    }
                    if self.shared.is_over() || self.source.is_withdrawn() {
                        break;
                    }
                }
            }
            place = events.last().map_or(after, |(position, _)| *position);
            self.shared.note(self.number, began, Kind::Deliveries { after, events });
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
