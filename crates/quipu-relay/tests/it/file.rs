//! The file sink.

use std::path::PathBuf;
use std::sync::Arc;

use quipu_core::BoxFuture;
use quipu_relay::conform::{self, Destination};
use quipu_relay::{FileSink, Sink};
use serde_json::Value;
use tempfile::TempDir;

/// The lines of a file, each of which has to be JSON.
pub(crate) fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is complete");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct InFile(TempDir);

impl InFile {
    fn path(&self) -> PathBuf {
        self.0.path().join("cloud_events.jsonl")
    }
}

impl Destination for InFile {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Sink>> {
        Box::pin(async {
            loop {
                // A relay that was dropped may still be writing its last batch.
                match FileSink::open(self.path()) {
                    Ok(sink) => return Arc::new(sink) as Arc<dyn Sink>,
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
                tokio::task::yield_now().await;
            }
        })
    }

    fn delivered(&self) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(async { lines(&self.path()) })
    }
}

#[tokio::test]
async fn a_file_does_what_every_sink_must() {
    conform::all(|| InFile(tempfile::tempdir().unwrap())).await;
}

#[test]
fn a_torn_last_line_is_cut_off_wherever_the_line_before_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cloud_events.jsonl");
    for (whole, torn) in [
        (String::new(), String::new()),
        (String::new(), "{\"id".to_owned()),
        ("{}\n".to_owned(), "{\"id".to_owned()),
        ("{}\n{}\n".to_owned(), String::new()),
        ("{}\n".to_owned(), "x".repeat(200_000)),
        (String::new(), "x".repeat(65_536)),
        (format!("{}\n", "y".repeat(65_535)), "x".repeat(65_536)),
    ] {
        std::fs::write(&path, format!("{whole}{torn}")).unwrap();

        drop(FileSink::open(&path).unwrap());

        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }
}

#[test]
fn a_file_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cloud_events.jsonl");
    let first = FileSink::open(&path).unwrap();

    let second = FileSink::open(&path).unwrap_err();
    drop(first);

    assert_eq!(second.kind(), std::io::ErrorKind::WouldBlock);
    assert!(FileSink::open(&path).is_ok());
}
