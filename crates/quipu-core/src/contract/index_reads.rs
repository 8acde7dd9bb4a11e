//! Reads of one term by ordinal.

use crate::name::EventType;
use crate::place::Position;
use crate::read::{Direction, IndexRead, ReadAll, ReadIndex, Term};

use super::subject::{Subject, positions_of, query};

cases!(
    "index_reads",
    ordinals_of_a_category_count_from_zero,
    ordinals_of_a_type_count_from_zero,
    stream_names_are_the_first_events_of_streams,
    an_unknown_term_has_no_entries,
    entries_name_the_places_of_their_events,
    a_forward_read_begins_with_the_ordinal_given,
    a_backward_read_begins_with_the_ordinal_given,
    a_backward_read_begins_at_the_last_ordinal,
    a_backward_read_from_beyond_the_end_begins_at_the_last_ordinal,
    a_forward_read_beyond_the_end_gives_nothing,
    a_limit_is_the_most_entries_given,
    the_count_is_that_of_the_term,
    an_index_reaches_to_what_is_visible,
    ordinals_do_not_change_when_events_follow,
    ordinals_do_not_change_when_events_are_hidden,
    ordinals_do_not_change_when_a_stream_is_deleted,
);

fn category(text: &str) -> Term {
    Term::Category(text.to_owned())
}

fn of_type(text: &str) -> Term {
    Term::Type(EventType::new(text).expect("the suite's names are names"))
}

fn forward(term: Term) -> ReadIndex {
    ReadIndex { term, from: None, direction: Direction::Forward, limit: 1_000 }
}

fn backward(term: Term) -> ReadIndex {
    ReadIndex { direction: Direction::Backward, ..forward(term) }
}

fn read(subject: &Subject<'_>, read: ReadIndex) -> IndexRead {
    subject.wait(subject.store().read_index(read)).expect("the index is read")
}

/// The ordinals of the entries, each with the type of its event.
fn entries(subject: &Subject<'_>, index: ReadIndex) -> Vec<(u64, String)> {
    let found = read(subject, index);
    let entry = |it: &crate::IndexEntry| {
        let event = it.event.and_then(|place| found.events.get(place));
        let event = event.expect("nothing was scavenged");
        assert_eq!(event.position(), it.position);
        (it.ordinal, event.event_type().to_owned())
    };
    found.entries.iter().map(entry).collect()
}

fn owned<const N: usize>(pairs: [(u64, &str); N]) -> Vec<(u64, String)> {
    pairs.into_iter().map(|(ordinal, text)| (ordinal, text.to_owned())).collect()
}

fn fill(subject: &Subject<'_>) {
    subject.add("order-1", &["A", "B"]);
    subject.add("customer-1", &["C"]);
    subject.add("order-2", &["D"]);
    subject.add("order-1", &["E"]);
    subject.add("order", &["A"]);
}

fn ordinals_of_a_category_count_from_zero(subject: &Subject<'_>) {
    fill(subject);

    let orders = entries(subject, forward(category("order")));

    assert_eq!(orders, owned([(0, "A"), (1, "B"), (2, "D"), (3, "E"), (4, "A")]));
    assert_eq!(entries(subject, forward(category("customer"))), owned([(0, "C")]));
}

fn ordinals_of_a_type_count_from_zero(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(entries(subject, forward(of_type("A"))), owned([(0, "A"), (1, "A")]));
}

fn stream_names_are_the_first_events_of_streams(subject: &Subject<'_>) {
    fill(subject);

    let found = read(subject, forward(Term::StreamNames));

    let streams: Vec<&str> = found.events.iter().map(crate::EventRef::stream).collect();
    assert_eq!(streams, ["order-1", "customer-1", "order-2", "order"]);
    assert!(found.events.iter().all(|it| it.revision().get() == 0));
}

fn an_unknown_term_has_no_entries(subject: &Subject<'_>) {
    fill(subject);

    for term in [category("unknown"), category("order-1"), of_type("Unknown")] {
        let found = read(subject, forward(term));
        assert_eq!(found.count, 0);
        assert!(found.entries.is_empty());
        assert!(found.events.is_empty());
    }
}

fn entries_name_the_places_of_their_events(subject: &Subject<'_>) {
    fill(subject);
    let places = positions_of(&subject.read_all(ReadAll::new(query("category:order"))));

    let found = read(subject, forward(category("order")));

    let named: Vec<Position> = found.entries.iter().map(|it| it.position).collect();
    assert_eq!(named, places);
}

fn a_forward_read_begins_with_the_ordinal_given(subject: &Subject<'_>) {
    fill(subject);
    let index = ReadIndex { from: Some(3), ..forward(category("order")) };

    assert_eq!(entries(subject, index), owned([(3, "E"), (4, "A")]));
}

fn a_backward_read_begins_with_the_ordinal_given(subject: &Subject<'_>) {
    fill(subject);
    let index = ReadIndex { from: Some(1), ..backward(category("order")) };

    assert_eq!(entries(subject, index), owned([(1, "B"), (0, "A")]));
}

fn a_backward_read_begins_at_the_last_ordinal(subject: &Subject<'_>) {
    fill(subject);
    let index = ReadIndex { limit: 2, ..backward(category("order")) };

    assert_eq!(entries(subject, index), owned([(4, "A"), (3, "E")]));
}

fn a_backward_read_from_beyond_the_end_begins_at_the_last_ordinal(subject: &Subject<'_>) {
    fill(subject);

    for from in [5, u64::MAX] {
        let index = ReadIndex { from: Some(from), limit: 1, ..backward(category("order")) };
        assert_eq!(entries(subject, index), owned([(4, "A")]));
    }
}

fn a_forward_read_beyond_the_end_gives_nothing(subject: &Subject<'_>) {
    fill(subject);

    for from in [5, u64::MAX] {
        let found = read(subject, ReadIndex { from: Some(from), ..forward(category("order")) });
        assert!(found.entries.is_empty());
        assert_eq!(found.count, 5);
    }
}

fn a_limit_is_the_most_entries_given(subject: &Subject<'_>) {
    fill(subject);

    for (limit, count) in [(0, 0), (1, 1), (4, 4), (5, 5), (6, 5), (u64::MAX, 5)] {
        let found = read(subject, ReadIndex { limit, ..forward(category("order")) });
        assert_eq!(found.entries.len(), count, "limit {limit}");
        assert_eq!(found.events.count(), count, "limit {limit}");
    }
}

fn the_count_is_that_of_the_term(subject: &Subject<'_>) {
    fill(subject);

    let one = read(subject, ReadIndex { limit: 1, ..forward(category("order")) });

    assert_eq!(one.count, 5);
    assert_eq!(read(subject, forward(Term::StreamNames)).count, 4);
}

fn an_index_reaches_to_what_is_visible(subject: &Subject<'_>) {
    for number in 1..=10 {
        let last = subject.add("order-1", &["A"]).last;

        let found = read(subject, forward(category("order")));
        assert!(Some(found.frontier) >= last);
        assert_eq!(found.count, number);
    }
}

fn ordinals_do_not_change_when_events_follow(subject: &Subject<'_>) {
    fill(subject);
    let before = entries(subject, forward(category("order")));

    subject.add("order-3", &["F", "G"]);
    subject.add("other-1", &["H"]);

    let after = entries(subject, forward(category("order")));
    assert_eq!(after.get(..before.len()), Some(before.as_slice()));
    assert_eq!(after.len(), before.len() + 2);
}

fn ordinals_do_not_change_when_events_are_hidden(subject: &Subject<'_>) {
    fill(subject);
    let before = entries(subject, forward(category("order")));

    subject.set_metadata("order-1", r#"{"$maxCount":1}"#);

    assert_eq!(entries(subject, forward(category("order"))), before);
}

fn ordinals_do_not_change_when_a_stream_is_deleted(subject: &Subject<'_>) {
    fill(subject);
    let before = entries(subject, forward(category("order")));

    subject.delete("order-1");

    assert_eq!(entries(subject, forward(category("order"))), before);
}
