//! The proof of the suite: stores that keep every promise but one, each found out by name.
//!
//! Each is the store in memory behind a thin layer that tells one lie. The suite has to fail for
//! every one of them, in the case that is about its lie; and an honest layer has to pass.

mod beside;
mod liar;

use quipu_core::contract::{self, Outcome};

use liar::{Lie, LyingHarness};

fn assert_found_out(lie: Lie, topic: &str, name: &str) {
    let case = contract::cases().into_iter().find(|it| it.topic() == topic && it.name() == name);
    let case = case.expect("the suite has the case");

    let outcome = case.run(|| LyingHarness::new(lie));

    assert!(matches!(outcome, Outcome::Failed(_)), "{topic}::{name} let {lie:?} pass");
}

#[test]
fn a_layer_that_does_not_lie_passes() {
    let report = contract::run(|| LyingHarness::new(Lie::None));

    assert!(report.is_passed(), "{report}");
}

#[test]
fn a_report_names_the_cases_that_failed_and_says_why() {
    let report = contract::run_topic("append", || LyingHarness::new(Lie::TimesGoBack));

    assert!(!report.is_passed());
    assert!(report.failed().any(|it| it == "times_do_not_go_back"), "{report}");
    assert!(report.to_string().contains("failed append::times_do_not_go_back: "), "{report}");
}

macro_rules! found_out {
    ($($test:ident: $lie:ident, $topic:ident, $case:ident;)+) => {
        $(#[test]
        fn $test() {
            assert_found_out(Lie::$lie, stringify!($topic), stringify!($case));
        })+
    };
}

found_out! {
    acknowledging_without_checks_is_found_out:
        ChecksNothing, expectations, a_write_expecting_no_stream_fails_on_a_live_stream;
    ignoring_conditions_is_found_out:
        ChecksNoConditions, conditions, a_condition_without_after_looks_at_the_whole_log;
    checking_before_acting_is_found_out:
        ChecksBeforeActing, races, one_of_many_writers_begins_a_stream;
    checking_conditions_before_acting_is_found_out:
        ChecksBeforeActing, races, one_of_many_writers_passes_a_condition;
    counting_the_event_at_after_is_found_out:
        CountsTheEventAtAfter, conditions, an_event_at_the_frontier_that_was_read_does_not_count;
    passing_over_the_first_event_behind_after_is_found_out:
        PassesOverTheFirstEventBehindAfter, conditions, the_first_event_behind_after_counts;
    losing_the_last_event_is_found_out:
        LosesTheLastEvent, append, events_stand_in_the_order_given;
    answering_another_place_is_found_out:
        AnswersTheFirstPlaceAsTheLast, append, the_answer_names_the_first_and_the_last_place;
    appending_in_parts_is_found_out:
        AppendsInParts, many_streams, one_expectation_that_fails_holds_all_streams_back;
    appending_replays_again_is_found_out:
        AppendsReplaysAgain, idempotence,
        a_retry_without_a_check_is_answered_with_the_original_places;
    taking_the_current_revision_for_a_retry_is_found_out:
        ReplaysAtTheCurrentRevision, idempotence, the_current_revision_always_appends;
    listing_only_the_first_violation_is_found_out:
        ListsOnlyTheFirstViolation, conditions,
        every_condition_that_fails_is_listed_with_its_index;
    accepting_reserved_names_is_found_out:
        AcceptsReservedNames, limits, reserved_streams_are_refused;
    letting_times_go_back_is_found_out:
        TimesGoBack, append, times_do_not_go_back;
    reviving_a_tombstoned_stream_is_found_out:
        RevivesTombstoned, deletes, a_tombstoned_stream_cannot_be_appended_to;
    showing_a_deleted_stream_is_found_out:
        ShowsDeleted, deletes, a_deleted_stream_shows_nothing;
    showing_old_events_of_a_revived_stream_is_found_out:
        ShowsAllOfRevived, deletes, a_revived_stream_hides_its_old_events;
    ignoring_retention_is_found_out:
        IgnoresRetention, retention, max_count_shows_the_newest_events;
    reading_backward_exclusively_is_found_out:
        ReadsBackwardExclusively, stream_reads, a_backward_read_begins_with_the_revision_given;
    reading_the_log_exclusively_is_found_out:
        ReadsLogExclusively, log_reads, a_forward_read_begins_with_the_place_given;
    giving_one_event_too_many_is_found_out:
        GivesOneTooMany, stream_reads, a_limit_is_the_most_events_given;
    taking_a_batch_before_it_is_asked_for_is_found_out:
        TakesBatchesUnasked, log_reads, a_future_of_a_batch_that_is_dropped_loses_nothing;
    losing_a_batch_with_its_future_is_found_out:
        LosesBatchesHalfWay, log_reads, a_future_of_a_querys_batch_that_is_dropped_loses_nothing;
    missing_what_comes_behind_a_frontier_is_found_out:
        FrontierTooHigh, races, readers_miss_nothing_while_some_appends_come_to_nothing;
    leaving_a_part_of_what_is_refused_is_found_out:
        AppendsInParts, races, readers_miss_nothing_while_some_appends_come_to_nothing;
    a_frontier_too_high_is_found_out:
        FrontierTooHigh, log_reads, nothing_appears_at_or_below_a_frontier_later;
    ignoring_the_place_of_a_read_as_of_is_found_out:
        IgnoresAsOf, as_of, a_log_read_as_of_a_place_ends_with_it;
    ignoring_the_time_of_a_read_as_of_is_found_out:
        IgnoresAsOfTime, as_of, a_stream_read_as_of_a_time_shows_what_was_recorded_by_then;
    taking_the_present_metadata_for_an_earlier_moments_is_found_out:
        PresentMetadataAsOf, as_of, retention_that_came_later_hides_nothing_earlier;
    matching_any_tag_is_found_out:
        MatchesAnyTag, queries, tags_have_to_be_there_together;
    matching_everything_without_items_is_found_out:
        MatchesWithoutItems, queries, a_query_without_items_matches_nothing;
    renumbering_ordinals_is_found_out:
        RenumbersOrdinals, scavenging, ordinals_of_what_went_stay_without_an_event;
    listing_in_another_order_is_found_out:
        ListsInAnotherOrder, listing, streams_stand_in_the_order_of_their_bytes;
    delivering_twice_at_the_hand_over_is_found_out:
        DeliversTwiceAtTheHandOver, log_subscriptions,
        a_subscription_from_the_start_delivers_the_log_then_what_comes;
    losing_an_event_at_the_hand_over_is_found_out:
        LosesAtTheHandOver, stream_subscriptions,
        a_subscription_from_the_start_delivers_history_then_what_comes;
    beginning_at_the_place_given_is_found_out:
        BeginsAtTheCheckpoint, log_subscriptions, a_subscription_after_a_place_begins_behind_it;
    telling_no_checkpoints_is_found_out:
        TellsNoCheckpoints, log_subscriptions,
        what_does_not_match_is_told_by_a_checkpoint_before_catching_up;
    telling_to_be_caught_up_again_is_found_out:
        TellsCaughtUpAgain, log_subscriptions, being_caught_up_is_told_once;
    waiting_behind_a_tombstone_is_found_out:
        WaitsBehindTombstones, stream_subscriptions, a_tombstone_ends_the_subscription;
    giving_a_later_snapshot_is_found_out:
        GivesLaterSnapshots, snapshots, a_snapshot_behind_the_place_is_not_got;
    moving_a_checkpoint_from_anywhere_is_found_out:
        MovesCheckpointsFromAnywhere, checkpoints, a_checkpoint_that_is_elsewhere_does_not_move;
    accepting_a_stale_epoch_is_found_out:
        AcceptsStaleEpochs, checkpoints, a_stale_epoch_is_refused;
    accepting_another_logs_checkpoint_is_found_out:
        AcceptsOtherLogs, checkpoints, another_logs_checkpoint_is_refused;
    accepting_a_checkpoint_of_a_life_that_ended_is_found_out:
        AcceptsEndedLives, checkpoints, an_earlier_lifes_checkpoint_is_refused_behind_its_end;
    giving_a_lease_twice_is_found_out:
        GivesLeasesTwice, leases, a_held_lease_is_not_given;
    giving_an_epoch_twice_is_found_out:
        GivesEpochsTwice, leases, a_released_lease_is_given_under_a_higher_epoch;
    taking_requests_twice_is_found_out:
        TakesRequestsTwice, registry, a_request_is_taken_by_its_component;
}
