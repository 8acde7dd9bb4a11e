//! Scavenging: what is hidden goes for good, and what has to stay stays.

use crate::append::{Append, Appended, ExpectedRevision};
use crate::metadata::{METADATA_TYPE, TOMBSTONE_TYPE};
use crate::name::EventType;
use crate::query::Query;
use crate::read::{Direction, IndexRead, ReadIndex, StreamState, Term};

use super::subject::{Subject, event, exactly, name, query, revision};

cases!(
    "scavenging",
    what_is_shown_stays,
    what_is_hidden_goes_from_the_log,
    the_last_event_of_a_hidden_stream_stays,
    a_deleted_streams_last_event_stays,
    a_tombstone_stays_alone,
    the_latest_metadata_stays,
    conditions_do_not_see_what_went,
    numbering_goes_on,
    retries_are_still_known,
    retries_of_a_tombstoned_streams_events_are_refused,
    ordinals_of_what_went_stay_without_an_event,
    streams_are_still_listed,
    a_tombstoned_stream_stays_over,
    scavenging_again_takes_nothing_more,
    subscriptions_pass_over_what_went,
    the_frontier_does_not_move,
);

fn limited(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);
    subject.set_metadata("a-1", r#"{"$maxCount":2}"#);
}

fn what_is_shown_stays(subject: &Subject<'_>) {
    subject.add("b-1", &["X", "Y"]);
    limited(subject);

    subject.scavenge();

    assert_eq!(subject.types("a-1"), ["C", "D"]);
    assert_eq!(subject.types("b-1"), ["X", "Y"]);
}

fn what_is_hidden_goes_from_the_log(subject: &Subject<'_>) {
    limited(subject);

    subject.scavenge();

    assert_eq!(subject.log(), ["C", "D", METADATA_TYPE]);
    assert_eq!(subject.matching(query("type:A,C")), ["C"]);
}

fn the_last_event_of_a_hidden_stream_stays(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.set_metadata("a-1", r#"{"$tb":9}"#);

    subject.scavenge();

    assert!(subject.types("a-1").is_empty());
    assert_eq!(subject.matching(Query::stream(name("a-1"))), ["B"]);
}

fn a_deleted_streams_last_event_stays(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.delete("a-1");

    subject.scavenge();

    assert_eq!(subject.matching(Query::stream(name("a-1"))), ["B"]);
    assert_eq!(subject.state("a-1"), StreamState::Deleted { last: Some(revision(1)) });
}

fn a_tombstone_stays_alone(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.tombstone("a-1");

    subject.scavenge();

    assert_eq!(subject.matching(Query::stream(name("a-1"))), [TOMBSTONE_TYPE]);
    assert_eq!(subject.state("a-1"), StreamState::Tombstoned { last: revision(2) });
}

fn the_latest_metadata_stays(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);
    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);
    subject.set_metadata("a-1", r#"{"$maxCount":2}"#);

    subject.scavenge();

    assert_eq!(subject.log(), ["B", "C", METADATA_TYPE]);
    subject.add("a-1", &["D"]);
    assert_eq!(subject.types("a-1"), ["C", "D"]);
}

fn conditions_do_not_see_what_went(subject: &Subject<'_>) {
    limited(subject);
    let append = |text| Append::new().event(name("b-1"), event("X")).fail_if(query(text), None);
    subject.conflict(append("type:A"));

    subject.scavenge();

    subject.conflict(append("type:A,C"));
    subject.append(append("type:A"));
}

fn numbering_goes_on(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);
    subject.delete("a-1");
    subject.scavenge();

    let appended = subject.append(Append::to_stream(name("a-1"), exactly(2), [event("D")]));

    assert_eq!(appended.streams.first().map(|it| it.revision), Some(revision(3)));
    assert_eq!(subject.types("a-1"), ["D"]);
}

fn retries_are_still_known(subject: &Subject<'_>) {
    let any = Append::to_stream(name("a-1"), ExpectedRevision::Any, [event("A")]);
    let checked = Append::to_stream(name("a-1"), exactly(0), [event("B")]);
    let first = subject.append(any.clone());
    let second = subject.append(checked.clone());
    subject.add("a-1", &["C"]);
    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);

    subject.scavenge();

    assert_eq!(subject.matching(query("type:A,B,C")), ["C"]);
    assert_eq!(subject.append(any), Appended { replayed: true, ..first });
    assert_eq!(subject.append(checked), Appended { replayed: true, ..second });
}

fn retries_of_a_tombstoned_streams_events_are_refused(subject: &Subject<'_>) {
    let append = Append::to_stream(name("a-1"), ExpectedRevision::Any, [event("A")]);
    subject.append(append.clone());
    subject.tombstone("a-1");

    subject.scavenge();

    subject.conflict(append);
}

fn read_index(subject: &Subject<'_>, term: Term) -> IndexRead {
    let read = ReadIndex { term, from: None, direction: Direction::Forward, limit: 100 };
    subject.wait(subject.store().read_index(read)).expect("the index is read")
}

fn ordinals_of_what_went_stay_without_an_event(subject: &Subject<'_>) {
    limited(subject);
    subject.add("a-2", &["B"]);
    let category = Term::Category("a".to_owned());
    let of_type = Term::Type(EventType::new("B").expect("it is a name"));
    let before = read_index(subject, category.clone());

    subject.scavenge();

    let after = read_index(subject, category);
    assert_eq!(after.count, 5);
    let places = |read: &IndexRead| -> Vec<_> {
        read.entries.iter().map(|it| (it.ordinal, it.position)).collect()
    };
    assert_eq!(places(&after), places(&before));
    let has_event: Vec<bool> = after.entries.iter().map(|it| it.event.is_some()).collect();
    assert_eq!(has_event, [false, false, true, true, true]);
    assert_eq!(after.events.count(), 3);
    let of_type = read_index(subject, of_type);
    let has_event: Vec<bool> = of_type.entries.iter().map(|it| it.event.is_some()).collect();
    assert_eq!(has_event, [false, true]);
}

fn streams_are_still_listed(subject: &Subject<'_>) {
    limited(subject);
    subject.tombstone("a-1");

    subject.scavenge();

    let list = crate::ListStreams { prefix: "a".to_owned(), limit: 9, ..Default::default() };
    let streams = subject.wait(subject.store().list_streams(list)).expect("they are listed");
    assert_eq!(streams, [name("a-1")]);
    assert_eq!(read_index(subject, Term::StreamNames).count, 2);
}

fn a_tombstoned_stream_stays_over(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.tombstone("a-1");

    subject.scavenge();

    subject.conflict(Append::new().event(name("a-1"), event("B")));
}

fn scavenging_again_takes_nothing_more(subject: &Subject<'_>) {
    limited(subject);
    subject.scavenge();
    let before = subject.log();

    subject.scavenge();

    assert_eq!(subject.log(), before);
}

fn subscriptions_pass_over_what_went(subject: &Subject<'_>) {
    limited(subject);
    subject.scavenge();

    let log = subject.follow(Query::all(), crate::SubscribeFrom::Start).events_until_caught_up();
    let stream = subject.follow_stream("a-1", crate::SubscribeFrom::Start).events_until_caught_up();

    assert_eq!(super::subject::types_of(&log), ["C", "D", METADATA_TYPE]);
    assert_eq!(super::subject::types_of(&stream), ["C", "D"]);
}

fn the_frontier_does_not_move(subject: &Subject<'_>) {
    limited(subject);
    let before = subject.frontier();

    subject.scavenge();

    assert_eq!(subject.frontier(), before);
}
