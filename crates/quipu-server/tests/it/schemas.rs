use serde_json::{Value, json};

use crate::support::Store;

/// A log with two versions of a type, and events of which nobody said a version.
fn store() -> Store {
    let store = Store::missing();
    let line = |stream: &str, event_type: &str, metadata: Value| {
        json!({ "stream": stream, "type": event_type, "data": {}, "metadata": metadata })
            .to_string()
    };
    let lines = [
        line("a-1", "paid", json!({ "$schemaVersion": 1 })),
        line("a-1", "opened", json!({})),
        line("a-1", "paid", json!({ "$schemaVersion": 2, "$actor": "ana" })),
        line("a-2", "paid", json!({ "$schemaVersion": 2 })),
        line("a-2", "paid", json!({ "$schemaVersion": "two" })),
        line("a-2", "paid", json!(["$schemaVersion"])),
        line("$quipu.commands", "$quipu.command", json!({ "$schemaVersion": 1 })),
    ];
    store.import(lines.join("\n"), &["--system"]).ok();
    store
}

#[test]
fn schemas_lists_the_versions_of_every_type() {
    let found = store().json(&["schemas"]);

    let row = |event_type: &str, version: Value, events: u64, first: u64, last: u64| {
        json!({
            "type": event_type, "version": version, "events": events,
            "first_position": first, "last_position": last,
        })
    };
    let expected = [
        row("opened", Value::Null, 1, 2, 2),
        row("paid", Value::Null, 1, 6, 6),
        row("paid", json!(1), 1, 1, 1),
        row("paid", json!(2), 2, 3, 4),
        row("paid", json!("malformed"), 1, 5, 5),
    ];
    assert_eq!(found, expected);
}

#[test]
fn schemas_shows_reserved_types_when_asked() {
    let store = store();

    let hidden = store.run(&["schemas"]).ok().out();
    let shown = store.run(&["schemas", "--system"]).ok().out();

    assert!(hidden.contains("malformed") && !hidden.contains("$quipu.command"), "{hidden}");
    assert!(shown.contains("$quipu.command"), "{shown}");
    assert!(shown.contains("first position"), "{shown}");
}

#[test]
fn an_empty_log_has_no_schemas() {
    let store = Store::missing();
    store.import("", &[]).ok();

    assert!(store.json(&["schemas"]).is_empty());
    assert_eq!(Store::missing().run(&["schemas"]).code(), Some(2));
}
