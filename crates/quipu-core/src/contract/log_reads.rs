//! Reads of the log, and the frontier that they answer.

use crate::append::{Append, ExpectedRevision};
use crate::place::Position;
use crate::query::Query;
use crate::read::{ReadAll, collect};

use super::subject::{Subject, name, positions_of, query, tagged, types_of};

cases!(
    "log_reads",
    an_empty_log_shows_nothing,
    a_forward_read_goes_along_the_log,
    a_backward_read_goes_against_the_log,
    a_forward_read_begins_with_the_place_given,
    a_backward_read_begins_with_the_place_given,
    a_read_between_two_places_goes_on_with_the_next_event,
    a_forward_read_from_the_start_gives_everything,
    a_backward_read_from_the_start_gives_nothing,
    a_forward_read_beyond_the_frontier_gives_nothing,
    a_backward_read_from_beyond_the_frontier_begins_at_the_last_event,
    a_limit_is_the_most_events_given,
    a_limit_of_nothing_answers_the_frontier,
    a_limit_counts_events_that_match,
    pages_meet_without_gap_or_overlap,
    the_frontier_is_not_below_an_event_that_is_visible,
    no_event_above_the_frontier_is_given,
    the_frontier_does_not_go_back,
    the_frontier_of_an_empty_log_is_before_the_first_event,
    a_read_gives_what_was_there_when_it_began,
    nothing_appears_at_or_below_a_frontier_later,
    a_large_log_is_read_whole,
    a_log_read_and_a_stream_read_give_the_same_events,
    waiting_for_what_is_visible_returns,
    a_future_of_a_batch_that_is_dropped_loses_nothing,
    a_future_of_a_querys_batch_that_is_dropped_loses_nothing,
);

/// Five events in two streams, and their places.
fn letters(subject: &Subject<'_>) -> Vec<Position> {
    subject.add("a-1", &["A", "B"]);
    subject.add("b-1", &["C"]);
    subject.add("a-1", &["D", "E"]);
    positions_of(&subject.read_all(ReadAll::new(Query::all())))
}

fn place(places: &[Position], index: usize) -> Position {
    *places.get(index).expect("the log has five events")
}

fn all() -> ReadAll {
    ReadAll::new(Query::all())
}

fn an_empty_log_shows_nothing(subject: &Subject<'_>) {
    assert!(subject.read_all(all()).is_empty());
    assert!(subject.read_all(all().backward()).is_empty());
}

fn a_forward_read_goes_along_the_log(subject: &Subject<'_>) {
    let places = letters(subject);

    let events = subject.read_all(all());

    assert_eq!(types_of(&events), ["A", "B", "C", "D", "E"]);
    assert!(places.is_sorted());
}

fn a_backward_read_goes_against_the_log(subject: &Subject<'_>) {
    letters(subject);

    let events = subject.read_all(all().backward());

    assert_eq!(types_of(&events), ["E", "D", "C", "B", "A"]);
}

fn a_forward_read_begins_with_the_place_given(subject: &Subject<'_>) {
    let places = letters(subject);

    let events = subject.read_all(all().from(place(&places, 2)));

    assert_eq!(types_of(&events), ["C", "D", "E"]);
}

fn a_backward_read_begins_with_the_place_given(subject: &Subject<'_>) {
    let places = letters(subject);

    let events = subject.read_all(all().backward().from(place(&places, 2)));

    assert_eq!(types_of(&events), ["C", "B", "A"]);
}

fn a_read_between_two_places_goes_on_with_the_next_event(subject: &Subject<'_>) {
    let places = letters(subject);

    let forward = subject.read_all(all().from(place(&places, 1).next()));
    let backward = subject.read_all(all().backward().from(place(&places, 3).previous()));

    assert_eq!(types_of(&forward), ["C", "D", "E"]);
    assert_eq!(types_of(&backward), ["C", "B", "A"]);
}

fn a_forward_read_from_the_start_gives_everything(subject: &Subject<'_>) {
    letters(subject);

    assert_eq!(subject.read_all(all().from(Position::START)).len(), 5);
}

fn a_backward_read_from_the_start_gives_nothing(subject: &Subject<'_>) {
    letters(subject);

    assert!(subject.read_all(all().backward().from(Position::START)).is_empty());
}

fn a_forward_read_beyond_the_frontier_gives_nothing(subject: &Subject<'_>) {
    letters(subject);
    let frontier = subject.frontier();

    assert!(subject.read_all(all().from(frontier.next())).is_empty());
    assert!(subject.read_all(all().from(Position::MAX)).is_empty());
}

fn a_backward_read_from_beyond_the_frontier_begins_at_the_last_event(subject: &Subject<'_>) {
    letters(subject);

    let events = subject.read_all(all().backward().from(Position::MAX).limit(2));

    assert_eq!(types_of(&events), ["E", "D"]);
}

fn a_limit_is_the_most_events_given(subject: &Subject<'_>) {
    letters(subject);

    for (limit, count) in [(1, 1), (4, 4), (5, 5), (6, 5), (u64::MAX, 5)] {
        assert_eq!(subject.read_all(all().limit(limit)).len(), count);
        assert_eq!(subject.read_all(all().backward().limit(limit)).len(), count);
    }
}

fn a_limit_of_nothing_answers_the_frontier(subject: &Subject<'_>) {
    let last = letters(subject).last().copied();

    let (frontier, events) = subject.read_all_with_frontier(all().limit(0));

    assert!(events.is_empty());
    assert!(Some(frontier) >= last);
}

fn a_limit_counts_events_that_match(subject: &Subject<'_>) {
    letters(subject);
    let read = ReadAll::new(query("type:B,D,E")).limit(2);

    assert_eq!(types_of(&subject.read_all(read.clone())), ["B", "D"]);
    assert_eq!(types_of(&subject.read_all(read.backward())), ["E", "D"]);
}

fn pages_meet_without_gap_or_overlap(subject: &Subject<'_>) {
    for _ in 0..5 {
        subject.add("a-1", &["T", "U", "T"]);
    }
    let read = ReadAll::new(query("type:T")).limit(3);
    let (mut forward, mut backward) = (Vec::new(), Vec::new());

    let mut from = Position::START;
    loop {
        let page = subject.read_all(read.clone().from(from));
        let Some(last) = page.last() else { break };
        from = last.position.next();
        forward.extend(page);
        assert!(forward.len() <= 10, "an event came twice");
    }
    let mut from = Position::MAX;
    loop {
        let page = subject.read_all(read.clone().backward().from(from));
        let Some(last) = page.last() else { break };
        from = last.position.previous();
        backward.extend(page);
        assert!(backward.len() <= 10, "an event came twice");
    }

    assert_eq!(forward.len(), 10);
    assert!(forward.is_sorted_by(|earlier, later| earlier.position < later.position));
    backward.reverse();
    assert_eq!(forward, backward);
}

fn the_frontier_is_not_below_an_event_that_is_visible(subject: &Subject<'_>) {
    for _ in 0..10 {
        let last = subject.add("a-1", &["A", "B"]).last;

        assert!(Some(subject.frontier()) >= last);
        let (frontier, events) = subject.read_all_with_frontier(all());
        assert!(Some(frontier) >= last);
        assert_eq!(events.last().map(|it| it.position), last);
    }
}

fn no_event_above_the_frontier_is_given(subject: &Subject<'_>) {
    letters(subject);

    for read in [all(), all().backward(), ReadAll::new(query("type:A,E"))] {
        let (frontier, events) = subject.read_all_with_frontier(read);
        assert!(events.iter().all(|it| it.position <= frontier));
    }
}

fn the_frontier_does_not_go_back(subject: &Subject<'_>) {
    let mut frontiers = vec![subject.frontier()];

    for _ in 0..10 {
        subject.add("a-1", &["A"]);
        frontiers.push(subject.frontier());
        frontiers.push(subject.read_all_with_frontier(all().limit(1)).0);
    }

    assert!(frontiers.is_sorted(), "{frontiers:?}");
}

fn the_frontier_of_an_empty_log_is_before_the_first_event(subject: &Subject<'_>) {
    let (frontier, _) = subject.read_all_with_frontier(all());

    assert_eq!(frontier, subject.frontier());
    let first = subject.add("a-1", &["A"]).first;
    assert!(Some(frontier) < first);
}

fn a_read_gives_what_was_there_when_it_began(subject: &Subject<'_>) {
    letters(subject);
    let begun = subject.wait(subject.store().read_all(all())).expect("the log is read");

    subject.add("a-1", &["Later"]);
    let events = subject.wait(collect(begun.batches)).expect("the events are read");

    assert_eq!(types_of(&events), ["A", "B", "C", "D", "E"]);
}

fn nothing_appears_at_or_below_a_frontier_later(subject: &Subject<'_>) {
    let mut seen = Vec::new();
    for _ in 0..10 {
        subject.add("a-1", &["A", "B"]);
        seen.push(subject.read_all_with_frontier(all()));
    }

    let log = subject.read_all(all());

    for (frontier, events) in seen {
        let below = log.iter().filter(|it| it.position <= frontier);
        assert!(below.eq(events.iter()));
    }
}

fn a_large_log_is_read_whole(subject: &Subject<'_>) {
    for number in 0..20 {
        subject.add(&format!("a-{number}"), &["T"; 250]);
        subject.add("rare-1", &["Rare"]);
    }

    let forward = subject.read_all(all());
    let mut backward = subject.read_all(all().backward());

    assert_eq!(forward.len(), 5_020);
    assert!(forward.is_sorted_by(|earlier, later| earlier.position < later.position));
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(subject.matching(query("type:Rare")).len(), 20);
}

fn a_log_read_and_a_stream_read_give_the_same_events(subject: &Subject<'_>) {
    letters(subject);

    let in_log = subject.read_all(ReadAll::new(query("stream:a-1")));
    let in_stream = subject.read(crate::ReadStream::new(name("a-1")));

    assert_eq!(in_log, in_stream);
}

fn waiting_for_what_is_visible_returns(subject: &Subject<'_>) {
    subject.see(Position::START);
    let last = subject.add("a-1", &["A"]).last.expect("it has a place");

    subject.see(last);
    subject.see(subject.frontier());

    assert!(subject.frontier() >= last);
}

/// More events than a batch takes, each with a tag.
fn several_batches(subject: &Subject<'_>) -> Vec<Position> {
    for number in 0..8 {
        let events = (0..150).map(|_| tagged("T", &["t:1"]));
        let stream = name(&format!("a-{}", number % 3));
        subject.append(Append::to_stream(stream, ExpectedRevision::Any, events));
    }
    positions_of(&subject.read_all(all()))
}

fn reads_all_though_futures_are_dropped(subject: &Subject<'_>, read: &ReadAll) {
    let places = several_batches(subject);

    let forward = subject.wait(subject.store().read_all(read.clone()));
    let forward = subject.collect_letting_go(forward.expect("the log is read").batches);
    let backward = subject.wait(subject.store().read_all(read.clone().backward()));
    let mut backward = subject.collect_letting_go(backward.expect("the log is read").batches);
    backward.reverse();

    assert_eq!(places.len(), 1_200);
    assert_eq!(positions_of(&forward), places);
    assert_eq!(positions_of(&backward), places);
}

fn a_future_of_a_batch_that_is_dropped_loses_nothing(subject: &Subject<'_>) {
    reads_all_though_futures_are_dropped(subject, &all());
}

fn a_future_of_a_querys_batch_that_is_dropped_loses_nothing(subject: &Subject<'_>) {
    reads_all_though_futures_are_dropped(subject, &ReadAll::new(query("tag:t:1")));
}
