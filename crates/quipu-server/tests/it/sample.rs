//! The sample log that ships with the repository: small, made by the generator here, importable.

use std::fmt::Write;
use std::path::Path;

use quipu_server::shop::{Fact, facts};
use serde_json::json;

use crate::support::{Store, field};

/// A yarn shop's first weeks of 2026: orders, payments and shipments.
fn generate() -> String {
    let start: jiff::Timestamp = "2026-01-05T08:00:00Z".parse().unwrap();
    let mut text = String::new();
    for fact in facts(120) {
        let time = start + jiff::SignedDuration::from_secs(i64::try_from(fact.at).unwrap());
        let (stream, tags) = (json!(fact.stream), json!(fact.tags));
        let Fact { event_type, data, .. } = fact;
        writeln!(
            text,
            r#"{{"stream":{stream},"type":"{event_type}","time":"{time}","tags":{tags},"data":{data}}}"#
        )
        .unwrap();
    }
    text
}

/// With `QUIPU_BLESS` set it writes the file instead of comparing it.
#[test]
fn the_sample_is_what_its_generator_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/orders.jsonl");
    let generated = generate();
    if std::env::var_os("QUIPU_BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }

    let stored = std::fs::read_to_string(&path).unwrap();

    assert!(stored == generated, "run the test with QUIPU_BLESS=1 to write {}", path.display());
}

#[test]
fn the_sample_imports_and_shows_its_first_events() {
    let store = Store::missing();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/orders.jsonl");

    let ran = store.run(&["import", path, "--keep-time", "--show"]).ok();

    assert_eq!(ran.fact("clamped"), "0");
    assert!(ran.out().contains("OrderPlaced"), "{ran}");
    let events = store.events();
    assert!((450..=550).contains(&events.len()), "{}", events.len());
    let customer = store.json(&["read", "--query", "tag:customer:7 type:OrderPlaced"]);
    assert!(!customer.is_empty());
    assert!(field(&customer, "type").iter().all(|event_type| *event_type == "OrderPlaced"));
    let life = store.json(&["read", "--query", "tag:order:1001"]);
    assert_eq!(field(&life, "type").first(), Some(&"OrderPlaced"));
}
