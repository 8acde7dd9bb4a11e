use crate::support::{Store, lines};

#[test]
fn stats_count_events_streams_and_bytes() {
    let store = Store::with(&lines(1_500));

    let stats = store.json(&["stats"]);

    assert_eq!(stats[0]["events"], 1_500);
    assert_eq!(stats[0]["streams"], 1_500);
    assert_eq!(stats[0]["last_position"], 1_500);
    assert!(stats[0]["segments"].as_u64().unwrap() >= 1);
    assert!(stats[0]["log_size"].as_u64().unwrap() > 1_500 * 20);
    assert!(stats[0]["disk_size"].as_u64() >= stats[0]["log_size"].as_u64());
}

#[test]
fn stats_name_the_ten_streams_with_the_longest_replay() {
    let store = Store::missing();
    let line = |(stream, event): (u64, u64)| {
        format!("{{\"stream\":\"s-{stream:02}\",\"type\":\"T\",\"data\":{event}}}\n")
    };
    let events = (0..15).flat_map(|stream| (0..=stream).map(move |event| (stream, event)));
    let text: String = events.map(line).collect();
    store.import(text, &[]).ok();
    store.run(&["stream", "truncate", "s-14", "--before", "13"]).ok();
    store.run(&["stream", "delete", "s-13"]).ok();

    let stats = store.json(&["stats"]);
    let table = store.run(&["stats"]).ok().out();

    let longest: Vec<(&str, u64)> = stats[1..]
        .iter()
        .map(|row| (row["long_replay"].as_str().unwrap(), row["events"].as_u64().unwrap()))
        .collect();
    let expected: Vec<(String, u64)> =
        (3..=12).rev().map(|stream| (format!("s-{stream:02}"), stream + 1)).collect();
    let expected: Vec<(&str, u64)> =
        expected.iter().map(|(stream, count)| (stream.as_str(), *count)).collect();
    assert_eq!(longest, expected);
    assert!(table.contains("longest replays"), "{table}");
    assert!(table.contains("s-12"), "{table}");
}

#[test]
fn stats_hide_reserved_events_unless_asked() {
    let store = Store::with(&lines(3));
    store.run(&["stream", "metadata", "order-0", "--set", "{}"]).ok();
    store.run(&["stream", "tombstone", "order-1"]).ok();

    let hidden = store.json(&["stats"]);
    let shown = store.json(&["stats", "--system"]);

    assert_eq!((&hidden[0]["events"], &hidden[0]["streams"]), (&3.into(), &3.into()));
    assert_eq!((&shown[0]["events"], &shown[0]["streams"]), (&5.into(), &4.into()));
}

#[test]
fn an_empty_store_has_stats() {
    let store = Store::missing();
    store.import("", &[]).ok();

    let stats = store.json(&["stats"]);

    assert_eq!(stats.len(), 1);
    assert_eq!(stats[0]["events"], 0);
    assert_eq!(stats[0]["log_size_per_event"], serde_json::Value::Null);
}
