//! Deletes, tombstones, and coming back.

use crate::append::{Append, AppendError, Appended, ExpectedRevision, InvalidAppend};
use crate::metadata::{METADATA_TYPE, StreamMetadata, TOMBSTONE_TYPE};
use crate::query::Query;
use crate::read::{ReadAll, ReadStream, StreamInfo, StreamState};

use super::subject::{
    Subject, conflict_of, event, exactly, invalid_of, name, only_stream_violation, revision,
    revisions_of, types_of,
};
use ExpectedRevision::{Any, Deleted, NoStream, StreamExists, Tombstoned};

cases!(
    "deletes",
    a_deleted_stream_shows_nothing,
    a_deleted_streams_events_stay_in_the_log,
    a_stream_that_never_existed_cannot_be_deleted,
    a_stream_with_only_metadata_can_be_deleted,
    a_delete_is_answered_with_the_place_of_its_metadata,
    a_delete_checks_its_expectation,
    a_deleted_stream_can_be_deleted_again,
    a_delete_is_an_event_of_the_metadata_stream,
    a_delete_keeps_custom_metadata,
    an_append_revives_a_deleted_stream,
    a_revived_stream_numbers_on,
    a_revived_stream_hides_its_old_events,
    a_revival_stands_before_the_events_and_outside_the_answer,
    a_revival_keeps_custom_metadata,
    metadata_revives_a_deleted_stream,
    a_stream_can_be_deleted_and_revived_many_times,
    a_tombstoned_stream_shows_nothing,
    a_tombstone_is_an_event_at_the_next_revision,
    a_tombstoned_streams_events_stay_in_the_log,
    a_tombstone_checks_its_expectation,
    a_stream_that_never_existed_can_be_tombstoned,
    a_deleted_stream_can_be_tombstoned_without_reviving_it,
    a_tombstoned_stream_cannot_be_appended_to,
    a_tombstoned_stream_cannot_be_deleted,
    a_tombstoned_stream_gets_no_metadata,
    no_event_follows_a_tombstone_in_its_append,
    metadata_streams_are_neither_deleted_nor_tombstoned,
    reserved_streams_are_deleted_with_system_rights_only,
    deleting_one_stream_leaves_others_alone,
);

fn try_delete(
    subject: &Subject<'_>,
    stream: &str,
    expected: ExpectedRevision,
) -> Result<Appended, AppendError> {
    subject.settle(subject.wait(subject.store().delete(name(stream), expected)))
}

fn try_tombstone(
    subject: &Subject<'_>,
    stream: &str,
    expected: ExpectedRevision,
) -> Result<Appended, AppendError> {
    subject.settle(subject.wait(subject.store().tombstone(name(stream), expected)))
}

fn info(subject: &Subject<'_>, stream: &str) -> StreamInfo {
    subject.wait(subject.store().stream_info(name(stream))).expect("the store answers")
}

fn last(number: u64) -> StreamState {
    StreamState::Live { last: revision(number) }
}

fn a_deleted_stream_shows_nothing(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    subject.delete("a-1");

    let (state, events) = subject.read_with_state(ReadStream::new(name("a-1")));
    assert_eq!(state, StreamState::Deleted { last: Some(revision(1)) });
    assert!(events.is_empty());
    let (_, backward) = subject.read_with_state(ReadStream::new(name("a-1")).backward());
    assert!(backward.is_empty());
}

fn a_deleted_streams_events_stay_in_the_log(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    subject.delete("a-1");

    assert_eq!(subject.matching(Query::stream(name("a-1"))), ["A", "B"]);
    assert_eq!(subject.log(), ["A", "B", METADATA_TYPE]);
}

fn a_stream_that_never_existed_cannot_be_deleted(subject: &Subject<'_>) {
    for expected in [Any, NoStream, StreamExists, Deleted, Tombstoned, exactly(0)] {
        let violations = conflict_of(try_delete(subject, "a-1", expected));
        let violation = only_stream_violation(&violations);
        assert_eq!(violation, (&name("a-1"), expected, StreamState::Absent));
    }
    assert!(subject.log().is_empty());
}

fn a_stream_with_only_metadata_can_be_deleted(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"owner":"ada"}"#);

    subject.delete("a-1");

    assert_eq!(subject.state("a-1"), StreamState::Deleted { last: None });
}

fn a_delete_is_answered_with_the_place_of_its_metadata(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    let deleted = subject.delete("a-1");

    let [stream] = deleted.streams.as_slice() else { panic!("one stream, got {deleted:?}") };
    assert_eq!((&stream.stream, stream.revision), (&name("$$a-1"), revision(0)));
    assert_eq!(deleted.last, Some(stream.position));
    assert_eq!(deleted.first, deleted.last);
}

fn a_delete_checks_its_expectation(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    for wrong in [NoStream, Deleted, Tombstoned, exactly(0), exactly(2)] {
        let violations = conflict_of(try_delete(subject, "a-1", wrong));
        assert_eq!(only_stream_violation(&violations), (&name("a-1"), wrong, last(1)));
    }
    assert_eq!(subject.types("a-1"), ["A", "B"]);

    try_delete(subject, "a-1", exactly(1)).expect("the stream is as expected");
    conflict_of(try_delete(subject, "a-1", StreamExists));
    subject.add("a-1", &["C"]);
    try_delete(subject, "a-1", StreamExists).expect("the stream is as expected");
}

fn a_deleted_stream_can_be_deleted_again(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.delete("a-1");

    for right in [Any, NoStream, Deleted, exactly(0)] {
        try_delete(subject, "a-1", right).expect("the stream is as expected");
    }

    assert_eq!(subject.state("a-1"), StreamState::Deleted { last: Some(revision(0)) });
}

fn a_delete_is_an_event_of_the_metadata_stream(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    subject.delete("a-1");

    let read = subject.read(ReadStream::new(name("$$a-1")));
    let [deleted] = read.as_slice() else { panic!("one event was expected, got {read:?}") };
    assert_eq!(deleted.event_type.as_str(), METADATA_TYPE);
    let json = deleted.data.present().expect("it was not erased");
    assert!(StreamMetadata::parse(json).is_deleted());
}

fn a_delete_keeps_custom_metadata(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.set_metadata("a-1", r#"{"owner":"ada","$maxCount":7}"#);

    subject.delete("a-1");

    let metadata = info(subject, "a-1").metadata;
    assert_eq!(metadata.object().get("owner").and_then(|it| it.as_str()), Some("ada"));
    assert_eq!(metadata.max_count(), Some(7));
}

fn an_append_revives_a_deleted_stream(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.delete("a-1");

    subject.add("a-1", &["B"]);

    assert_eq!(subject.state("a-1"), last(1));
    assert_eq!(subject.types("a-1"), ["B"]);
}

fn a_revived_stream_numbers_on(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.delete("a-1");

    let appended =
        subject.append(Append::to_stream(name("a-1"), NoStream, [event("C"), event("D")]));

    assert_eq!(appended.streams.first().map(|it| it.revision), Some(revision(3)));
    assert_eq!(revisions_of(&subject.read(ReadStream::new(name("a-1")))), [2, 3]);
}

fn a_revived_stream_hides_its_old_events(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.delete("a-1");

    subject.add("a-1", &["C"]);
    subject.add("a-1", &["D"]);

    assert_eq!(subject.types("a-1"), ["C", "D"]);
    assert_eq!(info(subject, "a-1").metadata.truncate_before(), Some(2));
    assert_eq!(subject.matching(Query::stream(name("a-1"))), ["A", "B", "C", "D"]);
}

fn a_revival_stands_before_the_events_and_outside_the_answer(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.delete("a-1");

    let appended = subject.append(Append::to_stream(name("a-1"), exactly(0), [event("B")]));

    let log = subject.read_all(ReadAll::new(Query::all()));
    assert_eq!(types_of(&log), ["A", METADATA_TYPE, METADATA_TYPE, "B"]);
    let place = log.last().map(|it| it.position);
    assert_eq!((appended.first, appended.last), (place, place));
    let streams: Vec<&str> = appended.streams.iter().map(|it| it.stream.as_str()).collect();
    assert_eq!(streams, ["a-1"]);
}

fn a_revival_keeps_custom_metadata(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.set_metadata("a-1", r#"{"owner":"ada"}"#);
    subject.delete("a-1");

    subject.add("a-1", &["B"]);

    let metadata = info(subject, "a-1").metadata;
    assert_eq!(metadata.object().get("owner").and_then(|it| it.as_str()), Some("ada"));
}

fn metadata_revives_a_deleted_stream(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.delete("a-1");

    let set = subject.set_metadata("a-1", r#"{"owner":"ada"}"#);

    assert_eq!(set.streams.first().map(|it| it.revision), Some(revision(1)));
    assert_eq!(subject.state("a-1"), last(1));
    assert!(subject.types("a-1").is_empty(), "old events stay hidden");
    let metadata = info(subject, "a-1").metadata;
    assert_eq!(metadata.object().get("owner").and_then(|it| it.as_str()), Some("ada"));
    subject.add("a-1", &["C"]);
    assert_eq!(subject.types("a-1"), ["C"]);
}

fn a_stream_can_be_deleted_and_revived_many_times(subject: &Subject<'_>) {
    for number in 0..5 {
        subject.add("a-1", &["A", "B"]);
        let events = subject.read(ReadStream::new(name("a-1")));
        assert_eq!(revisions_of(&events), [2 * number, 2 * number + 1]);
        subject.delete("a-1");
        assert!(subject.types("a-1").is_empty());
    }
}

fn a_tombstoned_stream_shows_nothing(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    subject.tombstone("a-1");

    let (state, events) = subject.read_with_state(ReadStream::new(name("a-1")));
    assert_eq!(state, StreamState::Tombstoned { last: revision(2) });
    assert!(events.is_empty());
}

fn a_tombstone_is_an_event_at_the_next_revision(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    let ended = subject.tombstone("a-1");

    let log = subject.read_all(ReadAll::new(Query::stream(name("a-1"))));
    let tombstone = log.last().expect("the stream has events");
    assert_eq!(tombstone.event_type.as_str(), TOMBSTONE_TYPE);
    assert_eq!(tombstone.revision, revision(2));
    assert_eq!(ended.last, Some(tombstone.position));
    assert_eq!(ended.streams.first().map(|it| it.revision), Some(revision(2)));
}

fn a_tombstoned_streams_events_stay_in_the_log(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    subject.tombstone("a-1");

    assert_eq!(subject.log(), ["A", TOMBSTONE_TYPE]);
}

fn a_tombstone_checks_its_expectation(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    for wrong in [NoStream, Deleted, Tombstoned, exactly(0), exactly(2)] {
        let violations = conflict_of(try_tombstone(subject, "a-1", wrong));
        assert_eq!(only_stream_violation(&violations), (&name("a-1"), wrong, last(1)));
    }
    try_tombstone(subject, "a-1", exactly(1)).expect("the stream is as expected");

    assert_eq!(subject.state("a-1"), StreamState::Tombstoned { last: revision(2) });
}

fn a_stream_that_never_existed_can_be_tombstoned(subject: &Subject<'_>) {
    conflict_of(try_tombstone(subject, "a-1", StreamExists));

    try_tombstone(subject, "a-1", NoStream).expect("the stream is as expected");

    assert_eq!(subject.state("a-1"), StreamState::Tombstoned { last: revision(0) });
    subject.conflict(Append::new().event(name("a-1"), event("A")));
}

fn a_deleted_stream_can_be_tombstoned_without_reviving_it(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.delete("a-1");

    subject.tombstone("a-1");

    assert_eq!(subject.state("a-1"), StreamState::Tombstoned { last: revision(1) });
    assert_eq!(subject.log(), ["A", METADATA_TYPE, TOMBSTONE_TYPE]);
}

fn a_tombstoned_stream_cannot_be_appended_to(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.tombstone("a-1");
    let before = subject.frontier();

    for expected in [Any, NoStream, StreamExists, Deleted, Tombstoned, exactly(0), exactly(1)] {
        subject.conflict(Append::to_stream(name("a-1"), expected, [event("B")]));
    }

    assert_eq!(subject.frontier(), before);
}

fn a_tombstoned_stream_cannot_be_deleted(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.tombstone("a-1");

    for expected in [Any, exactly(0), Tombstoned] {
        let violations = conflict_of(try_delete(subject, "a-1", expected));
        let found = StreamState::Tombstoned { last: revision(1) };
        assert_eq!(only_stream_violation(&violations), (&name("a-1"), expected, found));
    }
}

fn a_tombstoned_stream_gets_no_metadata(subject: &Subject<'_>) {
    subject.tombstone("a-1");
    let json = bytes::Bytes::from_static(b"{}");

    let set = subject.wait(subject.store().set_metadata(name("a-1"), Any, json));

    let violations = conflict_of(set);
    assert_eq!(only_stream_violation(&violations).0, &name("a-1"));
    assert_eq!(subject.log(), [TOMBSTONE_TYPE]);
}

fn no_event_follows_a_tombstone_in_its_append(subject: &Subject<'_>) {
    let append = |types: &[&str]| {
        let events: Vec<_> = types.iter().map(|it| event(it)).collect();
        let append = Append::to_stream(name("a-1"), Any, events);
        subject.settle(subject.wait(subject.system().append(append)))
    };

    conflict_of(append(&["A", TOMBSTONE_TYPE, "B"]));
    assert!(subject.log().is_empty());
    append(&["A", TOMBSTONE_TYPE]).expect("a tombstone may be the last event");

    assert_eq!(subject.state("a-1"), StreamState::Tombstoned { last: revision(1) });
}

fn metadata_streams_are_neither_deleted_nor_tombstoned(subject: &Subject<'_>) {
    subject.set_metadata("a-1", "{}");
    let stream = name("$$a-1");
    let expected = InvalidAppend::MetadataStream { stream: stream.clone() };
    let system = subject.system();
    let json = bytes::Bytes::from_static(b"{}");
    let by_hand = Append::new().event(stream.clone(), event(TOMBSTONE_TYPE));

    let answers = [
        subject.wait(system.delete(stream.clone(), Any)),
        subject.wait(system.tombstone(stream.clone(), Any)),
        subject.wait(system.set_metadata(stream, Any, json)),
        subject.wait(system.append(by_hand)),
    ];

    for answer in answers {
        assert_eq!(invalid_of(answer), expected);
    }
    assert_eq!(subject.log(), [METADATA_TYPE]);
}

fn reserved_streams_are_deleted_with_system_rights_only(subject: &Subject<'_>) {
    subject.append_as_system(Append::new().event(name("$settings"), event("A")));

    let reason = invalid_of(try_delete(subject, "$settings", Any));
    assert_eq!(reason, InvalidAppend::ReservedName { name: "$settings".to_owned() });
    let reason = invalid_of(try_tombstone(subject, "$settings", Any));
    assert_eq!(reason, InvalidAppend::ReservedName { name: "$settings".to_owned() });
    assert_eq!(subject.types("$settings"), ["A"]);

    subject.wait(subject.system().delete(name("$settings"), Any)).expect("it has the rights");
    assert!(subject.types("$settings").is_empty());
}

fn deleting_one_stream_leaves_others_alone(subject: &Subject<'_>) {
    for stream in ["a-1", "a-10", "a-2", "a"] {
        subject.add(stream, &["A"]);
    }

    subject.delete("a-1");
    subject.tombstone("a-2");

    assert_eq!(subject.types("a-10"), ["A"]);
    assert_eq!(subject.types("a"), ["A"]);
}
