use serde_json::{Value, json};

use super::client::World;

const ONE: [(&str, &str); 1] = [("Content-Type", "application/cloudevents+json")];
const BATCH: [(&str, &str); 1] = [("Content-Type", "application/cloudevents-batch+json")];
const ACCEPT: [(&str, &str); 1] = [("Accept", "application/cloudevents-batch+json")];

fn event(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "OrderPlaced",
        "datacontenttype": "application/json", "data": {"total_cents": 1200},
        "quiputags": "[\"order:1\"]", "traceparent": "00-1-1-01", "priority": 5,
    })
}

#[tokio::test]
async fn a_cloud_event_goes_into_the_log_and_out_again() {
    let world = World::new().await;

    let body = event("a").to_string();
    world.send("POST", "/streams/order-1?expect=none", &ONE, body.as_bytes()).await.is(201);
    let reply = world.send("GET", "/streams/order-1", &ACCEPT, b"").await;
    let read = reply.is(200);
    let by_tag = world.get("/events?query=tag:order:1").await.is(200);

    assert_eq!(reply.header("content-type"), Some("application/cloudevents-batch+json"));
    let read = &read[0];
    for name in
        ["specversion", "type", "datacontenttype", "data", "quiputags", "traceparent", "priority"]
    {
        assert_eq!(read[name], event("a")[name], "{name}");
    }
    assert_eq!(read["source"], "/streams/order-1");
    assert_eq!(read["subject"], "order-1");
    assert_eq!((&read["quipuposition"], &read["quipurevision"]), (&json!("1"), &json!("0")));
    assert_eq!(by_tag["events"][0]["id"], read["id"]);
    assert_eq!(by_tag["events"][0]["metadata"]["cloudEvent"]["id"], "a");
}

#[tokio::test]
async fn a_batch_is_one_append_and_a_retry_adds_nothing() {
    let world = World::new().await;
    let body = json!([event("a"), event("b")]).to_string();

    world.send("POST", "/streams/s", &BATCH, body.as_bytes()).await.is(201);
    let again = world.send("POST", "/streams/s", &BATCH, body.as_bytes()).await.is(200);

    assert_eq!((&again["replayed"], &again["last"]), (&json!(true), &json!(2)));
}

#[tokio::test]
async fn what_was_read_as_cloud_events_can_be_sent_again() {
    let world = World::new().await;
    let body = json!([event("a"), event("b")]).to_string();
    world.send("POST", "/streams/s", &BATCH, body.as_bytes()).await.is(201);
    let read = world.send("GET", "/events", &ACCEPT, b"").await;
    let other = World::new().await;

    other.send("POST", "/streams/s", &BATCH, &read.body).await.is(201);

    let mut copy = other.send("GET", "/events", &ACCEPT, b"").await.is(200);
    let original = read.is(200);
    for index in 0..2 {
        copy[index]["time"] = original[index]["time"].clone();
    }
    assert_eq!(copy, original);
}

#[tokio::test]
async fn pages_of_cloud_events_have_a_link_to_the_next() {
    let world = World::new().await;
    let body = json!([event("a"), event("b"), event("c")]).to_string();
    world.send("POST", "/streams/s", &BATCH, body.as_bytes()).await.is(201);

    let first = world.send("GET", "/events?limit=2", &ACCEPT, b"").await;

    assert_eq!(first.is(200).as_array().unwrap().len(), 2);
    assert_eq!(first.header("link"), Some("</events?limit=2&from=3>; rel=\"next\""));
    assert_eq!(first.header("quipu-frontier"), Some("3"));
}

#[tokio::test]
async fn what_is_no_cloud_event_is_refused_and_nothing_is_appended() {
    let world = World::new().await;
    let mut wrong = event("b");
    wrong.as_object_mut().unwrap().remove("source");
    let body = json!([event("a"), wrong]).to_string();

    let problem = world.send("POST", "/streams/s", &BATCH, body.as_bytes()).await;

    let problem = problem.is_problem(400, "malformed-json");
    assert_eq!(problem["index"], 1);
    assert!(problem["detail"].as_str().unwrap().contains("attribute source"), "{problem}");
    assert_eq!(world.get("/frontier").await.is(200)["frontier"], 0);
}
