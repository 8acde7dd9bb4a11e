//! Lists of streams, and what is known of one.

use crate::name::StreamName;
use crate::read::{ListStreams, StreamInfo, StreamState};

use super::subject::{Subject, name, revision};

cases!(
    "listing",
    an_empty_log_has_no_streams,
    every_stream_with_an_event_is_listed_once,
    streams_stand_in_the_order_of_their_bytes,
    a_prefix_narrows_the_list,
    a_category_narrows_the_list,
    a_prefix_and_a_category_narrow_the_list_together,
    a_page_goes_on_after_the_last_name,
    a_page_may_go_on_after_a_name_that_is_not_there,
    a_page_after_a_name_before_the_prefix_begins_with_the_prefix,
    a_limit_is_the_most_names_given,
    deleted_and_tombstoned_streams_are_listed,
    metadata_streams_are_listed,
    a_stream_with_only_metadata_is_not_listed,
    info_of_an_absent_stream_says_so,
    info_counts_events_and_bytes,
    info_of_a_deleted_stream_counts_nothing,
    info_of_a_tombstoned_stream_counts_nothing,
    info_of_a_metadata_stream_has_no_metadata,
);

fn all() -> ListStreams {
    ListStreams { limit: 1_000, ..ListStreams::default() }
}

fn prefix(text: &str) -> ListStreams {
    ListStreams { prefix: text.to_owned(), ..all() }
}

fn list(subject: &Subject<'_>, list: ListStreams) -> Vec<String> {
    let names = subject.wait(subject.store().list_streams(list)).expect("the streams are listed");
    names.iter().map(StreamName::to_string).collect()
}

fn info(subject: &Subject<'_>, stream: &str) -> StreamInfo {
    subject.wait(subject.store().stream_info(name(stream))).expect("the store answers")
}

fn fill(subject: &Subject<'_>) {
    for stream in ["order-2", "order-10", "customer-1", "order", "orders-1", "Order-1", "über-1"] {
        subject.add(stream, &["A"]);
    }
}

fn an_empty_log_has_no_streams(subject: &Subject<'_>) {
    assert!(list(subject, all()).is_empty());
}

fn every_stream_with_an_event_is_listed_once(subject: &Subject<'_>) {
    fill(subject);
    fill(subject);

    assert_eq!(list(subject, all()).len(), 7);
}

fn streams_stand_in_the_order_of_their_bytes(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(
        list(subject, all()),
        ["Order-1", "customer-1", "order", "order-10", "order-2", "orders-1", "über-1"]
    );
}

fn a_prefix_narrows_the_list(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(list(subject, prefix("order-")), ["order-10", "order-2"]);
    assert_eq!(list(subject, prefix("order-2")), ["order-2"]);
    assert_eq!(list(subject, prefix("über")), ["über-1"]);
    assert!(list(subject, prefix("x")).is_empty());
}

fn a_category_narrows_the_list(subject: &Subject<'_>) {
    fill(subject);
    let of = |category: &str| ListStreams { category: Some(category.to_owned()), ..all() };

    assert_eq!(list(subject, of("order")), ["order", "order-10", "order-2"]);
    assert_eq!(list(subject, of("customer")), ["customer-1"]);
    assert!(list(subject, of("ord")).is_empty());
}

fn a_prefix_and_a_category_narrow_the_list_together(subject: &Subject<'_>) {
    fill(subject);
    let both = ListStreams { category: Some("order".to_owned()), ..prefix("order-1") };

    assert_eq!(list(subject, both), ["order-10"]);
}

fn a_page_goes_on_after_the_last_name(subject: &Subject<'_>) {
    fill(subject);
    let mut pages = Vec::new();
    let mut after = None;

    loop {
        let page = list(subject, ListStreams { after: after.clone(), limit: 3, ..all() });
        let Some(last) = page.last() else { break };
        after = Some(name(last));
        pages.extend(page);
        assert!(pages.len() <= 7, "a name came twice");
    }

    assert_eq!(pages, list(subject, all()));
}

fn a_page_may_go_on_after_a_name_that_is_not_there(subject: &Subject<'_>) {
    fill(subject);
    let page = ListStreams { after: Some(name("order-1")), ..all() };

    assert_eq!(list(subject, page), ["order-10", "order-2", "orders-1", "über-1"]);
}

fn a_page_after_a_name_before_the_prefix_begins_with_the_prefix(subject: &Subject<'_>) {
    fill(subject);
    let early = ListStreams { after: Some(name("customer-1")), ..prefix("order-") };
    let late = ListStreams { after: Some(name("order-10")), ..prefix("order-") };

    assert_eq!(list(subject, early), ["order-10", "order-2"]);
    assert_eq!(list(subject, late), ["order-2"]);
}

fn a_limit_is_the_most_names_given(subject: &Subject<'_>) {
    fill(subject);

    for (limit, count) in [(0, 0), (1, 1), (6, 6), (7, 7), (8, 7), (usize::MAX, 7)] {
        assert_eq!(list(subject, ListStreams { limit, ..all() }).len(), count);
    }
}

fn deleted_and_tombstoned_streams_are_listed(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.add("a-2", &["A"]);
    subject.delete("a-1");
    subject.tombstone("a-2");
    subject.tombstone("a-3");

    assert_eq!(list(subject, prefix("a-")), ["a-1", "a-2", "a-3"]);
}

fn metadata_streams_are_listed(subject: &Subject<'_>) {
    subject.add("a-1", &["A"]);
    subject.set_metadata("a-1", "{}");

    assert_eq!(list(subject, all()), ["$$a-1", "a-1"]);
    assert_eq!(list(subject, prefix("$$")), ["$$a-1"]);
}

fn a_stream_with_only_metadata_is_not_listed(subject: &Subject<'_>) {
    subject.set_metadata("a-1", "{}");

    assert_eq!(list(subject, all()), ["$$a-1"]);
}

fn info_of_an_absent_stream_says_so(subject: &Subject<'_>) {
    let info = info(subject, "a-1");

    assert_eq!(info.stream, name("a-1"));
    assert_eq!(info.state, StreamState::Absent);
    assert_eq!((info.first, info.count, info.size), (None, 0, 0));
    assert_eq!(info.metadata_revision, None);
    assert!(info.metadata.object().is_empty());
}

fn info_counts_events_and_bytes(subject: &Subject<'_>) {
    let sized = |data: &'static str, metadata: &'static str| {
        crate::NewEvent::json("A", data).expect("it is a name").with_metadata(metadata)
    };
    let events = [sized("12345", "678"), sized("", ""), sized("9", "")];
    subject.append(crate::Append::to_stream(name("a-1"), crate::ExpectedRevision::Any, events));

    let info = info(subject, "a-1");

    assert_eq!(info.state, StreamState::Live { last: revision(2) });
    assert_eq!((info.first, info.count, info.size), (Some(revision(0)), 3, 9));
}

fn info_of_a_deleted_stream_counts_nothing(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.delete("a-1");

    let info = info(subject, "a-1");

    assert_eq!(info.state, StreamState::Deleted { last: Some(revision(1)) });
    assert_eq!((info.first, info.count, info.size), (None, 0, 0));
    assert!(info.metadata.is_deleted());
    assert_eq!(info.metadata_revision, Some(revision(0)));
}

fn info_of_a_tombstoned_stream_counts_nothing(subject: &Subject<'_>) {
    subject.add("a-1", &["A", "B"]);
    subject.tombstone("a-1");

    let info = info(subject, "a-1");

    assert_eq!(info.state, StreamState::Tombstoned { last: revision(2) });
    assert_eq!((info.first, info.count, info.size), (None, 0, 0));
}

fn info_of_a_metadata_stream_has_no_metadata(subject: &Subject<'_>) {
    subject.set_metadata("a-1", r#"{"n":1}"#);
    subject.set_metadata("a-1", r#"{"n":22}"#);

    let info = info(subject, "$$a-1");

    assert_eq!(info.state, StreamState::Live { last: revision(1) });
    assert_eq!((info.first, info.count, info.size), (Some(revision(1)), 1, 8));
    assert_eq!(info.metadata_revision, None);
}
