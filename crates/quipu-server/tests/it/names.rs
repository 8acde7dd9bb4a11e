//! Hostile names: whatever is legal is a name, never a path, a pattern or a command.

use std::fs;

use serde_json::json;

use crate::support::{Store, field};

const NAMES: &[&str] = &[
    "../../etc",
    "/etc/passwd",
    "..",
    ".",
    "a/b\\c",
    "C:\\con",
    "%2e%2e%2f",
    "*",
    "a$(reboot)",
    "`reboot`",
    "' OR 1=1 --",
    "\"quoted\"",
    " blank at both ends ",
    "-",
    "--all",
    "a,b",
    "tag:x type:Y",
    "{}",
    "null",
    "\u{202e}reversed",
    "e\u{301}",
    "é",
    "\u{200d}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
];

/// A name in each plane of Unicode, at its first and last scalar value that is legal.
fn names() -> Vec<String> {
    let mut names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    for plane in 0..=16_u32 {
        for low in [0x0000, 0x00a0, 0x4e00, 0xd7ff, 0xe000, 0xfffd, 0xffff] {
            let legal = char::from_u32(plane << 16 | low).filter(|c| !c.is_control());
            names.extend(legal.map(|character| format!("plane {plane} {character}")));
        }
    }
    names.push("\u{10ffff}".repeat(128));
    names
}

#[test]
fn every_legal_name_is_a_stream_a_type_and_a_tag_and_nothing_else() {
    let store = Store::missing();
    let names = names();
    let short = |name: &str| name.chars().take(60).collect::<String>();
    let text: String = names
        .iter()
        .map(|name| {
            let name_255 = short(name);
            format!("{}\n", json!({"stream": name, "type": name_255, "tags": [name_255]}))
        })
        .collect();

    store.import(&text, &[]).ok();

    let events = store.events();
    assert_eq!(field(&events, "stream"), names);
    let sorted = std::collections::BTreeSet::from_iter(names).into_iter().collect::<Vec<_>>();
    assert_eq!(field(&store.json(&["streams"]), "stream"), sorted);
    let beside: Vec<_> =
        fs::read_dir(store.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["data"]);
}

#[test]
fn a_stream_is_read_by_whatever_its_name_is() {
    let store = Store::missing();
    for name in NAMES {
        let tag = format!("--tag={name}");
        let append = ["append", "--type", "T", "--json", "{}", &tag, "--", name];
        store.run(&append).ok();

        let read = store.run(&["--format", "jsonl", "read", "--", name]).ok().json();

        assert_eq!(field(&read, "stream"), [*name]);
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        for term in ["stream", "tag"] {
            let query = format!("{term}:\"{quoted}\"");
            let found = store.json(&["read", "--all", "--query", &query]);
            assert_eq!(field(&found, "stream"), [*name], "{query}");
        }
    }
    store.run(&["verify"]).ok();
}

#[test]
fn tables_show_names_without_obeying_them() {
    let store = Store::missing();
    let data = r#"{"a":"\u001b[31m"}"#;
    store.run(&["append", "\u{202e}x", "--type", "T", "--json", data]).ok();
    store.run_with_input(&["append", "y", "--type", "T", "-"], "\u{1b}]0;title\u{7}").ok();

    let table = store.run(&["read", "--all"]).ok().out() + &store.run(&["streams"]).ok().out();

    let active = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!table.contains(active), "{table:?}");
    assert!(table.contains("\\u{202e}x"), "{table}");
}

#[test]
fn a_backup_of_hostile_names_restores() {
    let store = Store::missing();
    let text: String =
        names().iter().map(|name| format!("{}\n", json!({"stream": name, "type": "T"}))).collect();
    store.import(text, &[]).ok();
    let backup = store.path("backup").display().to_string();
    let restored = store.path("restored");

    store.run(&["backup", &backup]).ok();
    crate::support::run(crate::support::quipu(&restored).args(["restore", &backup]), b"").ok();

    let copy = crate::support::run(crate::support::quipu(&restored).arg("export"), b"").ok();
    assert_eq!(copy.out(), store.run(&["export"]).ok().out());
}
