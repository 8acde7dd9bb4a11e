use serde_json::Value;

use crate::support::{Store, field};

/// Ten events on ten days of 2011, in two streams of one category and a third of another.
fn calendar() -> Store {
    let store = Store::missing();
    let text: String = (1..=10)
        .map(|day| {
            let stream = ["day-odd", "day-even", "third-1"][if day % 3 == 0 { 2 } else { (day + 1) % 2 }];
            let kind = if day > 5 { "Late" } else { "Early" };
            format!(
                "{{\"stream\":\"{stream}\",\"type\":\"{kind}\",\"time\":\"2011-01-{day:02}T12:00:00Z\",\
                 \"tags\":[\"day:{day}\",\"parity:{}\"],\"data\":{day}}}\n",
                day % 2
            )
        })
        .collect();
    store.import(text, &["--keep-time"]).ok();
    store
}

fn days(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["data"].as_u64().unwrap()).collect()
}

fn read(store: &Store, args: &[&str]) -> Vec<u64> {
    days(&store.json(&[&["read"], args].concat()))
}

#[test]
fn a_stream_is_read_forward_and_backward_from_a_revision() {
    let store = calendar();

    assert_eq!(read(&store, &["third-1"]), [3, 6, 9]);
    assert_eq!(read(&store, &["third-1", "--backward"]), [9, 6, 3]);
    assert_eq!(read(&store, &["third-1", "--from", "1"]), [6, 9]);
    assert_eq!(read(&store, &["third-1", "--from", "1", "--backward"]), [6, 3]);
    assert_eq!(read(&store, &["third-1", "--limit", "1"]), [3]);
    assert_eq!(read(&store, &["third-1", "--limit", "0"]), Vec::<u64>::new());
    assert_eq!(read(&store, &["nowhere"]), Vec::<u64>::new());
}

#[test]
fn the_log_is_read_forward_and_backward_from_a_position() {
    let store = calendar();

    assert_eq!(read(&store, &["--all"]), (1..=10).collect::<Vec<_>>());
    assert_eq!(read(&store, &["--all", "--from", "9"]), [9, 10]);
    assert_eq!(read(&store, &["--all", "--backward", "--limit", "3"]), [10, 9, 8]);
    assert_eq!(read(&store, &["--all", "--backward", "--from", "2"]), [2, 1]);
    assert_eq!(read(&store, &["--all", "--limit", "4"]), [1, 2, 3, 4]);
    assert_eq!(read(&store, &["--all", "--from", "99"]), Vec::<u64>::new());
}

#[test]
fn queries_demand_all_their_terms_and_are_alternatives() {
    let store = calendar();
    let query = |items: &[&str]| {
        let args: Vec<&str> = items.iter().flat_map(|item| ["--query", item]).collect();
        read(&store, &[&["--all"], &args[..]].concat())
    };

    assert_eq!(query(&["type:Late tag:parity:0"]), [6, 8, 10]);
    assert_eq!(query(&["tag:day:1", "tag:day:2 type:Late", "tag:day:9"]), [1, 9]);
    assert_eq!(query(&["category:third"]), [3, 6, 9]);
    assert_eq!(query(&["stream:day-odd type:Early,Late"]), [1, 5, 7]);
    assert_eq!(query(&["tag:day:1 tag:day:2"]), Vec::<u64>::new());
    assert_eq!(query(&[""]).len(), 10);
}

#[test]
fn a_query_needs_no_all_and_narrows_a_stream_too() {
    let store = calendar();

    assert_eq!(read(&store, &["--query", "tag:day:4"]), [4]);
    assert_eq!(read(&store, &["third-1", "--query", "type:Late"]), [6, 9]);
    let last = ["third-1", "--query", "type:Late", "--backward", "--limit", "1"];
    assert_eq!(read(&store, &last), [9]);
}

#[test]
fn the_log_is_read_as_it_was_at_a_position_a_time_or_a_date() {
    let store = calendar();

    assert_eq!(read(&store, &["--all", "--as-of", "3"]), [1, 2, 3]);
    assert_eq!(read(&store, &["--all", "--as-of", "0"]), Vec::<u64>::new());
    assert_eq!(read(&store, &["--all", "--as-of", "2011-01-03"]), [1, 2]);
    assert_eq!(read(&store, &["--all", "--as-of", "2011-01-03T12:00:00Z"]), [1, 2, 3]);
    assert_eq!(read(&store, &["--all", "--as-of", "2011-01-03T11:59:59.999999Z"]), [1, 2]);
    assert_eq!(read(&store, &["--all", "--as-of", "2011-01-03T13:00:00+01:00"]), [1, 2, 3]);
    assert_eq!(read(&store, &["third-1", "--as-of", "2011-01-07", "--backward"]), [6, 3]);
    assert_eq!(read(&store, &["third-1", "--as-of", "6"]), [3, 6]);
}

#[test]
fn reserved_events_are_hidden_unless_asked_for() {
    let store = calendar();
    store.run(&["stream", "metadata", "third-1", "--set", "{}"]).ok();
    store.run(&["append", "$quipu.notes", "--type", "Note", "--json", "0"]).ok();

    assert_eq!(read(&store, &["--all"]).len(), 10);
    assert_eq!(store.events().len(), 12);
    assert_eq!(read(&store, &["--all", "--backward", "--limit", "1"]), [10]);
    assert_eq!(field(&store.json(&["read", "$$third-1"]), "type"), ["$metadata"]);
    let hidden = store.json(&["read", "--query", "stream:$quipu.notes"]);
    assert!(hidden.is_empty());
}

#[test]
fn streams_are_listed_by_prefix_and_category_in_the_order_of_bytes() {
    let store = calendar();
    store.run(&["stream", "metadata", "third-1", "--set", "{}"]).ok();
    let list = |args: &[&str]| {
        let streams = store.json(&[&["streams"], args].concat());
        field(&streams, "stream").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };

    assert_eq!(list(&[]), ["day-even", "day-odd", "third-1"]);
    assert_eq!(list(&["day-"]), ["day-even", "day-odd"]);
    assert_eq!(list(&["day-o"]), ["day-odd"]);
    assert_eq!(list(&["--category", "third"]), ["third-1"]);
    assert_eq!(list(&["--limit", "1"]), ["day-even"]);
    assert_eq!(list(&["--system"]), ["$$third-1", "day-even", "day-odd", "third-1"]);
    assert_eq!(list(&["nothing"]), Vec::<String>::new());
}

#[test]
fn more_streams_than_fit_a_page_are_listed() {
    let store = Store::with(&crate::support::lines(3_300));

    let streams = store.json(&["streams"]);

    let names = field(&streams, "stream");
    assert_eq!(names.len(), 3_300);
    assert!(names.is_sorted_by(|a, b| a < b));
}
