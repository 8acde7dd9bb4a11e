//! Random changes and reads, to the engine and to the store in memory.

use futures_lite::future::{block_on, poll_once};
use quipu_core::{
    AsOf, Delivery, Direction, EventStore, ListStreams, Position, Query, ReadAll, ReadIndex,
    ReadStream, Revision, StreamName, Subscribe, SubscribeFrom, Subscription, Term, Timestamp,
    collect,
};
use quipu_engine::io::sim::Chance;

use super::runs::run;
use super::view::find;
use super::workload::{Step, Workload, below};
use super::world::{Outcome, World};

const COUNT: u64 = 20_000;

#[test]
fn the_engine_answers_random_operations_as_the_store_in_memory_does() {
    let operations = run("random operations", "operations", COUNT, trial);

    assert!(operations > 0);
}

fn trial(seed: u64) -> u64 {
    let mut chance = Chance::new(seed);
    let mut world = World::new(chance.number(), None);
    let mut workload = Workload::new(chance.number());
    world.open().unwrap();
    let mut followers = Followers::default();
    let mut operations = 0;
    for _ in 0..60 {
        let step = workload.next(world.last(), world.now());
        if matches!(step, Step::Reopen) {
            followers = Followers::default();
        }
        assert_eq!(world.step(step), Outcome::Done);
        for _ in 0..4 {
            ask(&world, &mut chance);
        }
        followers.follow(&world, &mut chance);
        operations += 6;
    }
    world.look();
    operations
}

/// Asks both stores one thing.
fn ask(world: &World, chance: &mut Chance) {
    let question = Question::new(world, chance);
    let found = question.ask(world.engine());
    let should = question.ask(&world.model);
    assert_eq!(found, should, "{question:?}");
}

#[derive(Debug)]
enum Question {
    Stream(ReadStream),
    All(ReadAll),
    Index(ReadIndex),
    Info(StreamName),
    List(ListStreams),
    PositionAt(Timestamp),
}

impl Question {
    fn new(world: &World, chance: &mut Chance) -> Self {
        let last = world.last() as usize;
        let limit = chance.coin().then(|| chance.below(12) as u64);
        let direction = if chance.coin() { Direction::Forward } else { Direction::Backward };
        let time = Timestamp::from_micros(world.now().as_micros() - below(chance, 9_000_000));
        let as_of = match chance.below(4) {
            0 => Some(AsOf::Position(Position::new(chance.below(last + 2) as u64))),
            1 => Some(AsOf::Time(time)),
            _ => None,
        };
        match chance.below(8) {
            0 | 1 => {
                let from = chance.coin().then(|| Revision::new(chance.below(12) as u64));
                Self::Stream(ReadStream { stream: stream(chance), from, direction, limit, as_of })
            }
            2 | 3 => {
                let from = chance.coin().then(|| Position::new(chance.below(last + 3) as u64));
                Self::All(ReadAll { query: query(chance), from, direction, limit, as_of })
            }
            4 => {
                let from = chance.coin().then(|| chance.below(20) as u64);
                let term = term(chance);
                Self::Index(ReadIndex { term, from, direction, limit: limit.unwrap_or(100) })
            }
            5 => Self::Info(stream(chance)),
            6 => {
                let prefix = ["", "o", "order-", "$$", "x"][chance.below(5)].to_owned();
                let category = chance.coin().then(|| "order".to_owned());
                let after = chance.coin().then(|| stream(chance));
                let limit = chance.below(5);
                Self::List(ListStreams { prefix, category, after, limit })
            }
            _ => Self::PositionAt(time),
        }
    }

    /// The answer, as a text: errors too are to be the same.
    fn ask(&self, store: &dyn EventStore) -> String {
        match self {
            Self::Stream(read) => match block_on(store.read_stream(read.clone())) {
                Ok(read) => format!("{:?} {:?}", read.state, block_on(collect(read.batches))),
                Err(error) => format!("{error:?}"),
            },
            Self::All(read) => {
                let events = match block_on(store.read_all(read.clone())) {
                    Ok(read) => format!("{} {:?}", read.frontier, block_on(collect(read.batches))),
                    Err(error) => format!("{error:?}"),
                };
                format!("{events} {:?}", find(store, read.clone()))
            }
            Self::Index(read) => match block_on(store.read_index(read.clone())) {
                Ok(read) => {
                    let events = read.events.to_vec();
                    format!("{} {} {:?} {events:?}", read.frontier, read.count, read.entries)
                }
                Err(error) => format!("{error:?}"),
            },
            Self::Info(stream) => format!("{:?}", block_on(store.stream_info(stream.clone()))),
            Self::List(list) => format!("{:?}", block_on(store.list_streams(list.clone()))),
            Self::PositionAt(time) => format!("{:?}", block_on(store.position_at(*time))),
        }
    }
}

fn stream(chance: &mut Chance) -> StreamName {
    let names = ["order-1", "order-2", "cart-1", "plain", "gone-1", "$$order-1", "never-1"];
    StreamName::new(names[chance.below(names.len())]).unwrap()
}

fn query(chance: &mut Chance) -> Query {
    let texts = [
        "",
        "tag:vip",
        "tag:vip tag:order:1",
        "type:Placed,Paid tag:item:a",
        "category:order",
        "stream:cart-1 type:Shipped",
        "type:$metadata",
        "tag:never",
    ];
    let item = |chance: &mut Chance| texts[chance.below(texts.len())].parse().unwrap();
    match chance.below(6) {
        0 => Query::nothing(),
        1 | 2 => Query { items: vec![item(chance), item(chance)] },
        _ => Query { items: vec![item(chance)] },
    }
}

fn term(chance: &mut Chance) -> Term {
    match chance.below(4) {
        0 => Term::StreamNames,
        1 => Term::Category("order".to_owned()),
        2 => Term::Category("never".to_owned()),
        _ => Term::Type("Paid".parse().unwrap()),
    }
}

/// Subscriptions of the same kind to both stores.
#[derive(Default)]
struct Followers(Vec<Pair>);

/// The engine's, the model's, and what both are of.
type Pair = (Box<dyn Subscription>, Box<dyn Subscription>, String);

impl Followers {
    /// Takes what has come, begins another at times.
    fn follow(&mut self, world: &World, chance: &mut Chance) {
        if self.0.len() < 4 && chance.below(6) == 0 {
            let to = subscribe(world, chance);
            let found = block_on(world.engine().subscribe(to.clone()));
            let should = block_on(world.model.subscribe(to.clone()));
            match (found, should) {
                (Ok(found), Ok(should)) => self.0.push((found, should, format!("{to:?}"))),
                (Err(found), Err(should)) => {
                    assert_eq!(format!("{found:?}"), format!("{should:?}"));
                }
                _ => panic!("one of the stores refused {to:?}"),
            }
        }
        self.0.retain_mut(|(found, should, to)| {
            let (found, should) = (drain(&mut **found), drain(&mut **should));
            assert_eq!(found, should, "{to}");
            found.1.is_none()
        });
    }
}

fn subscribe(world: &World, chance: &mut Chance) -> Subscribe {
    if chance.coin() {
        let from = match chance.below(3) {
            0 => SubscribeFrom::Start,
            1 => SubscribeFrom::After(Revision::new(chance.below(5) as u64)),
            _ => SubscribeFrom::End,
        };
        return Subscribe::Stream { stream: stream(chance), from };
    }
    let from = match chance.below(3) {
        0 => SubscribeFrom::Start,
        1 => SubscribeFrom::After(Position::new(chance.below(world.last() as usize + 2) as u64)),
        _ => SubscribeFrom::End,
    };
    Subscribe::All { query: query(chance), from }
}

/// All that a subscription delivers before it would wait, and the error that ended it. How it is
/// cut into batches is each store's own.
fn drain(subscription: &mut dyn Subscription) -> (Vec<u64>, Option<String>) {
    let mut positions = Vec::new();
    loop {
        match block_on(poll_once(subscription.next())) {
            None => return (positions, None),
            Some(Ok(Delivery::Events(batch))) => {
                positions.extend(batch.iter().map(|event| event.position().get()));
            }
            Some(Ok(Delivery::Checkpoint(_) | Delivery::CaughtUp | Delivery::FellBehind)) => {}
            Some(Err(error)) => return (positions, Some(format!("{error:?}"))),
        }
    }
}
