use std::io::Write;

use rustix::process::Signal;

use crate::support::{Running, Store, field, lines};

fn append(store: &Store, stream: &str, data: &str) {
    store.run(&["append", stream, "--type", "T", "--json", data]).ok();
}

#[test]
fn tail_shows_what_is_there_and_what_comes() {
    let store = Store::with(&lines(3));
    let tail = store.start(&["tail", "--all", "--from", "0", "--format", "jsonl"]);

    let there = tail.json(3);
    append(&store, "order-1", "1");
    append(&store, "order-2", "2");
    let came = tail.json(2);

    assert_eq!(field(&there, "stream"), ["order-0", "order-1", "order-2"]);
    assert_eq!(field(&came, "stream"), ["order-1", "order-2"]);
    let positions: Vec<u64> =
        there.iter().chain(&came).map(|event| event["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
    tail.signal(Signal::INT);
    assert_eq!(tail.end(), Some(0));
}

/// The writer stays open the whole time, so that the tail follows another process's appends.
#[test]
fn tail_follows_a_running_writer_without_gap_or_repetition() {
    let store = Store::with(&lines(1));
    let tail = store.start(&["tail", "--all", "--from", "2", "--format", "jsonl"]);
    let mut writer = store.start(&["import", "-"]);

    let mut input = writer.stdin.take().unwrap();
    let mut seen = Vec::new();
    for round in 0..3 {
        for i in 0..1_000 {
            let line = format!("{{\"stream\":\"r-{round}\",\"type\":\"T\",\"data\":{i}}}\n");
            input.write_all(line.as_bytes()).unwrap();
        }
        input.flush().unwrap();
        seen.extend(tail.json(1_000));
    }
    drop(input);

    let positions: Vec<u64> = seen.iter().map(|e| e["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, (2..=3_001).collect::<Vec<_>>());
    assert_eq!(writer.end(), Some(0));
    tail.signal(Signal::TERM);
    assert_eq!(tail.end(), Some(0));
}

#[test]
fn tail_follows_one_stream_from_a_revision() {
    let store = Store::missing();
    for data in ["0", "1", "2"] {
        append(&store, "a", data);
        append(&store, "b", data);
    }
    let tail = store.start(&["tail", "a", "--from", "1", "--format", "jsonl"]);

    let there = tail.json(2);
    append(&store, "b", "3");
    append(&store, "a", "3");
    let came = tail.json(1);

    let revisions: Vec<u64> =
        there.iter().chain(&came).map(|event| event["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [1, 2, 3]);
    assert!(field(&there, "stream").iter().chain(&field(&came, "stream")).all(|s| *s == "a"));
}

#[test]
fn tail_shows_what_matches_and_hides_reserved_events() {
    let store = Store::with(&lines(1));
    let every = store.start(&["tail", "--all", "--from", "0", "--format", "jsonl"]);
    let some = store.start(&["tail", "--query", "tag:x", "--from", "0", "--format", "jsonl"]);
    every.json(1);

    store.run(&["stream", "metadata", "order-0", "--set", "{}"]).ok();
    append(&store, "a", "1");
    store.run(&["append", "b", "--type", "T", "--json", "2", "--tag", "x"]).ok();

    assert_eq!(field(&every.json(2), "stream"), ["a", "b"]);
    assert_eq!(field(&some.json(1), "stream"), ["b"]);
}

#[test]
fn tail_prints_a_table_too() {
    let store = Store::with(&lines(1));

    let tail = store.start(&["tail", "--all", "--from", "0"]);

    assert!(tail.line().starts_with("position"));
    assert!(tail.line().contains("order-0"));
}

#[test]
fn tail_ends_when_nobody_reads_it_though_nothing_comes() {
    let store = Store::with(&lines(1));
    let mut command = store.command();
    command.args(["tail", "--all"]);

    let tail = Running::start_with_closed_output(&mut command);

    assert_eq!(tail.end(), Some(0));
}

#[test]
fn tail_from_beyond_the_end_is_refused() {
    let store = Store::with(&lines(1));

    store.run(&["tail", "--all", "--from", "9"]).fails("beyond the end of the log");
}
