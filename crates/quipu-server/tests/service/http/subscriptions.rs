//! The subscriptions that are open, listed.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::client::{Flow, PATIENCE, World};

/// Asks until the list is as wanted.
async fn list_until(world: &World, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let list = world.get("/subscriptions").await.is(200);
            if is_wanted(&list) {
                return list;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

async fn follow(world: &World, path: &str) -> Flow {
    Flow::open(TcpStream::connect(world.address).await.unwrap(), path, &[]).await
}

#[tokio::test]
async fn subscriptions_are_listed_while_they_are_open_with_how_far_they_are() {
    let world = World::new().await;
    for stream in ["order-1", "order-2", "parcel-1"] {
        let event = json!({"type": "T", "data": 1});
        world.post(&format!("/streams/{stream}"), &event).await.is(201);
    }
    let log = follow(&world, "/subscribe?query=category%3Aorder").await;
    let stream = follow(&world, "/streams/parcel-1/subscribe").await;

    let is_live = |list: &Value| {
        let all = list["subscriptions"].as_array().unwrap();
        all.len() == 2 && all.iter().all(|own| own["state"] == "live")
    };
    let list = list_until(&world, is_live).await;

    assert_eq!((&list["frontier"], &list["count"]), (&json!(3), &json!(2)));
    let first = &list["subscriptions"][0];
    assert_eq!(first["queries"], json!(["category:order"]));
    assert_eq!((&first["position"], &first["lag"]), (&json!(3), &json!(0)));
    assert_eq!(first["event_count"], 2);
    let second = &list["subscriptions"][1];
    assert_eq!(second["queries"], json!(["stream:parcel-1"]));
    assert_eq!((&second["lag"], &second["event_count"]), (&Value::Null, &json!(1)));
    assert_eq!(world.get("/subscriptions?limit=1").await.is(200)["count"], 2);

    drop((log, stream));
    list_until(&world, |list| list["count"] == 0).await;
}
