//! Idempotence: an append that is in the log already is answered, not repeated.

use bytes::Bytes;

use crate::append::{Append, Appended, Change, ExpectedRevision};
use crate::event::{EventId, NewEvent};
use crate::query::Query;
use crate::read::{ReadStream, StreamState};

use super::subject::{
    Subject, conflict_of, event, exactly, name, only_stream_violation, query, revision,
    revisions_of,
};
use ExpectedRevision::{Any, Deleted, NoStream, StreamExists};

cases!(
    "idempotence",
    a_retry_without_a_check_is_answered_with_the_original_places,
    a_retry_without_a_check_is_found_behind_later_events,
    a_retry_that_expects_no_stream_is_a_replay,
    a_retry_that_expects_no_stream_is_found_behind_later_events,
    a_retry_that_expects_an_existing_stream_is_a_replay,
    a_retry_at_a_revision_is_a_replay,
    a_retry_at_a_revision_is_found_behind_later_events,
    a_retry_that_expects_a_deleted_stream_is_a_replay,
    a_retry_that_revived_a_stream_is_a_replay,
    a_replay_writes_nothing,
    the_current_revision_always_appends,
    the_same_id_in_another_stream_is_another_event,
    a_part_of_an_append_that_is_there_already_is_a_conflict,
    a_part_that_is_there_in_an_existing_stream_is_a_conflict,
    an_append_whose_first_id_is_new_is_ordinary,
    another_event_behind_the_same_one_at_a_revision_is_a_conflict,
    more_events_than_were_appended_at_a_revision_are_a_conflict,
    fewer_events_than_were_appended_are_a_replay,
    another_event_where_no_stream_is_expected_is_a_conflict,
    the_same_id_at_another_revision_is_a_conflict,
    a_replay_does_not_look_at_conditions,
    a_replay_does_not_look_at_other_streams,
    a_check_is_never_a_replay,
    a_retry_on_a_tombstoned_stream_is_a_conflict,
    a_retry_that_expects_a_deleted_stream_to_exist_is_a_conflict,
    a_retry_on_a_deleted_stream_does_not_revive_it,
    a_retry_on_many_streams_is_a_replay,
    a_retry_with_one_stream_more_is_a_conflict,
    a_retry_with_one_stream_less_is_a_replay,
    a_partly_found_append_lists_its_other_violations_too,
    ids_that_came_in_different_appends_are_a_replay,
    one_id_may_stand_twice_in_an_append,
    a_retried_delete_is_a_replay,
    a_retried_tombstone_is_a_replay,
    another_tombstone_is_a_conflict,
    a_retried_change_of_metadata_is_a_replay,
    a_retry_is_known_when_retention_hides_its_events,
);

fn events(count: usize) -> Vec<NewEvent> {
    (0..count).map(|number| event(&format!("Type{number}"))).collect()
}

/// Appends twice and checks that the second time is answered like the first.
fn assert_replayed(subject: &Subject<'_>, append: &Append) {
    let first = subject.append(append.clone());
    assert!(!first.replayed);
    assert_is_replay_of(subject, append, &first);
}

fn assert_is_replay_of(subject: &Subject<'_>, append: &Append, original: &Appended) {
    let before = subject.frontier();

    let again = subject.append(append.clone());

    assert_eq!(again, Appended { replayed: true, ..original.clone() });
    assert_eq!(subject.frontier(), before);
}

fn a_retry_without_a_check_is_answered_with_the_original_places(subject: &Subject<'_>) {
    assert_replayed(subject, &Append::to_stream(name("a-1"), Any, events(3)));
}

fn a_retry_without_a_check_is_found_behind_later_events(subject: &Subject<'_>) {
    let append = Append::to_stream(name("a-1"), Any, events(2));
    let original = subject.append(append.clone());
    for _ in 0..100 {
        subject.add("a-1", &["Later"]);
    }

    assert_is_replay_of(subject, &append, &original);
}

fn a_retry_that_expects_no_stream_is_a_replay(subject: &Subject<'_>) {
    assert_replayed(subject, &Append::to_stream(name("a-1"), NoStream, events(2)));
}

fn a_retry_that_expects_no_stream_is_found_behind_later_events(subject: &Subject<'_>) {
    let append = Append::to_stream(name("a-1"), NoStream, events(2));
    let original = subject.append(append.clone());
    subject.add("a-1", &["Later"]);

    assert_is_replay_of(subject, &append, &original);
}

fn a_retry_that_expects_an_existing_stream_is_a_replay(subject: &Subject<'_>) {
    subject.add("a-1", &["Before"]);

    assert_replayed(subject, &Append::to_stream(name("a-1"), StreamExists, events(2)));
}

fn a_retry_at_a_revision_is_a_replay(subject: &Subject<'_>) {
    subject.add("a-1", &["Before", "Before"]);

    assert_replayed(subject, &Append::to_stream(name("a-1"), exactly(1), events(2)));
}

fn a_retry_at_a_revision_is_found_behind_later_events(subject: &Subject<'_>) {
    subject.add("a-1", &["Before"]);
    let append = Append::to_stream(name("a-1"), exactly(0), events(2));
    let original = subject.append(append.clone());
    subject.add("a-1", &["Later", "Later"]);

    assert_is_replay_of(subject, &append, &original);
}

fn a_retry_that_expects_a_deleted_stream_is_a_replay(subject: &Subject<'_>) {
    subject.add("a-1", &["Before"]);
    subject.delete("a-1");

    assert_replayed(subject, &Append::to_stream(name("a-1"), Deleted, events(2)));
}

fn a_retry_that_revived_a_stream_is_a_replay(subject: &Subject<'_>) {
    subject.add("a-1", &["Before"]);
    subject.delete("a-1");

    assert_replayed(subject, &Append::to_stream(name("a-1"), NoStream, events(2)));
}

fn a_replay_writes_nothing(subject: &Subject<'_>) {
    let append = Append::to_stream(name("a-1"), Any, events(2));

    for _ in 0..3 {
        subject.append(append.clone());
    }

    assert_eq!(subject.types("a-1"), ["Type0", "Type1"]);
    assert_eq!(subject.log(), ["Type0", "Type1"]);
}

fn the_current_revision_always_appends(subject: &Subject<'_>) {
    let same = event("Same");
    subject.append(Append::to_stream(name("a-1"), NoStream, [same.clone()]));

    let again = subject.append(Append::to_stream(name("a-1"), exactly(0), [same]));

    assert!(!again.replayed);
    assert_eq!(subject.types("a-1"), ["Same", "Same"]);
}

fn the_same_id_in_another_stream_is_another_event(subject: &Subject<'_>) {
    let same = event("Same");
    subject.append(Append::to_stream(name("a-1"), Any, [same.clone()]));

    let other = subject.append(Append::to_stream(name("b-1"), Any, [same]));

    assert!(!other.replayed);
    assert_eq!(subject.types("b-1"), ["Same"]);
    assert_eq!(subject.log(), ["Same", "Same"]);
}

/// Appends some events, then some of them and others, which has to be a conflict.
fn assert_part_is_conflict(
    subject: &Subject<'_>,
    expected: ExpectedRevision,
    first: &[NewEvent],
    second: &[NewEvent],
) {
    subject.add("a-1", &["Before"]);
    subject.append(Append::to_stream(name("a-1"), exactly(0), first.to_vec()));
    let state = StreamState::Live { last: revision(first.len() as u64) };

    let again = Append::to_stream(name("a-1"), expected, second.to_vec());
    let violations = subject.conflict(again);

    assert_eq!(only_stream_violation(&violations), (&name("a-1"), expected, state));
    assert_eq!(subject.types("a-1").len(), 1 + first.len());
}

fn a_part_of_an_append_that_is_there_already_is_a_conflict(subject: &Subject<'_>) {
    let known = events(2);
    let mixed = [known.clone(), vec![event("New")]].concat();

    assert_part_is_conflict(subject, Any, &known, &mixed);
}

fn a_part_that_is_there_in_an_existing_stream_is_a_conflict(subject: &Subject<'_>) {
    let known = events(2);
    let mixed = [known.clone(), vec![event("New")]].concat();

    assert_part_is_conflict(subject, StreamExists, &known, &mixed);
}

fn an_append_whose_first_id_is_new_is_ordinary(subject: &Subject<'_>) {
    let known = event("Known");
    subject.append(Append::to_stream(name("a-1"), Any, [known.clone()]));

    let mixed = subject.append(Append::to_stream(name("a-1"), Any, [event("New"), known]));

    assert!(!mixed.replayed);
    assert_eq!(subject.types("a-1"), ["Known", "New", "Known"]);
}

fn another_event_behind_the_same_one_at_a_revision_is_a_conflict(subject: &Subject<'_>) {
    let first = events(2);
    let second = [first.first().cloned().expect("there are two"), event("Other")];

    assert_part_is_conflict(subject, exactly(0), &first, &second);
}

fn more_events_than_were_appended_at_a_revision_are_a_conflict(subject: &Subject<'_>) {
    let first = events(2);
    let second = [first.clone(), vec![event("More")]].concat();

    assert_part_is_conflict(subject, exactly(0), &first, &second);
}

fn fewer_events_than_were_appended_are_a_replay(subject: &Subject<'_>) {
    let mut fewer = events(3);
    subject.append(Append::to_stream(name("a-1"), NoStream, fewer.clone()));
    fewer.pop();

    let again = subject.append(Append::to_stream(name("a-1"), NoStream, fewer));

    assert!(again.replayed);
    assert_eq!(again.streams.first().map(|it| it.revision), Some(revision(1)));
}

fn another_event_where_no_stream_is_expected_is_a_conflict(subject: &Subject<'_>) {
    subject.append(Append::to_stream(name("a-1"), NoStream, events(1)));

    subject.conflict(Append::to_stream(name("a-1"), NoStream, events(1)));

    assert_eq!(subject.types("a-1"), ["Type0"]);
}

fn the_same_id_at_another_revision_is_a_conflict(subject: &Subject<'_>) {
    let same = event("Same");
    subject.add("a-1", &["Before"]);
    subject.append(Append::to_stream(name("a-1"), exactly(0), [same.clone()]));
    subject.add("a-1", &["Later"]);

    subject.conflict(Append::to_stream(name("a-1"), NoStream, [same.clone()]));
    subject.conflict(Append::to_stream(name("a-1"), exactly(1), [same]));

    assert_eq!(subject.types("a-1"), ["Before", "Same", "Later"]);
}

fn a_replay_does_not_look_at_conditions(subject: &Subject<'_>) {
    let append =
        Append::to_stream(name("a-1"), Any, events(1)).fail_if(query("type:Type0,Other"), None);
    let original = subject.append(append.clone());
    subject.add("b-1", &["Other"]);

    assert_is_replay_of(subject, &append, &original);
}

fn a_replay_does_not_look_at_other_streams(subject: &Subject<'_>) {
    let append = Append::to_stream(name("a-1"), Any, events(1)).expect(name("b-1"), NoStream);
    let original = subject.append(append.clone());
    subject.add("b-1", &["Other"]);

    assert_is_replay_of(subject, &append, &original);
}

fn a_check_is_never_a_replay(subject: &Subject<'_>) {
    let check = Append::new().expect(name("a-1"), NoStream);
    assert!(!subject.append(check.clone()).replayed);
    subject.add("a-1", &["A"]);

    subject.conflict(check);
}

fn a_retry_on_a_tombstoned_stream_is_a_conflict(subject: &Subject<'_>) {
    let append = Append::to_stream(name("a-1"), Any, events(1));
    subject.append(append.clone());
    subject.tombstone("a-1");

    let violations = subject.conflict(append);

    let found = StreamState::Tombstoned { last: revision(1) };
    assert_eq!(only_stream_violation(&violations), (&name("a-1"), Any, found));
}

fn a_retry_that_expects_a_deleted_stream_to_exist_is_a_conflict(subject: &Subject<'_>) {
    subject.add("a-1", &["Before"]);
    let append = Append::to_stream(name("a-1"), StreamExists, events(1));
    subject.append(append.clone());
    subject.delete("a-1");

    let violations = subject.conflict(append);

    let found = StreamState::Deleted { last: Some(revision(1)) };
    assert_eq!(only_stream_violation(&violations), (&name("a-1"), StreamExists, found));
}

fn a_retry_on_a_deleted_stream_does_not_revive_it(subject: &Subject<'_>) {
    let append = Append::to_stream(name("a-1"), Any, events(2));
    let original = subject.append(append.clone());
    subject.delete("a-1");

    assert_is_replay_of(subject, &append, &original);

    assert_eq!(subject.state("a-1"), StreamState::Deleted { last: Some(revision(1)) });
}

fn on_two_streams() -> Append {
    Append::new()
        .event(name("a-1"), event("A"))
        .event(name("b-1"), event("B"))
        .event(name("a-1"), event("C"))
}

fn a_retry_on_many_streams_is_a_replay(subject: &Subject<'_>) {
    let append = on_two_streams().expect(name("a-1"), NoStream);
    let original = subject.append(append.clone());
    subject.add("b-1", &["Later"]);

    assert_is_replay_of(subject, &append, &original);
}

fn a_retry_with_one_stream_more_is_a_conflict(subject: &Subject<'_>) {
    let append = on_two_streams();
    subject.append(append.clone());

    subject.conflict(append.event(name("c-1"), event("D")));

    assert_eq!(subject.state("c-1"), StreamState::Absent);
    assert_eq!(subject.log(), ["A", "B", "C"]);
}

fn a_retry_with_one_stream_less_is_a_replay(subject: &Subject<'_>) {
    let mut append = on_two_streams();
    subject.append(append.clone());
    append.events.retain(|(stream, _)| *stream == name("a-1"));

    let again = subject.append(append);

    assert!(again.replayed);
    assert_eq!(again.streams.first().map(|it| it.revision), Some(revision(1)));
}

fn a_partly_found_append_lists_its_other_violations_too(subject: &Subject<'_>) {
    let known = event("Known");
    subject.append(Append::to_stream(name("a-1"), Any, [known.clone()]));
    let mixed = Append::new()
        .event(name("a-1"), known)
        .event(name("b-1"), event("New"))
        .expect(name("b-1"), StreamExists);

    let violations = subject.conflict(mixed);

    assert_eq!(violations.len(), 2, "{violations:?}");
    assert_eq!(subject.state("b-1"), StreamState::Absent);
}

fn ids_that_came_in_different_appends_are_a_replay(subject: &Subject<'_>) {
    let (first, second) = (event("A"), event("B"));
    subject.append(Append::to_stream(name("a-1"), Any, [first.clone()]));
    subject.append(Append::to_stream(name("a-1"), Any, [second.clone()]));

    let both = subject.append(Append::to_stream(name("a-1"), Any, [first, second]));

    assert!(both.replayed);
    assert_eq!(subject.types("a-1"), ["A", "B"]);
}

fn one_id_may_stand_twice_in_an_append(subject: &Subject<'_>) {
    let same = event("Same");

    subject.append(Append::to_stream(name("a-1"), Any, [same.clone(), same]));

    assert_eq!(revisions_of(&subject.read(ReadStream::new(name("a-1")))), [0, 1]);
}

/// Makes a change twice and checks that the second time is answered like the first.
fn assert_change_replayed(subject: &Subject<'_>, change: &Change) {
    let first = subject.settle(subject.wait(subject.store().change(change.clone())));
    let first = first.expect("the change is made");
    let before = subject.frontier();

    let again = subject.settle(subject.wait(subject.store().change(change.clone())));

    let again = again.expect("the change is a replay");
    assert_eq!(again, Appended { replayed: true, ..first });
    assert_eq!(subject.frontier(), before);
}

fn a_retried_delete_is_a_replay(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let (stream, id) = (name("a-1"), EventId::generate());

    assert_change_replayed(subject, &Change::Delete { stream, expected: exactly(0), id });
}

fn a_retried_tombstone_is_a_replay(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let (stream, id) = (name("a-1"), EventId::generate());

    assert_change_replayed(subject, &Change::Tombstone { stream, expected: exactly(0), id });
}

fn another_tombstone_is_a_conflict(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.tombstone("a-1");

    let another = subject.wait(subject.store().tombstone(name("a-1"), Any));

    let violations = conflict_of(another);
    let found = StreamState::Tombstoned { last: revision(1) };
    assert_eq!(only_stream_violation(&violations), (&name("a-1"), Any, found));
}

fn a_retried_change_of_metadata_is_a_replay(subject: &Subject<'_>) {
    let change = Change::SetMetadata {
        stream: name("a-1"),
        expected: NoStream,
        id: EventId::generate(),
        metadata: Bytes::from_static(br#"{"$maxCount":5}"#),
    };

    assert_change_replayed(subject, &change);
}

fn a_retry_is_known_when_retention_hides_its_events(subject: &Subject<'_>) {
    let append = Append::to_stream(name("a-1"), Any, events(2));
    let original = subject.append(append.clone());
    subject.set_metadata("a-1", r#"{"$tb":2}"#);
    assert!(subject.matching(Query::stream(name("a-1"))).len() == 2);

    assert_is_replay_of(subject, &append, &original);
}
