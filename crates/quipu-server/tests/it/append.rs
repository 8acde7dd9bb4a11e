use serde_json::json;

use crate::support::{Store, lines};

const ID: &str = "01234567-89ab-7def-8123-456789abcdef";

#[test]
fn an_event_is_appended_with_all_that_was_said_of_it() {
    let store = Store::missing();

    store
        .run(&[
            "append",
            "order-1",
            "--type",
            "OrderPlaced",
            "--json",
            r#"{"a": 1}"#,
            "--id",
            ID,
            "--tag",
            "order:1",
            "--tag",
            "customer:7",
            "--metadata",
            r#"{"$actor":"ada"}"#,
        ])
        .ok();

    let mut events = store.events();
    let event = events.pop().unwrap();
    assert!(events.is_empty());
    assert_eq!(event["id"], ID);
    assert_eq!(event["position"], 1);
    assert_eq!(event["revision"], 0);
    assert_eq!(event["stream"], "order-1");
    assert_eq!(event["type"], "OrderPlaced");
    assert_eq!(event["tags"], json!(["customer:7", "order:1"]));
    assert_eq!(event["content_type"], "application/json");
    assert_eq!(event["data"], json!({"a": 1}));
    assert_eq!(event["metadata"], json!({"$actor": "ada"}));
}

#[test]
fn the_answer_says_where_the_event_is() {
    let store = Store::with(&lines(3));

    let answer = store.json(&["append", "order-1", "--type", "Paid", "--json", "{}", "--id", ID]);

    let expected = json!({"position": 4, "revision": 1, "stream": "order-1", "id": ID,
        "already_there": false});
    assert_eq!(answer, [expected]);
}

#[test]
fn data_comes_from_a_file_or_standard_input_as_it_is() {
    let store = Store::missing();
    let file = store.file("bytes", b"\x00\xff\n");

    store.run(&["append", "a", "--type", "T", "--file", &file]).ok();
    store.run_with_input(&["append", "a", "--type", "T", "-"], "{\n}").ok();
    store
        .run_with_input(&["append", "a", "--type", "T", "-", "--content-type", "text/x"], "{}")
        .ok();

    let events = store.events();
    assert_eq!(events[0]["data_base64"], "AP8K");
    assert_eq!(events[0]["content_type"], "application/octet-stream");
    assert_eq!(events[1]["data_base64"], "ewp9");
    assert_eq!(events[1]["content_type"], "application/json");
    assert_eq!(events[2]["content_type"], "text/x");
}

#[test]
fn a_retry_with_the_same_id_adds_nothing() {
    let store = Store::missing();
    let append = ["append", "a", "--type", "T", "--json", "{}", "--id", ID, "--expect", "none"];

    let first = store.json(&append);
    let second = store.json(&append);

    assert_eq!(first[0]["already_there"], false);
    assert_eq!(second[0]["already_there"], true);
    assert_eq!(second[0]["position"], first[0]["position"]);
    assert_eq!(store.events().len(), 1);
}

#[test]
fn an_expectation_that_does_not_hold_is_a_conflict_that_says_what_was_found() {
    let store = Store::with(&lines(1));
    let append = |expect| {
        store.run(&["append", "order-0", "--type", "T", "--json", "{}", "--expect", expect])
    };

    append("none").no("expected no stream, found revision 0");
    append("7").no("expected revision 7, found revision 0");
    assert_eq!(store.events().len(), 1);
    append("0").ok();
    append("exists").ok();
    append("any").ok();
    assert_eq!(store.events().len(), 4);
    store
        .run(&["append", "other", "--type", "T", "--json", "{}", "--expect", "exists"])
        .no("expected an existing stream, found no stream");
}

#[test]
fn a_condition_that_does_not_hold_is_a_conflict_that_says_where() {
    let store = Store::missing();
    let claim = |stream: &str, after: &[&str]| {
        let append = [
            "append",
            stream,
            "--type",
            "Claimed",
            "--json",
            "{}",
            "--tag",
            "name:ada",
            "--fail-if",
            "type:Claimed tag:name:ada",
        ];
        store.run(&[&append, after].concat())
    };

    claim("user-1", &[]).ok();
    claim("user-2", &[]).no("position 1");
    claim("user-3", &["--after", "1"]).ok();
    claim("user-4", &["--after", "1"]).no("position 2");
    assert_eq!(store.events().len(), 2);
}

#[test]
fn a_condition_after_a_place_that_no_read_answered_is_refused() {
    let store = Store::with(&lines(1));
    let args =
        ["append", "a", "--type", "T", "--json", "{}", "--fail-if", "type:X", "--after", "9"];

    store.run(&args).fails("beyond the frontier 1");

    assert_eq!(store.events().len(), 1);
}

#[test]
fn an_append_needs_exactly_one_source_of_data() {
    let store = Store::missing();

    store.run(&["append", "a", "--type", "T"]).fails("required");
    store.run(&["append", "a", "--type", "T", "--json", "1", "-"]).fails("cannot be used with");
    assert!(!store.data().exists());
}
