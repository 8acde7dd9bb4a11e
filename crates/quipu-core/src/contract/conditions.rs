//! Append conditions: what must not have happened in the log.

use crate::append::{Append, ExpectedRevision, InvalidAppend, Violation};
use crate::place::Position;
use crate::query::Query;
use crate::read::ReadAll;

use super::subject::{Subject, event, item, name, only_query_violation, query};

cases!(
    "conditions",
    a_condition_holds_in_an_empty_log,
    a_condition_holds_while_nothing_matches,
    a_condition_without_after_looks_at_the_whole_log,
    a_condition_after_the_start_looks_at_the_whole_log,
    an_event_at_the_frontier_that_was_read_does_not_count,
    the_first_event_behind_after_counts,
    a_matching_event_behind_the_frontier_that_was_read_is_a_conflict,
    an_event_that_does_not_match_is_no_conflict,
    the_first_conflicting_event_is_named,
    every_condition_that_fails_is_listed_with_its_index,
    streams_are_listed_before_conditions,
    a_query_without_items_never_fails,
    a_query_for_everything_fails_on_any_event,
    one_matching_item_is_enough,
    an_item_that_matches_in_part_is_no_conflict,
    a_condition_does_not_see_the_append_itself,
    a_condition_may_be_on_a_stream,
    a_condition_may_be_on_a_category,
    a_condition_without_events_only_checks,
    a_condition_beyond_the_frontier_is_refused,
    a_conflict_appends_nothing_to_any_stream,
    a_condition_sees_events_that_retention_hides,
    a_condition_sees_events_of_deleted_streams,
    a_condition_sees_events_of_tombstoned_streams,
    a_condition_sees_reserved_events,
    a_condition_and_an_expectation_both_have_to_hold,
    many_conditions_hold_together,
    the_frontier_of_a_limited_read_guards_all_that_was_there,
);

/// An append of one event to a stream of its own that fails if `text` matches after a place.
fn guarded(text: &str, after: Option<Position>) -> Append {
    Append::new().event(name("guarded-1"), event("Guarded")).fail_if(query(text), after)
}

fn a_condition_holds_in_an_empty_log(subject: &Subject<'_>) {
    subject.append(guarded("", None));

    assert_eq!(subject.log(), ["Guarded"]);
}

fn a_condition_holds_while_nothing_matches(subject: &Subject<'_>) {
    subject.add_tagged("a-1", "A", &["t:1"]);

    subject.append(guarded("type:A tag:t:2", None));

    assert_eq!(subject.types("guarded-1"), ["Guarded"]);
}

fn a_condition_without_after_looks_at_the_whole_log(subject: &Subject<'_>) {
    let first = subject.add("a-1", &["A"]).last;
    subject.add("b-1", &["B", "B", "B"]);

    let violations = subject.conflict(guarded("type:A", None));

    assert_eq!(Some(only_query_violation(&violations)), first.map(|position| (0, position)));
}

fn a_condition_after_the_start_looks_at_the_whole_log(subject: &Subject<'_>) {
    let first = subject.add("a-1", &["A"]).last;
    subject.add("b-1", &["B"]);

    let violations = subject.conflict(guarded("type:A", Some(Position::START)));

    assert_eq!(Some(only_query_violation(&violations)), first.map(|position| (0, position)));
}

fn an_event_at_the_frontier_that_was_read_does_not_count(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let (frontier, events) = subject.read_all_with_frontier(ReadAll::new(query("type:A")));
    assert_eq!(events.len(), 1);

    subject.append(guarded("type:A", Some(frontier)));

    assert_eq!(subject.types("guarded-1"), ["Guarded"]);
}

fn the_first_event_behind_after_counts(subject: &Subject<'_>) {
    let before = subject.add("a-1", &["A"]).last.expect("it has a place");
    let behind = subject.add("a-1", &["A"]).last.expect("it has a place");

    let violations = subject.conflict(guarded("type:A", Some(before)));

    assert_eq!(only_query_violation(&violations), (0, behind));
    subject.append(guarded("type:A", Some(behind)));
}

fn a_matching_event_behind_the_frontier_that_was_read_is_a_conflict(subject: &Subject<'_>) {
    subject.add_tagged("a-1", "A", &["t:1"]);
    let (frontier, _) = subject.read_all_with_frontier(ReadAll::new(query("tag:t:1")));
    let later = subject.add_tagged("b-1", "B", &["t:1", "t:2"]).last;

    let violations = subject.conflict(guarded("tag:t:1", Some(frontier)));

    assert_eq!(Some(only_query_violation(&violations)), later.map(|position| (0, position)));
}

fn an_event_that_does_not_match_is_no_conflict(subject: &Subject<'_>) {
    subject.add_tagged("a-1", "A", &["t:1"]);
    let frontier = subject.frontier();
    subject.add_tagged("a-1", "A", &["t:2"]);

    subject.append(guarded("tag:t:1", Some(frontier)));

    assert_eq!(subject.types("guarded-1"), ["Guarded"]);
}

fn the_first_conflicting_event_is_named(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let frontier = subject.frontier();
    subject.add("b-1", &["B"]);
    let first = subject.add("a-1", &["A"]).last;
    subject.add("a-1", &["A", "A"]);

    let violations = subject.conflict(guarded("type:A", Some(frontier)));

    assert_eq!(Some(only_query_violation(&violations)), first.map(|position| (0, position)));
}

fn every_condition_that_fails_is_listed_with_its_index(subject: &Subject<'_>) {
    let first = subject.add("a-1", &["A"]).last.expect("it has a place");
    let second = subject.add("b-1", &["B"]).last.expect("it has a place");
    let append = Append::new()
        .event(name("guarded-1"), event("Guarded"))
        .fail_if(query("type:B"), None)
        .fail_if(query("type:Other"), None)
        .fail_if(query("type:A"), None);

    let violations = subject.conflict(append);

    assert_eq!(
        violations,
        [
            Violation::Query { index: 0, position: second },
            Violation::Query { index: 2, position: first },
        ]
    );
}

fn streams_are_listed_before_conditions(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let append = guarded("type:A", None).expect(name("a-1"), ExpectedRevision::NoStream);

    let violations = subject.conflict(append);

    assert!(
        matches!(violations.as_slice(), [Violation::Stream { .. }, Violation::Query { .. }]),
        "{violations:?}"
    );
}

fn a_query_without_items_never_fails(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let append = Append::new().event(name("guarded-1"), event("Guarded"));

    subject.append(append.fail_if(Query::nothing(), None));

    assert_eq!(subject.types("guarded-1"), ["Guarded"]);
}

fn a_query_for_everything_fails_on_any_event(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let frontier = subject.frontier();
    let append = |after| {
        Append::new().event(name("guarded-1"), event("Guarded")).fail_if(Query::all(), after)
    };

    subject.conflict(append(None));
    subject.append(append(Some(frontier)));
    subject.conflict(append(Some(frontier)));
}

fn one_matching_item_is_enough(subject: &Subject<'_>) {
    subject.add_tagged("a-1", "A", &["t:1"]);
    let either = Query::from(item("type:B")).or(item("tag:t:2")).or(item("type:A tag:t:1"));
    let append = Append::new().event(name("guarded-1"), event("Guarded"));

    subject.conflict(append.fail_if(either, None));
}

fn an_item_that_matches_in_part_is_no_conflict(subject: &Subject<'_>) {
    subject.add_tagged("a-1", "A", &["t:1"]);

    subject.append(guarded("tag:t:1 tag:t:2", None));
    subject.append(guarded("type:B tag:t:1", None));

    assert_eq!(subject.types("guarded-1"), ["Guarded", "Guarded"]);
}

fn a_condition_does_not_see_the_append_itself(subject: &Subject<'_>) {
    let append = Append::new()
        .event(name("a-1"), event("A"))
        .event(name("a-1"), event("A"))
        .fail_if(query("type:A"), None);

    subject.append(append);

    assert_eq!(subject.log(), ["A", "A"]);
}

fn a_condition_may_be_on_a_stream(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    subject.conflict(guarded("stream:a-1", None));
    subject.append(guarded("stream:a-2", None));
    subject.append(guarded("stream:a", None));
}

fn a_condition_may_be_on_a_category(subject: &Subject<'_>) {
    subject.add("order-1", &["A"]);

    subject.conflict(guarded("category:order", None));
    subject.append(guarded("category:ord", None));
}

fn a_condition_without_events_only_checks(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let frontier = subject.frontier();

    subject.append(Append::new().fail_if(query("type:A"), Some(frontier)));
    subject.conflict(Append::new().fail_if(query("type:A"), None));

    assert_eq!(subject.log(), ["A"]);
}

fn a_condition_beyond_the_frontier_is_refused(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let append = guarded("type:X", None).fail_if(query("type:A"), Some(Position::MAX));

    let reason = subject.invalid(append);

    let InvalidAppend::AfterBeyondFrontier { index, after, frontier } = reason else {
        panic!("another reason was expected than {reason:?}");
    };
    assert_eq!((index, after), (1, Position::MAX));
    assert!(frontier < Position::MAX);
    assert_eq!(subject.log(), ["A"]);
}

fn a_conflict_appends_nothing_to_any_stream(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let append = Append::new()
        .event(name("b-1"), event("B"))
        .event(name("c-1"), event("C"))
        .fail_if(query("type:A"), None);

    subject.conflict(append);

    assert_eq!(subject.log(), ["A"]);
    assert!(subject.types("b-1").is_empty());
    assert!(subject.types("c-1").is_empty());
}

fn a_condition_sees_events_that_retention_hides(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);
    assert_eq!(subject.types("a-1"), ["B"]);

    subject.conflict(guarded("type:A", None));
}

fn a_condition_sees_events_of_deleted_streams(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.delete("a-1");

    subject.conflict(guarded("type:A", None));
}

fn a_condition_sees_events_of_tombstoned_streams(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.tombstone("a-1");

    subject.conflict(guarded("type:A", None));
}

fn a_condition_sees_reserved_events(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"owner":"ada"}"#);

    subject.conflict(guarded("type:$metadata", None));
    subject.conflict(guarded("stream:$$a-1", None));
}

fn a_condition_and_an_expectation_both_have_to_hold(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let append = |expected, text| {
        Append::to_stream(name("b-1"), expected, [event("B")]).fail_if(query(text), None)
    };

    subject.conflict(append(ExpectedRevision::NoStream, "type:A"));
    subject.conflict(append(ExpectedRevision::StreamExists, "type:X"));
    subject.append(append(ExpectedRevision::NoStream, "type:X"));

    assert_eq!(subject.types("b-1"), ["B"]);
}

fn many_conditions_hold_together(subject: &Subject<'_>) {
    subject.add_tagged("a-1", "A", &["t:1"]);
    let frontier = subject.frontier();
    let append = (0..100).fold(Append::new().event(name("b-1"), event("B")), |append, number| {
        append.fail_if(query(&format!("tag:t:{number}")), Some(frontier))
    });

    subject.append(append.clone());
    subject.add_tagged("a-1", "A", &["t:42"]);
    let again = Append { events: vec![(name("b-1"), event("B"))], ..append };

    assert_eq!(only_query_violation(&subject.conflict(again)).0, 42);
}

fn the_frontier_of_a_limited_read_guards_all_that_was_there(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "A", "A"]);
    let read = ReadAll::new(query("type:A")).limit(1);

    let (frontier, events) = subject.read_all_with_frontier(read);

    assert_eq!(events.len(), 1);
    subject.append(guarded("type:A", Some(frontier)));
}
