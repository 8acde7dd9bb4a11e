//! Decisions at their edges; the contract suite has the rules.

use std::time::{Duration, Instant};

use futures_lite::future::block_on;

use super::names::NameIndex;
use super::*;
use crate::memory::MemoryStore;
use crate::place::Timestamp;
use crate::read::{ReadAll, collect};
use crate::store::EventStore;

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn event() -> NewEvent {
    NewEvent::json("Made", "{}").unwrap()
}

fn log(store: &MemoryStore) -> Vec<crate::RecordedEvent> {
    let read = block_on(store.read_all(ReadAll::new(Query::all()))).unwrap();
    block_on(collect(read.batches)).unwrap()
}

/// A store with one stream that was made and deleted.
fn with_deleted_stream() -> MemoryStore {
    let store = MemoryStore::new();
    block_on(store.append(Append::new().event(name("a-1"), event()))).unwrap();
    block_on(store.delete(name("a-1"), ExpectedRevision::Any)).unwrap();
    store
}

#[test]
fn a_revivals_id_follows_from_the_append() {
    let append = Append::new().event(name("a-1"), event());

    let revivals = [with_deleted_stream(), with_deleted_stream()].map(|store| {
        block_on(store.append(append.clone())).unwrap();
        log(&store)[2].id
    });

    assert_eq!(revivals[0], revivals[1]);
    assert_ne!(revivals[0], append.events[0].1.id);
}

/// Regression: the event that revives a stream took the present time, and so raised the given times
/// of the imported events behind it.
#[test]
fn a_revival_does_not_raise_given_times() {
    let clock_at = Timestamp::from_micros(1_000);
    let store = MemoryStore::with_clock(Arc::new(move || clock_at));
    let given = |micros| {
        let recorded_at = Some(Timestamp::from_micros(micros));
        NewEvent { recorded_at, ..event() }
    };
    let json = StreamMetadata::default().json_with_truncate_before(TRUNCATE_BEFORE_DELETED);
    let deleted = NewEvent {
        recorded_at: Some(Timestamp::from_micros(20)),
        ..system_event(EventId::generate(), METADATA_TYPE, json)
    };
    let first = Append::new().event(name("a-1"), given(10)).event(name("$$a-1"), deleted);
    block_on(store.system().append(first)).unwrap();

    let revived = block_on(store.append(Append::new().event(name("a-1"), given(30)))).unwrap();

    assert_eq!(revived.clamped_count, 0);
    let times: Vec<i64> = log(&store).iter().map(|it| it.recorded_at.as_micros()).collect();
    assert_eq!(times, [10, 20, 30, 30]);
}

#[test]
fn a_batch_that_brings_its_own_metadata_is_not_overruled() {
    let store = with_deleted_stream();
    let json = Bytes::from_static(br#"{"owner":"ada"}"#);
    let own = system_event(EventId::generate(), METADATA_TYPE, json);
    let append = Append::new().event(name("$$a-1"), own).event(name("a-1"), event());

    block_on(store.system().append(append)).unwrap();

    let info = block_on(store.stream_info(name("a-1"))).unwrap();
    assert_eq!(info.metadata.object().len(), 2);
    assert_eq!((info.metadata.truncate_before(), info.count), (Some(1), 1));
}

/// Regression: names were looked for one by one, which took minutes for an append of this size.
#[test]
fn an_append_to_the_most_streams_is_decided_quickly() {
    let mut append = Append::new();
    for number in 0..crate::limits::APPEND_COUNT_MAX {
        let stream = name(&format!("thing-{number}"));
        append = append.event(stream.clone(), event()).expect(stream, ExpectedRevision::NoStream);
    }
    let begun = Instant::now();

    let appended = block_on(MemoryStore::new().append(append)).unwrap();

    assert_eq!(appended.streams.len(), crate::limits::APPEND_COUNT_MAX);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn names_are_found_before_and_after_they_are_hashed() {
    let names: Vec<StreamName> = (0..20).map(|number| name(&format!("n-{number}"))).collect();
    let mut index = NameIndex::with_room(names.len());

    for (place, own) in names.iter().enumerate() {
        assert_eq!(index.find(own), None);
        assert_eq!(index.find_or_add(own), (place, true));
        for (earlier, name) in names.iter().enumerate().take(place + 1) {
            assert_eq!(index.find(name), Some(earlier));
            assert_eq!(index.find_or_add(name), (earlier, false));
        }
    }
}

#[test]
fn violations_say_what_was_expected_and_found() {
    let violation = |expected, found| Violation::Stream { stream: name("a-1"), expected, found };
    let live = StreamState::Live { last: Revision::new(4) };
    let over = StreamState::Tombstoned { last: Revision::new(5) };

    let conflict = AppendError::Conflict {
        violations: vec![
            violation(ExpectedRevision::Exactly(Revision::new(3)), live),
            violation(ExpectedRevision::Any, over),
            violation(ExpectedRevision::Any, live),
            Violation::Query { index: 2, position: Position::new(9) },
        ],
    };

    assert_eq!(
        conflict.to_string(),
        "stream \"a-1\": expected revision 3, found revision 4; \
         stream \"a-1\": expected anything, found tombstoned at revision 5; \
         stream \"a-1\": some of the event ids are there already and others are not, \
         found revision 4; condition 2: the event at position 9 matches"
    );
}
