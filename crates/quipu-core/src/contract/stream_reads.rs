//! Reads of one stream.

use crate::read::{ReadStream, StreamState, collect};

use super::subject::{Subject, name, revision, revisions_of, types_of};
use crate::place::Revision;

cases!(
    "stream_reads",
    an_absent_stream_shows_nothing,
    a_forward_read_goes_from_the_first_event_to_the_last,
    a_backward_read_goes_from_the_last_event_to_the_first,
    a_forward_read_begins_with_the_revision_given,
    a_backward_read_begins_with_the_revision_given,
    a_backward_read_from_the_first_revision_gives_that_event,
    a_forward_read_from_the_last_revision_gives_that_event,
    a_forward_read_beyond_the_end_gives_nothing,
    a_backward_read_from_beyond_the_end_begins_at_the_last_event,
    a_limit_is_the_most_events_given,
    a_limit_of_nothing_gives_nothing_but_the_state,
    a_limit_counts_from_where_the_read_begins,
    a_read_tells_the_streams_last_revision,
    an_acknowledged_append_is_seen_at_once,
    pages_meet_without_gap_or_overlap,
    batches_are_never_empty,
    a_read_gives_what_the_stream_showed_when_it_began,
    a_large_stream_is_read_whole,
    large_events_are_read_whole,
    streams_with_similar_names_are_apart,
    names_differ_by_case,
    a_read_can_be_dropped_half_way,
    a_future_of_a_batch_that_is_dropped_loses_nothing,
);

fn letters(subject: &Subject<'_>) -> ReadStream {
    subject.add("a-1", &["A", "B", "C"]);
    subject.add("b-1", &["X", "Y"]);
    subject.add("a-1", &["D", "E"]);
    ReadStream::new(name("a-1"))
}

fn an_absent_stream_shows_nothing(subject: &Subject<'_>) {
    subject.add("b-1", &["X"]);

    for read in [ReadStream::new(name("a-1")), ReadStream::new(name("a-1")).backward()] {
        let (state, events) = subject.read_with_state(read);
        assert_eq!(state, StreamState::Absent);
        assert!(events.is_empty());
    }
}

fn a_forward_read_goes_from_the_first_event_to_the_last(subject: &Subject<'_>) {
    let events = subject.read(letters(subject));

    assert_eq!(types_of(&events), ["A", "B", "C", "D", "E"]);
    assert!(events.is_sorted_by_key(|it| it.position));
}

fn a_backward_read_goes_from_the_last_event_to_the_first(subject: &Subject<'_>) {
    let events = subject.read(letters(subject).backward());

    assert_eq!(types_of(&events), ["E", "D", "C", "B", "A"]);
    assert_eq!(revisions_of(&events), [4, 3, 2, 1, 0]);
}

fn a_forward_read_begins_with_the_revision_given(subject: &Subject<'_>) {
    let events = subject.read(letters(subject).from(revision(2)));

    assert_eq!(types_of(&events), ["C", "D", "E"]);
}

fn a_backward_read_begins_with_the_revision_given(subject: &Subject<'_>) {
    let events = subject.read(letters(subject).backward().from(revision(2)));

    assert_eq!(types_of(&events), ["C", "B", "A"]);
}

fn a_backward_read_from_the_first_revision_gives_that_event(subject: &Subject<'_>) {
    let events = subject.read(letters(subject).backward().from(Revision::FIRST));

    assert_eq!(types_of(&events), ["A"]);
}

fn a_forward_read_from_the_last_revision_gives_that_event(subject: &Subject<'_>) {
    let events = subject.read(letters(subject).from(revision(4)));

    assert_eq!(types_of(&events), ["E"]);
}

fn a_forward_read_beyond_the_end_gives_nothing(subject: &Subject<'_>) {
    let read = letters(subject);

    for from in [revision(5), Revision::MAX] {
        let (state, events) = subject.read_with_state(read.clone().from(from));
        assert!(events.is_empty());
        assert_eq!(state, StreamState::Live { last: revision(4) });
    }
}

fn a_backward_read_from_beyond_the_end_begins_at_the_last_event(subject: &Subject<'_>) {
    let read = letters(subject).backward().limit(2);

    for from in [revision(5), Revision::MAX] {
        assert_eq!(types_of(&subject.read(read.clone().from(from))), ["E", "D"]);
    }
}

fn a_limit_is_the_most_events_given(subject: &Subject<'_>) {
    let read = letters(subject);

    for (limit, count) in [(1, 1), (4, 4), (5, 5), (6, 5), (u64::MAX, 5)] {
        assert_eq!(subject.read(read.clone().limit(limit)).len(), count);
        assert_eq!(subject.read(read.clone().backward().limit(limit)).len(), count);
    }
}

fn a_limit_of_nothing_gives_nothing_but_the_state(subject: &Subject<'_>) {
    let (state, events) = subject.read_with_state(letters(subject).limit(0));

    assert!(events.is_empty());
    assert_eq!(state, StreamState::Live { last: revision(4) });
}

fn a_limit_counts_from_where_the_read_begins(subject: &Subject<'_>) {
    let read = letters(subject).limit(2);

    let forward = subject.read(read.clone().from(revision(1)));
    let backward = subject.read(read.backward().from(revision(3)));

    assert_eq!(types_of(&forward), ["B", "C"]);
    assert_eq!(types_of(&backward), ["D", "C"]);
}

fn a_read_tells_the_streams_last_revision(subject: &Subject<'_>) {
    let read = letters(subject).from(revision(1)).limit(1);

    assert_eq!(subject.read_with_state(read).0, StreamState::Live { last: revision(4) });
}

fn an_acknowledged_append_is_seen_at_once(subject: &Subject<'_>) {
    for number in 0..50 {
        let append = crate::Append::new().event(name("a-1"), super::subject::event("A"));
        subject.wait(subject.store().append(append)).expect("the append succeeds");

        assert_eq!(subject.state("a-1"), StreamState::Live { last: revision(number) });
    }
}

fn pages_meet_without_gap_or_overlap(subject: &Subject<'_>) {
    subject.add("a-1", &["T"; 23]);
    let mut forward = Vec::new();
    let mut backward = Vec::new();

    for page in 0..5 {
        let read = ReadStream::new(name("a-1")).limit(5);
        forward.extend(subject.read(read.clone().from(revision(5 * page))));
        if let Some(from) = 22_u64.checked_sub(5 * page) {
            backward.extend(subject.read(read.backward().from(revision(from))));
        }
    }

    let expected: Vec<u64> = (0..23).collect();
    assert_eq!(revisions_of(&forward), expected);
    backward.reverse();
    assert_eq!(revisions_of(&backward), expected);
}

fn batches_are_never_empty(subject: &Subject<'_>) {
    let read = letters(subject);
    let mut batches =
        subject.wait(subject.store().read_stream(read)).expect("the stream is read").batches;
    let mut count = 0;

    while let Some(batch) = subject.wait(batches.next()).expect("the events are read") {
        assert!(!batch.is_empty());
        count += batch.count();
    }

    assert_eq!(count, 5);
}

fn a_read_gives_what_the_stream_showed_when_it_began(subject: &Subject<'_>) {
    let read = letters(subject);
    let begun = subject.wait(subject.store().read_stream(read)).expect("the stream is read");

    subject.add("a-1", &["Later"]);
    let events = subject.wait(collect(begun.batches)).expect("the events are read");

    assert_eq!(types_of(&events), ["A", "B", "C", "D", "E"]);
    assert_eq!(begun.state, StreamState::Live { last: revision(4) });
}

fn a_large_stream_is_read_whole(subject: &Subject<'_>) {
    for _ in 0..10 {
        subject.add("a-1", &["T"; 500]);
        subject.add("b-1", &["U"]);
    }

    let forward = subject.read(ReadStream::new(name("a-1")));
    let mut backward = subject.read(ReadStream::new(name("a-1")).backward());

    assert_eq!(revisions_of(&forward), (0..5_000).collect::<Vec<u64>>());
    backward.reverse();
    assert_eq!(forward, backward);
}

fn large_events_are_read_whole(subject: &Subject<'_>) {
    let sizes = [1, 4_095, 4_096, 65_536, 3_000_001, 17];
    let events = sizes.iter().zip(0_u8..).map(|(size, byte)| {
        let mut large = super::subject::event("Large");
        large.data = vec![byte; *size].into();
        large
    });
    subject.append(crate::Append::to_stream(name("a-1"), crate::ExpectedRevision::Any, events));

    let read = subject.read(ReadStream::new(name("a-1")));

    for ((size, byte), event) in sizes.iter().zip(0_u8..).zip(&read) {
        let data = event.data.present().expect("it was not erased");
        assert_eq!(data.len(), *size);
        assert!(data.iter().all(|it| *it == byte));
    }
    assert_eq!(read.len(), sizes.len());
}

fn streams_with_similar_names_are_apart(subject: &Subject<'_>) {
    let names = ["a", "a-", "a-1", "a-1 ", "a-10", "a-1-0", "aa", "-a", " a", "a/1", "a%31"];
    for stream in names {
        subject.add(stream, &["Own"]);
    }

    for stream in names {
        assert_eq!(subject.types(stream), ["Own"], "\"{stream}\"");
    }
}

fn names_differ_by_case(subject: &Subject<'_>) {
    subject.add("Order-1", &["Upper"]);
    subject.add("order-1", &["Lower"]);

    assert_eq!(subject.types("Order-1"), ["Upper"]);
    assert_eq!(subject.types("order-1"), ["Lower"]);
}

fn a_read_can_be_dropped_half_way(subject: &Subject<'_>) {
    subject.add("a-1", &["T"; 1_000]);
    let read = ReadStream::new(name("a-1"));
    let begun = subject.wait(subject.store().read_stream(read)).expect("the stream is read");
    let mut batches = begun.batches;
    let first = subject.wait(batches.next()).expect("the events are read");
    assert!(first.is_some());

    drop(batches);

    assert_eq!(subject.types("a-1").len(), 1_000);
}

/// Who waits for several things at once drops the futures of those that were not first.
fn a_future_of_a_batch_that_is_dropped_loses_nothing(subject: &Subject<'_>) {
    subject.add("a-1", &["T"; 600]);
    subject.add("a-1", &["T"; 600]);
    let read = || ReadStream::new(name("a-1"));

    let forward = subject.wait(subject.store().read_stream(read()));
    let forward = subject.collect_letting_go(forward.expect("the stream is read").batches);
    let backward = subject.wait(subject.store().read_stream(read().backward()));
    let mut backward = subject.collect_letting_go(backward.expect("the stream is read").batches);
    backward.reverse();

    assert_eq!(revisions_of(&forward), (0..1_200).collect::<Vec<u64>>());
    assert_eq!(backward, forward);
}
