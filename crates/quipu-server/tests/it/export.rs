use std::fs;
use std::io::Read;

use crate::support::{Store, lines, quipu, run};

/// Events with everything that can differ: data of every kind, metadata, tags, times.
fn varied() -> String {
    [
        r#"{"stream":"a-1","type":"T","id":"00000000-0000-4000-8000-000000000001","time":"2011-01-01T00:00:00.123456Z","tags":["b","a"],"data":{ "z" : 1.0, "a":[1e300,"\u00e9\ud83e\uddf6"]},"metadata":{"$actor":"x"}}"#,
        r#"{"stream":"a-1","type":"T","time":"2011-01-01T00:00:01Z","data":null,"metadata":null}"#,
        r#"{"stream":"a-2","type":"U","time":"2011-01-01T00:00:01Z"}"#,
        r#"{"stream":"b","type":"T","time":"2011-01-02T00:00:00+01:00","data_base64":"AAH/Cg==","metadata_base64":"/w=="}"#,
        r#"{"stream":"b","type":"T","time":"2011-01-03T00:00:00Z","content_type":"application/json","data_base64":"ewp9"}"#,
        r#"{"stream":"🧶","type":"結び目","time":"2011-01-04T00:00:00Z","tags":["ключ:1"],"content_type":"text/plain; charset=utf-8","data_base64":"aGVsbG8="}"#,
        r#"{"stream":"b","type":"T","time":"2011-01-05T00:00:00Z","data":12345678901234567890.10}"#,
    ]
    .join("\n")
}

fn copy_of(exported: &[u8], store: &Store, name: &str, options: &[&str]) -> Vec<u8> {
    let path = store.path(name);
    run(quipu(&path).args([&["import", "-", "--keep-time"], options].concat()), exported).ok();
    run(quipu(&path).args(["export", "--full"]), b"").ok().out_bytes().to_vec()
}

#[test]
fn export_and_import_are_a_round_trip_byte_for_byte() {
    let store = Store::missing();
    store.import(varied(), &["--keep-time"]).ok();

    let exported = store.run(&["export"]).ok();
    let again = copy_of(exported.out_bytes(), &store, "copy", &[]);

    assert_eq!(exported.json().len(), 7);
    assert_eq!(String::from_utf8(again).unwrap(), exported.out());
}

#[test]
fn data_is_exported_as_it_was_imported() {
    let store = Store::missing();
    store.import(varied(), &["--keep-time"]).ok();

    let text = store.run(&["export"]).ok().out();

    assert!(text.contains(r#""data":{ "z" : 1.0, "a":[1e300,"\u00e9\ud83e\uddf6"]}"#), "{text}");
    assert!(text.contains(r#""data":12345678901234567890.10}"#), "{text}");
    assert!(text.contains(r#""data":null,"metadata":null"#), "{text}");
    assert!(text.contains(r#""data_base64":"AAH/Cg==","metadata_base64":"/w==""#), "{text}");
    assert!(text.contains(r#""data_base64":"ewp9""#), "{text}");
    assert!(text.contains(r#""data_base64":"aGVsbG8=""#), "{text}");
}

#[test]
fn a_full_export_carries_metadata_deletions_and_tombstones() {
    let store = Store::with(&lines(5));
    store.run(&["stream", "metadata", "order-0", "--set", r#"{"$maxCount":1}"#]).ok();
    store.run(&["stream", "delete", "order-1"]).ok();
    store.run(&["stream", "tombstone", "order-2"]).ok();
    store.run(&["stream", "delete", "order-3"]).ok();
    store.run(&["append", "order-3", "--type", "Revived", "--json", "{}"]).ok();

    let exported = store.run(&["export", "--full"]).ok();
    let again = copy_of(exported.out_bytes(), &store, "copy", &["--system"]);

    assert_eq!(String::from_utf8(again).unwrap(), exported.out());
    let states = |data: &std::path::Path| {
        run(quipu(data).args(["streams", "--system", "--format", "jsonl"]), b"").ok().out()
    };
    assert_eq!(states(&store.path("copy")), states(&store.data()));
}

#[test]
fn a_full_export_imported_twice_adds_nothing() {
    let store = Store::with(&lines(3));
    store.run(&["stream", "tombstone", "order-2"]).ok();
    store.run(&["stream", "delete", "order-1"]).ok();
    let exported = store.run(&["export", "--full"]).ok();

    let ran = store.import(exported.out_bytes(), &["--system", "--keep-time"]).ok();

    assert_eq!(ran.fact("imported"), "0");
    assert_eq!(ran.fact("already there"), exported.json().len().to_string());
    assert_eq!(store.run(&["export", "--full"]).ok().out(), exported.out());
}

#[test]
fn an_export_leaves_reserved_events_out() {
    let store = Store::with(&lines(2));
    store.run(&["stream", "metadata", "order-0", "--set", "{}"]).ok();

    assert_eq!(store.run(&["export"]).ok().json().len(), 2);
    assert_eq!(store.run(&["export", "--full"]).ok().json().len(), 3);
}

#[test]
fn selectors_choose_what_is_exported() {
    let store = Store::missing();
    store.import(varied(), &["--keep-time"]).ok();
    let count = |args: &[&str]| store.run(&[&["export"], args].concat()).ok().json().len();

    assert_eq!(count(&["--query", "category:a"]), 3);
    assert_eq!(count(&["--query", "stream:b", "--query", "type:U"]), 4);
    assert_eq!(count(&["--from", "3"]), 5);
    assert_eq!(count(&["--limit", "2"]), 2);
    assert_eq!(count(&["--as-of", "2011-01-01T00:00:00.123456Z"]), 1);
    assert_eq!(count(&["--as-of", "5", "--from", "5"]), 1);
}

#[test]
fn a_file_is_compressed_as_its_name_says_and_imports_again() {
    let store = Store::with(&lines(2_500));
    let plain = store.run(&["export"]).ok().out();
    for name in ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"] {
        let path = store.path(name);

        let ran = store.run(&["export", &path.display().to_string()]).ok();

        assert_eq!(ran.fact("exported"), "2,500");
        let bytes = fs::read(&path).unwrap();
        let mut text = String::new();
        match path.extension().unwrap().to_str().unwrap() {
            "gz" => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
            "zst" => zstd::Decoder::new(&bytes[..]).unwrap().read_to_string(&mut text).unwrap(),
            _ => (&bytes[..]).read_to_string(&mut text).unwrap(),
        };
        assert_eq!(text, plain, "{name}");
        let again = store.run(&["import", &path.display().to_string()]).ok();
        assert_eq!(again.fact("already there"), "2,500");
    }
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let store = Store::missing();

    store.run(&["export", &store.path("out.jsonl").display().to_string()]).fails("no directory");

    assert_eq!(fs::read_dir(store.path(".")).unwrap().count(), 0);
}
