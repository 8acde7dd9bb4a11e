//! Damage: found, told with its place, and never shown as data.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Store, lines};

const MARKER: &[u8] = b"a marker that stands nowhere else";

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

/// Flips a bit of an event's data on disk, and answers the file.
fn damage_marker(store: &Store) -> PathBuf {
    for path in files(&store.data()) {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(MARKER.len()).position(|window| window == MARKER) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            return path;
        }
    }
    panic!("no file holds the marker");
}

fn damaged_store() -> (Store, PathBuf) {
    let store = Store::with(&lines(10));
    let data = format!("\"{}\"", std::str::from_utf8(MARKER).unwrap());
    store.run(&["append", "marked-1", "--type", "T", "--json", &data]).ok();
    store.run(&["append", "marked-2", "--type", "T", "--json", "{}"]).ok();
    let file = damage_marker(&store);
    (store, file)
}

#[test]
fn a_store_without_damage_verifies() {
    let store = Store::with(&lines(10));

    let ran = store.run(&["verify"]).ok();

    assert_eq!(ran.out(), "");
    assert!(ran.err().contains("found no damage"), "{ran}");
    assert_eq!(store.json(&["verify"]).len(), 0);
}

#[test]
fn verify_lists_each_damaged_place_and_answers_no() {
    let (store, file) = damaged_store();

    let table = store.run(&["verify"]).no("found damage in 1 place");
    let lines = store.run(&["verify", "--format", "jsonl"]).no("found damage").json();

    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(table.out().contains(name), "{table}");
    assert_eq!(lines.len(), 1);
    assert!(lines[0]["file"].as_str().unwrap().contains(name));
    assert!(lines[0]["offset"].is_u64());
    assert!(lines[0]["reason"].is_string());
}

#[test]
fn a_damaged_event_is_an_error_with_file_and_offset_never_data() {
    let (store, file) = damaged_store();

    let ran = store.run(&["read", "marked-1"]).fails("is damaged at byte");

    assert!(ran.err().contains(file.file_name().unwrap().to_str().unwrap()), "{ran}");
    assert!(ran.err().contains("hint: `quipu verify` lists all damage"), "{ran}");
    assert!(!ran.out().contains("marker"), "{ran}");
    store.run(&["export"]).fails("is damaged at byte");
}

#[test]
fn the_index_is_made_anew_from_the_log() {
    let store = Store::with(&lines(2_500));
    let before = store.run(&["export", "--full"]).ok().out();

    let ran = store.run(&["rebuild-index"]).ok();

    assert_eq!(ran.fact("indexed"), "2,500");
    assert_eq!(store.run(&["export", "--full"]).ok().out(), before);
    assert_eq!(store.json(&["read", "order-7"]).len(), 1);
    store.run(&["verify"]).ok();
}
