use std::fs;

use crate::support::{Store, lines, quipu, run};

#[test]
fn a_restored_backup_holds_what_the_store_held() {
    let store = Store::with(&lines(2_500));
    let (backup, restored) = (store.path("backup"), store.path("restored"));
    let (backup, data) = (backup.display().to_string(), restored.display().to_string());

    store.run(&["backup", &backup]).ok();
    store.import(r#"{"stream":"late","type":"T"}"#, &[]).ok();
    run(quipu(&restored).args(["restore", &backup]), b"").ok();

    let original = store.run(&["export", "--full", "--as-of", "2500"]).ok();
    let copy = run(quipu(&restored).args(["export", "--full"]), b"").ok();
    assert_eq!(copy.out(), original.out());
    run(quipu(&restored).arg("verify"), b"").ok();
    run(quipu(&restored).args(["append", "a", "--type", "T", "--json", "1"]), b"").ok();
    assert!(fs::exists(data).unwrap());
}

#[test]
fn a_restored_log_is_another_life_of_the_same_log() {
    let store = Store::with(&lines(1));
    let backup = store.path("backup").display().to_string();
    let restored = store.path("restored");

    store.run(&["backup", &backup]).ok();
    run(quipu(&restored).args(["restore", &backup]), b"").ok();

    let before = store.json(&["stats"]);
    let after = run(quipu(&restored).args(["stats", "--format", "jsonl"]), b"").ok().json();
    assert_eq!(after[0]["log_id"], before[0]["log_id"]);
    assert_eq!(before[0]["incarnation"], 1);
    assert_eq!(after[0]["incarnation"], 2);
}

#[test]
fn a_backup_is_taken_beside_a_writer() {
    let store = Store::missing();
    let mut writer = store.start(&["import", "-"]);
    std::io::Write::write_all(writer.stdin.as_mut().unwrap(), lines(1_000).as_bytes()).unwrap();
    writer.until(|| store.run(&["read", "--all", "--limit", "1"]).out().contains("order-0"));
    let backup = store.path("backup").display().to_string();
    let restored = store.path("restored");

    store.run(&["backup", &backup]).ok();
    run(quipu(&restored).args(["restore", &backup]), b"").ok();

    let copy = run(quipu(&restored).args(["read", "--all", "--format", "jsonl"]), b"").ok();
    assert_eq!(copy.json().len(), 1_000);
    assert_eq!(writer.end(), Some(0));
}

#[test]
fn nothing_is_backed_up_or_restored_over_what_is_there() {
    let store = Store::with(&lines(1));
    let backup = store.path("backup").display().to_string();
    store.run(&["backup", &backup]).ok();

    store.run(&["backup", &backup]).fails("backup");
    store.run(&["restore", &backup]).fails("data");

    assert_eq!(store.events().len(), 1);
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let store = Store::missing();
    let empty = store.path("empty");
    fs::create_dir(&empty).unwrap();

    store.run(&["restore", &empty.display().to_string()]).fails("empty");
    store.run(&["restore", &store.path("nowhere").display().to_string()]).fails("nowhere");

    store.run(&["read", "--all"]).fails("");
}
