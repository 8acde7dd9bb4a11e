//! Reads of the log and of streams as they were.

use std::time::Duration;

use crate::place::{Position, Revision, Timestamp};
use crate::query::Query;
use crate::read::{AsOf, ReadAll, ReadError, ReadStream, StreamState};

use super::subject::{FAR_FUTURE, Subject, name, query, revision, types_of};

cases!(
    "as_of",
    a_log_read_as_of_a_place_ends_with_it,
    a_log_read_as_of_a_place_answers_a_frontier_not_above_it,
    a_log_read_as_of_the_start_shows_nothing,
    a_log_read_as_of_a_place_begins_and_ends_where_it_is_told,
    a_log_read_as_of_the_frontier_is_a_read_of_now,
    a_stream_read_as_of_a_place_ends_with_it,
    a_stream_is_absent_as_of_a_place_before_it,
    a_stream_is_live_as_of_a_place_before_its_delete,
    a_stream_is_deleted_as_of_a_place_before_its_revival,
    a_stream_is_live_as_of_a_place_before_its_tombstone,
    retention_is_that_of_the_moment,
    retention_that_came_later_hides_nothing_earlier,
    a_metadata_stream_shows_its_last_event_of_the_moment,
    a_place_beyond_the_frontier_is_in_the_future,
    a_time_beyond_the_clock_is_in_the_future,
    a_log_read_as_of_a_time_shows_what_was_recorded_by_then,
    a_stream_read_as_of_a_time_shows_what_was_recorded_by_then,
    a_stream_is_live_as_of_a_time_before_its_tombstone,
    max_age_counts_from_the_time_asked_for,
    max_age_counts_from_the_last_event_at_the_place_asked_for,
    the_position_at_a_time_is_before_the_first_later_event,
    the_position_at_a_time_before_all_events_is_before_them,
    the_position_at_a_time_in_the_future_is_not_known,
);

fn place(subject: &Subject<'_>, stream: &str, types: &[&str]) -> Position {
    subject.add(stream, types).last.expect("events have places")
}

fn stream_as_of(subject: &Subject<'_>, stream: &str, as_of: AsOf) -> (StreamState, Vec<String>) {
    let read = ReadStream::new(name(stream)).as_of(as_of);
    let (state, events) = subject.read_with_state(read);
    (state, types_of(&events))
}

fn log_as_of(subject: &Subject<'_>, as_of: AsOf) -> Vec<String> {
    types_of(&subject.read_all(ReadAll::new(Query::all()).as_of(as_of)))
}

fn live(number: u64) -> StreamState {
    StreamState::Live { last: revision(number) }
}

/// The time by the store's clock.
fn now(subject: &Subject<'_>) -> Timestamp {
    subject.add("clock-1", &["Tick"]);
    let last = subject.read(ReadStream::new(name("clock-1")).backward().limit(1));
    last.first().expect("it was appended").recorded_at
}

fn a_log_read_as_of_a_place_ends_with_it(subject: &Subject<'_>) {
    let first = place(subject, "a-1", &["A", "B"]);
    let second = place(subject, "b-1", &["C"]);
    subject.add("a-1", &["D"]);

    assert_eq!(log_as_of(subject, AsOf::Position(first)), ["A", "B"]);
    assert_eq!(log_as_of(subject, AsOf::Position(second)), ["A", "B", "C"]);
    let backward = ReadAll::new(Query::all()).backward().as_of(AsOf::Position(second));
    assert_eq!(types_of(&subject.read_all(backward)), ["C", "B", "A"]);
}

fn a_log_read_as_of_a_place_answers_a_frontier_not_above_it(subject: &Subject<'_>) {
    let first = place(subject, "a-1", &["A"]);
    subject.add("a-1", &["B"]);
    let read = ReadAll::new(Query::all()).as_of(AsOf::Position(first));

    let (frontier, events) = subject.read_all_with_frontier(read);

    assert!(frontier <= first);
    assert!(events.iter().all(|it| it.position <= frontier));
    assert_eq!(types_of(&events), ["A"]);
}

fn a_log_read_as_of_the_start_shows_nothing(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    assert!(log_as_of(subject, AsOf::Position(Position::START)).is_empty());
    let stream = stream_as_of(subject, "a-1", AsOf::Position(Position::START));
    assert_eq!(stream, (StreamState::Absent, vec![]));
}

fn a_log_read_as_of_a_place_begins_and_ends_where_it_is_told(subject: &Subject<'_>) {
    let first = place(subject, "a-1", &["A"]);
    let second = place(subject, "a-1", &["B"]);
    let third = place(subject, "a-1", &["C"]);
    let last = place(subject, "a-1", &["D"]);
    let read = ReadAll::new(Query::all()).as_of(AsOf::Position(third));

    assert_eq!(types_of(&subject.read_all(read.clone().from(second))), ["B", "C"]);
    assert_eq!(types_of(&subject.read_all(read.clone().limit(1))), ["A"]);
    assert_eq!(types_of(&subject.read_all(read.clone().backward().limit(1))), ["C"]);
    assert_eq!(types_of(&subject.read_all(read.clone().backward().from(first))), ["A"]);
    assert_eq!(types_of(&subject.read_all(read.clone().backward().from(last))), ["C", "B", "A"]);
    assert!(subject.read_all(read.from(last)).is_empty());
}

fn a_log_read_as_of_the_frontier_is_a_read_of_now(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    assert_eq!(log_as_of(subject, AsOf::Position(subject.frontier())), ["A", "B"]);
}

fn a_stream_read_as_of_a_place_ends_with_it(subject: &Subject<'_>) {
    let first = place(subject, "a-1", &["A", "B"]);
    let between = place(subject, "b-1", &["X"]);
    subject.add("a-1", &["C"]);

    for at in [first, between] {
        let stream = stream_as_of(subject, "a-1", AsOf::Position(at));
        assert_eq!(stream, (live(1), vec!["A".to_owned(), "B".to_owned()]));
    }
    let read = ReadStream::new(name("a-1")).as_of(AsOf::Position(between));
    assert_eq!(types_of(&subject.read(read.clone().backward().limit(1))), ["B"]);
    assert_eq!(types_of(&subject.read(read.clone().from(Revision::FIRST).limit(1))), ["A"]);
    assert!(subject.read(read.from(revision(2))).is_empty());
}

fn a_stream_is_absent_as_of_a_place_before_it(subject: &Subject<'_>) {
    let before = place(subject, "b-1", &["X"]);
    subject.add("a-1", &["A"]);

    let stream = stream_as_of(subject, "a-1", AsOf::Position(before));

    assert_eq!(stream, (StreamState::Absent, vec![]));
}

fn a_stream_is_live_as_of_a_place_before_its_delete(subject: &Subject<'_>) {
    let before = place(subject, "a-1", &["A"]);
    subject.delete("a-1");

    let stream = stream_as_of(subject, "a-1", AsOf::Position(before));

    assert_eq!(stream, (live(0), vec!["A".to_owned()]));
}

fn a_stream_is_deleted_as_of_a_place_before_its_revival(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let deleted = subject.delete("a-1").last.expect("a delete has a place");
    let revived = place(subject, "a-1", &["B"]);

    let stream = stream_as_of(subject, "a-1", AsOf::Position(deleted));
    assert_eq!(stream, (StreamState::Deleted { last: Some(revision(0)) }, vec![]));
    let stream = stream_as_of(subject, "a-1", AsOf::Position(revived));
    assert_eq!(stream, (live(1), vec!["B".to_owned()]));
}

fn a_stream_is_live_as_of_a_place_before_its_tombstone(subject: &Subject<'_>) {
    let before = place(subject, "a-1", &["A"]);
    let ended = subject.tombstone("a-1").last.expect("a tombstone has a place");

    let stream = stream_as_of(subject, "a-1", AsOf::Position(before));
    assert_eq!(stream, (live(0), vec!["A".to_owned()]));
    let stream = stream_as_of(subject, "a-1", AsOf::Position(ended));
    assert_eq!(stream, (StreamState::Tombstoned { last: revision(1) }, vec![]));
}

fn retention_is_that_of_the_moment(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);
    let limited = place(subject, "a-1", &["C"]);
    subject.set_metadata("a-1", "{}");
    assert_eq!(subject.types("a-1"), ["A", "B", "C"]);

    let stream = stream_as_of(subject, "a-1", AsOf::Position(limited));

    assert_eq!(stream, (live(2), vec!["C".to_owned()]));
}

fn retention_that_came_later_hides_nothing_earlier(subject: &Subject<'_>) {
    let before = place(subject, "a-1", &["A", "B"]);
    subject.set_metadata("a-1", r#"{"$tb":5}"#);

    let stream = stream_as_of(subject, "a-1", AsOf::Position(before));

    assert_eq!(stream, (live(1), vec!["A".to_owned(), "B".to_owned()]));
}

fn a_metadata_stream_shows_its_last_event_of_the_moment(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"n":1}"#);
    let second = subject.set_metadata("a-1", r#"{"n":2}"#).last.expect("it has a place");
    subject.set_metadata("a-1", r#"{"n":3}"#);

    let read = ReadStream::new(name("$$a-1")).as_of(AsOf::Position(second));
    let events = subject.read(read);

    assert_eq!(super::subject::revisions_of(&events), [1]);
}

fn is_in_future<T>(answer: &Result<T, ReadError>) -> bool {
    matches!(answer, Err(ReadError::AsOfInFuture { .. }))
}

fn a_place_beyond_the_frontier_is_in_the_future(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    for place in [subject.frontier().next(), Position::MAX] {
        let as_of = AsOf::Position(place);
        let log = ReadAll::new(Query::all()).as_of(as_of);
        assert!(is_in_future(&subject.wait(subject.store().read_all(log))));
        let stream = ReadStream::new(name("a-1")).as_of(as_of);
        assert!(is_in_future(&subject.wait(subject.store().read_stream(stream))));
    }
}

fn a_time_beyond_the_clock_is_in_the_future(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let as_of = AsOf::Time(FAR_FUTURE);

    let log = ReadAll::new(Query::all()).as_of(as_of);
    assert!(is_in_future(&subject.wait(subject.store().read_all(log))));
    let stream = ReadStream::new(name("a-1")).as_of(as_of);
    assert!(is_in_future(&subject.wait(subject.store().read_stream(stream))));
}

fn a_log_read_as_of_a_time_shows_what_was_recorded_by_then(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    let then = now(subject);
    subject.advance_clock(Duration::from_secs(1));
    subject.add("a-1", &["C"]);

    let read = ReadAll::new(query("type:A,B,C")).as_of(AsOf::Time(then));
    let (frontier, events) = subject.read_all_with_frontier(read);

    assert_eq!(types_of(&events), ["A", "B"]);
    assert!(events.iter().all(|it| it.position <= frontier));
    assert!(frontier < subject.frontier());
    let later = AsOf::Time(then.plus(Duration::from_millis(500)));
    assert_eq!(log_as_of(subject, later), ["A", "B", "Tick"]);
}

fn a_stream_read_as_of_a_time_shows_what_was_recorded_by_then(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let then = now(subject);
    subject.advance_clock(Duration::from_secs(1));
    subject.add("a-1", &["B"]);
    subject.delete("a-1");

    let stream = stream_as_of(subject, "a-1", AsOf::Time(then));

    assert_eq!(stream, (live(0), vec!["A".to_owned()]));
}

fn a_stream_is_live_as_of_a_time_before_its_tombstone(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let then = now(subject);
    subject.advance_clock(Duration::from_secs(1));
    subject.tombstone("a-1");

    let stream = stream_as_of(subject, "a-1", AsOf::Time(then));

    assert_eq!(stream, (live(0), vec!["A".to_owned()]));
}

fn max_age_counts_from_the_time_asked_for(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"$maxAge":60}"#);
    subject.add("a-1", &["A"]);
    let then = now(subject);
    subject.advance_clock(Duration::from_secs(100));
    assert!(subject.types("a-1").is_empty());

    let stream = stream_as_of(subject, "a-1", AsOf::Time(then));
    assert_eq!(stream, (live(0), vec!["A".to_owned()]));
    let later = AsOf::Time(then.plus(Duration::from_secs(90)));
    assert_eq!(stream_as_of(subject, "a-1", later), (live(0), vec![]));
}

fn max_age_counts_from_the_last_event_at_the_place_asked_for(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"$maxAge":60}"#);
    let first = place(subject, "a-1", &["A"]);
    subject.advance_clock(Duration::from_secs(100));
    let second = place(subject, "b-1", &["B"]);

    let stream = stream_as_of(subject, "a-1", AsOf::Position(first));
    assert_eq!(stream, (live(0), vec!["A".to_owned()]));
    let stream = stream_as_of(subject, "a-1", AsOf::Position(second));
    assert_eq!(stream, (live(0), vec![]));
}

fn the_position_at_a_time_is_before_the_first_later_event(subject: &Subject<'_>) {
    let earlier = place(subject, "a-1", &["A"]);
    let then = now(subject);
    subject.advance_clock(Duration::from_secs(1));
    let later = place(subject, "a-1", &["B"]);

    let at = subject.wait(subject.store().position_at(then)).expect("the time has passed");

    assert!(earlier <= at, "{at} is before {earlier}");
    assert!(at < later, "{at} is not before {later}");
    assert_eq!(log_as_of(subject, AsOf::Position(at)), ["A", "Tick"]);
}

fn the_position_at_a_time_before_all_events_is_before_them(subject: &Subject<'_>) {
    let first = place(subject, "a-1", &["A"]);
    let long_ago = Timestamp::from_micros(0);

    let at = subject.wait(subject.store().position_at(long_ago)).expect("the time has passed");

    assert!(at < first);
    assert!(log_as_of(subject, AsOf::Time(long_ago)).is_empty());
}

fn the_position_at_a_time_in_the_future_is_not_known(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    assert!(is_in_future(&subject.wait(subject.store().position_at(FAR_FUTURE))));
}
