//! Bad input: a clear message on standard error, exit code 2, nothing appended.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{Store, lines, quipu, run};

/// Imports one wrong line behind a right one; both are in one batch, so neither is appended.
#[track_caller]
fn refused_line(line: &str, column: usize, reason: &str) {
    let store = Store::with(&lines(1));
    let file = store.file("in.jsonl", format!("{{\"stream\":\"a\",\"type\":\"T\"}}\n{line}\n"));

    let ran = store.run(&["import", &file]).fails(reason);

    assert!(ran.err().contains(&format!("in.jsonl:2:{column}: ")), "{ran}");
    assert!(ran.err().contains("hint: nothing was appended"), "{ran}");
    assert_eq!(ran.fact("imported"), "0");
    assert_eq!(store.events().len(), 1);
}

#[test]
fn a_malformed_line_is_refused_with_its_place() {
    refused_line(r#"{"stream":"a","type":"#, 21, "EOF while parsing");
    refused_line("nonsense", 1, "a line is a JSON object");
}

#[test]
fn a_line_without_a_type_is_refused() {
    refused_line(r#"{"stream":"a"}"#, 14, "missing field `type`");
}

#[test]
fn a_line_with_an_unknown_field_is_refused() {
    refused_line(r#"{"stream":"a","type":"T","payload":{}}"#, 34, "unknown field `payload`");
}

#[test]
fn an_empty_stream_name_is_refused() {
    refused_line(r#"{"stream":"","type":"T"}"#, 12, "a stream name must not be empty");
    let store = Store::missing();
    let ran = store.run(&["append", "", "--type", "T", "--json", "{}"]);
    ran.fails("a stream name must not be empty");
    assert!(!store.data().exists());
}

#[test]
fn an_over_long_stream_name_is_refused() {
    let long = "x".repeat(513);
    let line = format!(r#"{{"stream":"{long}","type":"T"}}"#);
    refused_line(&line, 525, "a stream name has at most 512 bytes, this one has 513");
    let store = Store::missing();
    let ran = store.run(&["append", &long, "--type", "T", "--json", "{}"]);
    ran.fails("a stream name has at most 512 bytes");
    let longest = "x".repeat(512);
    store.run(&["append", &longest, "--type", "T", "--json", "{}"]).ok();
}

#[test]
fn control_characters_are_refused() {
    refused_line(r#"{"stream":"a\nb","type":"T"}"#, 16, "has no control characters");
    refused_line(r#"{"stream":"a","type":"T\u007f"}"#, 30, "has no control characters");
    refused_line(r#"{"stream":"a","type":"T","tags":["x\u0000"]}"#, 42, "U+0000 at byte 1");
    let store = Store::missing();
    let ran = store.run(&["append", "a\u{1b}[31m", "--type", "T", "--json", "{}"]);
    let ran = ran.fails("U+001B at byte 1");
    assert!(!store.data().exists(), "{ran}");
}

#[test]
fn an_event_over_the_limit_is_refused() {
    let data = format!("\"{}\"", "x".repeat(16 << 20));
    let line = format!(r#"{{"stream":"a","type":"T","data":{data}}}"#);
    refused_line(&line, 1, "16777218 bytes of data and metadata, at most 16777216");
    let store = Store::with(&lines(1));
    let file = store.file("large", &data);
    let ran = store.run(&["append", "a", "--type", "T", "--file", &file]);
    ran.fails("at most 16777216 are allowed");
    assert_eq!(store.events().len(), 1);
}

#[test]
fn a_line_that_is_too_long_for_any_event_is_refused() {
    let line = format!(r#"{{"stream":"a","type":"T","data":"{}"}}"#, "x".repeat(33 << 20));
    refused_line(&line, 32 << 20, "the line has more than 33554432 bytes");
}

#[test]
fn more_than_64_tags_are_refused() {
    let tags: Vec<String> = (0..65).map(|i| format!("\"t:{i}\"")).collect();
    let line = format!(r#"{{"stream":"a","type":"T","tags":[{}]}}"#, tags.join(","));
    refused_line(&line, 1, "65 tags, at most 64 are allowed");
    let store = Store::with(&lines(1));
    let mut args = vec!["append", "a", "--type", "T", "--json", "{}"];
    for tag in &tags {
        args.extend(["--tag", tag]);
    }
    store.run(&args).fails("65 tags, at most 64 are allowed");
    assert_eq!(store.events().len(), 1);
    args.truncate(6 + 2 * 64);
    store.run(&args).ok();
}

#[test]
fn a_bad_uuid_is_refused() {
    refused_line(r#"{"stream":"a","type":"T","id":"no"}"#, 34, "is not a UUID");
    let store = Store::missing();
    let ran = store.run(&["append", "a", "--type", "T", "--json", "{}", "--id", "no"]);
    ran.fails("not a UUID");
    assert!(!store.data().exists());
}

#[test]
fn a_bad_time_is_refused() {
    refused_line(r#"{"stream":"a","type":"T","time":"yesterday"}"#, 43, "RFC 3339");
}

#[test]
fn a_time_in_the_future_is_refused_only_where_it_would_be_kept() {
    let line = r#"{"stream":"a","type":"T","time":"2999-01-01T00:00:00Z"}"#;
    let store = Store::with(&lines(1));

    store.import(line, &["--keep-time"]).fails("recorded in the future");
    assert_eq!(store.events().len(), 1);
    store.import(line, &[]).ok();
    assert_eq!(store.events().len(), 2);
}

#[test]
fn malformed_json_data_is_refused() {
    let store = Store::missing();
    for option in ["--json", "--metadata"] {
        let args = ["append", "a", "--type", "T", "--json", "{}", option, "{\"a\":"];
        let args =
            if option == "--json" { [&args[..4], &args[6..]].concat() } else { args.to_vec() };

        store.run(&args).fails("not JSON");
    }
    assert!(!store.data().exists());
}

#[test]
fn a_bad_query_term_is_refused() {
    let store = Store::with(&lines(1));
    let cases = [
        ("colour:red", "\"colour:red\" is not a query term"),
        ("OrderPlaced", "is not a query term"),
        ("tag:\"open", "quotation mark"),
        ("type:", "event type must not be empty"),
        ("stream:a stream:b", "at most one stream: term"),
    ];
    for (query, reason) in cases {
        for verb in [&["read", "--all"][..], &["tail", "--all"], &["export"]] {
            store.run(&[verb, &["--query", query]].concat()).fails(reason);
        }
        let append = ["append", "a", "--type", "T", "--json", "{}", "--fail-if", query];
        store.run(&append).fails(reason);
    }
    assert_eq!(store.events().len(), 1);
}

#[test]
fn an_as_of_in_the_future_is_refused() {
    let store = Store::with(&lines(3));
    for as_of in ["4", "2999-12-31", "2999-12-31T23:59:59Z"] {
        for verb in [&["read", "--all"][..], &["read", "order-0"], &["export"]] {
            let ran = store.run(&[verb, &["--as-of", as_of]].concat());
            ran.fails("it cannot be read as of a later moment");
        }
    }
    store.run(&["read", "--all", "--as-of", "3"]).ok();
}

#[test]
fn an_as_of_that_is_no_moment_is_refused() {
    let store = Store::with(&lines(1));

    store.run(&["read", "--all", "--as-of", "yesterday"]).fails("an RFC 3339 time");
    store.run(&["read", "--all", "--as-of", "2011-02-30"]).fails("an RFC 3339 time");
}

#[test]
fn reserved_names_are_refused() {
    refused_line(r#"{"stream":"$x","type":"T"}"#, 1, "the name \"$x\" is reserved");
    refused_line(r#"{"stream":"a","type":"$T"}"#, 1, "the name \"$T\" is reserved");
    refused_line(r#"{"stream":"a","type":"T","tags":["$t"]}"#, 1, "the name \"$t\" is reserved");
    let store = Store::with(&lines(1));
    for args in [["$x", "T", "t"], ["a", "$T", "t"], ["a", "T", "$t"]] {
        let [stream, event_type, tag] = args;
        let append = ["append", stream, "--type", event_type, "--json", "{}", "--tag", tag];
        store.run(&append).fails("is reserved");
    }
    assert_eq!(store.events().len(), 1);
    store.run(&["append", "$quipu.x", "--type", "$quipu.T", "--json", "{}"]).ok();
}

const READERS: &[&[&str]] = &[
    &["read", "--all"],
    &["read", "a"],
    &["export"],
    &["tail", "--all"],
    &["streams"],
    &["stats"],
    &["verify"],
    &["rebuild-index"],
    &["scavenge"],
    &["stream", "info", "a"],
    &["stream", "metadata", "a"],
    &["stream", "truncate", "a", "--before", "1"],
    &["stream", "delete", "a"],
    &["stream", "tombstone", "a"],
];

#[test]
fn a_directory_that_is_missing_is_an_error_where_nothing_is_made() {
    let store = Store::missing();
    let dest = store.path("backup").display().to_string();

    for args in READERS {
        let ran = store.run(args).fails("there is no directory");
        assert!(ran.err().contains(&store.data().display().to_string()), "{ran}");
    }
    store.run(&["backup", &dest]).fails("there is no directory");
    store.run(&["import", "nowhere.jsonl"]).fails("could not open nowhere.jsonl");
    assert!(!store.data().exists());
}

#[test]
fn a_directory_that_is_not_a_store_is_an_error_and_stays_as_it_is() {
    let store = Store::missing();
    fs::create_dir(store.data()).unwrap();
    fs::write(store.data().join("diary.txt"), "dear diary").unwrap();

    for args in READERS {
        store.run(args).fails("is not a store");
    }
    store.import(lines(1), &[]).fails("is not a store");
    store.run(&["append", "a", "--type", "T", "--json", "{}"]).fails("is not a store");

    let names: Vec<_> =
        fs::read_dir(store.data()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["diary.txt"]);
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

/// Sets the format version in a manifest, as `FORMAT.md` lays it out: the version at 8, a checksum
/// of the 40 bytes of the header at their end.
fn set_format_version(store: &Store, version: u32) {
    for name in ["manifest-a", "manifest-b"] {
        let path = store.data().join(name);
        let mut bytes = fs::read(&path).unwrap();
        assert_eq!(bytes[36..40], crc32c(&bytes[..36]).to_le_bytes(), "the layout is another");
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        let checksum = crc32c(&bytes[..36]).to_le_bytes();
        bytes[36..40].copy_from_slice(&checksum);
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_newer_format_is_an_error_that_says_which() {
    let store = Store::with(&lines(1));
    // A second opening for writing leaves two copies of the manifest.
    store.import(lines(2), &[]).ok();
    let newer = quipu_engine::FORMAT_VERSION + 1;
    let backup = store.path("backup").display().to_string();
    set_format_version(&store, newer);

    for args in READERS {
        let ran = store.run(args).fails(&format!("has format {newer}, this version knows"));
        assert!(ran.err().contains("hint: use the version that wrote it"), "{ran}");
    }
    store.run(&["backup", &backup]).fails("has format");
    store.import(lines(2), &[]).fails("has format");
    store.run(&["append", "a", "--type", "T", "--json", "{}"]).fails("has format");

    set_format_version(&store, quipu_engine::FORMAT_VERSION);
    assert_eq!(store.events().len(), 2);
}

#[test]
fn a_file_in_place_of_the_directory_is_an_error() {
    let store = Store::missing();
    fs::write(store.data(), "a file").unwrap();

    store.run(&["read", "--all"]).fails("data");
    store.import(lines(1), &[]).fails("data");

    assert_eq!(fs::read(store.data()).unwrap(), b"a file");
}

#[test]
fn a_missing_permission_is_an_error_that_says_where() {
    let store = Store::with(&lines(1));
    fs::set_permissions(store.data(), fs::Permissions::from_mode(0o000)).unwrap();
    let input = store.path("in.jsonl");
    fs::write(&input, lines(1)).unwrap();
    fs::set_permissions(&input, fs::Permissions::from_mode(0o000)).unwrap();
    // Permissions do not hold root back: it becomes nobody, who must reach the directory.
    let is_root = rustix::process::geteuid().is_root();
    fs::set_permissions(store.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |command: &mut Command, args: &[&str]| {
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        run(command.args(args), b"")
    };

    let read = as_nobody(&mut store.command(), &["read", "--all"]);
    let append = as_nobody(&mut store.command(), &["append", "a", "--type", "T", "--json", "1"]);
    let import = as_nobody(&mut store.command(), &["import", &input.display().to_string()]);

    fs::set_permissions(store.data(), fs::Permissions::from_mode(0o755)).unwrap();
    for ran in [read, append] {
        let ran = ran.fails("cause: Permission denied");
        assert!(ran.err().contains(&store.data().display().to_string()), "{ran}");
    }
    import.fails("could not open");
    assert_eq!(store.events().len(), 1);
}

#[test]
fn a_second_writer_is_refused_while_readers_go_on() {
    let store = Store::missing();
    let mut writer = store.start(&["import", "-"]);
    writer.stdin.as_mut().unwrap().write_all(lines(1_000).as_bytes()).unwrap();
    writer.until(|| store.run(&["read", "--all", "--limit", "1"]).out().contains("order-0"));

    store.run(&["append", "a", "--type", "T", "--json", "{}"]).fails("open for writing already");
    store.import(lines(1), &[]).fails("open for writing already");
    store.run(&["stream", "delete", "order-0"]).fails("open for writing already");
    store.run(&["scavenge"]).fails("open for writing already");
    store.run(&["rebuild-index"]).fails("open for writing already");

    assert_eq!(store.events().len(), 1_000);
    store.run(&["stats"]).ok();
    store.run(&["streams"]).ok();
    store.run(&["stream", "info", "order-0"]).ok();
    store.run(&["export"]).ok();
    assert_eq!(writer.end(), Some(0));
}

#[test]
fn a_full_disk_under_standard_output_is_an_error() {
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else {
        eprintln!("skipped: there is no /dev/full here");
        return;
    };
    let store = Store::with(&lines(1));

    let ran = store.command().arg("export").stdout(full).output().unwrap();

    assert_eq!(ran.status.code(), Some(2));
    let error = String::from_utf8(ran.stderr).unwrap();
    assert!(error.contains("error: could not write to standard output"), "{error}");
}

#[test]
fn an_export_to_where_no_file_can_be_is_an_error() {
    let store = Store::with(&lines(1));
    let nowhere = store.path("no/such/directory/out.jsonl").display().to_string();
    let directory = store.data().display().to_string();

    store.run(&["export", &nowhere]).fails("could not write");
    store.run(&["export", &directory]).fails("could not write");
}

#[test]
fn a_compressed_file_that_ends_early_keeps_the_batches_before() {
    let store = Store::missing();
    let whole = zstd::encode_all(lines(50_000).as_bytes(), 1).unwrap();
    let file = store.file("cut.zst", &whole[..whole.len() / 2]);

    let ran = store.run(&["import", &file]).fails("could not be read");

    let imported: usize = ran.fact("imported").replace(',', "").parse().unwrap();
    assert!(imported > 0 && imported.is_multiple_of(1_000), "{ran}");
    assert_eq!(store.events().len(), imported);
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let store = Store::with(&lines(1));
    let cases: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["read"],
        &["read", "a", "--all"],
        &["read", "a", "--limit", "-1"],
        &["read", "a", "--from", "x"],
        &["append", "a", "--type", "", "--json", "{}"],
        &["append", "a", "--type", "T", "--json", "{}", "--expect", "-1"],
        &["append", "a", "--type", "T", "--json", "{}", "--after", "1"],
        &["stream", "truncate", "a"],
        &["completions", "abacus"],
        &["import", "-", "--format", "xml"],
    ];
    for args in cases {
        let ran = store.run(args);
        assert_eq!(ran.code(), Some(2), "{ran}");
        assert_eq!(ran.out(), "", "{ran}");
        assert!(!ran.err().is_empty(), "{ran}");
    }
    assert_eq!(store.events().len(), 1);
}

#[test]
fn an_argument_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let store = Store::missing();
    let mut command = quipu(&store.data());
    command.arg("read").arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"));

    run(&mut command, b"").fails("UTF-8");
}
