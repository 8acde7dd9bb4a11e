//! A full disk, made by mounting a small one where the system lets us.

use std::process::Command;

use crate::support::Store;

/// Runs a script in a name space of its own, with a file system of 24 MiB at the store.
/// `None` where that is not allowed.
fn run_on_small_disk(store: &Store, script: &str) -> Option<String> {
    std::fs::create_dir_all(store.path("small")).unwrap();
    let mounted = "mount -t tmpfs -o size=24m none small && echo mounted";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &format!("{mounted} && {{ {script}; }}")])
        .current_dir(store.path("."))
        .env("QUIPU", env!("CARGO_BIN_EXE_quipu"))
        .env("QUIPU_DATA", "small/data")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.strip_prefix("mounted\n")?.to_owned();
    Some(text + &String::from_utf8_lossy(&output.stderr))
}

/// 64 events of a MiB each: more than the disk has room for.
fn large_events() -> String {
    let filling = "x".repeat(1 << 20);
    (0..64)
        .map(|i| format!("{{\"stream\":\"s-{i}\",\"type\":\"T\",\"data\":\"{filling}{i}\"}}\n"))
        .collect()
}

/// The disk is made larger afterwards, as when somebody made space: the same import goes on.
#[test]
fn a_full_disk_is_an_error_until_there_is_space_and_reads_go_on() {
    let store = Store::missing();
    store.file("in.jsonl", large_events());

    let text = run_on_small_disk(
        &store,
        "$QUIPU import in.jsonl > first; echo full $?; \
         $QUIPU read --all --format jsonl | grep -c position; \
         $QUIPU stats > /dev/null; echo stats $?; \
         mount -o remount,size=240m small; \
         $QUIPU import in.jsonl > second; echo again $?; \
         $QUIPU read --all --format jsonl | grep -c position; \
         $QUIPU verify; echo verify $?",
    );

    let Some(text) = text else {
        eprintln!("skipped: no file system may be mounted here");
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"full 2"), "{text}");
    assert_eq!(lines.get(2..6), Some(&["stats 0", "again 0", "64", "verify 0"][..]), "{text}");
    let imported = |name: &str| -> u64 {
        let text = std::fs::read_to_string(store.path(name)).unwrap();
        let first = text.lines().next().unwrap();
        first.strip_prefix("imported").unwrap().trim().parse().unwrap()
    };
    assert_eq!(lines.get(1), Some(&imported("first").to_string().as_str()), "{text}");
    assert_eq!(imported("first") + imported("second"), 64);
    assert!(imported("first") > 0 && imported("second") > 0);
    assert!(text.contains("the disk is full") || text.contains("No space left"), "{text}");
    assert!(text.contains("hint: free some space"), "{text}");
}

/// The server stays up all the while: it refuses appends and reads on, and appends again once there is
/// space.
#[test]
fn a_server_on_a_full_disk_reads_on_and_appends_again_when_there_is_space() {
    let store = Store::missing();
    store.file("in.jsonl", large_events());

    let text = run_on_small_disk(
        &store,
        "unset QUIPU_DATA; touch url; \
         $QUIPU --data small/data serve --listen 127.0.0.1:0 --print-address > url 2> log & \
         until grep -q http url; do sleep 0.05; done; export QUIPU_URL=$(cat url); \
         $QUIPU import in.jsonl > first; echo full $?; \
         $QUIPU read --all --format jsonl | grep -c position; \
         $QUIPU read s-1 --format jsonl | grep -c position; \
         mount -o remount,size=240m small; \
         $QUIPU import in.jsonl > second; echo again $?; \
         $QUIPU read --all --format jsonl | grep -c position; \
         kill -TERM $!; wait $!; echo served $?; unset QUIPU_URL; \
         $QUIPU --data small/data verify; echo verify $?",
    );

    let Some(text) = text else {
        eprintln!("skipped: no file system may be mounted here");
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"full 2"), "{text}");
    let before: u64 = lines[1].parse().unwrap();
    assert!((2..64).contains(&before), "{text}");
    assert_eq!(lines[2..7], ["1", "again 0", "64", "served 0", "verify 0"], "{text}");
    assert!(text.contains("the disk is full") && text.contains("hint: "), "{text}");
}
