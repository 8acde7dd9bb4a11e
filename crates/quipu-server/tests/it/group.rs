//! `quipu group`: consumer groups of a server, from the command line.

use std::time::{Duration, Instant};

use quipu_groups::group::Nack;
use quipu_wire::{Client, ClientOptions};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{PATIENCE, Ran, Running, Store, field, run};

/// A server of a store with three events of two streams, and its URL.
fn serve(store: &Store) -> (Running, String) {
    let running = store.start(&["serve", "--listen", "127.0.0.1:0", "--print-address"]);
    let url = running.line();
    for stream in ["order-1", "order-2", "order-1"] {
        on(&url, &["append", stream, "--type", "Placed", "--json", "{}"]).ok();
    }
    (running, url)
}

fn on(url: &str, args: &[&str]) -> Ran {
    run(Store::missing().command().args(["--url", url]).args(args), b"")
}

fn info(url: &str, name: &str) -> Value {
    let facts = on(url, &["group", "info", name, "--format", "jsonl"]).ok().json();
    facts.into_iter().next().unwrap()
}

/// Waits until a group is as it is to be: it is told within seconds what its members did.
fn until(mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "the group did not come to be as expected");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn parked(url: &str) -> Vec<Value> {
    on(url, &["group", "parked", "mail", "--format", "jsonl"]).ok().json()
}

/// Parks the next event that a group dispatches, as a member that cannot handle it would.
fn park_one(url: &str, name: &str, cause: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(url, ClientOptions::default()).await.unwrap();
        let mut member = client.groups().join(name, "clumsy", 1).await.unwrap();
        let given = member.next().await.unwrap();
        member.nack([given[0].number], Nack::Park, cause).await.unwrap();
        member.next().await.unwrap();
    });
}

#[test]
fn a_group_is_created_listed_consumed_and_deleted() {
    let store = Store::missing();
    let (running, url) = serve(&store);

    let created = ["group", "create", "billing", "--query", "category:order", "--retries", "3"];
    on(&url, &created).ok();
    on(&url, &created).no("billing");
    let listed = on(&url, &["group", "list", "--format", "jsonl"]).ok().json();
    assert_eq!(field(&listed, "name"), ["billing"]);
    assert!(on(&url, &["group", "list"]).ok().out().contains("by-key"));

    let consume = ["group", "consume", "billing", "--limit", "3", "--format", "jsonl"];
    let consumed = on(&url, &consume).ok().json();
    let mut streams = field(&consumed, "stream");
    streams.sort_unstable();
    assert_eq!(streams, ["order-1", "order-1", "order-2"]);
    until(|| info(&url, "billing")["lag"] == 0);
    let info = info(&url, "billing");
    assert_eq!((info["retries"].as_u64(), info["parked"].as_u64()), (Some(3), Some(0)), "{info}");
    assert_eq!(info["strategy"], "by-key");

    on(&url, &["group", "delete", "billing"]).ok();
    on(&url, &["group", "delete", "billing"]).no("billing");
    on(&url, &["group", "info", "billing"]).no("billing");
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
}

#[test]
fn parked_events_are_listed_replayed_and_dropped() {
    let store = Store::missing();
    let (_running, url) = serve(&store);
    on(&url, &["group", "create", "mail", "--query", "category:order"]).ok();

    park_one(&url, "mail", "no such address");
    until(|| parked(&url).len() == 2);
    let listed = parked(&url);
    assert_eq!(field(&listed, "key"), ["order-1", "order-1"]);
    let causes = ["no such address", "an earlier event of its key is parked"];
    assert_eq!(field(&listed, "cause"), causes);
    assert!(on(&url, &["group", "parked", "mail"]).ok().out().contains("no such address"));

    on(&url, &["group", "replay", "mail"]).fails("--all");
    let replayed = on(&url, &["group", "replay", "mail", "--all"]).ok();
    assert!(replayed.err().contains("2 parked events are tried again"), "{}", replayed.err());
    let consume = ["group", "consume", "mail", "--limit", "3", "--format", "jsonl"];
    assert_eq!(on(&url, &consume).ok().json().len(), 3);
    until(|| info(&url, "mail")["parked"] == 0);

    on(&url, &["append", "order-9", "--type", "Placed", "--json", "{}"]).ok();
    on(&url, &["append", "order-8", "--type", "Placed", "--json", "{}"]).ok();
    park_one(&url, "mail", "no such address");
    until(|| parked(&url).len() == 1);
    let place = parked(&url)[0]["position"].to_string();
    let dropped = on(&url, &["group", "drop", "mail", "--position", &place]).ok();
    assert!(dropped.err().contains("1 parked events are forgotten"), "{}", dropped.err());
    until(|| parked(&url).is_empty());
}

#[test]
fn a_group_needs_a_server_and_says_so() {
    let store = Store::with("");

    store.run(&["group", "list"]).no("groups are run by a server: give its --url");
    store.run(&["group", "create", "billing", "--after", "1", "--from-end"]).fails("--from-end");
    store.run(&["group", "create", "billing", "--strategy", "fair"]).fails("by-key");
}
