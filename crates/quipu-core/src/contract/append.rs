//! Appending: what is given is what is read, in the order given.

use std::time::Duration;

use bytes::Bytes;

use crate::append::{Append, ExpectedRevision, InvalidAppend};
use crate::event::{EventData, EventId, NewEvent, Tags};
use crate::name::{ContentType, EventType};
use crate::place::{Position, Timestamp};
use crate::query::Query;
use crate::read::{ReadAll, ReadStream};

use super::subject::{
    FAR_FUTURE, Subject, event, name, positions_of, query, revisions_of, tagged, types_of,
};

cases!(
    "append",
    an_event_is_read_back_as_it_was_given,
    revisions_count_from_zero_without_gaps,
    positions_rise_strictly_and_begin_behind_the_start,
    the_answer_names_the_first_and_the_last_place,
    the_answer_names_the_last_event_of_the_stream,
    events_stand_in_the_order_given,
    an_append_without_events_answers_no_places,
    an_append_without_events_is_not_in_the_log,
    data_may_be_empty,
    data_may_be_any_bytes,
    metadata_may_be_any_bytes,
    the_content_type_is_kept,
    tags_are_a_set_in_order_of_their_bytes,
    names_may_be_in_any_script,
    one_type_may_be_in_many_streams,
    a_thousand_events_are_appended_at_once,
    times_do_not_go_back,
    a_given_time_is_kept_to_the_microsecond,
    a_given_time_before_the_last_events_is_raised_and_counted,
    a_given_time_in_the_future_is_refused,
    what_is_appended_with_system_rights_is_in_the_same_log,
    an_id_of_any_uuid_version_is_kept,
    an_append_that_fails_leaves_the_log_as_it_was,
);

fn an_event_is_read_back_as_it_was_given(subject: &Subject<'_>) {
    let given = NewEvent {
        id: EventId::generate(),
        event_type: EventType::new("OrderPlaced").expect("it is a name"),
        tags: Tags::parse(["order:1", "customer:7"]).expect("they are tags"),
        content_type: ContentType::json(),
        data: Bytes::from_static(br#"{"total_cents":1200}"#),
        metadata: Bytes::from_static(br#"{"traceparent":"00-1"}"#),
        recorded_at: None,
    };

    let appended = subject.append(Append::new().event(name("order-1"), given.clone()));

    let read = subject.read(ReadStream::new(name("order-1")));
    let [read] = read.as_slice() else { panic!("one event was expected, got {read:?}") };
    assert_eq!(read.id, given.id);
    assert_eq!(read.stream, name("order-1"));
    assert_eq!(read.event_type, given.event_type);
    assert_eq!(read.tags, given.tags);
    assert_eq!(read.content_type, given.content_type);
    assert_eq!(read.data, EventData::Present(given.data));
    assert_eq!(read.metadata, given.metadata);
    assert_eq!(read.revision.get(), 0);
    assert_eq!(Some(read.position), appended.last);
    assert_eq!(subject.read_all(ReadAll::new(Query::all())), std::slice::from_ref(read));
}

fn revisions_count_from_zero_without_gaps(subject: &Subject<'_>) {
    subject.add("order-1", &["A", "B"]);
    subject.add("order-2", &["A"]);
    subject.add("order-1", &["C"]);

    let events = subject.read(ReadStream::new(name("order-1")));

    assert_eq!(revisions_of(&events), [0, 1, 2]);
}

fn positions_rise_strictly_and_begin_behind_the_start(subject: &Subject<'_>) {
    for stream in ["a-1", "b-1", "a-1", "c-1"] {
        subject.add(stream, &["X", "Y"]);
    }

    let positions = positions_of(&subject.read_all(ReadAll::new(Query::all())));

    assert_eq!(positions.len(), 8);
    assert!(positions.first() > Some(&Position::START));
    assert!(positions.is_sorted_by(|earlier, later| earlier < later), "{positions:?}");
}

fn the_answer_names_the_first_and_the_last_place(subject: &Subject<'_>) {
    subject.add("order-1", &["A"]);

    let appended = subject.add("order-1", &["B", "C", "D"]);

    let positions = positions_of(&subject.read_all(ReadAll::new(query("type:B,C,D"))));
    assert_eq!(appended.first, positions.first().copied());
    assert_eq!(appended.last, positions.last().copied());
    assert!(!appended.replayed);
    assert_eq!(appended.clamped_count, 0);
}

fn the_answer_names_the_last_event_of_the_stream(subject: &Subject<'_>) {
    subject.add("order-1", &["A"]);

    let appended = subject.add("order-1", &["B", "C"]);

    let [stream] = appended.streams.as_slice() else { panic!("one stream, got {appended:?}") };
    assert_eq!(stream.stream, name("order-1"));
    assert_eq!(stream.revision.get(), 2);
    assert_eq!(Some(stream.position), appended.last);
}

fn events_stand_in_the_order_given(subject: &Subject<'_>) {
    subject.add("order-1", &["C", "A", "D", "B"]);

    assert_eq!(subject.types("order-1"), ["C", "A", "D", "B"]);
    assert_eq!(subject.log(), ["C", "A", "D", "B"]);
}

fn an_append_without_events_answers_no_places(subject: &Subject<'_>) {
    let appended = subject.append(Append::new().expect(name("order-1"), ExpectedRevision::Any));

    assert_eq!((appended.first, appended.last), (None, None));
    assert!(appended.streams.is_empty());
    assert!(!appended.replayed);
}

fn an_append_without_events_is_not_in_the_log(subject: &Subject<'_>) {
    subject.add("order-1", &["A"]);
    let before = subject.frontier();

    subject.append(Append::new().expect(name("order-1"), ExpectedRevision::StreamExists));

    assert_eq!(subject.frontier(), before);
    assert_eq!(subject.log(), ["A"]);
}

fn data_may_be_empty(subject: &Subject<'_>) {
    let mut empty = event("Nothing");
    empty.data = Bytes::new();

    subject.append(Append::new().event(name("order-1"), empty));

    let read = subject.read(ReadStream::new(name("order-1")));
    let data: Vec<EventData> = read.into_iter().map(|it| it.data).collect();
    assert_eq!(data, [EventData::Present(Bytes::new())]);
}

fn data_may_be_any_bytes(subject: &Subject<'_>) {
    let bytes: Bytes = (0..=255).cycle().take(10_000).collect();
    let mut binary = event("Binary");
    binary.content_type = ContentType::octets();
    binary.data = bytes.clone();

    subject.append(Append::new().event(name("file-1"), binary));

    let read = subject.read(ReadStream::new(name("file-1")));
    let data: Vec<EventData> = read.into_iter().map(|it| it.data).collect();
    assert_eq!(data, [EventData::Present(bytes)]);
}

fn metadata_may_be_any_bytes(subject: &Subject<'_>) {
    let bytes: Bytes = (0..=255).rev().collect();

    let with_metadata = event("A").with_metadata(bytes.clone());
    subject.append(Append::new().event(name("order-1"), with_metadata));

    let read = subject.read(ReadStream::new(name("order-1")));
    assert_eq!(read.first().map(|it| &it.metadata), Some(&bytes));
}

fn the_content_type_is_kept(subject: &Subject<'_>) {
    let content_type = ContentType::new("application/vnd.acme+json; v=2").expect("it is a name");
    let mut special = event("A");
    special.content_type = content_type.clone();

    subject.append(Append::new().event(name("order-1"), special));

    let read = subject.read(ReadStream::new(name("order-1")));
    assert_eq!(read.first().map(|it| &it.content_type), Some(&content_type));
}

fn tags_are_a_set_in_order_of_their_bytes(subject: &Subject<'_>) {
    subject.add_tagged("order-1", "A", &["b:2", "a:1", "b:2", "B:3"]);

    let read = subject.read(ReadStream::new(name("order-1")));
    let tags: Vec<&str> = read.iter().flat_map(|it| it.tags.iter()).collect();
    assert_eq!(tags, ["B:3", "a:1", "b:2"]);
}

fn names_may_be_in_any_script(subject: &Subject<'_>) {
    subject.add_tagged("Bestellung-Größe/\u{1F600} ü", "Übermittelt 送信", &["ключ:значение"]);

    let read = subject.read(ReadStream::new(name("Bestellung-Größe/\u{1F600} ü")));
    assert_eq!(types_of(&read), ["Übermittelt 送信"]);
    assert_eq!(subject.matching(query("tag:ключ:значение")), ["Übermittelt 送信"]);
}

fn one_type_may_be_in_many_streams(subject: &Subject<'_>) {
    subject.add("a-1", &["Same"]);
    subject.add("b-1", &["Same"]);

    assert_eq!(subject.types("a-1"), ["Same"]);
    assert_eq!(subject.types("b-1"), ["Same"]);
    assert_eq!(subject.log(), ["Same", "Same"]);
}

fn a_thousand_events_are_appended_at_once(subject: &Subject<'_>) {
    let types: Vec<String> = (0..1_000).map(|number| format!("Type{number}")).collect();
    let types: Vec<&str> = types.iter().map(String::as_str).collect();

    let appended = subject.add("batch-1", &types);

    assert_eq!(appended.streams.first().map(|it| it.revision.get()), Some(999));
    assert_eq!(subject.types("batch-1"), types);
    assert_eq!(subject.log(), types);
}

fn times_do_not_go_back(subject: &Subject<'_>) {
    for stream in ["a-1", "b-1", "c-1"] {
        subject.add(stream, &["X", "Y"]);
        subject.add("a-1", &["Z"]);
    }

    let events = subject.read_all(ReadAll::new(Query::all()));

    let times: Vec<Timestamp> = events.iter().map(|it| it.recorded_at).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// A time that has passed, with a number of microseconds that shows rounding.
fn an_hour_ago(subject: &Subject<'_>) -> Timestamp {
    subject.add("clock-1", &["Tick"]);
    let ticks = subject.read(ReadStream::new(name("clock-1")));
    let now = ticks.last().expect("it was appended").recorded_at;
    let past = now.minus(Duration::from_hours(1)).as_micros();
    Timestamp::from_micros(past - past.rem_euclid(1_000) + 123)
}

fn given_time(event_type: &str, recorded_at: Timestamp) -> NewEvent {
    NewEvent { recorded_at: Some(recorded_at), ..event(event_type) }
}

fn a_given_time_is_kept_to_the_microsecond(subject: &Subject<'_>) {
    let times: Vec<Timestamp> = [1_000_001, 1_000_001, 2_000_123, 2_999_999]
        .into_iter()
        .map(Timestamp::from_micros)
        .collect();
    let events = times.iter().map(|at| given_time("Imported", *at));

    let copy = Append::to_stream(name("copy-1"), ExpectedRevision::NoStream, events);
    let appended = subject.append(copy);

    let read = subject.read(ReadStream::new(name("copy-1")));
    let kept: Vec<Timestamp> = read.iter().map(|it| it.recorded_at).collect();
    assert_eq!(kept, times);
    assert_eq!(appended.clamped_count, 0);
}

fn a_given_time_before_the_last_events_is_raised_and_counted(subject: &Subject<'_>) {
    subject.need_times_in_order();
    let past = an_hour_ago(subject);

    let late = Append::new()
        .event(name("copy-1"), given_time("A", past))
        .event(name("copy-1"), given_time("B", past));
    let appended = subject.append(late);

    let times: Vec<Timestamp> =
        subject.read_all(ReadAll::new(Query::all())).iter().map(|it| it.recorded_at).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times.iter().all(|at| *at > past));
    assert_eq!(appended.clamped_count, 2);
}

fn a_given_time_in_the_future_is_refused(subject: &Subject<'_>) {
    let append = Append::new()
        .event(name("copy-1"), event("A"))
        .event(name("copy-1"), given_time("B", FAR_FUTURE));

    let reason = subject.invalid(append);

    assert_eq!(reason, InvalidAppend::RecordedInFuture { index: 1, recorded_at: FAR_FUTURE });
    assert!(subject.log().is_empty());
}

fn what_is_appended_with_system_rights_is_in_the_same_log(subject: &Subject<'_>) {
    subject.append_as_system(Append::new().event(name("order-1"), event("A")));

    assert_eq!(subject.types("order-1"), ["A"]);
    assert_eq!(subject.system().identity(), subject.store().identity());
}

fn an_id_of_any_uuid_version_is_kept(subject: &Subject<'_>) {
    let ids: Vec<EventId> = [0, 1, 0xFFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF, 0x0102_0304_0506]
        .into_iter()
        .map(|bits| EventId::from_uuid(uuid::Uuid::from_u128(bits)))
        .collect();
    let events = ids.iter().map(|id| event("A").with_id(*id));

    subject.append(Append::to_stream(name("order-1"), ExpectedRevision::Any, events));

    let read = subject.read(ReadStream::new(name("order-1")));
    assert_eq!(read.iter().map(|it| it.id).collect::<Vec<_>>(), ids);
}

fn an_append_that_fails_leaves_the_log_as_it_was(subject: &Subject<'_>) {
    subject.add("order-1", &["A"]);
    let before = subject.frontier();

    let refused = Append::to_stream(
        name("order-1"),
        ExpectedRevision::NoStream,
        [tagged("B", &["t:1"]), event("C")],
    );
    subject.conflict(refused);

    assert_eq!(subject.frontier(), before);
    assert_eq!(subject.types("order-1"), ["A"]);
    assert_eq!(subject.add("order-1", &["D"]).streams.first().map(|it| it.revision.get()), Some(1));
}
