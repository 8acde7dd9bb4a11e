//! Appends to many streams: one batch, one order, all or nothing.

use crate::append::{Append, ExpectedRevision};
use crate::query::Query;
use crate::read::{ReadAll, ReadStream, StreamState};

use super::subject::{Subject, event, exactly, name, positions_of, revision, revisions_of};

cases!(
    "many_streams",
    events_keep_the_global_order_given,
    revisions_count_in_each_stream,
    streams_are_answered_in_the_order_of_first_mention,
    the_places_answered_are_those_of_the_log,
    one_expectation_that_fails_holds_all_streams_back,
    each_stream_may_have_its_own_expectation,
    a_thousand_streams_are_appended_to_at_once,
    a_batch_stands_together_in_the_log,
    new_and_existing_streams_mix,
    a_deleted_stream_among_others_is_revived,
    an_expectation_on_every_one_of_many_streams_is_found,
);

fn interleaved() -> Append {
    Append::new()
        .event(name("b-1"), event("B0"))
        .event(name("a-1"), event("A0"))
        .event(name("b-1"), event("B1"))
        .event(name("c-1"), event("C0"))
        .event(name("a-1"), event("A1"))
}

fn events_keep_the_global_order_given(subject: &Subject<'_>) {
    subject.append(interleaved());

    assert_eq!(subject.log(), ["B0", "A0", "B1", "C0", "A1"]);
}

fn revisions_count_in_each_stream(subject: &Subject<'_>) {
    subject.add("a-1", &["Before"]);

    subject.append(interleaved());

    assert_eq!(subject.types("a-1"), ["Before", "A0", "A1"]);
    assert_eq!(subject.types("b-1"), ["B0", "B1"]);
    assert_eq!(subject.types("c-1"), ["C0"]);
    assert_eq!(revisions_of(&subject.read(ReadStream::new(name("a-1")))), [0, 1, 2]);
    assert_eq!(revisions_of(&subject.read(ReadStream::new(name("b-1")))), [0, 1]);
}

fn streams_are_answered_in_the_order_of_first_mention(subject: &Subject<'_>) {
    let appended = subject.append(interleaved());

    let streams: Vec<(&str, u64)> =
        appended.streams.iter().map(|it| (it.stream.as_str(), it.revision.get())).collect();
    assert_eq!(streams, [("b-1", 1), ("a-1", 1), ("c-1", 0)]);
}

fn the_places_answered_are_those_of_the_log(subject: &Subject<'_>) {
    let appended = subject.append(interleaved());

    let places = positions_of(&subject.read_all(ReadAll::new(Query::all())));
    let [first, _, last_of_b, last_of_c, last] = places.as_slice() else {
        panic!("five events were expected, got {places:?}");
    };
    assert_eq!((appended.first, appended.last), (Some(*first), Some(*last)));
    let of_streams: Vec<_> = appended.streams.iter().map(|it| it.position).collect();
    assert_eq!(of_streams, [*last_of_b, *last, *last_of_c]);
}

fn one_expectation_that_fails_holds_all_streams_back(subject: &Subject<'_>) {
    subject.add("c-1", &["Before"]);

    subject.conflict(interleaved().expect(name("c-1"), ExpectedRevision::NoStream));

    assert_eq!(subject.log(), ["Before"]);
    assert_eq!(subject.state("a-1"), StreamState::Absent);
    assert_eq!(subject.state("b-1"), StreamState::Absent);
}

fn each_stream_may_have_its_own_expectation(subject: &Subject<'_>) {
    subject.add("a-1", &["X", "X"]);
    subject.add("b-1", &["X"]);
    let append = interleaved()
        .expect(name("a-1"), exactly(1))
        .expect(name("b-1"), ExpectedRevision::StreamExists)
        .expect(name("c-1"), ExpectedRevision::NoStream);

    subject.append(append);

    assert_eq!(subject.state("a-1"), StreamState::Live { last: revision(3) });
    assert_eq!(subject.state("b-1"), StreamState::Live { last: revision(2) });
    assert_eq!(subject.state("c-1"), StreamState::Live { last: revision(0) });
}

fn a_thousand_streams_are_appended_to_at_once(subject: &Subject<'_>) {
    let append = (0..1_000).fold(Append::new(), |append, number| {
        append.event(name(&format!("thing-{number}")), event("Made"))
    });

    let appended = subject.append(append);

    assert_eq!(appended.streams.len(), 1_000);
    assert_eq!(subject.log().len(), 1_000);
    assert_eq!(subject.types("thing-0"), ["Made"]);
    assert_eq!(subject.types("thing-999"), ["Made"]);
}

fn a_batch_stands_together_in_the_log(subject: &Subject<'_>) {
    subject.add("z-1", &["Before"]);
    subject.append(interleaved());
    subject.add("z-1", &["After"]);

    assert_eq!(subject.log(), ["Before", "B0", "A0", "B1", "C0", "A1", "After"]);
}

fn new_and_existing_streams_mix(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);

    let appended =
        subject.append(Append::new().event(name("a-1"), event("D")).event(name("a-2"), event("A")));

    let revisions: Vec<u64> = appended.streams.iter().map(|it| it.revision.get()).collect();
    assert_eq!(revisions, [3, 0]);
}

fn a_deleted_stream_among_others_is_revived(subject: &Subject<'_>) {
    subject.add("a-1", &["Old"]);
    subject.delete("a-1");

    let appended = subject.append(interleaved());

    let streams: Vec<(&str, u64)> =
        appended.streams.iter().map(|it| (it.stream.as_str(), it.revision.get())).collect();
    assert_eq!(streams, [("b-1", 1), ("a-1", 2), ("c-1", 0)]);
    assert_eq!(subject.types("a-1"), ["A0", "A1"]);
    assert_eq!(subject.types("b-1"), ["B0", "B1"]);
}

fn an_expectation_on_every_one_of_many_streams_is_found(subject: &Subject<'_>) {
    let streams: Vec<String> = (0..50).map(|number| format!("thing-{number}")).collect();
    subject.add("thing-37", &["Made"]);
    let append = streams.iter().fold(Append::new(), |append, stream| {
        append.event(name(stream), event("Made")).expect(name(stream), ExpectedRevision::NoStream)
    });

    let violations = subject.conflict(append);

    let (stream, ..) = super::subject::only_stream_violation(&violations);
    assert_eq!(stream, &name("thing-37"));
    assert_eq!(subject.log(), ["Made"]);
}
