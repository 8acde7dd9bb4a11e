//! A Debezium that is there already reads the log as an outbox, configured as docs/kafka.md shows it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use quipu_core::{Append, EventId, EventStore, ExpectedRevision, NewEvent, StreamName};
use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_testing::java;
use quipu_testing::postgres::{Server, USER};

/// Generous: a machine that tests is busy, and the connector starts slowly.
const PATIENCE: Duration = Duration::from_mins(2);

struct Debezium {
    child: Child,
    lines: Receiver<String>,
}

impl Debezium {
    fn start(jars: &Path, properties: &Path) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/debezium/Outbox.java");
        let mut program = java::program(jars, &source);
        program.arg(properties).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = program.spawn().unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            printed.lines().map_while(Result::ok).all(|line| tell.send(line).is_ok())
        });
        Self { child, lines }
    }

    fn messages(&self, count: usize) -> Vec<String> {
        let next = |_| self.lines.recv_timeout(PATIENCE).expect("Debezium goes on");
        (0..count).map(next).collect()
    }
}

impl Drop for Debezium {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A block of the page.
fn shown(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kafka.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("## With a Debezium that is there already").unwrap();
    let (_, block) = section.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

async fn append(store: &PostgresStore, stream: &str, event_type: &str, data: &str) -> EventId {
    let event = NewEvent::json(event_type, data.to_owned()).unwrap();
    let id = event.id;
    let append = Append::new().event(StreamName::new(stream).unwrap(), event);
    store.append(append).await.unwrap();
    id
}

fn message(topic: &str, key: &str, data: &str, id: EventId, event_type: &str, at: u64) -> String {
    format!("outbox.event.{topic}\t{key}\t{data}\tid={id}\teventType={event_type}\tposition={at}")
}

#[tokio::test(flavor = "multi_thread")]
async fn debezium_routes_events_by_category_with_the_stream_as_key() {
    let Some(server) = Server::start_with(&["fsync=off", "wal_level=logical"]) else { return };
    let Some(jars) = java::debezium() else { return };
    let options: PostgresOptions = server.socket_url("postgres").parse().unwrap();
    let store = options.create(true).open().await.unwrap();
    server.sql("postgres", &shown("sql"));
    let directory = tempfile::tempdir().unwrap();
    let properties = directory.path().join("outbox.properties");
    let text = shown("properties")
        .replace("hostname=localhost", "hostname=127.0.0.1")
        .replace("port=5432", &format!("port={}", server.port()))
        .replace("user=debezium", &format!("user={USER}"))
        .replace("dbname=shop", "dbname=postgres");
    std::fs::write(&properties, text).unwrap();

    let placed = append(&store, "order-7", "Placed", r#"{"cents": 1.50}"#).await;
    let billed = append(&store, "bill-a-1", "Billed", "{}").await;
    let debezium = Debezium::start(&jars, &properties);
    let before = debezium.messages(2);
    // What the store keeps for itself is nobody's business.
    let gone = StreamName::new("cart-1").unwrap();
    append(&store, "cart-1", "Filled", "[1]").await;
    store.delete(gone, ExpectedRevision::Any).await.unwrap();
    let paid = append(&store, "order-7", "Paid", "{}").await;
    store.tombstone(StreamName::new("bill-a-1").unwrap(), ExpectedRevision::Any).await.unwrap();
    let after = debezium.messages(3);

    assert_eq!(
        before,
        [
            message("order", "order-7", r#"{"cents": 1.50}"#, placed, "Placed", 1),
            message("bill", "bill-a-1", "{}", billed, "Billed", 2),
        ]
    );
    assert!(after[0].starts_with("outbox.event.cart\tcart-1\t[1]\t"), "{after:?}");
    assert_eq!(after[1], message("order", "order-7", "{}", paid, "Paid", 5));
    // A tombstone says so by its type; its data is empty, which is not nothing.
    assert!(after[2].starts_with("outbox.event.bill\tbill-a-1\t{}\t"), "{after:?}");
    assert!(after[2].contains("eventType=$streamDeleted"), "{after:?}");
}
