//! What is seen of projections that run elsewhere, and what is asked of them.

use futures_lite::future::block_on;
use quipu_core::{
    ComponentKey, ComponentKind, ComponentRequest, ComponentState, ComponentStatus, EventStore,
    ParkedItem, Position, Timestamp,
};
use quipu_engine::{Engine, OpenOptions};
use serde_json::json;

use crate::support::{Store, lines};

fn engine(store: &Store) -> Engine {
    OpenOptions::new().open(store.data()).unwrap()
}

fn key(kind: ComponentKind, name: &str, version: u32) -> ComponentKey {
    ComponentKey { kind, name: name.to_owned(), version }
}

fn status(key: ComponentKey) -> ComponentStatus {
    ComponentStatus {
        key,
        owner: "host 7".to_owned(),
        epoch: 1,
        state: ComponentState::Live,
        position: Position::new(4),
        lag: 0,
        last_error: None,
        parked_count: 0,
        parked: Vec::new(),
        reported_at: Timestamp::from_micros(0),
    }
}

/// A log of ten events with two versions of a list, a list that is in trouble, and a process.
fn store() -> Store {
    let store = Store::with(&lines(10));
    let engine = engine(&store);
    let report = |status| block_on(engine.registry().report(status)).unwrap();
    report(status(key(ComponentKind::Projection, "accounts", 1)));
    report(status(key(ComponentKind::Projection, "accounts", 2)));
    report(status(key(ComponentKind::Process, "payment", 1)));
    let cause = "there are no withdrawals".to_owned();
    let parked = ParkedItem { position: Position::new(3), key: "account-7".to_owned(), cause };
    report(ComponentStatus {
        state: ComponentState::Stopped,
        last_error: Some("position 5: \u{1b}[31mno".to_owned()),
        parked_count: 1_001,
        parked: vec![parked],
        ..status(key(ComponentKind::Projection, "orders", 1))
    });
    store
}

fn requests(store: &Store, name: &str, version: u32) -> Vec<ComponentRequest> {
    let key = key(ComponentKind::Projection, name, version);
    block_on(engine(store).registry().take_requests(&key)).unwrap()
}

#[test]
fn projections_are_listed_with_state_and_lag() {
    let store = store();

    let found = store.json(&["projections"]);
    let table = store.run(&["projections"]).ok().out();

    let row = |name: &str, version: u32, state: &str, parked: u64, error: Option<&str>| {
        json!({
            "name": name, "version": version, "state": state, "position": 4, "lag": 6,
            "parked": parked, "reported_at": "1970-01-01T00:00:00Z", "owner": "host 7",
            "last_error": error,
        })
    };
    let expected = [
        row("accounts", 1, "live", 0, None),
        row("accounts", 2, "live", 0, None),
        row("orders", 1, "stopped", 1_001, Some("position 5: \u{1b}[31mno")),
    ];
    assert_eq!(found, expected);
    assert!(table.contains("last error") && !table.contains('\u{1b}'), "{table}");
}

#[test]
fn parked_events_are_listed_with_their_causes() {
    let store = store();

    let found = store.json(&["parked", "list"]);
    let ran = store.run(&["parked", "list", "orders"]).ok();

    let expected = json!({
        "kind": "projection", "name": "orders", "version": 1, "position": 3, "key": "account-7",
        "cause": "there are no withdrawals",
    });
    assert_eq!(found, [expected]);
    assert!(ran.err().contains("1000 more"), "{}", ran.err());
    assert!(store.json(&["parked", "list", "accounts", "--version", "1"]).is_empty());
}

#[test]
fn requests_are_left_with_the_projection() {
    let store = store();
    for args in [
        &["projections", "pause", "orders"][..],
        &["projections", "resume", "orders"],
        &["projections", "retry", "orders"],
        &["projections", "promote", "orders"],
        &["projections", "rebuild", "orders"],
        &["parked", "retry", "orders", "--position", "3"],
        &["parked", "retry", "orders", "--all"],
        &["parked", "drop", "orders", "--position", "3"],
        &["parked", "drop", "orders", "--all"],
    ] {
        store.run(args).ok();
    }

    let left = requests(&store, "orders", 1);

    let third = Some(Position::new(3));
    let expected = [
        ComponentRequest::Pause,
        ComponentRequest::Resume,
        ComponentRequest::Retry(None),
        ComponentRequest::Promote,
        ComponentRequest::ReplayFrom(Position::START),
        ComponentRequest::Retry(third),
        ComponentRequest::Retry(None),
        ComponentRequest::Drop(third),
        ComponentRequest::Drop(None),
    ];
    assert_eq!(left, expected);
}

#[test]
fn of_several_versions_one_has_to_be_named() {
    let store = store();

    store.run(&["projections", "promote", "accounts"]).no("versions projection 1, projection 2");
    store.run(&["projections", "promote", "accounts", "--version", "2"]).ok();

    assert_eq!(requests(&store, "accounts", 2), [ComponentRequest::Promote]);
    assert!(requests(&store, "accounts", 1).is_empty());
}

#[test]
fn a_projection_that_never_reported_is_asked_nothing() {
    let store = store();

    store.run(&["projections", "pause", "payment"]).no("nothing of that name");
    store.run(&["projections", "pause", "orders", "--version", "9"]).no("nothing of that name");
    store.run(&["parked", "list", "nobody"]).no("nothing of that name");
    assert_eq!(store.run(&["parked", "drop", "orders"]).code(), Some(2), "all is never implied");
    assert_eq!(Store::missing().run(&["projections"]).code(), Some(2));
}

#[test]
fn a_projection_can_be_asked_while_another_process_writes() {
    let store = store();
    let writer = engine(&store);

    store.run(&["projections", "pause", "orders"]).ok();

    let key = key(ComponentKind::Projection, "orders", 1);
    let left = block_on(writer.registry().take_requests(&key)).unwrap();
    assert_eq!(left, [ComponentRequest::Pause]);
}
