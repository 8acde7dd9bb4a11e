//! What goes where: answers to standard output, all else to standard error.

use std::process::Stdio;

use crate::support::{Running, Store, lines};

#[test]
fn with_jsonl_every_verb_prints_objects_and_nothing_else() {
    let store = Store::with(&lines(3));
    let backup = store.path("backup").display().to_string();
    let file = store.path("out.jsonl").display().to_string();
    let verbs: &[&[&str]] = &[
        &["import", &store.file("in.jsonl", lines(4)), "--show"],
        &["export", &file],
        &["export"],
        &["append", "a", "--type", "T", "--json", "{}"],
        &["read", "--all"],
        &["read", "a"],
        &["streams"],
        &["stats"],
        &["verify"],
        &["stream", "info", "a"],
        &["stream", "metadata", "a"],
        &["stream", "metadata", "a", "--set", "{}"],
        &["stream", "truncate", "a", "--before", "1"],
        &["stream", "delete", "a"],
        &["stream", "tombstone", "a"],
        &["scavenge"],
        &["rebuild-index"],
        &["backup", &backup],
    ];
    for args in verbs {
        let ran = store.run(&[&["--format", "jsonl"], *args].concat()).ok();

        assert!(ran.json().iter().all(serde_json::Value::is_object), "{ran}");
    }
}

#[test]
fn an_error_leaves_standard_output_alone() {
    let store = Store::with(&lines(1));

    let ran = store.run(&["read", "order-0", "--as-of", "9", "--format", "jsonl"]);
    let ran = ran.fails("error: ");

    assert_eq!(ran.out(), "");
    assert!(ran.err().contains("hint: "), "{ran}");
}

#[test]
fn tables_have_titles_and_no_colours_in_a_pipe() {
    let store = Store::with(&lines(1));

    let table = store.run(&["read", "--all"]).ok().out();

    let titles: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["position", "time", "stream", "revision", "type", "tags", "data"]);
    assert_eq!(table.lines().count(), 2);
    assert!(!table.contains('\u{1b}'));
}

#[test]
fn who_closes_the_pipe_early_wanted_no_more() {
    let store = Store::with(&lines(20_000));
    for args in [&["read", "--all"][..], &["export"], &["streams", "--format", "jsonl"]] {
        let mut command = store.command();
        command.args(args);

        let running = Running::start_with_closed_output(&mut command);

        assert_eq!(running.end(), Some(0), "{args:?}");
    }
}

#[test]
fn nothing_is_printed_about_a_closed_pipe() {
    let store = Store::with(&lines(20_000));
    let mut command = store.command();
    command.arg("export").stdout(Stdio::piped()).stderr(Stdio::piped());

    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();

    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}
