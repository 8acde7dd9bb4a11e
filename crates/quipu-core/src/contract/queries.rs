//! Queries: which events of the log match.

use crate::append::Append;
use crate::query::{Query, QueryItem};
use crate::read::ReadAll;

use super::subject::{Subject, event, item, name, positions_of, query, tagged};

cases!(
    "queries",
    a_query_without_items_matches_nothing,
    an_item_without_demands_matches_everything,
    types_are_alternatives,
    tags_have_to_be_there_together,
    types_and_tags_have_to_hold_together,
    items_are_alternatives,
    an_event_that_matches_twice_comes_once,
    an_item_for_everything_among_others_matches_everything,
    a_stream_is_matched_by_its_whole_name,
    a_category_is_what_is_before_the_first_dash,
    a_name_without_a_dash_is_its_own_category,
    a_stream_and_a_category_have_to_hold_together,
    a_stream_and_its_types_and_tags_have_to_hold_together,
    names_are_compared_to_the_byte,
    a_part_of_a_name_does_not_match,
    an_unknown_name_matches_nothing,
    events_without_tags_match_queries_without_tags,
    reserved_events_match_like_others,
    order_is_that_of_the_log_whichever_item_matches,
    a_query_finds_events_among_many,
    a_query_with_many_items_matches_any_of_them,
);

/// Events of all kinds.
fn fill(subject: &Subject<'_>) {
    subject.append(
        Append::new()
            .event(name("order-1"), tagged("Placed", &["order:1", "customer:a"]))
            .event(name("order-2"), tagged("Placed", &["order:2", "customer:b"]))
            .event(name("order-1"), tagged("Paid", &["order:1", "customer:a"]))
            .event(name("customer-a"), tagged("Renamed", &["customer:a"]))
            .event(name("orders"), event("Closed")),
    );
}

fn count(subject: &Subject<'_>, text: &str) -> usize {
    subject.matching(query(text)).len()
}

fn a_query_without_items_matches_nothing(subject: &Subject<'_>) {
    fill(subject);

    assert!(subject.matching(Query::nothing()).is_empty());
}

fn an_item_without_demands_matches_everything(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(count(subject, ""), 5);
    assert_eq!(subject.matching(Query::from(QueryItem::default())).len(), 5);
}

fn types_are_alternatives(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(subject.matching(query("type:Paid,Renamed")), ["Paid", "Renamed"]);
    assert_eq!(subject.matching(query("type:Placed")), ["Placed", "Placed"]);
}

fn tags_have_to_be_there_together(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(subject.matching(query("tag:customer:a")), ["Placed", "Paid", "Renamed"]);
    assert_eq!(subject.matching(query("tag:customer:a tag:order:1")), ["Placed", "Paid"]);
    assert_eq!(count(subject, "tag:customer:a tag:order:2"), 0);
}

fn types_and_tags_have_to_hold_together(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(subject.matching(query("type:Paid,Renamed tag:order:1")), ["Paid"]);
    assert_eq!(count(subject, "type:Closed tag:order:1"), 0);
}

fn items_are_alternatives(subject: &Subject<'_>) {
    fill(subject);

    let either = Query::from(item("type:Placed tag:order:2")).or(item("type:Closed"));

    assert_eq!(subject.matching(either), ["Placed", "Closed"]);
}

fn an_event_that_matches_twice_comes_once(subject: &Subject<'_>) {
    fill(subject);

    let twice = Query::from(item("type:Paid")).or(item("tag:order:1")).or(item("type:Paid"));

    assert_eq!(subject.matching(twice), ["Placed", "Paid"]);
}

fn an_item_for_everything_among_others_matches_everything(subject: &Subject<'_>) {
    fill(subject);

    let everything = Query::from(item("type:Paid")).or(QueryItem::default());

    assert_eq!(subject.matching(everything).len(), 5);
}

fn a_stream_is_matched_by_its_whole_name(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(subject.matching(query("stream:order-1")), ["Placed", "Paid"]);
    assert_eq!(count(subject, "stream:order"), 0);
}

fn a_category_is_what_is_before_the_first_dash(subject: &Subject<'_>) {
    fill(subject);
    subject.add("order-1-item-2", &["Added"]);

    let of_orders = subject.matching(query("category:order"));

    assert_eq!(of_orders, ["Placed", "Placed", "Paid", "Added"]);
    assert_eq!(count(subject, "category:order-1"), 0);
}

fn a_name_without_a_dash_is_its_own_category(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(subject.matching(query("category:orders")), ["Closed"]);
}

fn a_stream_and_a_category_have_to_hold_together(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(count(subject, "stream:order-1 category:order"), 2);
    assert_eq!(count(subject, "stream:order-1 category:customer"), 0);
}

fn a_stream_and_its_types_and_tags_have_to_hold_together(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(count(subject, "stream:order-1 type:Paid tag:customer:a"), 1);
    assert_eq!(count(subject, "stream:order-2 type:Paid"), 0);
    assert_eq!(count(subject, "category:order tag:customer:a"), 2);
    assert_eq!(count(subject, "category:customer type:Placed"), 0);
}

fn names_are_compared_to_the_byte(subject: &Subject<'_>) {
    subject.add_tagged("a-1", "Größe", &["t:é"]);

    assert_eq!(count(subject, "type:Größe tag:t:é"), 1);
    assert_eq!(count(subject, "type:größe"), 0);
    assert_eq!(count(subject, "tag:t:e\u{301}"), 0, "another spelling is another name");
    assert_eq!(count(subject, "stream:A-1"), 0);
    assert_eq!(count(subject, "category:A"), 0);
}

fn a_part_of_a_name_does_not_match(subject: &Subject<'_>) {
    subject.add_tagged("order-11", "Placed", &["order:11"]);

    for text in ["tag:order:1", "tag:order:", "tag:order:111", "type:Place", "type:Placed2"] {
        assert_eq!(count(subject, text), 0, "{text}");
    }
    assert_eq!(count(subject, "tag:order:11"), 1);
}

fn an_unknown_name_matches_nothing(subject: &Subject<'_>) {
    fill(subject);

    for text in ["type:Unknown", "tag:unknown", "stream:unknown", "category:unknown"] {
        assert_eq!(count(subject, text), 0, "{text}");
    }
}

fn events_without_tags_match_queries_without_tags(subject: &Subject<'_>) {
    fill(subject);

    assert_eq!(subject.matching(query("type:Closed,Renamed")), ["Renamed", "Closed"]);
}

fn reserved_events_match_like_others(subject: &Subject<'_>) {
    fill(subject);
    subject.set_metadata("order-1", r#"{"owner":"ada"}"#);

    assert_eq!(count(subject, "type:$metadata"), 1);
    assert_eq!(count(subject, "stream:$$order-1"), 1);
    assert_eq!(count(subject, "category:$$order"), 1);
    assert_eq!(count(subject, ""), 6);
}

fn order_is_that_of_the_log_whichever_item_matches(subject: &Subject<'_>) {
    for number in 0..10 {
        subject.add("a-1", &[if number % 2 == 0 { "Even" } else { "Odd" }]);
    }
    let both = Query::from(item("type:Odd")).or(item("type:Even"));

    let forward = subject.read_all(ReadAll::new(both.clone()));
    let mut backward = subject.read_all(ReadAll::new(both).backward());

    assert_eq!(forward.len(), 10);
    let places = positions_of(&forward);
    assert!(places.is_sorted(), "{places:?}");
    backward.reverse();
    assert_eq!(forward, backward);
}

fn a_query_finds_events_among_many(subject: &Subject<'_>) {
    for number in 0..40 {
        let append = (0..50).fold(Append::new(), |append, inner| {
            let tags = [format!("outer:{number}"), format!("inner:{inner}")];
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            append.event(name(&format!("a-{number}")), tagged("T", &tags))
        });
        subject.append(append);
    }

    assert_eq!(count(subject, "tag:outer:7"), 50);
    assert_eq!(count(subject, "tag:inner:7"), 40);
    assert_eq!(count(subject, "tag:inner:7 tag:outer:39"), 1);
    assert_eq!(count(subject, "tag:inner:7 tag:outer:40"), 0);
    assert_eq!(count(subject, "category:a tag:inner:49"), 40);
}

fn a_query_with_many_items_matches_any_of_them(subject: &Subject<'_>) {
    for number in 0..30 {
        subject.add_tagged("a-1", "T", &[&format!("n:{number}")]);
    }
    let items = (10..200).map(|number| item(&format!("tag:n:{number}")));

    assert_eq!(subject.matching(Query { items: items.collect() }).len(), 20);
}
