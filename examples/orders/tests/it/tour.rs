//! The tour: run as a process, as people run it, with little data.

use std::path::Path;
use std::process::{Command, Output};

use quipu_testing::kafka::{Cluster, ClusterOptions};

fn orders(arguments: &[&str], temporary: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command.args(arguments).env("TMPDIR", temporary).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_check_passes_and_nothing_is_left_behind() {
    let temporary = tempfile::tempdir().unwrap();

    let output = orders(&["tour", "--small"], temporary.path());

    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{complained}");
    let (_, table) = said.split_once("\ncheck ").unwrap();
    assert_eq!(table.matches("  PASS  ").count(), 10, "{said}");
    assert!(table.contains("10 of 10 checks passed"), "{said}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "{said}");
}

#[test]
fn with_a_kafka_each_event_is_in_it_exactly_once() {
    let Some(cluster) = Cluster::start(1, &ClusterOptions::default()) else { return };
    let temporary = tempfile::tempdir().unwrap();
    let servers = cluster.servers();

    let output = orders(&["tour", "--small", "--kafka", &servers], temporary.path());

    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{complained}");
    let (_, table) = said.split_once("\ncheck ").unwrap();
    let row = table.lines().find(|line| line.starts_with("kafka ")).unwrap();
    assert!(row.contains("  PASS  ") && row.contains("none came again"), "{said}");
    assert!(table.contains("11 of 11 checks passed"), "{said}");
}

#[test]
fn where_no_kafka_answers_nothing_is_said_to_be_broken() {
    let temporary = tempfile::tempdir().unwrap();

    let arguments = ["tour", "--small", "--only", "kafka", "--kafka", "127.0.0.1:1"];
    let output = orders(&arguments, temporary.path());

    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("NOT RUN") && said.contains("no Kafka answers at 127.0.0.1:1"), "{said}");
}

#[test]
fn one_check_can_be_run_and_its_store_kept() {
    let temporary = tempfile::tempdir().unwrap();

    let output = orders(&["tour", "--only", "key", "--keep"], temporary.path());

    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("1 of 1 checks passed"), "{said}");
    let kept = std::fs::read_dir(temporary.path()).unwrap().next().unwrap().unwrap();
    assert!(kept.path().join("key/shop.quipu").is_dir(), "{said}");
}

/// Exit code 1 is for a promise that is broken; this is none.
#[test]
fn a_tour_that_cannot_run_says_so() {
    let temporary = tempfile::tempdir().unwrap();

    let unknown = orders(&["tour", "--only", "nothing"], temporary.path());
    let nowhere = orders(&["tour", "--small"], &temporary.path().join("missing"));

    assert_eq!((unknown.status.code(), nowhere.status.code()), (Some(2), Some(2)));
    assert!(text(&unknown.stderr).contains("--only needs one of: race, key"));
    assert!(text(&nowhere.stderr).starts_with("error: "));
}

#[test]
fn the_demo_lists_its_orders() {
    let temporary = tempfile::tempdir().unwrap();

    let output = orders(&[], temporary.path());

    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for row in ["0   ben  open       42.00 EUR", "1   ana  shipped    120.00 EUR"] {
        assert!(said.contains(row), "{said}");
    }
    assert!(said.contains("1 of them is cancelled"), "{said}");
}
