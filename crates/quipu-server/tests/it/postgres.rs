//! The binary on `PostgreSQL`: verbs, nodes, and what is told where it cannot be used.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quipu_core::{
    Append, Change, Delivery, EventId, EventStore, ExpectedRevision, NewEvent, Query, ReadAll,
    Revision, StreamName, Subscribe, SubscribeFrom, collect,
};
use quipu_testing::postgres::Server;
use quipu_wire::proto::AppendStreamRequest;
use quipu_wire::proto::store_client::StoreClient;
use quipu_wire::{Client, ClientOptions, to_proto};
use rustix::process::Signal;
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;

use crate::support::{Ran, Running, Store, lines, quipu, run};

const WRITER_COUNT: usize = 4;
const APPEND_COUNT: usize = 60;

/// A database of its own in the server that the tests share.
pub(crate) fn database(name: &str) -> Option<String> {
    let server = Server::shared()?;
    server.sql("postgres", &format!("create database {name}"));
    Some(server.url(name))
}

/// Runs a verb on a database, from a place without a store.
fn on(url: &str, args: &[&str], input: &str) -> Ran {
    let elsewhere = Store::missing();
    let ran = run(elsewhere.command().env("QUIPU_POSTGRES", url).args(args), input.as_bytes());
    assert!(!elsewhere.data().exists(), "the verb touched a directory");
    ran
}

/// A node before a database, and its URL.
pub(crate) fn serve(url: &str) -> (Running, String) {
    let elsewhere = Store::missing();
    let mut command = elsewhere.command();
    command.args(["--postgres", url, "serve", "--listen", "127.0.0.1:0", "--print-address"]);
    let running = Running::start(&mut command);
    let url = running.line();
    (running, url)
}

#[test]
fn verbs_work_on_a_database() {
    let Some(url) = database("verbs") else { return };

    on(&url, &["read", "--all"], "").fails("there is no store in the schema \"quipu\"");
    let would = on(&url, &["migrate", "--dry-run"], "").ok();
    assert!(would.out().contains("would apply"), "{would}");
    on(&url, &["migrate"], "").ok();
    let imported = on(&url, &["import", "-"], &lines(1_200)).ok();
    assert_eq!(imported.fact("imported"), "1,200");
    let again = on(&url, &["import", "-"], &lines(1_200)).ok();
    assert_eq!((again.fact("imported"), again.fact("already there")), ("0".into(), "1,200".into()));
    let append = ["append", "order-x", "--type", "Placed", "--json", "{}", "--expect", "none"];
    on(&url, &append, "").ok();
    on(&url, &append, "").no("expected no stream, found revision 0");
    on(&url, &["stream", "delete", "order-7"], "").ok();
    on(&url, &["scavenge"], "").ok();

    assert_eq!(on(&url, &["export"], "").ok().out().lines().count(), 1_201);
    on(&url, &["verify"], "").fails("works on a directory");
    let shown = on(&url.replace("quipu@", "quipu:secret@"), &["config", "show"], "").ok();
    assert!(shown.out().contains("postgres://quipu@127.0.0.1"), "{shown}");
    assert!(!shown.out().contains("secret"), "{shown}");
}

#[test]
fn a_log_is_copied_there_and_back() {
    let Some(url) = database("copies") else { return };
    let store = Store::with(&lines(3_000));
    store.run(&["stream", "delete", "order-3"]).ok();
    store.import(lines(10).replace("order-", "later-"), &[]).ok();
    let back = store.path("back").display().to_string();
    let data = store.data().display().to_string();
    let map = store.path("map.jsonl").display().to_string();

    let there = store.run(&["copy", &data, &url, "--map", &map]).ok();
    let again = store.run(&["copy", &data, &url]).ok();
    let here = store.run(&["copy", &url, &back]).ok();

    assert_eq!(there.fact("copied"), there.fact("verified"));
    assert_eq!(again.fact("copied"), "0");
    assert_eq!(here.fact("copied"), there.fact("copied"));
    assert!(std::fs::read_to_string(map).unwrap().contains("\"count\":"));
    let export = |data: &str| {
        let text = run(quipu(Path::new(data)).args(["export", "--full"]), b"").ok().out();
        // Places are the copy's own; what is in them is not.
        text.lines().map(|line| line.split_once("\"stream\"").unwrap().1.to_owned()).collect()
    };
    let (original, copied): (Vec<String>, Vec<String>) = (export(&data), export(&back));
    assert_eq!(original, copied);
}

#[test]
fn what_cannot_be_served_is_told() {
    let Some(url) = database("untold") else { return };
    Server::shared().unwrap().sql("untold", "create schema quipu; create table quipu.t (n int)");

    let node = |url: &str| on(url, &["serve", "--listen", "127.0.0.1:0"], "");

    node(&url).fails("belongs to another program: it has t");
    node(&url.replace("untold", "nowhere")).fails("\"nowhere\" does not exist");
    on("mysql://db", &["streams"], "").fails("begins with postgres://");
}

#[test]
fn a_node_serves_what_the_reference_page_says_of_databases() {
    let Some(url) = database("metrics") else { return };
    let (_node, at) = serve(&url);
    let host = at.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(host).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut served = String::new();
    connection.read_to_string(&mut served).unwrap();

    let page = include_str!("../../../../docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `quipu_"));
    let names = rows.flat_map(|line| line.split('`').filter(|word| word.starts_with("quipu_")));
    let is_ours = |name: &&str| name.contains("database") || *name == "quipu_held_back_seconds";
    let documented: BTreeSet<&str> = names.filter(is_ours).collect();
    let types = served.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let named = |(name, kind): (&str, &str)| match kind {
        "counter" => format!("{name}_total"),
        _ => name.to_owned(),
    };
    let served: BTreeSet<String> =
        types.map(named).filter(|name| is_ours(&name.as_str())).collect();
    assert_eq!(served.iter().map(String::as_str).collect::<BTreeSet<_>>(), documented);
    assert!(!documented.is_empty());
}

#[test]
fn a_node_waits_for_a_database_that_is_down() {
    let Some(server) = Server::start() else { return };
    server.stop();
    let elsewhere = Store::missing();
    let mut command = elsewhere.command();
    let url = server.url("postgres");
    command.args(["--postgres", &url, "serve", "--listen", "127.0.0.1:0", "--print-address"]);
    let running = Running::start(&mut command);
    std::thread::sleep(Duration::from_secs(1));

    server.resume();

    assert!(running.line().starts_with("http://"));
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
}

/// Appends one after the other at the revision it expects, by whichever node answers.
async fn write(nodes: Vec<Client>, number: usize, acknowledged: Arc<AtomicUsize>) -> Vec<EventId> {
    let stream = StreamName::new(format!("w-{number}")).unwrap();
    let (mut ids, mut node) = (Vec::new(), number);
    for count in 0..APPEND_COUNT as u64 {
        let event = NewEvent::json("Written", "{}").unwrap();
        let expected = match count.checked_sub(1) {
            None => ExpectedRevision::NoStream,
            Some(last) => ExpectedRevision::Exactly(Revision::new(last)),
        };
        let append = Append::to_stream(stream.clone(), expected, [event]);
        loop {
            let answer = nodes[node % nodes.len()].append(append.clone());
            match tokio::time::timeout(Duration::from_secs(3), answer).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => assert!(error.violations().is_none(), "{error}"),
                // It hangs. What it does when it wakes up does no harm: the ids are the same.
                Err(_) => {}
            }
            node += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ids.push(append.events[0].1.id);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    ids
}

/// Three nodes, of which one is killed and one sleeps for a while: every append that was acknowledged
/// is in the log once and in order, and a subscription on either node that lives sees all of it.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_may_die_and_sleep() {
    let Some(url) = database("nodes") else { return };
    let [(first, a), (second, b), (third, c)] = [serve(&url), serve(&url), serve(&url)];
    let mut nodes = Vec::new();
    for url in [&a, &b, &c] {
        nodes.push(Client::connect(url, ClientOptions::default()).await.unwrap());
    }
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITER_COUNT)
        .map(|number| tokio::spawn(write(nodes.clone(), number, Arc::clone(&acknowledged))))
        .collect();

    while acknowledged.load(Ordering::SeqCst) < 40 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.signal(Signal::KILL);
    second.signal(Signal::STOP);
    while acknowledged.load(Ordering::SeqCst) < 120 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    second.signal(Signal::CONT);
    let mut ids = Vec::new();
    for writer in writers {
        ids.extend(writer.await.unwrap());
    }

    for node in nodes.iter().skip(1) {
        let last = node.frontier().await.unwrap();
        node.wait_visible(last).await.unwrap();
        let read = node.read_all(ReadAll::new(Query::all())).await.unwrap();
        let log = collect(read.batches).await.unwrap();
        assert_eq!(log.len(), WRITER_COUNT * APPEND_COUNT, "nothing lost, nothing twice");
        assert!(ids.iter().all(|id| log.iter().any(|event| event.id == *id)));
        let from = SubscribeFrom::Start;
        let query = Query::all();
        let mut following = node.subscribe(Subscribe::All { query, from }).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < log.len() {
            if let Delivery::Events(batch) = following.next().await.unwrap() {
                seen.extend(batch.to_vec());
            }
        }
        assert_eq!(seen, log);
    }
    // An append by one node wakes who follows on another.
    let from = SubscribeFrom::End;
    let mut following =
        nodes[1].subscribe(Subscribe::All { query: Query::all(), from }).await.unwrap();
    let late = NewEvent::json("Late", "{}").unwrap();
    let late = Append::new().event(StreamName::new("late-1").unwrap(), late);
    nodes[2].append(late).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(30), async {
        while !matches!(following.next().await.unwrap(), Delivery::Events(_)) {}
    });
    heard.await.unwrap();
    drop(following);
    for node in [second, third] {
        node.signal(Signal::TERM);
        assert_eq!(node.end(), Some(0));
    }
}

/// What it sent and the server began may hold locks in the database: it is ended all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_answers_holds_up_nobody() {
    let Some(url) = database("answers") else { return };
    on(&url, &["migrate"], "").ok();
    let (_node, url) = serve(&url);
    // Its window is full after some answers of its changes, which come without end.
    let endpoint = Endpoint::from_shared(url.clone()).unwrap().initial_stream_window_size(1_000);
    let mut silent = StoreClient::new(endpoint.connect().await.unwrap());
    let changes = tokio_stream::iter(0..).map(|number| {
        let change = Change::SetMetadata {
            stream: StreamName::new(format!("order-{}", number % 7)).unwrap(),
            expected: ExpectedRevision::Any,
            id: EventId::generate(),
            metadata: "{}".into(),
        };
        AppendStreamRequest { number, change: Some(to_proto::change(change)) }
    });
    let _answers = silent.append_stream(changes).await.unwrap();
    let other = Client::connect(&url, ClientOptions::default()).await.unwrap();
    let before = other.frontier().await.unwrap();
    while other.frontier().await.unwrap() < before.next() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    for number in 0..50 {
        let stream = StreamName::new(format!("other-{number}")).unwrap();
        let event = NewEvent::json("Placed", "{}").unwrap();
        let append = Append::to_stream(stream, ExpectedRevision::NoStream, [event]);
        let appended = tokio::time::timeout(Duration::from_secs(20), other.append(append)).await;
        appended.expect("somebody holds it up").unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
