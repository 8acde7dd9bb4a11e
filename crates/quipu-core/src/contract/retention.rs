//! Metadata and retention: what stream reads show.

use std::time::Duration;

use bytes::Bytes;

use crate::append::{Append, AppendError, Appended, ExpectedRevision, InvalidAppend};
use crate::event::NewEvent;
use crate::metadata::METADATA_TYPE;
use crate::query::Query;
use crate::read::{ReadStream, StreamInfo, StreamState};

use super::subject::{
    Subject, conflict_of, event, exactly, invalid_of, name, revision, revisions_of, types_of,
};
use ExpectedRevision::{Any, NoStream, StreamExists};

cases!(
    "retention",
    metadata_is_what_was_set_last,
    metadata_is_an_event_of_the_metadata_stream,
    metadata_can_be_set_on_a_stream_that_is_not_there,
    setting_metadata_checks_the_metadata_streams_revision,
    a_metadata_stream_shows_its_last_event_only,
    malformed_metadata_is_refused,
    metadata_with_values_of_the_wrong_kind_is_refused,
    malformed_metadata_from_elsewhere_counts_as_none,
    only_metadata_events_count_as_metadata,
    reserved_streams_get_metadata_with_system_rights_only,
    max_count_shows_the_newest_events,
    max_count_above_the_count_hides_nothing,
    max_count_moves_with_the_stream,
    truncate_before_hides_what_is_before_it,
    truncate_before_beyond_the_end_hides_all_and_keeps_the_stream,
    the_stricter_of_max_count_and_truncate_before_counts,
    max_age_hides_what_is_older,
    max_age_shows_what_is_younger,
    max_age_and_max_count_both_hide,
    lifting_retention_shows_again_what_was_hidden,
    retention_hides_nothing_in_the_log,
    retention_holds_in_backward_reads,
    a_read_from_a_hidden_revision_begins_at_the_first_shown_one,
    a_limit_counts_shown_events,
    retention_of_one_stream_leaves_others_alone,
    revisions_go_on_behind_hidden_events,
    stream_info_tells_what_retention_leaves,
);

fn info(subject: &Subject<'_>, stream: &str) -> StreamInfo {
    subject.wait(subject.store().stream_info(name(stream))).expect("the store answers")
}

fn set(
    subject: &Subject<'_>,
    stream: &str,
    expected: ExpectedRevision,
    json: &'static str,
) -> Result<Appended, AppendError> {
    let json = Bytes::from_static(json.as_bytes());
    subject.settle(subject.wait(subject.store().set_metadata(name(stream), expected, json)))
}

fn metadata_is_what_was_set_last(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.set_metadata("a-1", r#"{"owner":"ada","$maxCount":3}"#);
    subject.set_metadata("a-1", r#"{"owner":"bob"}"#);

    let info = info(subject, "a-1");

    assert_eq!(info.metadata.object().get("owner").and_then(|it| it.as_str()), Some("bob"));
    assert_eq!(info.metadata.max_count(), None, "it is replaced, not merged");
    assert_eq!(info.metadata_revision, Some(revision(1)));
}

fn metadata_is_an_event_of_the_metadata_stream(subject: &Subject<'_>) {
    let json = r#"{ "owner" : "ada" }"#;

    let appended = subject.set_metadata("a-1", json);

    let read = subject.read(ReadStream::new(name("$$a-1")));
    assert_eq!(types_of(&read), [METADATA_TYPE]);
    let kept = read.first().and_then(|it| it.data.present().cloned());
    assert_eq!(kept, Some(Bytes::from_static(json.as_bytes())), "to the byte");
    assert_eq!(appended.last, read.first().map(|it| it.position));
    assert_eq!(appended.streams.first().map(|it| &it.stream), Some(&name("$$a-1")));
}

fn metadata_can_be_set_on_a_stream_that_is_not_there(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);

    assert_eq!(subject.state("a-1"), StreamState::Absent);
    subject.add("a-1", &["A", "B"]);
    assert_eq!(subject.types("a-1"), ["B"]);
}

fn setting_metadata_checks_the_metadata_streams_revision(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);

    conflict_of(set(subject, "a-1", StreamExists, "{}"));
    conflict_of(set(subject, "a-1", exactly(2), "{}"));
    set(subject, "a-1", NoStream, "{}").expect("it is the first");
    conflict_of(set(subject, "a-1", NoStream, "{}"));
    set(subject, "a-1", exactly(0), "{}").expect("it follows the first");
    conflict_of(set(subject, "a-1", exactly(0), "{}"));
    set(subject, "a-1", StreamExists, "{}").expect("there is metadata");

    assert_eq!(info(subject, "a-1").metadata_revision, Some(revision(2)));
}

fn a_metadata_stream_shows_its_last_event_only(subject: &Subject<'_>) {
    for json in [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#] {
        subject.set_metadata("a-1", json);
    }

    let (state, events) = subject.read_with_state(ReadStream::new(name("$$a-1")));

    assert_eq!(state, StreamState::Live { last: revision(2) });
    assert_eq!(revisions_of(&events), [2]);
    assert_eq!(subject.matching(Query::stream(name("$$a-1"))).len(), 3);
}

fn malformed_metadata_is_refused(subject: &Subject<'_>) {
    for json in ["", "null", "[]", "7", "{", "{} {}", "\"text\""] {
        let reason = invalid_of(set(subject, "a-1", Any, json));
        assert_eq!(reason, InvalidAppend::MalformedMetadata, "{json}");
    }
    assert!(subject.log().is_empty());
}

fn metadata_with_values_of_the_wrong_kind_is_refused(subject: &Subject<'_>) {
    for json in [
        r#"{"$maxCount":0}"#,
        r#"{"$maxCount":-1}"#,
        r#"{"$maxCount":"3"}"#,
        r#"{"$maxCount":1.5}"#,
        r#"{"$maxAge":0}"#,
        r#"{"$maxAge":true}"#,
        r#"{"$tb":-1}"#,
        r#"{"$tb":[1]}"#,
    ] {
        let reason = invalid_of(set(subject, "a-1", Any, json));
        assert_eq!(reason, InvalidAppend::MalformedMetadata, "{json}");
    }
    assert!(subject.log().is_empty());
}

fn metadata_by_hand(event_type: &str, json: &'static str) -> Append {
    let metadata = NewEvent::json(event_type, json).expect("it is a name");
    Append::new().event(name("$$a-1"), metadata)
}

fn malformed_metadata_from_elsewhere_counts_as_none(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);
    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);
    assert_eq!(subject.types("a-1"), ["C"]);

    for json in ["not json", r#"{"$maxCount":"many"}"#] {
        subject.append_as_system(metadata_by_hand(METADATA_TYPE, json));
        assert_eq!(subject.types("a-1"), ["A", "B", "C"], "{json}");
    }
}

fn only_metadata_events_count_as_metadata(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);
    subject.append_as_system(metadata_by_hand(METADATA_TYPE, r#"{"$maxCount":1}"#));

    subject.append_as_system(metadata_by_hand("Other", r#"{"$maxCount":2}"#));

    assert_eq!(subject.types("a-1"), ["C"]);
}

fn reserved_streams_get_metadata_with_system_rights_only(subject: &Subject<'_>) {
    let reason = invalid_of(set(subject, "$settings", Any, "{}"));
    assert_eq!(reason, InvalidAppend::ReservedName { name: "$settings".to_owned() });

    let json = Bytes::from_static(b"{}");
    let system = subject.system();
    subject
        .settle(subject.wait(system.set_metadata(name("$settings"), Any, json)))
        .expect("it has the rights");

    assert_eq!(subject.types("$$$settings"), [METADATA_TYPE]);
}

fn max_count_shows_the_newest_events(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D", "E"]);

    subject.set_metadata("a-1", r#"{"$maxCount":2}"#);

    assert_eq!(subject.types("a-1"), ["D", "E"]);
    assert_eq!(subject.state("a-1"), StreamState::Live { last: revision(4) });
}

fn max_count_above_the_count_hides_nothing(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    subject.set_metadata("a-1", r#"{"$maxCount":2}"#);
    assert_eq!(subject.types("a-1"), ["A", "B"]);
    subject.set_metadata("a-1", r#"{"$maxCount":9223372036854775807}"#);

    assert_eq!(subject.types("a-1"), ["A", "B"]);
}

fn max_count_moves_with_the_stream(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"$maxCount":2}"#);

    subject.add("a-1", &["A", "B"]);
    assert_eq!(subject.types("a-1"), ["A", "B"]);
    subject.add("a-1", &["C"]);

    assert_eq!(subject.types("a-1"), ["B", "C"]);
}

fn truncate_before_hides_what_is_before_it(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);

    subject.set_metadata("a-1", r#"{"$tb":2}"#);
    assert_eq!(subject.types("a-1"), ["C", "D"]);
    subject.set_metadata("a-1", r#"{"$tb":0}"#);

    assert_eq!(subject.types("a-1"), ["A", "B", "C", "D"]);
}

fn truncate_before_beyond_the_end_hides_all_and_keeps_the_stream(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    subject.set_metadata("a-1", r#"{"$tb":3}"#);

    assert_eq!(subject.state("a-1"), StreamState::Live { last: revision(1) });
    assert!(subject.types("a-1").is_empty());
    subject.add("a-1", &["C", "D"]);
    assert_eq!(subject.types("a-1"), ["D"]);
}

fn the_stricter_of_max_count_and_truncate_before_counts(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);

    subject.set_metadata("a-1", r#"{"$tb":1,"$maxCount":2}"#);
    assert_eq!(subject.types("a-1"), ["C", "D"]);
    subject.set_metadata("a-1", r#"{"$tb":3,"$maxCount":2}"#);

    assert_eq!(subject.types("a-1"), ["D"]);
}

fn max_age_hides_what_is_older(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"$maxAge":60}"#);
    subject.add("a-1", &["Old"]);
    subject.advance_clock(Duration::from_secs(40));
    subject.add("a-1", &["Young"]);
    assert_eq!(subject.types("a-1"), ["Old", "Young"]);

    subject.advance_clock(Duration::from_secs(30));

    assert_eq!(subject.types("a-1"), ["Young"]);
    subject.advance_clock(Duration::from_mins(1));
    assert!(subject.types("a-1").is_empty());
    assert_eq!(subject.state("a-1"), StreamState::Live { last: revision(1) });
}

fn max_age_shows_what_is_younger(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);

    subject.set_metadata("a-1", r#"{"$maxAge":3600}"#);
    assert_eq!(subject.types("a-1"), ["A", "B"]);
    subject.set_metadata("a-1", r#"{"$maxAge":9223372036854775807}"#);

    assert_eq!(subject.types("a-1"), ["A", "B"]);
}

fn max_age_and_max_count_both_hide(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"$maxAge":60,"$maxCount":2}"#);
    subject.add("a-1", &["A", "B"]);
    subject.advance_clock(Duration::from_secs(50));
    subject.add("a-1", &["C"]);

    assert_eq!(subject.types("a-1"), ["B", "C"]);
    subject.advance_clock(Duration::from_secs(20));
    assert_eq!(subject.types("a-1"), ["C"]);
}

fn lifting_retention_shows_again_what_was_hidden(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);
    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);
    assert_eq!(subject.types("a-1"), ["C"]);

    subject.set_metadata("a-1", "{}");

    assert_eq!(subject.types("a-1"), ["A", "B", "C"]);
}

fn retention_hides_nothing_in_the_log(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);

    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);

    assert_eq!(subject.log(), ["A", "B", "C", METADATA_TYPE]);
    assert_eq!(subject.matching(Query::stream(name("a-1"))), ["A", "B", "C"]);
}

fn retention_holds_in_backward_reads(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);

    subject.set_metadata("a-1", r#"{"$tb":2}"#);

    let read = ReadStream::new(name("a-1")).backward();
    assert_eq!(types_of(&subject.read(read.clone())), ["D", "C"]);
    assert!(subject.read(read.from(revision(1))).is_empty());
}

fn a_read_from_a_hidden_revision_begins_at_the_first_shown_one(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);
    subject.set_metadata("a-1", r#"{"$tb":2}"#);

    let events = subject.read(ReadStream::new(name("a-1")).from(revision(1)));

    assert_eq!(types_of(&events), ["C", "D"]);
}

fn a_limit_counts_shown_events(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);
    subject.set_metadata("a-1", r#"{"$tb":1}"#);

    let forward = subject.read(ReadStream::new(name("a-1")).limit(2));
    let backward = subject.read(ReadStream::new(name("a-1")).backward().limit(4));

    assert_eq!(types_of(&forward), ["B", "C"]);
    assert_eq!(types_of(&backward), ["D", "C", "B"]);
}

fn retention_of_one_stream_leaves_others_alone(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.add("a-10", &["A", "B"]);

    subject.set_metadata("a-1", r#"{"$maxCount":1}"#);

    assert_eq!(subject.types("a-10"), ["A", "B"]);
}

fn revisions_go_on_behind_hidden_events(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C"]);
    subject.set_metadata("a-1", r#"{"$tb":3}"#);

    subject.append(Append::to_stream(name("a-1"), exactly(2), [event("D")]));

    assert_eq!(revisions_of(&subject.read(ReadStream::new(name("a-1")))), [3]);
}

fn stream_info_tells_what_retention_leaves(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B", "C", "D"]);
    subject.set_metadata("a-1", r#"{"$maxCount":3}"#);

    let info = info(subject, "a-1");

    assert_eq!(info.first, Some(revision(1)));
    assert_eq!(info.count, 3);
    assert_eq!(info.size, 6, "three times {{}}");
    assert_eq!(info.state, StreamState::Live { last: revision(3) });
}
