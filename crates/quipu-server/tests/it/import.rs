use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Store, field, lines};

#[test]
fn lines_become_events_in_their_order() {
    let store = Store::with(&lines(2_500));

    let events = store.events();

    let expected: Vec<String> = (0..2_500).map(|i| format!("order-{i}")).collect();
    assert_eq!(field(&events, "stream"), expected);
    let positions: Vec<u64> = events.iter().map(|e| e["position"].as_u64().unwrap()).collect();
    assert!(positions.is_sorted_by(|a, b| a < b));
}

#[test]
fn the_summary_counts_what_was_done() {
    let store = Store::missing();

    let table = store.import(lines(1_200), &[]).ok();
    let json = store.import(lines(1_300), &["--format", "jsonl"]).ok().json();

    assert_eq!(table.fact("imported"), "1,200");
    assert_eq!(table.fact("already there"), "0");
    assert_eq!(table.fact("clamped"), "0");
    assert_eq!(table.fact("streams"), "1,200");
    assert_eq!(table.fact("last position"), "1200");
    assert_eq!(json.len(), 1);
    assert_eq!(json[0]["imported"], 100);
    assert_eq!(json[0]["already_there"], 1_200);
    assert_eq!(json[0]["last_position"], 1_300);
}

#[test]
fn plain_gzip_and_zstd_are_told_by_content_whatever_the_name() {
    let text = lines(10);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();

    for bytes in [text.into_bytes(), gzip, zstd] {
        let store = Store::missing();
        let file = store.file("misleading.txt.zst.gz", &bytes);

        store.run(&["import", &file]).ok();
        assert_eq!(store.events().len(), 10);
        let again = store.import(&bytes, &[]).ok();
        assert_eq!(again.fact("already there"), "10");
    }
}

#[test]
fn importing_twice_adds_nothing_also_without_ids() {
    let store = Store::missing();
    let same = "{\"stream\":\"a\",\"type\":\"T\",\"data\":{}}\n".repeat(3);
    let text = format!("{same}{}", lines(1_500));

    store.import(&text, &[]).ok();
    let before = store.events();
    let again = store.import(&text, &[]).ok();

    assert_eq!(before.len(), 1_503);
    assert_eq!(again.fact("imported"), "0");
    assert_eq!(again.fact("already there"), "1,503");
    assert_eq!(store.events(), before);
}

#[test]
fn importing_one_long_stream_twice_adds_nothing() {
    let store = Store::missing();
    let line = |i: usize| format!("{{\"stream\":\"a\",\"type\":\"T\",\"data\":{i}}}\n");
    let text: String = (0..3_300).map(line).collect();

    store.import(&text, &[]).ok();
    let again = store.import(&text, &[]).ok();

    assert_eq!(again.fact("imported"), "0");
    let events = store.json(&["read", "a"]);
    let data: Vec<u64> = events.iter().map(|event| event["data"].as_u64().unwrap()).collect();
    assert_eq!(data, (0..3_300).collect::<Vec<_>>());
}

/// A file that has grown, at its end and in its midst: what is there is skipped, what is not is
/// added in the order of the lines.
#[test]
fn a_file_that_has_grown_adds_what_is_new() {
    for stream_count in [1, 7] {
        let store = Store::missing();
        let line = |i: usize| {
            let stream = i % stream_count;
            format!("{{\"stream\":\"s-{stream}\",\"type\":\"T\",\"data\":{i}}}\n")
        };
        let before: String = (0..2_500).filter(|i| i % 3 != 0).map(line).collect();
        let after: String = (0..2_700).map(line).collect();

        store.import(&before, &[]).ok();
        let ran = store.import(&after, &[]).ok();

        assert_eq!(ran.fact("already there"), "1,666");
        assert_eq!(ran.fact("imported"), "1,034");
        let events = store.events();
        assert_eq!(events.len(), 2_700);
        let added: Vec<u64> =
            events[1_666..].iter().map(|event| event["data"].as_u64().unwrap()).collect();
        assert!(added.is_sorted(), "what is new is in the order of the lines");
    }
}

#[test]
fn an_id_that_stands_twice_in_a_file_is_one_event() {
    let store = Store::missing();
    let id = "00000000-0000-4000-8000-000000000001";
    let line = format!("{{\"stream\":\"a\",\"type\":\"T\",\"id\":\"{id}\"}}\n");
    let other = format!("{{\"stream\":\"b\",\"type\":\"T\",\"id\":\"{id}\"}}\n");
    let text = format!("{line}{}{line}{other}{}{line}", lines(100), lines(2_000));

    let ran = store.import(&text, &[]).ok();

    // `lines(2_000)` begins with the same content as `lines(100)`, but as its second occurrence.
    assert_eq!(ran.fact("imported"), "2,102");
    assert_eq!(ran.fact("already there"), "2");
    assert_eq!(store.json(&["read", "a"]).len(), 1);
    assert_eq!(store.json(&["read", "b"]).len(), 1);
}

#[test]
fn a_wrong_line_refuses_its_batch_and_earlier_batches_stay() {
    let store = Store::missing();
    let mut text = lines(2_500);
    text.push_str("{\"stream\":\"order-x\"}\n");
    text.push_str(&lines(10));

    let ran = store.import(&text, &[]).fails("missing field `type`");

    assert!(ran.err().contains("standard input:2501:20: "), "{ran}");
    assert!(ran.err().contains("lines 1 to 2000 are in the store"), "{ran}");
    assert_eq!(ran.fact("imported"), "2,000");
    assert_eq!(ran.fact("lines"), "2,000");
    assert_eq!(ran.fact("last position"), "2000");
    assert_eq!(store.events().len(), 2_000);
}

#[test]
fn after_the_line_is_mended_the_import_goes_on_where_it_ended() {
    let store = Store::missing();
    let right = lines(2_500);
    let wrong = right.replace("order-2400\"", "order-2400");
    store.import(&wrong, &[]).fails("standard input:2401:");

    let ran = store.import(&right, &[]).ok();

    assert_eq!(ran.fact("already there"), "2,000");
    assert_eq!(ran.fact("imported"), "500");
    let streams: Vec<String> = (0..2_500).map(|i| format!("order-{i}")).collect();
    assert_eq!(field(&store.events(), "stream"), streams);
}

/// Killed in the midst of it, an import has appended whole batches, and the same import goes on.
#[test]
fn a_killed_import_goes_on_where_it_ended() {
    let store = Store::missing();
    let text = lines(5_000);
    let mut import = store.start(&["import", "-"]);
    let cut = text.match_indices('\n').nth(3_499).unwrap().0;
    import.stdin.as_mut().unwrap().write_all(&text.as_bytes()[..cut]).unwrap();
    import.until(|| store.run(&["read", "order-2999"]).out().contains("order-2999"));
    drop(import);

    let before = store.events().len();
    let ran = store.import(&text, &[]).ok();

    assert_eq!(before, 3_000, "only whole batches");
    assert_eq!(ran.fact("already there"), "3,000");
    assert_eq!(ran.fact("imported"), "2,000");
    let streams: Vec<String> = (0..5_000).map(|i| format!("order-{i}")).collect();
    assert_eq!(field(&store.events(), "stream"), streams);
    store.run(&["verify"]).ok();
}

#[test]
fn a_dry_run_checks_and_counts_and_appends_nothing() {
    let store = Store::missing();

    let ran = store.import(lines(1_500), &["--dry-run"]).ok();
    let wrong = store.import(lines(1_500) + "{}", &["--dry-run"]).fails("missing field `stream`");

    assert_eq!(ran.fact("would import"), "1,500");
    assert_eq!(ran.fact("streams"), "1,500");
    assert!(wrong.err().contains("standard input:1501:"), "{wrong}");
    assert!(wrong.err().contains("lines 1 to 1000 are right"), "{wrong}");
    assert!(!store.data().exists());
}

#[test]
fn a_wrong_first_batch_leaves_no_store_behind() {
    let store = Store::missing();

    store.import("{}", &[]).fails("missing field");

    assert!(!store.data().exists());
}

#[test]
fn times_are_kept_only_when_asked_for() {
    let line = r#"{"stream":"a","type":"T","time":"2011-09-30T22:38:44.546Z"}"#;
    let (kept, own) = (Store::missing(), Store::missing());

    kept.import(line, &["--keep-time"]).ok();
    own.import(line, &[]).ok();

    assert_eq!(kept.events()[0]["time"], "2011-09-30T22:38:44.546Z");
    assert!(own.events()[0]["time"].as_str().unwrap() > "2026");
}

#[test]
fn times_that_go_back_are_clamped_and_counted() {
    let store = Store::missing();
    let line = |i: usize, year: u32| {
        format!("{{\"stream\":\"s-{i}\",\"type\":\"T\",\"time\":\"{year}-01-01T00:00:00Z\"}}\n")
    };
    let text = [line(0, 2012), line(1, 2011), line(2, 2013), line(3, 2010)].concat();

    let ran = store.import(text, &["--keep-time"]).ok();

    assert_eq!(ran.fact("clamped"), "2");
    let years = ["2012", "2012", "2013", "2013"].map(|year| format!("{year}-01-01T00:00:00Z"));
    assert_eq!(field(&store.events(), "time"), years);
}

#[test]
fn blank_lines_carriage_returns_and_a_byte_order_mark_are_no_obstacle() {
    let store = Store::missing();
    let text =
        "\u{feff}{\"stream\":\"a\",\"type\":\"T\"}\r\n\r\n  \n\n{\"stream\":\"b\",\"type\":\"T\"}";

    let ran = store.import(text, &[]).ok();

    assert_eq!(ran.fact("imported"), "2");
    assert_eq!(field(&store.events(), "stream"), ["a", "b"]);
}

#[test]
fn an_empty_file_makes_an_empty_store() {
    let store = Store::missing();

    let ran = store.import("", &[]).ok();

    assert_eq!(ran.fact("imported"), "0");
    assert_eq!(ran.fact("last position"), "-");
    assert_eq!(store.events().len(), 0);
}

#[test]
fn position_and_revision_in_a_line_are_ignored() {
    let store = Store::missing();

    store.import(r#"{"position":99,"revision":"x","stream":"a","type":"T"}"#, &[]).ok();

    let events = store.events();
    assert_eq!((&events[0]["position"], &events[0]["revision"]), (&1.into(), &0.into()));
}

#[test]
fn reserved_names_come_in_with_system_rights() {
    let store = Store::missing();

    store.import(r#"{"stream":"$ours","type":"$T","tags":["$x"]}"#, &["--system"]).ok();

    assert_eq!(store.json(&["read", "--all"]).len(), 0);
    assert_eq!(store.json(&["read", "--all", "--system"]).len(), 1);
}

#[test]
fn events_that_are_larger_than_a_batch_come_in() {
    let store = Store::missing();
    let mut text = String::new();
    for i in 0..3 {
        let filling = "x".repeat(6 << 20);
        writeln!(text, r#"{{"stream":"s-{i}","type":"T","data":"{filling}"}}"#).unwrap();
    }

    let ran = store.import(&text, &[]).ok();

    assert_eq!(ran.fact("imported"), "3");
    assert_eq!(store.run(&["export"]).ok().json().len(), 3);
}

#[test]
fn a_conflict_with_a_tombstone_is_the_answer_no() {
    let store = Store::with(&lines(3));
    store.run(&["stream", "tombstone", "order-1"]).ok();
    let line = r#"{"stream":"order-1","type":"Late"}"#;

    store.import(line, &[]).no("expected anything, found tombstoned at revision 1");

    assert_eq!(store.events().len(), 4);
    // What was there before the tombstone is still found there.
    assert_eq!(store.import(lines(3), &[]).ok().fact("already there"), "3");
}

#[test]
fn the_first_events_are_shown_when_asked_for() {
    let store = Store::missing();

    let ran = store.import(lines(30), &["--show", "5"]).ok();
    let default = store.import(lines(30), &["--show"]).ok();

    assert_eq!(ran.out().lines().filter(|line| line.contains("Placed")).count(), 5, "{ran}");
    assert_eq!(default.out().lines().filter(|line| line.contains("Placed")).count(), 20);
}
