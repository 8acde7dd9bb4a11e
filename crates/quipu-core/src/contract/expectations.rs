//! Expectations: what an append demands of streams, on streams of every kind.

use crate::append::{Append, ExpectedRevision, Violation};
use crate::place::Revision;
use crate::read::StreamState;

use super::subject::{Subject, event, exactly, name, only_stream_violation, revision};
use ExpectedRevision::{Any, Deleted, Exactly, NoStream, StreamExists, Tombstoned};

/// The revision of the last ordinary event of the streams that the matrix looks at.
const LAST: Revision = Revision::new(1);

/// What the matrix looks at: a stream of this kind ...
#[derive(Clone, Copy)]
enum Kind {
    Absent,
    Live,
    Deleted,
    Tombstoned,
}

/// ... that an append writes to, or only mentions, ...
#[derive(Clone, Copy)]
enum Use {
    Write,
    Check,
}

/// ... and whether its expectation holds.
#[derive(Clone, Copy)]
enum Outcome {
    Holds,
    Fails,
}

macro_rules! matrix {
    ($($case:ident: $usage:ident, $expected:expr, $kind:ident, $outcome:ident;)+) => {
        $(fn $case(subject: &Subject<'_>) {
            check(subject, Use::$usage, $expected, Kind::$kind, Outcome::$outcome);
        })+

        cases!(
            "expectations",
            $($case,)+
            a_revision_that_the_stream_has_not_reached_fails,
            a_revision_that_the_stream_has_passed_fails,
            a_tombstones_own_revision_fails,
            the_first_revision_fails_on_an_absent_stream,
            stream_exists_holds_where_there_is_only_metadata,
            no_stream_holds_where_there_is_only_metadata,
            deleted_fails_where_there_is_only_metadata,
            deleted_holds_where_only_metadata_was_deleted,
            no_expectation_is_any,
            every_stream_that_is_not_as_expected_is_listed_in_order,
            a_check_on_another_stream_holds_an_append_back,
            a_check_on_another_stream_that_holds_lets_an_append_through,
            a_tombstoned_stream_is_listed_without_an_expectation,
            a_metadata_stream_can_be_expected_too,
            an_expectation_sees_events_that_retention_hides,
        );
    };
}

matrix! {
    a_write_expecting_any_holds_on_an_absent_stream: Write, Any, Absent, Holds;
    a_write_expecting_any_holds_on_a_live_stream: Write, Any, Live, Holds;
    a_write_expecting_any_holds_on_a_deleted_stream: Write, Any, Deleted, Holds;
    a_write_expecting_any_fails_on_a_tombstoned_stream: Write, Any, Tombstoned, Fails;
    a_write_expecting_no_stream_holds_on_an_absent_stream: Write, NoStream, Absent, Holds;
    a_write_expecting_no_stream_fails_on_a_live_stream: Write, NoStream, Live, Fails;
    a_write_expecting_no_stream_holds_on_a_deleted_stream: Write, NoStream, Deleted, Holds;
    a_write_expecting_no_stream_fails_on_a_tombstoned_stream: Write, NoStream, Tombstoned, Fails;
    a_write_expecting_stream_exists_fails_on_an_absent_stream: Write, StreamExists, Absent, Fails;
    a_write_expecting_stream_exists_holds_on_a_live_stream: Write, StreamExists, Live, Holds;
    a_write_expecting_stream_exists_fails_on_a_deleted_stream: Write, StreamExists, Deleted, Fails;
    a_write_expecting_stream_exists_fails_on_a_tombstoned_stream: Write, StreamExists, Tombstoned, Fails;
    a_write_expecting_the_last_revision_fails_on_an_absent_stream: Write, Exactly(LAST), Absent, Fails;
    a_write_expecting_the_last_revision_holds_on_a_live_stream: Write, Exactly(LAST), Live, Holds;
    a_write_expecting_the_last_revision_holds_on_a_deleted_stream: Write, Exactly(LAST), Deleted, Holds;
    a_write_expecting_the_last_revision_fails_on_a_tombstoned_stream: Write, Exactly(LAST), Tombstoned, Fails;
    a_write_expecting_deleted_fails_on_an_absent_stream: Write, Deleted, Absent, Fails;
    a_write_expecting_deleted_fails_on_a_live_stream: Write, Deleted, Live, Fails;
    a_write_expecting_deleted_holds_on_a_deleted_stream: Write, Deleted, Deleted, Holds;
    a_write_expecting_deleted_fails_on_a_tombstoned_stream: Write, Deleted, Tombstoned, Fails;
    a_write_expecting_tombstoned_fails_on_an_absent_stream: Write, Tombstoned, Absent, Fails;
    a_write_expecting_tombstoned_fails_on_a_live_stream: Write, Tombstoned, Live, Fails;
    a_write_expecting_tombstoned_fails_on_a_deleted_stream: Write, Tombstoned, Deleted, Fails;
    a_write_expecting_tombstoned_fails_on_a_tombstoned_stream: Write, Tombstoned, Tombstoned, Fails;
    a_check_expecting_any_holds_on_an_absent_stream: Check, Any, Absent, Holds;
    a_check_expecting_any_holds_on_a_live_stream: Check, Any, Live, Holds;
    a_check_expecting_any_holds_on_a_deleted_stream: Check, Any, Deleted, Holds;
    a_check_expecting_any_holds_on_a_tombstoned_stream: Check, Any, Tombstoned, Holds;
    a_check_expecting_no_stream_holds_on_an_absent_stream: Check, NoStream, Absent, Holds;
    a_check_expecting_no_stream_fails_on_a_live_stream: Check, NoStream, Live, Fails;
    a_check_expecting_no_stream_holds_on_a_deleted_stream: Check, NoStream, Deleted, Holds;
    a_check_expecting_no_stream_holds_on_a_tombstoned_stream: Check, NoStream, Tombstoned, Holds;
    a_check_expecting_stream_exists_fails_on_an_absent_stream: Check, StreamExists, Absent, Fails;
    a_check_expecting_stream_exists_holds_on_a_live_stream: Check, StreamExists, Live, Holds;
    a_check_expecting_stream_exists_fails_on_a_deleted_stream: Check, StreamExists, Deleted, Fails;
    a_check_expecting_stream_exists_fails_on_a_tombstoned_stream: Check, StreamExists, Tombstoned, Fails;
    a_check_expecting_the_last_revision_fails_on_an_absent_stream: Check, Exactly(LAST), Absent, Fails;
    a_check_expecting_the_last_revision_holds_on_a_live_stream: Check, Exactly(LAST), Live, Holds;
    a_check_expecting_the_last_revision_holds_on_a_deleted_stream: Check, Exactly(LAST), Deleted, Holds;
    a_check_expecting_the_last_revision_fails_on_a_tombstoned_stream: Check, Exactly(LAST), Tombstoned, Fails;
    a_check_expecting_deleted_fails_on_an_absent_stream: Check, Deleted, Absent, Fails;
    a_check_expecting_deleted_fails_on_a_live_stream: Check, Deleted, Live, Fails;
    a_check_expecting_deleted_holds_on_a_deleted_stream: Check, Deleted, Deleted, Holds;
    a_check_expecting_deleted_fails_on_a_tombstoned_stream: Check, Deleted, Tombstoned, Fails;
    a_check_expecting_tombstoned_fails_on_an_absent_stream: Check, Tombstoned, Absent, Fails;
    a_check_expecting_tombstoned_fails_on_a_live_stream: Check, Tombstoned, Live, Fails;
    a_check_expecting_tombstoned_fails_on_a_deleted_stream: Check, Tombstoned, Deleted, Fails;
    a_check_expecting_tombstoned_holds_on_a_tombstoned_stream: Check, Tombstoned, Tombstoned, Holds;
}

/// Makes `thing-1` a stream of that kind, whose last ordinary event has revision 1.
fn make(subject: &Subject<'_>, kind: Kind) -> StreamState {
    let stream = "thing-1";
    match kind {
        Kind::Absent => return StreamState::Absent,
        Kind::Live | Kind::Deleted | Kind::Tombstoned => subject.add(stream, &["A", "B"]),
    };
    match kind {
        Kind::Deleted => {
            subject.delete(stream);
            StreamState::Deleted { last: Some(LAST) }
        }
        Kind::Tombstoned => {
            subject.tombstone(stream);
            StreamState::Tombstoned { last: LAST.next() }
        }
        Kind::Absent | Kind::Live => StreamState::Live { last: LAST },
    }
}

fn check(
    subject: &Subject<'_>,
    usage: Use,
    expected: ExpectedRevision,
    kind: Kind,
    outcome: Outcome,
) {
    let state = make(subject, kind);
    let before = subject.frontier();
    let append = match usage {
        Use::Write => Append::to_stream(name("thing-1"), expected, [event("C")]),
        Use::Check => Append::new().expect(name("thing-1"), expected),
    };

    let answer = subject.try_append(append);

    match (outcome, usage) {
        (Outcome::Holds, Use::Write) => {
            let appended = answer.expect("the expectation holds");
            let next = state.last().map_or(0, |last| last.get() + 1);
            assert_eq!(appended.streams.first().map(|it| it.revision.get()), Some(next));
            assert_eq!(subject.types("thing-1").last().map(String::as_str), Some("C"));
        }
        (Outcome::Holds, Use::Check) => {
            assert_eq!(answer.expect("the expectation holds").last, None);
            assert_eq!(subject.frontier(), before);
        }
        (Outcome::Fails, _) => {
            let violations = super::subject::conflict_of(answer);
            let (stream, demanded, found) = only_stream_violation(&violations);
            assert_eq!((stream, demanded, found), (&name("thing-1"), expected, state));
            assert_eq!(subject.frontier(), before);
        }
    }
}

fn conflict_on_thing(subject: &Subject<'_>, expected: ExpectedRevision) -> StreamState {
    let append = Append::to_stream(name("thing-1"), expected, [event("C")]);
    only_stream_violation(&subject.conflict(append)).2
}

fn a_revision_that_the_stream_has_not_reached_fails(subject: &Subject<'_>) {
    let state = make(subject, Kind::Live);

    assert_eq!(conflict_on_thing(subject, exactly(2)), state);
    assert_eq!(conflict_on_thing(subject, Exactly(Revision::MAX)), state);
}

fn a_revision_that_the_stream_has_passed_fails(subject: &Subject<'_>) {
    let state = make(subject, Kind::Live);

    assert_eq!(conflict_on_thing(subject, exactly(0)), state);
}

fn a_tombstones_own_revision_fails(subject: &Subject<'_>) {
    let state = make(subject, Kind::Tombstoned);
    let check = Append::new().expect(name("thing-1"), exactly(2));

    assert_eq!(conflict_on_thing(subject, exactly(2)), state);
    assert_eq!(only_stream_violation(&subject.conflict(check)).2, state);
}

fn the_first_revision_fails_on_an_absent_stream(subject: &Subject<'_>) {
    assert_eq!(conflict_on_thing(subject, exactly(0)), StreamState::Absent);
}

fn stream_exists_holds_where_there_is_only_metadata(subject: &Subject<'_>) {
    subject.set_metadata("thing-1", r#"{"owner":"ada"}"#);

    subject.append(Append::new().expect(name("thing-1"), StreamExists));
    subject.append(Append::to_stream(name("thing-1"), StreamExists, [event("A")]));

    assert_eq!(subject.types("thing-1"), ["A"]);
}

fn no_stream_holds_where_there_is_only_metadata(subject: &Subject<'_>) {
    subject.set_metadata("thing-1", r#"{"owner":"ada"}"#);

    subject.append(Append::new().expect(name("thing-1"), NoStream));
    subject.append(Append::to_stream(name("thing-1"), NoStream, [event("A")]));

    assert_eq!(subject.types("thing-1"), ["A"]);
}

fn deleted_fails_where_there_is_only_metadata(subject: &Subject<'_>) {
    subject.set_metadata("thing-1", r#"{"owner":"ada"}"#);

    assert_eq!(conflict_on_thing(subject, Deleted), StreamState::Absent);
}

fn deleted_holds_where_only_metadata_was_deleted(subject: &Subject<'_>) {
    subject.set_metadata("thing-1", r#"{"owner":"ada"}"#);
    subject.delete("thing-1");

    assert_eq!(conflict_on_thing(subject, StreamExists), StreamState::Deleted { last: None });
    subject.append(Append::to_stream(name("thing-1"), Deleted, [event("A")]));

    assert_eq!(subject.state("thing-1"), StreamState::Live { last: revision(0) });
}

fn no_expectation_is_any(subject: &Subject<'_>) {
    make(subject, Kind::Live);

    subject.append(Append::new().event(name("thing-1"), event("C")));
    subject.append(Append::new().event(name("other-1"), event("C")));

    assert_eq!(subject.types("thing-1"), ["A", "B", "C"]);
}

fn every_stream_that_is_not_as_expected_is_listed_in_order(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.add("b-1", &["B"]);
    let append = Append::new()
        .event(name("a-1"), event("X"))
        .expect(name("c-1"), StreamExists)
        .expect(name("a-1"), NoStream)
        .expect(name("d-1"), Any)
        .expect(name("b-1"), exactly(4));

    let violations = subject.conflict(append);

    let live = StreamState::Live { last: revision(0) };
    let violation =
        |stream: &str, expected, found| Violation::Stream { stream: name(stream), expected, found };
    assert_eq!(
        violations,
        [
            violation("c-1", StreamExists, StreamState::Absent),
            violation("a-1", NoStream, live),
            violation("b-1", exactly(4), live),
        ]
    );
}

fn a_check_on_another_stream_holds_an_append_back(subject: &Subject<'_>) {
    subject.add("account-1", &["Opened", "Closed"]);
    let append = Append::to_stream(name("order-1"), NoStream, [event("Placed")])
        .expect(name("account-1"), exactly(0));

    let violations = subject.conflict(append);

    let found = StreamState::Live { last: revision(1) };
    assert_eq!(only_stream_violation(&violations), (&name("account-1"), exactly(0), found));
    assert_eq!(subject.state("order-1"), StreamState::Absent);
}

fn a_check_on_another_stream_that_holds_lets_an_append_through(subject: &Subject<'_>) {
    subject.add("account-1", &["Opened"]);
    let append = Append::to_stream(name("order-1"), NoStream, [event("Placed")])
        .expect(name("account-1"), exactly(0));

    let appended = subject.append(append);

    assert_eq!(appended.streams.len(), 1, "a stream that is only checked is not in the answer");
    assert_eq!(subject.types("order-1"), ["Placed"]);
    assert_eq!(subject.types("account-1"), ["Opened"]);
}

fn a_tombstoned_stream_is_listed_without_an_expectation(subject: &Subject<'_>) {
    let found = make(subject, Kind::Tombstoned);
    let append =
        Append::new().event(name("other-1"), event("A")).event(name("thing-1"), event("B"));

    let violations = subject.conflict(append);

    assert_eq!(only_stream_violation(&violations), (&name("thing-1"), Any, found));
    assert_eq!(subject.state("other-1"), StreamState::Absent);
}

fn a_metadata_stream_can_be_expected_too(subject: &Subject<'_>) {
    subject.add("thing-1", &["A"]);
    subject.set_metadata("thing-1", r#"{"owner":"ada"}"#);
    let append = |expected| {
        Append::to_stream(name("thing-1"), Any, [event("B")]).expect(name("$$thing-1"), expected)
    };

    subject.conflict(append(NoStream));
    subject.append(append(exactly(0)));

    assert_eq!(subject.types("thing-1"), ["A", "B"]);
}

fn an_expectation_sees_events_that_retention_hides(subject: &Subject<'_>) {
    make(subject, Kind::Live);
    subject.set_metadata("thing-1", r#"{"$tb":100}"#);

    assert!(subject.types("thing-1").is_empty());
    conflict_on_thing(subject, NoStream);
    subject.append(Append::new().expect(name("thing-1"), Exactly(LAST)));
    let appended = subject.append(Append::to_stream(name("thing-1"), StreamExists, [event("C")]));

    assert_eq!(appended.streams.first().map(|it| it.revision), Some(LAST.next()));
}
