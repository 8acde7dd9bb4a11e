//! Subscriptions to the log and to queries.

use crate::place::Position;
use crate::query::Query;
use crate::read::ReadAll;
use crate::subscription::{Delivery, Subscribe, SubscribeError, SubscribeFrom};

use super::subject::{Following, Subject, events_of, positions_of, query, types_of};
use SubscribeFrom::{After, End, Start};

cases!(
    "log_subscriptions",
    a_subscription_from_the_start_delivers_the_log_then_what_comes,
    a_subscription_after_a_place_begins_behind_it,
    a_subscription_after_the_start_delivers_everything,
    a_subscription_from_the_end_delivers_only_what_comes,
    a_subscription_to_an_empty_log_is_caught_up_at_once,
    a_subscription_after_a_place_beyond_the_frontier_is_refused,
    a_subscription_after_the_frontier_waits,
    only_events_that_match_are_delivered,
    a_query_without_items_delivers_no_events,
    what_does_not_match_is_told_by_a_checkpoint_before_catching_up,
    a_checkpoint_comes_for_what_comes_and_does_not_match,
    no_checkpoint_comes_where_nothing_was_passed_over,
    checkpoints_do_not_go_back,
    a_subscription_resumed_after_a_checkpoint_misses_nothing,
    being_caught_up_is_told_once,
    what_retention_hides_is_delivered,
    events_of_deleted_and_tombstoned_streams_are_delivered,
    reserved_events_are_delivered,
    a_batch_is_delivered_in_order,
    a_large_log_is_delivered_whole_and_in_order,
    rare_events_are_found_in_a_large_log,
    a_slow_subscriber_misses_nothing,
    concurrent_appends_are_delivered_once_and_in_order,
    concurrent_appends_are_delivered_to_a_query_once_and_in_order,
    many_subscribers_get_the_same,
    a_subscription_waits_without_an_event_to_deliver,
    dropping_a_pull_loses_nothing,
);

fn a_subscription_from_the_start_delivers_the_log_then_what_comes(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.add("b-1", &["B"]);
    let mut following = subject.follow(Query::all(), Start);

    let history = following.events_until_caught_up();
    subject.add("a-1", &["C"]);
    subject.add("c-1", &["D", "E"]);

    assert_eq!(types_of(&history), ["A", "B"]);
    assert_eq!(following.types(3), ["C", "D", "E"]);
}

fn a_subscription_after_a_place_begins_behind_it(subject: &Subject<'_>) {
    let first = subject.add("a-1", &["A"]).last.expect("it has a place");
    subject.add("b-1", &["B"]);

    let history = subject.follow(Query::all(), After(first)).events_until_caught_up();

    assert_eq!(types_of(&history), ["B"]);
}

fn a_subscription_after_the_start_delivers_everything(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    let history = subject.follow(Query::all(), After(Position::START)).events_until_caught_up();

    assert_eq!(types_of(&history), ["A", "B"]);
}

fn a_subscription_from_the_end_delivers_only_what_comes(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    let mut following = subject.follow(Query::all(), End);

    subject.add("b-1", &["C"]);

    assert_eq!(following.types(1), ["C"]);
}

fn a_subscription_to_an_empty_log_is_caught_up_at_once(subject: &Subject<'_>) {
    for from in [Start, After(Position::START), End] {
        let first = subject.follow(Query::all(), from).next();
        assert!(matches!(first, Delivery::CaughtUp), "{first:?}");
    }
}

fn a_subscription_after_a_place_beyond_the_frontier_is_refused(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    for beyond in [subject.frontier().next(), Position::MAX] {
        let to = Subscribe::All { query: Query::all(), from: After(beyond) };
        let Err(error) = subject.wait(subject.store().subscribe(to)) else {
            panic!("a subscription after {beyond} began");
        };
        assert!(
            matches!(error, SubscribeError::BeyondEnd { after, frontier }
                if after == beyond && frontier < beyond),
            "{error:?}"
        );
    }
}

fn a_subscription_after_the_frontier_waits(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let mut following = subject.follow(Query::all(), After(subject.frontier()));
    assert!(following.events_until_caught_up().is_empty());

    subject.add("a-1", &["B"]);

    assert_eq!(following.types(1), ["B"]);
}

fn only_events_that_match_are_delivered(subject: &Subject<'_>) {
    subject.add_tagged("a-1", "A", &["t:1"]);
    subject.add_tagged("a-1", "B", &["t:2"]);
    subject.add_tagged("b-1", "C", &["t:1"]);
    let mut following = subject.follow(query("tag:t:1"), Start);

    let history = following.events_until_caught_up();
    subject.add_tagged("a-1", "D", &["t:2"]);
    subject.add_tagged("a-1", "E", &["t:1"]);

    assert_eq!(types_of(&history), ["A", "C"]);
    assert_eq!(following.types(1), ["E"]);
}

fn a_query_without_items_delivers_no_events(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    assert!(subject.follow(Query::nothing(), Start).events_until_caught_up().is_empty());
}

/// The place up to which a consumer has come by the deliveries: of the last event or checkpoint.
fn reached(deliveries: &[Delivery]) -> Option<Position> {
    let place = |delivery: &Delivery| match delivery {
        Delivery::Events(batch) => batch.last().map(crate::EventRef::position),
        Delivery::Checkpoint(position) => Some(*position),
        Delivery::CaughtUp | Delivery::FellBehind => None,
    };
    deliveries.iter().filter_map(place).next_back()
}

fn what_does_not_match_is_told_by_a_checkpoint_before_catching_up(subject: &Subject<'_>) {
    subject.add("a-1", &["Wanted"]);
    let last = subject.add("b-1", &["Other", "Other"]).last;

    let deliveries = subject.follow(query("type:Wanted"), Start).until_caught_up();

    assert!(reached(&deliveries) >= last, "{deliveries:?}");
    assert!(reached(&deliveries) <= Some(subject.frontier()));
}

fn next_checkpoint(following: &mut Following<'_>) -> Position {
    loop {
        match following.next() {
            Delivery::Checkpoint(position) => return position,
            Delivery::Events(batch) => panic!("no event was expected, got {batch:?}"),
            Delivery::CaughtUp | Delivery::FellBehind => {}
        }
    }
}

fn a_checkpoint_comes_for_what_comes_and_does_not_match(subject: &Subject<'_>) {
    let mut following = subject.follow(query("type:Wanted"), Start);
    following.until_caught_up();

    for _ in 0..3 {
        let last = subject.add("b-1", &["Other", "Other"]).last.expect("they have places");
        while next_checkpoint(&mut following) < last {}
    }

    subject.add("a-1", &["Wanted"]);
    assert_eq!(following.types(1), ["Wanted"]);
}

fn no_checkpoint_comes_where_nothing_was_passed_over(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    let deliveries = subject.follow(Query::all(), Start).until_caught_up();

    let events: usize = deliveries.iter().map(|it| events_of(it).len()).sum();
    assert_eq!(events, 2);
    assert!(deliveries.iter().all(|it| matches!(it, Delivery::Events(_))), "{deliveries:?}");
}

fn checkpoints_do_not_go_back(subject: &Subject<'_>) {
    for number in 0..30 {
        subject.add("a-1", &[if number % 7 == 0 { "Wanted" } else { "Other" }; 20]);
    }
    let mut following = subject.follow(query("type:Wanted"), Start);

    let mut deliveries = following.until_caught_up();
    subject.add("a-1", &["Other"]);
    deliveries.push(following.next());

    let mut reached = Position::START;
    for delivery in &deliveries {
        match delivery {
            Delivery::Checkpoint(position) => {
                assert!(*position >= reached, "{position} after {reached}");
                reached = *position;
            }
            Delivery::Events(batch) => {
                for event in batch.iter() {
                    assert!(event.position() > reached, "{} after {reached}", event.position());
                    reached = event.position();
                }
            }
            Delivery::CaughtUp | Delivery::FellBehind => {}
        }
    }
    assert!(reached <= subject.frontier());
}

fn a_subscription_resumed_after_a_checkpoint_misses_nothing(subject: &Subject<'_>) {
    subject.add("a-1", &["Wanted", "Other", "Wanted", "Other"]);
    let first = subject.follow(query("type:Wanted"), Start).until_caught_up();
    let handled: usize = first.iter().map(|it| events_of(it).len()).sum();
    let from = reached(&first).expect("something was delivered");

    subject.add("a-1", &["Other", "Wanted"]);
    let mut resumed = subject.follow(query("type:Wanted"), After(from));

    assert_eq!(handled, 2);
    assert_eq!(types_of(&resumed.events_until_caught_up()), ["Wanted"]);
}

fn being_caught_up_is_told_once(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let mut following = subject.follow(Query::all(), Start);
    following.until_caught_up();

    let mut has_fallen_behind = false;
    for _ in 0..5 {
        subject.add("a-1", &["B"]);
        loop {
            match following.next() {
                Delivery::Events(_) => break,
                Delivery::FellBehind => has_fallen_behind = true,
                Delivery::CaughtUp => assert!(std::mem::take(&mut has_fallen_behind)),
                Delivery::Checkpoint(_) => {}
            }
        }
    }
    if !has_fallen_behind {
        assert!(following.is_waiting());
    }
}

fn what_retention_hides_is_delivered(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);

    let history = subject.follow(query("stream:a-1"), Start).events_until_caught_up();

    assert_eq!(types_of(&history), ["A", "B"]);
}

fn events_of_deleted_and_tombstoned_streams_are_delivered(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.add("b-1", &["B"]);
    subject.delete("a-1");
    subject.tombstone("b-1");

    let history = subject.follow(query("type:A,B"), Start).events_until_caught_up();

    assert_eq!(types_of(&history), ["A", "B"]);
}

fn reserved_events_are_delivered(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.delete("a-1");
    subject.add("a-1", &["B"]);
    subject.tombstone("a-1");

    let history = subject.follow(Query::all(), Start).events_until_caught_up();

    assert_eq!(types_of(&history), ["A", "$metadata", "$metadata", "B", "$streamDeleted"]);
}

fn a_batch_is_delivered_in_order(subject: &Subject<'_>) {
    let mut following = subject.follow(Query::all(), Start);

    subject.append(
        crate::Append::new()
            .event(super::subject::name("b-1"), super::subject::event("A"))
            .event(super::subject::name("a-1"), super::subject::event("B"))
            .event(super::subject::name("b-1"), super::subject::event("C")),
    );

    assert_eq!(following.types(3), ["A", "B", "C"]);
}

fn a_large_log_is_delivered_whole_and_in_order(subject: &Subject<'_>) {
    for number in 0..12 {
        subject.add(&format!("a-{number}"), &["T"; 500]);
    }
    let log = subject.read_all(ReadAll::new(Query::all()));

    let history = subject.follow(Query::all(), Start).events_until_caught_up();

    assert_eq!(log.len(), 6_000);
    assert_eq!(positions_of(&history), positions_of(&log));
}

fn rare_events_are_found_in_a_large_log(subject: &Subject<'_>) {
    for _ in 0..12 {
        subject.add("a-1", &["Common"; 1_000]);
        subject.add("a-1", &["Rare"]);
    }
    let last = subject.add("a-1", &["Common"; 10]).last;

    let deliveries = subject.follow(query("type:Rare"), Start).until_caught_up();

    let found: usize = deliveries.iter().map(|it| events_of(it).len()).sum();
    assert_eq!(found, 12);
    assert!(reached(&deliveries) >= last);
}

fn a_slow_subscriber_misses_nothing(subject: &Subject<'_>) {
    let mut following = subject.follow(Query::all(), Start);
    following.until_caught_up();

    for _ in 0..40 {
        subject.add("a-1", &["T"; 50]);
    }

    let log = positions_of(&subject.read_all(ReadAll::new(Query::all())));
    assert_eq!(positions_of(&following.events(2_000)), log);
}

/// Lets one thread append while others subscribe, and compares what they got with the log.
fn assert_hand_over(subject: &Subject<'_>, wanted: &Query, wanted_count: usize) {
    const COUNT: usize = 200;
    for _ in 0..COUNT {
        subject.add("a-1", &["Even", "Odd"]);
    }

    let seen = subject.race(4, |index| {
        if index == 0 {
            for _ in 0..COUNT {
                subject.add("b-1", &["Even", "Odd"]);
            }
            return Vec::new();
        }
        positions_of(&subject.follow(wanted.clone(), Start).events(wanted_count))
    });

    let log = positions_of(&subject.read_all(ReadAll::new(wanted.clone())));
    assert_eq!(log.len(), wanted_count);
    for positions in seen.iter().skip(1) {
        assert_eq!(*positions, log);
    }
}

fn concurrent_appends_are_delivered_once_and_in_order(subject: &Subject<'_>) {
    assert_hand_over(subject, &Query::all(), 800);
}

fn concurrent_appends_are_delivered_to_a_query_once_and_in_order(subject: &Subject<'_>) {
    assert_hand_over(subject, &query("type:Odd"), 400);
}

fn many_subscribers_get_the_same(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    let mut followings: Vec<_> = (0..50).map(|_| subject.follow(Query::all(), Start)).collect();

    subject.add("a-1", &["C"]);

    for following in &mut followings {
        assert_eq!(following.types(3), ["A", "B", "C"]);
    }
}

fn a_subscription_waits_without_an_event_to_deliver(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let mut following = subject.follow(Query::all(), Start);
    following.until_caught_up();
    assert!(following.is_waiting());

    let woken = subject.race(2, |index| {
        if index == 0 {
            subject.add("a-1", &["B"]);
            return Vec::new();
        }
        subject.follow(query("type:B"), Start).types(1)
    });

    assert_eq!(woken.concat(), ["B"]);
    assert_eq!(following.types(1), ["B"]);
}

fn dropping_a_pull_loses_nothing(subject: &Subject<'_>) {
    let mut following = subject.follow(Query::all(), Start);
    following.until_caught_up();
    for _ in 0..20 {
        // The pull that looks whether anything is there is dropped each time.
        following.is_waiting();
        let last = subject.add("a-1", &["T"]).last;
        assert_eq!(positions_of(&following.events(1)).first().copied(), last);
    }
}
