use quipu_core::{
    ComponentKey, ComponentKind, ComponentRequest, ComponentState, ComponentStatus, EventStore,
    ParkedItem, Position, Timestamp,
};
use serde_json::json;

use super::client::World;

fn key(name: &str) -> ComponentKey {
    ComponentKey { kind: ComponentKind::Projection, name: name.to_owned(), version: 2 }
}

async fn report(world: &World, name: &str) {
    let parked = ParkedItem {
        position: Position::new(7),
        key: "order-1".to_owned(),
        cause: "the disk is <b>full</b>".to_owned(),
    };
    let status = ComponentStatus {
        key: key(name),
        owner: "process 1".to_owned(),
        epoch: 3,
        state: ComponentState::Retrying,
        position: Position::new(40),
        lag: 2,
        last_error: Some("later".to_owned()),
        parked_count: 1,
        parked: vec![parked],
        reported_at: Timestamp::from_micros(1_000_000),
    };
    world.store.registry().report(status).await.unwrap();
}

#[tokio::test]
async fn components_are_listed_as_they_reported_and_one_with_what_it_parked() {
    let world = World::new().await;
    report(&world, "a/b c").await;

    let list = world.get("/components").await.is(200);
    let one = world.get("/components/projection/a%2Fb%20c/2").await.is(200);

    let expected = json!({
        "kind": "projection", "name": "a/b c", "version": 2, "owner": "process 1", "epoch": 3,
        "state": "retrying", "position": 40, "lag": 2, "last_error": "later", "parked_count": 1,
        "reported_at": "1970-01-01T00:00:01Z",
    });
    assert_eq!(list, json!({"components": [expected]}));
    let parked = json!([{"position": 7, "key": "order-1", "cause": "the disk is <b>full</b>"}]);
    assert_eq!(one["parked"], parked);
}

#[tokio::test]
async fn what_a_component_is_asked_to_do_waits_for_it_in_order() {
    let world = World::new().await;
    report(&world, "sales").await;
    let path = "/components/projection/sales/2/requests";
    let wishes = [
        json!({"request": "pause"}),
        json!({"request": "retry", "position": 7}),
        json!({"request": "drop"}),
        json!({"request": "replay", "position": 0}),
    ];

    for wish in &wishes {
        world.post(path, wish).await.is(202);
    }

    let taken = world.store.registry().take_requests(&key("sales")).await.unwrap();
    let expected = [
        ComponentRequest::Pause,
        ComponentRequest::Retry(Some(Position::new(7))),
        ComponentRequest::Drop(None),
        ComponentRequest::ReplayFrom(Position::START),
    ];
    assert_eq!(taken, expected);
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_with_what_to_send() {
    let world = World::new().await;
    report(&world, "sales").await;
    let path = "/components/projection/sales/2/requests";
    let cases = [
        (json!({"request": "dance"}), "pause, resume, retry, drop, promote or replay"),
        (json!({"request": "replay"}), "0 is the beginning"),
        (json!({"request": "pause", "position": 1}), "/docs"),
        (json!({"request": "pause", "colour": 1}), "line and column"),
    ];

    for (body, hint) in cases {
        let problem = world.post(path, &body).await.is(400);

        assert!(problem["hint"].as_str().unwrap().contains(hint), "{problem}");
    }
    let kind = world.get("/components/gadget/sales/2").await.is(400);
    assert_eq!(kind["kind"], "gadget");
    let unknown = world.get("/components/projection/sales/1").await.is(404);
    assert!(unknown["detail"].as_str().unwrap().contains("version 1"), "{unknown}");
    world.post("/components/relay/sales/2/requests", &json!({"request": "pause"})).await.is(404);
}
