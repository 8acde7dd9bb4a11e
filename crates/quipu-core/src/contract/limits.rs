//! Limits, names, and names that are reserved.

use bytes::Bytes;

use crate::append::{Append, ExpectedRevision, InvalidAppend};
use crate::event::{NewEvent, Tags};
use crate::limits::{
    APPEND_COUNT_MAX, APPEND_SIZE_MAX, EVENT_SIZE_MAX, EVENT_TYPE_SIZE_MAX,
    RESERVED_STREAM_NAME_SIZE_MAX, STREAM_NAME_SIZE_MAX, TAG_COUNT_MAX, TAG_SIZE_MAX,
};
use crate::read::ReadStream;

use super::subject::{Subject, event, invalid_of, name, query, tagged};

cases!(
    "limits",
    an_event_of_the_largest_size_is_appended,
    a_larger_event_is_refused,
    metadata_counts_toward_an_events_size,
    a_larger_append_is_refused,
    an_append_of_the_most_events_is_appended,
    more_events_are_refused,
    an_event_has_the_most_tags,
    more_tags_are_refused,
    reserved_tags_do_not_count,
    the_longest_names_are_kept,
    a_stream_has_one_expectation,
    a_refused_append_names_the_event,
    reserved_streams_are_refused,
    reserved_types_are_refused,
    reserved_tags_are_refused,
    metadata_streams_are_written_through_set_metadata_only,
    tombstones_are_written_through_tombstone_only,
    reserved_names_are_written_with_system_rights,
    the_frameworks_names_are_written_with_any_rights,
    a_dollar_inside_a_name_is_ordinary,
    the_longest_reserved_streams_have_no_metadata,
    reserved_streams_may_be_expected_and_read_with_any_rights,
);

fn sized(size: usize) -> NewEvent {
    NewEvent { data: Bytes::from(vec![7; size]), ..event("Large") }
}

fn one(event: NewEvent) -> Append {
    Append::new().event(name("a-1"), event)
}

fn an_event_of_the_largest_size_is_appended(subject: &Subject<'_>) {
    subject.append(one(sized(EVENT_SIZE_MAX - 1).with_metadata("m")));

    let read = subject.read(ReadStream::new(name("a-1")));
    let size = read.first().and_then(|it| it.data.present()).map(Bytes::len);
    assert_eq!(size, Some(EVENT_SIZE_MAX - 1));
}

fn a_larger_event_is_refused(subject: &Subject<'_>) {
    let reason = subject.invalid(one(event("A")).event(name("a-1"), sized(EVENT_SIZE_MAX + 1)));

    let (size, size_max) = (EVENT_SIZE_MAX + 1, EVENT_SIZE_MAX);
    assert_eq!(reason, InvalidAppend::EventTooLarge { index: 1, size, size_max });
    assert!(subject.log().is_empty());
}

fn metadata_counts_toward_an_events_size(subject: &Subject<'_>) {
    let reason = subject.invalid(one(sized(EVENT_SIZE_MAX).with_metadata("m")));

    let (size, size_max) = (EVENT_SIZE_MAX + 1, EVENT_SIZE_MAX);
    assert_eq!(reason, InvalidAppend::EventTooLarge { index: 0, size, size_max });
}

fn a_larger_append_is_refused(subject: &Subject<'_>) {
    let largest = sized(EVENT_SIZE_MAX);
    let count = APPEND_SIZE_MAX / EVENT_SIZE_MAX;
    let events = (0..count).map(|_| NewEvent { id: crate::EventId::generate(), ..largest.clone() });
    let append = Append::to_stream(name("a-1"), ExpectedRevision::Any, events);

    let reason = subject.invalid(append.event(name("b-1"), sized(1)));

    let (size, size_max) = (APPEND_SIZE_MAX + 1, APPEND_SIZE_MAX);
    assert_eq!(reason, InvalidAppend::TooLarge { size, size_max });
    assert!(subject.log().is_empty());
}

fn many(count: usize) -> Append {
    let events = (0..count).map(|_| event("Small"));
    Append::to_stream(name("a-1"), ExpectedRevision::NoStream, events)
}

fn an_append_of_the_most_events_is_appended(subject: &Subject<'_>) {
    let appended = subject.append(many(APPEND_COUNT_MAX));

    let last = appended.streams.first().map(|it| it.revision.get());
    assert_eq!(last, Some(APPEND_COUNT_MAX as u64 - 1));
    assert_eq!(subject.types("a-1").len(), APPEND_COUNT_MAX);
}

fn more_events_are_refused(subject: &Subject<'_>) {
    let reason = subject.invalid(many(APPEND_COUNT_MAX + 1));

    let (count, count_max) = (APPEND_COUNT_MAX + 1, APPEND_COUNT_MAX);
    assert_eq!(reason, InvalidAppend::TooManyEvents { count, count_max });
    assert!(subject.log().is_empty());
}

fn tags(count: usize, size: usize) -> Tags {
    Tags::parse((0..count).map(|number| format!("{number:0size$}"))).expect("they are tags")
}

fn an_event_has_the_most_tags(subject: &Subject<'_>) {
    let tags = tags(TAG_COUNT_MAX, TAG_SIZE_MAX);

    subject.append(one(NewEvent { tags: tags.clone(), ..event("A") }));

    let read = subject.read(ReadStream::new(name("a-1")));
    assert_eq!(read.first().map(|it| &it.tags), Some(&tags));
    let last = tags.iter().last().expect("there are some");
    assert_eq!(subject.matching(query(&format!("tag:{last}"))), ["A"]);
}

fn more_tags_are_refused(subject: &Subject<'_>) {
    let too_many = NewEvent { tags: tags(TAG_COUNT_MAX + 1, 3), ..event("A") };

    let reason = subject.invalid(one(too_many));

    let (count, count_max) = (TAG_COUNT_MAX + 1, TAG_COUNT_MAX);
    assert_eq!(reason, InvalidAppend::TooManyTags { index: 0, count, count_max });
}

fn reserved_tags_do_not_count(subject: &Subject<'_>) {
    let mut tags = tags(TAG_COUNT_MAX, 3);
    tags.insert(crate::Tag::new("$quipu.origin").expect("it is a tag"));

    subject.append(one(NewEvent { tags: tags.clone(), ..event("A") }));

    let read = subject.read(ReadStream::new(name("a-1")));
    assert_eq!(read.first().map(|it| &it.tags), Some(&tags));
}

fn the_longest_names_are_kept(subject: &Subject<'_>) {
    let stream = "s".repeat(STREAM_NAME_SIZE_MAX);
    let event_type = "t".repeat(EVENT_TYPE_SIZE_MAX);
    let reserved = format!("$quipu.{}", "r".repeat(RESERVED_STREAM_NAME_SIZE_MAX - 7));

    subject.add(&stream, &[&event_type]);
    subject.add(&reserved, &[&event_type]);
    let json = Bytes::from_static(b"{}");
    let store = subject.store();
    let set = store.set_metadata(name(&stream), ExpectedRevision::Any, json);
    subject.settle(subject.wait(set)).expect("its metadata stream has a name");

    assert_eq!(subject.types(&stream), [event_type.as_str()]);
    assert_eq!(subject.types(&reserved), [event_type.as_str()]);
    assert_eq!(subject.matching(query(&format!("type:{event_type}"))).len(), 2);
}

fn a_stream_has_one_expectation(subject: &Subject<'_>) {
    let append = Append::new()
        .expect(name("a-1"), ExpectedRevision::Any)
        .expect(name("b-1"), ExpectedRevision::Any)
        .expect(name("a-1"), ExpectedRevision::Any);

    let reason = subject.invalid(append);

    assert_eq!(reason, InvalidAppend::TwoExpectations { stream: name("a-1") });
}

fn a_refused_append_names_the_event(subject: &Subject<'_>) {
    let too_many = NewEvent { tags: tags(TAG_COUNT_MAX + 1, 3), ..event("A") };
    let append = one(event("A")).event(name("b-1"), event("B")).event(name("a-1"), too_many);

    let reason = subject.invalid(append);

    assert!(matches!(reason, InvalidAppend::TooManyTags { index: 2, .. }), "{reason:?}");
    assert!(subject.log().is_empty());
}

fn assert_reserved(subject: &Subject<'_>, append: &Append, reserved: &str) {
    let with_others = append.clone().event(name("z-1"), event("Z"));

    let reason = subject.invalid(with_others);

    assert_eq!(reason, InvalidAppend::ReservedName { name: reserved.to_owned() });
    assert!(subject.log().is_empty());
}

fn reserved_streams_are_refused(subject: &Subject<'_>) {
    for stream in ["$settings", "$", "$ce-order", "$quipu", "$quip.u", "$QUIPU.x"] {
        let append = Append::new().event(name(stream), event("A"));
        assert_reserved(subject, &append, stream);
    }
}

fn reserved_types_are_refused(subject: &Subject<'_>) {
    for event_type in ["$>", "$metadata", "$quipu"] {
        assert_reserved(subject, &one(event(event_type)), event_type);
    }
}

fn reserved_tags_are_refused(subject: &Subject<'_>) {
    assert_reserved(subject, &one(tagged("A", &["ordinary", "$internal"])), "$internal");
}

fn metadata_streams_are_written_through_set_metadata_only(subject: &Subject<'_>) {
    let append = Append::new().event(name("$$a-1"), event("A"));

    assert_reserved(subject, &append, "$$a-1");
}

fn tombstones_are_written_through_tombstone_only(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);

    let reason = subject.invalid(one(event("$streamDeleted")));

    assert_eq!(reason, InvalidAppend::ReservedName { name: "$streamDeleted".to_owned() });
    assert_eq!(subject.types("a-1"), ["A"]);
}

fn reserved_names_are_written_with_system_rights(subject: &Subject<'_>) {
    subject.append_as_system(
        Append::new()
            .event(name("$settings"), event("A"))
            .event(name("a-1"), event("$>"))
            .event(name("a-1"), tagged("B", &["$internal"])),
    );

    assert_eq!(subject.types("$settings"), ["A"]);
    assert_eq!(subject.types("a-1"), ["$>", "B"]);
    assert_eq!(subject.matching(query("tag:$internal")), ["B"]);
}

fn the_frameworks_names_are_written_with_any_rights(subject: &Subject<'_>) {
    subject.append(
        Append::new().event(name("$quipu.timers-1"), tagged("$quipu.Due", &["$quipu.key:1"])),
    );

    assert_eq!(subject.types("$quipu.timers-1"), ["$quipu.Due"]);
    assert_eq!(subject.matching(query("tag:$quipu.key:1")), ["$quipu.Due"]);
}

fn a_dollar_inside_a_name_is_ordinary(subject: &Subject<'_>) {
    subject.add_tagged("a$-1", "US$", &["price:$"]);

    assert_eq!(subject.types("a$-1"), ["US$"]);
}

fn the_longest_reserved_streams_have_no_metadata(subject: &Subject<'_>) {
    let long = format!("$quipu.{}", "r".repeat(RESERVED_STREAM_NAME_SIZE_MAX - 8));
    subject.add(&long, &["A"]);

    let deleted = subject.wait(subject.store().delete(name(&long), ExpectedRevision::Any));

    assert_eq!(invalid_of(deleted), InvalidAppend::NameTooLong { stream: name(&long) });
    assert_eq!(subject.types(&long), ["A"]);
}

fn reserved_streams_may_be_expected_and_read_with_any_rights(subject: &Subject<'_>) {
    subject.append_as_system(Append::new().event(name("$settings"), event("A")));

    subject.append(one(event("B")).expect(name("$settings"), ExpectedRevision::StreamExists));

    assert_eq!(subject.types("$settings"), ["A"]);
    assert_eq!(subject.types("a-1"), ["B"]);
}
