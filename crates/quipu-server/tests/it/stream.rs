use serde_json::json;

use crate::support::Store;

fn five() -> Store {
    let lines: String =
        (0..5).map(|i| format!("{{\"stream\":\"a-1\",\"type\":\"T\",\"data\":{i}}}\n")).collect();
    Store::with(&lines)
}

fn shown(store: &Store) -> Vec<u64> {
    store.json(&["read", "a-1"]).iter().map(|event| event["data"].as_u64().unwrap()).collect()
}

fn state(store: &Store) -> String {
    let info = store.json(&["stream", "info", "a-1"]);
    info[0]["state"].as_str().unwrap().to_owned()
}

#[test]
fn info_says_what_is_known_of_a_stream() {
    let store = five();
    store.run(&["stream", "metadata", "a-1", "--set", r#"{"$maxCount":2,"$maxAge":3600}"#]).ok();

    let info = store.json(&["stream", "info", "a-1"]);

    let expected = json!({
        "stream": "a-1", "category": "a", "state": "live", "events": 2, "size": 2,
        "first_revision": 3, "last_revision": 4, "metadata_revision": 0,
        "max_count": 2, "max_age_seconds": 3600, "truncate_before": null,
    });
    assert_eq!(info, [expected]);
}

#[test]
fn info_of_a_stream_that_never_was_says_so() {
    let info = five().json(&["stream", "info", "nowhere"]);

    assert_eq!(info[0]["state"], "absent");
    assert_eq!(info[0]["last_revision"], serde_json::Value::Null);
}

#[test]
fn metadata_is_set_shown_and_guarded() {
    let store = five();
    let set = |json: &str, expect: &str| {
        store.run(&["stream", "metadata", "a-1", "--set", json, "--expect", expect])
    };

    set(r#"{"owner":"ada"}"#, "none").ok();
    set(r#"{"owner":"bob"}"#, "none").no("expected no stream, found revision 0");
    set(r#"{"$maxCount":2,"owner":"bob"}"#, "0").ok();

    let shown_metadata = store.json(&["stream", "metadata", "a-1"]);
    let metadata = json!({"$maxCount": 2, "owner": "bob"});
    assert_eq!(shown_metadata[0]["metadata"], metadata);
    assert_eq!(shown_metadata[0]["metadata_revision"], 1);
    assert_eq!(shown(&store), [3, 4]);
    let table = store.run(&["stream", "metadata", "a-1"]).ok().out();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&table).unwrap(), metadata);
}

#[test]
fn metadata_that_means_nothing_is_refused() {
    let store = five();
    for json in ["[]", "1", r#"{"$maxCount":0}"#, r#"{"$maxAge":"long"}"#] {
        store.run(&["stream", "metadata", "a-1", "--set", json]).fails("not a JSON object");
    }
    store.run(&["stream", "metadata", "a-1", "--set", "{"]).fails("not JSON");
    assert_eq!(store.events().len(), 5);
}

#[test]
fn truncating_hides_what_is_before_and_keeps_other_metadata() {
    let store = five();
    store.run(&["stream", "metadata", "a-1", "--set", r#"{"owner":"ada"}"#]).ok();

    store.run(&["stream", "truncate", "a-1", "--before", "3"]).ok();

    assert_eq!(shown(&store), [3, 4]);
    let metadata = store.json(&["stream", "metadata", "a-1"]);
    assert_eq!(metadata[0]["metadata"], json!({"$tb": 3, "owner": "ada"}));
    assert_eq!(store.json(&["read", "--all"]).len(), 5, "the log shows them until scavenged");
}

#[test]
fn a_stream_without_events_is_not_truncated() {
    let store = five();

    store.run(&["stream", "truncate", "nowhere", "--before", "3"]).no("found no stream");

    assert_eq!(store.events().len(), 5);
}

#[test]
fn a_deleted_stream_is_hidden_until_something_is_appended() {
    let store = five();

    store
        .run(&["stream", "delete", "a-1", "--expect", "3"])
        .no("expected revision 3, found revision 4");
    store.run(&["stream", "delete", "a-1", "--expect", "4"]).ok();
    assert_eq!(state(&store), "deleted");
    assert_eq!(shown(&store), Vec::<u64>::new());
    store.run(&["append", "a-1", "--type", "T", "--json", "5"]).ok();

    assert_eq!(state(&store), "live");
    assert_eq!(shown(&store), [5]);
    assert_eq!(store.json(&["read", "a-1"])[0]["revision"], 5);
}

#[test]
fn a_stream_that_never_was_is_not_deleted() {
    five().run(&["stream", "delete", "nowhere"]).no("found no stream");
}

#[test]
fn a_tombstoned_stream_takes_nothing_any_more() {
    let store = five();

    store.run(&["stream", "tombstone", "a-1"]).ok();

    assert_eq!(state(&store), "tombstoned");
    assert_eq!(shown(&store), Vec::<u64>::new());
    store
        .run(&["append", "a-1", "--type", "T", "--json", "5"])
        .no("found tombstoned at revision 5");
    store.run(&["stream", "delete", "a-1"]).no("tombstoned");
    store.run(&["stream", "tombstone", "a-1"]).no("tombstoned");
}

#[test]
fn scavenging_takes_hidden_events_out_of_the_log_and_nothing_else() {
    let store = five();
    store.import(crate::support::lines(100), &[]).ok();
    store.run(&["stream", "truncate", "a-1", "--before", "3"]).ok();
    let before = store.run(&["export"]).ok();

    store.run(&["scavenge"]).ok();

    assert_eq!(shown(&store), [3, 4]);
    let after = store.run(&["export"]).ok();
    let kept = |text: String| {
        let is_hidden = |line: &&str| {
            line.contains("\"a-1\"") && (0..3).any(|i| line.contains(&format!("\"revision\":{i},")))
        };
        text.lines().filter(|line| !is_hidden(line)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(kept(after.out()), kept(before.out()));
    store.run(&["verify"]).ok();
}

/// Segments of the smallest size, so that a few hundred events fill several.
#[test]
fn scavenging_frees_the_space_of_deleted_streams() {
    let store = Store::missing();
    let small = quipu_engine::OpenOptions::new().create(true).segment_size(16 << 10);
    small.open(store.data()).unwrap().close().unwrap();
    // A stub is kept of each event, so that only large ones are worth it.
    let filling = "x".repeat(500);
    let line = |i: usize| {
        format!("{{\"stream\":\"s-{}\",\"type\":\"T\",\"data\":\"{filling}{i}\"}}\n", i % 5)
    };
    let lines: String = (0..500).map(line).collect();
    for chunk in lines.split_inclusive('\n').collect::<Vec<_>>().chunks(50) {
        store.import(chunk.concat(), &[]).ok();
    }
    for stream in ["s-1", "s-2", "s-3"] {
        store.run(&["stream", "delete", stream]).ok();
    }
    let kept =
        |store: &Store| [store.json(&["read", "s-0"]), store.json(&["read", "s-4"])].concat();
    let before = kept(&store);

    let scavenged = store.json(&["scavenge"]);

    assert!(scavenged[0]["scavenged"].as_u64().unwrap() > 100, "{scavenged:?}");
    assert!(scavenged[0]["freed"].as_u64().unwrap() > 0, "{scavenged:?}");
    assert_eq!(kept(&store), before);
    assert!(store.json(&["read", "--all"]).len() < 400);
    assert_eq!(store.import(&lines, &[]).ok().fact("already there"), "500", "stubs keep the ids");
    store.run(&["verify"]).ok();
    let again = store.json(&["scavenge", "--threshold", "0"]);
    assert!(again[0]["left"].as_u64().unwrap() <= scavenged[0]["left"].as_u64().unwrap());
}

#[test]
fn system_streams_are_not_changed_by_hand() {
    let store = five();

    store.run(&["stream", "tombstone", "$settings"]).fails("is reserved");
    store.run(&["stream", "delete", "$$a-1"]).fails("holds the metadata of another stream");

    assert_eq!(store.events().len(), 5);
}
