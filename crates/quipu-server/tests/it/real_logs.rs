//! Two real event logs, as far as they are at hand: everything agrees with the input.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::support::{Ran, Store, field, quipu, real_log, run};

#[derive(Debug, Deserialize)]
struct Input {
    stream: String,
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(deserialize_with = "parse_time")]
    time: jiff::Timestamp,
    tags: Vec<String>,
    data: Box<RawValue>,
}

fn parse_time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<jiff::Timestamp, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

struct Loaded {
    store: Store,
    input: Vec<Input>,
    loans: Ran,
    orders: Ran,
}

/// Both logs in one store, with what the files say. `None` where the files are not at hand.
static LOADED: LazyLock<Option<Loaded>> = LazyLock::new(|| {
    let Some(loans) = real_log("loans.jsonl.gz") else {
        eprintln!("skipped: there is no shared/data/loans.jsonl.gz in or above the workspace");
        return None;
    };
    let directory = loans.parent().unwrap();
    let store = Store::missing();
    let mut input = Vec::new();
    let mut import = |name: &str| {
        let path: PathBuf = directory.join(name);
        let file = flate2::read::MultiGzDecoder::new(std::fs::File::open(&path).unwrap());
        input.extend(
            BufReader::new(file)
                .lines()
                .map(|line| serde_json::from_str::<Input>(&line.unwrap()).unwrap()),
        );
        store.run(&["import", "--keep-time", &path.display().to_string()])
    };
    let loans = import("loans.jsonl.gz");
    let orders = import("orders.jsonl.gz");
    Some(Loaded { store, input, loans, orders })
});

fn ids<'a>(input: impl IntoIterator<Item = &'a Input>) -> Vec<&'a str> {
    input.into_iter().map(|line| line.id.as_str()).collect()
}

#[test]
fn the_import_counts_events_and_streams() {
    let Some(Loaded { loans, orders, .. }) = &*LOADED else { return };

    assert_eq!(loans.code(), Some(0), "{loans}");
    assert_eq!(loans.fact("imported"), "262,200");
    assert_eq!(loans.fact("streams"), "13,087");
    assert_eq!(loans.fact("clamped"), "0");
    assert_eq!(loans.fact("last position"), "262200");
    assert_eq!(orders.code(), Some(0), "{orders}");
    assert_eq!(orders.fact("imported"), "22,367");
    assert_eq!(orders.fact("streams"), "11,484");
    assert_eq!(orders.fact("last position"), "284567");
}

#[test]
fn the_export_agrees_with_the_input_event_by_event() {
    let Some(Loaded { store, input, .. }) = &*LOADED else { return };

    let exported = store.run(&["export"]).ok();

    let mut revisions: HashMap<&str, u64> = HashMap::new();
    let lines = exported.out_bytes().split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut count = 0;
    for (line, input) in lines.zip(input) {
        #[derive(Deserialize)]
        struct Exported {
            position: u64,
            revision: u64,
            #[serde(flatten)]
            names: BTreeMap<String, serde_json::Value>,
        }
        let text = std::str::from_utf8(line).unwrap();
        let event: Exported = serde_json::from_str(text).unwrap();
        let revision = revisions.entry(&input.stream).or_default();
        count += 1;
        assert_eq!((event.position, event.revision), (count, *revision));
        *revision += 1;
        assert_eq!(event.names["stream"], input.stream);
        assert_eq!(event.names["id"], input.id);
        assert_eq!(event.names["type"], input.event_type);
        let time: jiff::Timestamp = event.names["time"].as_str().unwrap().parse().unwrap();
        assert_eq!(time, input.time);
        let mut tags = input.tags.clone();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(event.names["tags"], serde_json::json!(tags));
        assert!(text.ends_with(&format!("\"data\":{}}}", input.data.get())), "{text}");
    }
    assert_eq!(count, 284_567);
}

#[test]
fn an_export_imported_elsewhere_exports_the_same() {
    let Some(Loaded { store, .. }) = &*LOADED else { return };
    let exported = store.run(&["export", "--full"]).ok();
    let copy = Store::missing();

    let ran = copy.import(exported.out_bytes(), &["--system", "--keep-time"]).ok();

    assert_eq!(ran.fact("imported"), "284,567");
    let again = copy.run(&["export", "--full"]).ok();
    assert!(again.out_bytes() == exported.out_bytes(), "the exports differ");
}

#[test]
fn a_stream_reads_as_its_lines_stand() {
    let Some(Loaded { store, input, .. }) = &*LOADED else { return };
    for stream in ["loan-173688", "order-990001", "item-880006"] {
        let read = store.json(&["read", stream]);

        assert_eq!(field(&read, "id"), ids(input.iter().filter(|line| line.stream == stream)));
    }
    let sample = store.json(&["read", "loan-173688", "--limit", "3"]);
    let types = ["ApplicationSubmitted", "ApplicationPartlySubmitted", "ApplicationPreaccepted"];
    assert_eq!(field(&sample, "type"), types);
}

#[test]
fn a_tag_query_finds_what_the_input_says() {
    let Some(Loaded { store, input, .. }) = &*LOADED else { return };
    for tag in ["item:880006", "resource:112", "order:990001", "nobody:0"] {
        let query = format!("tag:{tag}");
        let expected = ids(input.iter().filter(|line| line.tags.iter().any(|own| own == tag)));

        let found = store.json(&["read", "--all", "--query", &query]);
        assert_eq!(field(&found, "id"), expected, "{query}");

        let mut backward = store.json(&["read", "--all", "--query", &query, "--backward"]);
        backward.reverse();
        assert_eq!(field(&backward, "id"), expected, "{query}");
    }
}

#[test]
fn queries_of_types_tags_and_categories_find_what_the_input_says() {
    let Some(Loaded { store, input, .. }) = &*LOADED else { return };
    let query = [
        "--query",
        "type:OrderPlaced,ItemPicked tag:item:880006",
        "--query",
        "category:loan tag:resource:10909 type:ApplicationAccepted",
    ];

    let found = store.json(&[&["read", "--all"], &query[..]].concat());

    let has = |line: &Input, tag: &str| line.tags.iter().any(|own| own == tag);
    let expected = ids(input.iter().filter(|line| {
        (["OrderPlaced", "ItemPicked"].contains(&line.event_type.as_str())
            && has(line, "item:880006"))
            || (line.stream.starts_with("loan-")
                && has(line, "resource:10909")
                && line.event_type == "ApplicationAccepted")
    }));
    assert_eq!(field(&found, "id"), expected);
    assert!(!expected.is_empty());
}

#[test]
fn the_log_as_of_a_day_in_2011_is_what_the_input_had_by_then() {
    let Some(Loaded { store, input, .. }) = &*LOADED else { return };
    for moment in ["2011-12-24", "2011-11-11T11:11:11Z", "2011-10-01T07:00:00.5+02:00"] {
        let time: jiff::Timestamp =
            moment.parse().unwrap_or_else(|_| format!("{moment}T00:00:00Z").parse().unwrap());
        let by_then: Vec<&Input> = input.iter().filter(|line| line.time <= time).collect();

        let read = store.json(&["read", "--all", "--as-of", moment]);
        assert_eq!(field(&read, "id"), ids(by_then.iter().copied()), "{moment}");

        let query = ["read", "--query", "tag:resource:112", "--as-of", moment];
        let found = store.json(&query);
        let has_tag = |line: &&Input| line.tags.iter().any(|tag| tag == "resource:112");
        assert_eq!(field(&found, "id"), ids(by_then.iter().copied().filter(has_tag)), "{moment}");

        let stream = store.json(&["read", "loan-173688", "--as-of", moment]);
        let expected = by_then.iter().copied().filter(|line| line.stream == "loan-173688");
        assert_eq!(field(&stream, "id"), ids(expected), "{moment}");
    }
}

#[test]
fn stats_and_streams_agree_with_the_input() {
    let Some(Loaded { store, input, .. }) = &*LOADED else { return };
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for line in input {
        *counts.entry(&line.stream).or_default() += 1;
    }

    let stats = store.json(&["stats"]);
    let streams = store.json(&["streams"]);

    assert_eq!(stats[0]["events"], 284_567);
    assert_eq!(stats[0]["streams"], counts.len());
    let listed: BTreeMap<&str, u64> = streams
        .iter()
        .map(|row| (row["stream"].as_str().unwrap(), row["revision"].as_u64().unwrap() + 1))
        .collect();
    assert_eq!(listed, counts);
    let mut longest: Vec<u64> = counts.into_values().collect();
    longest.sort_unstable_by(|a, b| b.cmp(a));
    let named: Vec<u64> = stats[1..].iter().map(|row| row["events"].as_u64().unwrap()).collect();
    assert_eq!(named, longest[..10]);
}

#[test]
fn a_second_import_adds_nothing() {
    let Some(Loaded { store, .. }) = &*LOADED else { return };
    let exported = store.run(&["export"]).ok();

    let ran = store.import(exported.out_bytes(), &["--keep-time"]).ok();

    assert_eq!(ran.fact("imported"), "0");
    assert_eq!(ran.fact("already there"), "284,567");
}

#[test]
fn verify_backup_and_restore_agree_with_the_store() {
    let Some(Loaded { store, .. }) = &*LOADED else { return };
    let elsewhere = Store::missing();
    let backup = elsewhere.path("backup").display().to_string();
    let restored = elsewhere.path("restored");

    store.run(&["verify"]).ok();
    store.run(&["backup", &backup]).ok();
    run(quipu(&restored).args(["restore", &backup]), b"").ok();

    run(quipu(&restored).arg("verify"), b"").ok();
    let copy = run(quipu(&restored).args(["export", "--full"]), b"").ok();
    let original = store.run(&["export", "--full"]).ok();
    assert!(copy.out_bytes() == original.out_bytes(), "the restored store differs");
}
