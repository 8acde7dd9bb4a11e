//! Metrics and request ids: what those who operate a server see of what its clients do.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use quipu_core::{Append, EventStore, ExpectedRevision, NewEvent, Query, StreamName};
use quipu_engine::OpenOptions;
use quipu_groups::group::GroupConfig;
use quipu_server::config::Limits;
use quipu_server::relays::RelayConfig;
use quipu_server::security::Authority;
use quipu_server::server::Server;
use quipu_server::service::Service;
use quipu_wire::proto::store_client::StoreClient;
use quipu_wire::proto::{AppendStreamRequest, ReadStreamRequest, append_stream_response};
use quipu_wire::{Client, ClientOptions};
use tempfile::TempDir;

use crate::http::client::{Reply, exchange, request};

/// A server of the embedded store.
struct World {
    server: Server,
    service: Service,
    client: Client,
    directory: TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let engine = OpenOptions::new().create(true).open(directory.path().join("log")).unwrap();
        let service = Service::of_engine(&engine, Limits::default(), Authority::open());
        let server =
            Server::start(service.clone(), "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let uri = format!("http://{}", server.address());
        let client = Client::connect(&uri, ClientOptions::default()).await.unwrap();
        Self { server, service, client, directory }
    }

    /// A relay into a file, of these lines and its sink.
    fn relay(&self, lines: &str) -> RelayConfig {
        let (_, name) = lines.split_once("name = \"").unwrap();
        let name = name.split('"').next().unwrap();
        let path = self.directory.path().join(format!("{name}.toml"));
        fs::write(&path, format!("{lines}[file]\npath = \"{name}.jsonl\"\n")).unwrap();
        RelayConfig::load(&path).unwrap()
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let headers: Vec<_> = headers.iter().copied().chain([("Connection", "close")]).collect();
        let bytes = request(method, path, &headers, b"");
        Reply::parse(&exchange(self.server.address(), &bytes).await)
    }

    async fn metrics(&self) -> String {
        self.ask("GET", "/metrics", &[]).await.text()
    }
}

/// The metrics that a text describes: each name as its samples have it, and its type.
fn served(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            (format!("{name}{suffix}"), kind.to_owned())
        })
        .collect()
}

/// The metrics in the table of the reference page, labels left out.
fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../../../../docs/metrics.md");
    let mut found = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `quipu_")) {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (names, kind) = (cells.next().unwrap(), cells.next().unwrap());
        for name in names.split(", `").map(|name| name.trim_matches('`')) {
            let name = name.split('{').next().unwrap();
            assert_eq!(found.insert(name.to_owned(), kind.to_owned()), None, "{name} twice");
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_page_has_every_metric_and_no_other() {
    let world = World::new().await;
    // What has labels is there from its first value on.
    world.client.append(first_of("order-1")).await.unwrap();
    world.ask("GET", "/streams/order-1", &[]).await;
    world.service.metrics().count_reload(true);
    let groups = world.client.groups();
    groups.create(&GroupConfig::new("billing", Query::all())).await.unwrap();
    let _member = groups.join("billing", "worker-1", 1).await.unwrap();
    let relay = world.relay("name = \"public\"\n").spawn(&world.service).unwrap();

    // Those of a store in a database are on the page too, and a server of a directory has none.
    let (database, own): (BTreeMap<_, _>, BTreeMap<_, _>) = documented()
        .into_iter()
        .partition(|(name, _)| name.contains("database") || name == "quipu_held_back_seconds");
    assert_eq!(database.len(), 6);
    assert_eq!(own, served(&world.metrics().await));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_is_measured_as_it_publishes_and_as_it_fails() {
    let world = World::new().await;
    for stream in ["order-1", "order-2", "order-3"] {
        world.client.append(first_of(stream)).await.unwrap();
    }
    let rule = "[[event]]\ntype = \"Made\"\nfields = [\"a\"]\n";
    let mut good = world.relay("name = \"good\"\n").spawn(&world.service).unwrap();
    let bad = format!("name = \"bad\"\nretries = 0\non_error = \"park\"\n{rule}");
    let mut bad = world.relay(&bad).spawn(&world.service).unwrap();
    let list = NewEvent::json("Made", "[]").unwrap();
    let last = Append::new().event(StreamName::new("order-4").unwrap(), list);
    let last = world.client.append(last).await.unwrap().last.unwrap();
    good.wait_for(last).await.unwrap();
    bad.wait_for(last).await.unwrap();

    // What the bad one parks is an event, too, which the good one passes a little later.
    let mut text = world.metrics().await;
    for _ in 0..200 {
        if value(&text, "quipu_relay_lag{relay=\"good\"}") == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        text = world.metrics().await;
    }
    let of = |name: &str, labels: &str| value(&text, &format!("quipu_relay_{name}{{{labels}}}"));
    assert_eq!(of("published_total", "relay=\"good\""), 4);
    assert_eq!((of("lag", "relay=\"good\""), of("parked", "relay=\"good\"")), (0, 0));
    assert_eq!(of("state", "relay=\"good\",state=\"live\""), 1);
    assert_eq!((of("published_total", "relay=\"bad\""), of("parked", "relay=\"bad\"")), (3, 1));
    good.stop().await.unwrap();
    bad.stop().await.unwrap();
}

/// The value of a metric with its labels.
fn value(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// The first event of a stream.
fn first_of(stream: &str) -> Append {
    let event = NewEvent::json("Made", "{}").unwrap();
    Append::to_stream(StreamName::new(stream).unwrap(), ExpectedRevision::NoStream, [event])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_by_operation_and_outcome_however_they_come() {
    let world = World::new().await;

    world.client.append(first_of("order-1")).await.unwrap();
    world.client.append(first_of("order-1")).await.unwrap_err();
    world.ask("GET", "/streams/order-1", &[]).await;
    world.ask("GET", "/streams/order-1?limit=none", &[]).await;
    world.ask("GET", "/no/such/thing", &[]).await;

    let text = world.metrics().await;
    let count = |operation: &str, outcome: &str| {
        let labels = format!("{{operation=\"{operation}\",outcome=\"{outcome}\"}}");
        value(&text, &format!("quipu_requests_total{labels}"))
    };
    assert_eq!(count("/quipu.v1.Store/Change", "done"), 1);
    assert_eq!(count("/quipu.v1.Store/Change", "conflict"), 1);
    assert_eq!(count("GET /streams/{stream}", "done"), 1);
    assert_eq!(count("GET /streams/{stream}", "invalid"), 1);
    assert_eq!(count("unknown", "invalid"), 1);
    let timed = "quipu_request_duration_seconds_count{operation=\"/quipu.v1.Store/Change\"}";
    assert_eq!(value(&text, timed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_problem_names_its_request_as_the_client_did_or_by_a_name_of_its_own() {
    let world = World::new().await;

    for path in ["/streams/order-1?limit=none", "/no/such/thing"] {
        let mine = world.ask("GET", path, &[("X-Request-Id", "order-page.7")]).await;
        assert_eq!(mine.header("x-request-id"), Some("order-page.7"));
        assert_eq!(mine.json()["request_id"], "order-page.7");
        let own = world.ask("GET", path, &[("X-Request-Id", "not fit\tfor logs")]).await;
        let id = own.header("x-request-id").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(own.json()["request_id"], id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_over_grpc_names_its_request_also_in_the_middle_of_an_answer() {
    let world = World::new().await;
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", world.server.address()));
    let channel = channel.unwrap().connect().await.unwrap();
    let mut store = StoreClient::new(channel);
    let mut ask = tonic::Request::new(ReadStreamRequest::default());
    ask.metadata_mut().insert("x-request-id", "order-page.8".parse().unwrap());

    let refused = store.read_stream(ask).await.unwrap_err();

    let error = quipu_wire::status::details(&refused).unwrap();
    assert_eq!(error.request_id, "order-page.8");

    let changes = [AppendStreamRequest::default()];
    let mut answers = store.append_stream(tokio_stream::iter(changes)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(append_stream_response::Outcome::Error(error)) = answer.outcome else {
        panic!("{answer:?}");
    };
    assert_eq!(error.request_id.len(), 32, "the name of the call that carries the change");
}
