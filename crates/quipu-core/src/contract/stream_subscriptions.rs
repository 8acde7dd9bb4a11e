//! Subscriptions to one stream.

use crate::place::Revision;
use crate::subscription::{Delivery, Subscribe, SubscribeError, SubscribeFrom};

use super::subject::{Following, Subject, events_of, name, revision, revisions_of, types_of};
use SubscribeFrom::{After, End, Start};

cases!(
    "stream_subscriptions",
    a_subscription_from_the_start_delivers_history_then_what_comes,
    a_subscription_after_a_revision_begins_behind_it,
    a_subscription_from_the_end_delivers_only_what_comes,
    a_subscription_to_an_absent_stream_waits_for_it,
    a_subscription_from_the_end_of_an_absent_stream_delivers_its_first_event,
    a_subscription_after_a_revision_not_reached_waits_for_the_next,
    other_streams_are_not_delivered,
    being_caught_up_is_told_once,
    a_stream_subscription_delivers_no_checkpoints,
    what_retention_hides_is_passed_over,
    what_was_passed_over_does_not_come_when_it_is_shown_again,
    a_metadata_stream_delivers_its_latest_event,
    a_deleted_stream_delivers_nothing,
    a_revived_stream_delivers_what_revived_it,
    a_tombstone_ends_the_subscription,
    what_was_shown_before_a_tombstone_is_delivered_first,
    a_subscription_that_begins_after_the_tombstone_delivers_what_is_left,
    what_a_deleted_stream_hid_stays_hidden_behind_its_tombstone,
    an_ended_subscription_stays_ended,
    a_large_stream_is_delivered_whole_and_in_order,
    a_slow_subscriber_misses_nothing,
    a_subscription_may_be_begun_again_after_each_event,
    concurrent_appends_are_delivered_once_and_in_order,
    dropping_a_pull_loses_nothing,
);

fn next_is_tombstone(following: &mut Following<'_>) -> bool {
    matches!(following.try_next(), Err(SubscribeError::StreamTombstoned { stream })
        if stream == name("a-1"))
}

fn a_subscription_from_the_start_delivers_history_then_what_comes(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    let mut following = subject.follow_stream("a-1", Start);

    let history = following.events_until_caught_up();
    subject.add("a-1", &["C"]);
    subject.add("a-1", &["D", "E"]);

    assert_eq!(types_of(&history), ["A", "B"]);
    assert_eq!(following.types(3), ["C", "D", "E"]);
}

fn a_subscription_after_a_revision_begins_behind_it(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);

    let history = subject.follow_stream("a-1", After(Revision::FIRST)).events_until_caught_up();
    let nothing = subject.follow_stream("a-1", After(revision(2))).events_until_caught_up();

    assert_eq!(types_of(&history), ["B", "C"]);
    assert!(nothing.is_empty());
}

fn a_subscription_from_the_end_delivers_only_what_comes(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    let mut following = subject.follow_stream("a-1", End);

    subject.add("a-1", &["C"]);

    assert_eq!(revisions_of(&following.events(1)), [2]);
}

fn a_subscription_to_an_absent_stream_waits_for_it(subject: &Subject<'_>) {
    let mut following = subject.follow_stream("a-1", Start);
    assert!(following.events_until_caught_up().is_empty());

    subject.add("a-1", &["A"]);

    assert_eq!(following.types(1), ["A"]);
}

fn a_subscription_from_the_end_of_an_absent_stream_delivers_its_first_event(subject: &Subject<'_>) {
    let mut following = subject.follow_stream("a-1", End);

    subject.add("a-1", &["A"]);

    assert_eq!(following.types(1), ["A"]);
}

fn a_subscription_after_a_revision_not_reached_waits_for_the_next(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let mut following = subject.follow_stream("a-1", After(revision(2)));
    assert!(following.events_until_caught_up().is_empty());

    subject.add("a-1", &["B", "C", "D"]);

    assert_eq!(revisions_of(&following.events(1)), [3]);
}

fn other_streams_are_not_delivered(subject: &Subject<'_>) {
    let mut following = subject.follow_stream("a-1", Start);
    subject.add("a-10", &["X"]);
    subject.add("a-1", &["A"]);
    subject.add("b-1", &["Y"]);
    subject.add("a-1", &["B"]);

    assert_eq!(following.types(2), ["A", "B"]);
}

fn being_caught_up_is_told_once(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let mut following = subject.follow_stream("a-1", Start);
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

fn a_stream_subscription_delivers_no_checkpoints(subject: &Subject<'_>) {
    subject.add("b-1", &["X", "Y"]);
    subject.add("a-1", &["A"]);
    subject.add("b-1", &["Z"]);

    let deliveries = subject.follow_stream("a-1", Start).until_caught_up();

    let has_checkpoint = deliveries.iter().any(|it| matches!(it, Delivery::Checkpoint(_)));
    assert!(!has_checkpoint, "{deliveries:?}");
}

fn what_retention_hides_is_passed_over(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);
    subject.set_metadata("a-1", r#"{"$maxCount":2}"#);

    let history = subject.follow_stream("a-1", Start).events_until_caught_up();

    assert_eq!(types_of(&history), ["C", "D"]);
}

fn what_was_passed_over_does_not_come_when_it_is_shown_again(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.set_metadata("a-1", r#"{"$tb":2}"#);
    let mut following = subject.follow_stream("a-1", Start);
    assert!(following.events_until_caught_up().is_empty());

    subject.set_metadata("a-1", "{}");
    subject.add("a-1", &["C"]);

    assert_eq!(subject.types("a-1"), ["A", "B", "C"]);
    assert_eq!(following.types(1), ["C"]);
}

fn a_metadata_stream_delivers_its_latest_event(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"n":1}"#);
    subject.set_metadata("a-1", r#"{"n":2}"#);
    let mut following = subject.follow_stream("$$a-1", Start);

    let history = following.events_until_caught_up();
    subject.set_metadata("a-1", r#"{"n":3}"#);

    assert_eq!(revisions_of(&history), [1]);
    assert_eq!(revisions_of(&following.events(1)), [2]);
}

fn a_deleted_stream_delivers_nothing(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.delete("a-1");

    assert!(subject.follow_stream("a-1", Start).events_until_caught_up().is_empty());
}

fn a_revived_stream_delivers_what_revived_it(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    let mut following = subject.follow_stream("a-1", Start);
    following.until_caught_up();
    subject.delete("a-1");

    subject.add("a-1", &["C"]);

    assert_eq!(revisions_of(&following.events(1)), [2]);
    let again = subject.follow_stream("a-1", Start).events_until_caught_up();
    assert_eq!(types_of(&again), ["C"]);
}

fn a_tombstone_ends_the_subscription(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let mut following = subject.follow_stream("a-1", Start);
    following.until_caught_up();

    subject.tombstone("a-1");

    assert!(next_is_tombstone(&mut following));
}

/// The types of what comes before the end that a tombstone makes.
fn until_tombstone(following: &mut Following<'_>) -> Vec<String> {
    let mut types = Vec::new();
    loop {
        match following.try_next() {
            Ok(delivery) => types.extend(types_of(&events_of(&delivery))),
            Err(SubscribeError::StreamTombstoned { .. }) => return types,
            Err(other) => panic!("another end was expected than {other}"),
        }
    }
}

fn what_was_shown_before_a_tombstone_is_delivered_first(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);
    let mut following = subject.follow_stream("a-1", After(Revision::FIRST));

    subject.tombstone("a-1");

    assert_eq!(until_tombstone(&mut following), ["B", "C"]);
}

fn a_subscription_that_begins_after_the_tombstone_delivers_what_is_left(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);
    subject.set_metadata("a-1", r#"{"$maxCount":3}"#);
    subject.tombstone("a-1");

    let from_start = until_tombstone(&mut subject.follow_stream("a-1", Start));
    let restarted = until_tombstone(&mut subject.follow_stream("a-1", After(revision(2))));
    let done = until_tombstone(&mut subject.follow_stream("a-1", After(revision(3))));

    assert_eq!(from_start, ["B", "C", "D"]);
    assert_eq!(restarted, ["D"]);
    assert!(done.is_empty());
}

fn what_a_deleted_stream_hid_stays_hidden_behind_its_tombstone(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.delete("a-1");
    subject.tombstone("a-1");

    assert!(until_tombstone(&mut subject.follow_stream("a-1", Start)).is_empty());
}

fn an_ended_subscription_stays_ended(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    let mut following = subject.follow_stream("a-1", Start);
    subject.tombstone("a-1");
    until_tombstone(&mut following);

    assert!(next_is_tombstone(&mut following));
    assert!(next_is_tombstone(&mut following));
}

fn a_large_stream_is_delivered_whole_and_in_order(subject: &Subject<'_>) {
    for _ in 0..6 {
        subject.add("a-1", &["T"; 500]);
        subject.add("b-1", &["U"; 10]);
    }

    let history = subject.follow_stream("a-1", Start).events_until_caught_up();

    assert_eq!(revisions_of(&history), (0..3_000).collect::<Vec<u64>>());
}

fn a_slow_subscriber_misses_nothing(subject: &Subject<'_>) {
    let mut following = subject.follow_stream("a-1", Start);
    following.until_caught_up();

    for _ in 0..40 {
        subject.add("a-1", &["T"; 50]);
    }

    assert_eq!(revisions_of(&following.events(2_000)), (0..2_000).collect::<Vec<u64>>());
}

fn a_subscription_may_be_begun_again_after_each_event(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);
    let mut from = Start;
    let mut seen = Vec::new();

    for _ in 0..4 {
        let mut following = subject.follow_stream("a-1", from);
        let next = following.events(1).into_iter().next().expect("an event was delivered");
        from = After(next.revision);
        seen.push(next);
    }

    assert_eq!(types_of(&seen), ["A", "B", "C", "D"]);
}

fn concurrent_appends_are_delivered_once_and_in_order(subject: &Subject<'_>) {
    const COUNT: usize = 300;
    subject.add("a-1", &["Before"; 50]);

    let seen = subject.race(2, |index| {
        if index == 0 {
            for _ in 0..COUNT {
                subject.add("a-1", &["T"]);
            }
            return Vec::new();
        }
        let mut following = subject.follow_stream("a-1", Start);
        revisions_of(&following.events(50 + COUNT))
    });

    let expected: Vec<u64> = (0..50 + COUNT as u64).collect();
    assert_eq!(seen.concat(), expected);
}

fn dropping_a_pull_loses_nothing(subject: &Subject<'_>) {
    let mut following = subject.follow_stream("a-1", Start);
    following.until_caught_up();
    for number in 0..20_u64 {
        // The pull that looks whether anything is there is dropped each time.
        following.is_waiting();
        subject.add("a-1", &["T"]);
        assert_eq!(revisions_of(&following.events(1)), [number]);
    }
    let to = Subscribe::Stream { stream: name("a-1"), from: Start };
    assert_eq!(subject.subscribe(to).events_until_caught_up().len(), 20);
}
