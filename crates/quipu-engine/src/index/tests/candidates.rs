//! From queries to candidates: nothing that matches is missed.

use quipu_core::{
    Direction, EventId, EventType, Query, QueryItem, Revision, StreamName, Tags, category,
};

use super::super::{Index, IndexError, Key};
use super::model::{Chance, origin};
use super::runs::{dir, disk};
use crate::format::run::RunName;
use crate::io::SeededBug;

/// What an event is found by.
struct Fact {
    stream: String,
    event_type: String,
    tags: Vec<String>,
}

impl Fact {
    fn matches(&self, item: &QueryItem) -> bool {
        (item.types.is_empty() || item.types.iter().any(|own| *own == self.event_type.as_str()))
            && item.tags.iter().all(|tag| self.tags.iter().any(|own| tag == own))
            && item.stream.as_ref().is_none_or(|stream| *stream == self.stream.as_str())
            && item.category.as_ref().is_none_or(|own| own == category(&self.stream))
    }
}

fn some_event(chance: &mut Chance) -> Fact {
    Fact {
        stream: format!("{}-{}", ["order", "payment"][chance.below(2) as usize], chance.below(9)),
        event_type: format!("Type{}", chance.below(5)),
        tags: (0..chance.below(4)).map(|_| format!("tag:{}", chance.below(8))).collect(),
    }
}

fn some_item(chance: &mut Chance) -> QueryItem {
    let like = some_event(chance);
    let mut item = QueryItem::default();
    for _ in 0..chance.below(3) {
        item.types.push(EventType::new(format!("Type{}", chance.below(6))).unwrap());
    }
    if chance.below(2) == 0 {
        item.tags = Tags::parse(like.tags.iter().take(2)).unwrap();
    }
    match chance.below(4) {
        0 => item.stream = Some(StreamName::new(&like.stream).unwrap()),
        1 => item.category = Some(category(&like.stream).to_owned()),
        _ => {}
    }
    item
}

#[test]
fn candidates_of_a_query_are_the_events_that_match() {
    let mut chance = Chance::new(51);
    let disk = disk();
    let index = Index::new(origin(), 250, 1, Vec::new()).unwrap();
    let hasher = index.hasher();
    let mut events = Vec::new();
    for _ in 0..1_200 {
        let mut keys: Vec<Key> = Vec::new();
        let event = some_event(&mut chance);
        let revision = events.iter().filter(|other: &&Fact| other.stream == event.stream).count();
        let tags = event.tags.iter().map(String::as_str);
        let revision = Revision::new(revision as u64);
        hasher.event_keys(&mut keys, &event.stream, revision, &event.event_type, tags);
        index.add(&keys, hasher.id(&event.stream, EventId::generate()));
        events.push(event);
    }
    while index.frozen_count() > 1 {
        let run = index.seal(&disk, &dir(), 1_200, |_| Ok::<_, IndexError>(None)).unwrap();
        index.install(run.unwrap());
    }
    let reader = index.reader(1_200);

    for _ in 0..300 {
        let items = (0..chance.below(3)).map(|_| some_item(&mut chance)).collect();
        let query = Query { items };
        let from = 1 + chance.below(1_200);
        let mut candidates = reader.candidates(&query, from, Direction::Forward);

        for (position, event) in (1..).zip(&events).skip(from as usize - 1) {
            if query.items.iter().any(|item| event.matches(item)) {
                assert_eq!(candidates.next().unwrap(), Some(position), "{query:?}");
            }
        }

        assert_eq!(candidates.next().unwrap(), None, "{query:?}");
    }
    assert_eq!(reader.count(hasher.stream_names()).unwrap(), 18, "two categories of nine streams");
}

/// A simulation must notice an index that lacks an event; here is the bug it is tried with.
#[test]
fn the_seeded_bug_hides_the_last_event_of_a_run() {
    let disk = disk();
    disk.seed_bug(SeededBug::IndexMissesLastEvents);
    let index = Index::new(origin(), 3, 1, Vec::new()).unwrap();
    let hasher = index.hasher();
    for revision in 0..3 {
        let mut keys = Vec::new();
        hasher.event_keys(&mut keys, "order-1", Revision::new(revision), "Placed", ["a"]);
        index.add(&keys, hasher.id("order-1", EventId::from_bytes([revision as u8; 16])));
    }

    let run = index.seal(&disk, &dir(), 3, |_| Ok::<_, IndexError>(None)).unwrap().unwrap();
    assert_eq!(run.name(), RunName { level: 0, first: 1, last: 3 });
    index.install(run);

    assert_eq!(index.reader(3).count(hasher.stream("order-1")).unwrap(), 2);
}
