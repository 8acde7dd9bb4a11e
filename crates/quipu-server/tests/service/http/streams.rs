use serde_json::{Value, json};

use super::client::World;

async fn add(world: &World, stream: &str) {
    world.post(&format!("/streams/{stream}"), &json!({"type": "T", "data": 7})).await.is(201);
}

#[tokio::test]
async fn streams_are_listed_page_by_page() {
    let world = World::new().await;
    for index in 0..250 {
        add(&world, &format!("order-{index:03}")).await;
    }
    add(&world, "parcel-1").await;
    let mut names = Vec::new();
    let mut next = Some("/streams?prefix=order-&limit=100".to_owned());

    while let Some(path) = next {
        let reply = world.get(&path).await;
        let page = reply.is(200);
        names.extend(page["streams"].as_array().unwrap().iter().cloned());
        next = page["next"].as_str().map(str::to_owned);
        assert_eq!(reply.header("link").is_some(), next.is_some());
    }

    let expected: Vec<Value> = (0..250).map(|index| format!("order-{index:03}").into()).collect();
    assert_eq!(names, expected);
    let category = world.get("/streams?category=parcel").await.is(200);
    assert_eq!(category, json!({"streams": ["parcel-1"], "next": null}));
    world.get("/streams?limit=0").await.is_problem(400, "malformed-request");
}

#[tokio::test]
async fn metadata_is_replaced_and_says_what_reads_show() {
    let world = World::new().await;
    for _ in 0..5 {
        add(&world, "s").await;
    }
    let kind = ("Content-Type", "application/json");
    let put = async |headers: &[(&str, &str)], body: &str| {
        world.send("PUT", "/streams/s/metadata", headers, body.as_bytes()).await
    };

    assert_eq!(world.get("/streams/s/metadata").await.is(200), json!({}));
    put(&[kind, ("If-None-Match", "*")], r#"{"$maxCount": 2, "team":"ü"}"#).await.is(201);
    let read = world.get("/streams/s/metadata").await;
    let info = world.get("/streams/s/info").await.is(200);

    assert_eq!(read.text(), r#"{"$maxCount": 2, "team":"ü"}"#);
    assert_eq!(read.header("etag"), Some("\"0\""));
    let expected = json!({"stream": "s", "state": "live", "last": 4, "first": 3, "count": 2,
        "size": 2, "metadata": {"$maxCount": 2, "team": "ü"}, "metadata_revision": 0});
    assert_eq!(info, expected);
    put(&[kind, ("If-Match", "\"7\"")], "{}").await.is_problem(412, "precondition-failed");
    put(&[kind, ("If-Match", "\"0\"")], "{}").await.is(201);
    put(&[kind], r#"{"$maxCount":0}"#).await.is_problem(400, "invalid-append");
    let problem = put(&[kind], "{\n  x}").await.is_problem(400, "malformed-json");
    assert_eq!(problem["line"], 2);
}

#[tokio::test]
async fn a_change_with_an_id_can_be_retried() {
    let world = World::new().await;
    add(&world, "s").await;
    let path = "/streams/s?expect=0&id=018c2e65-4b7d-7000-8000-000000000001";

    let first = world.send("DELETE", path, &[], b"").await.is(201);
    let again = world.send("DELETE", path, &[], b"").await.is(200);

    assert_eq!((&again["replayed"], &again["last"]), (&json!(true), &first["last"]));
    world.get("/streams/s/info").await.is(200);
}

#[tokio::test]
async fn a_deleted_stream_is_revived_and_a_tombstoned_one_is_not() {
    let world = World::new().await;
    add(&world, "s").await;

    world.send("DELETE", "/streams/none", &[], b"").await.is_problem(409, "conflict");
    world.send("DELETE", "/streams/s?expect=7", &[], b"").await.is_problem(409, "conflict");
    world
        .send("DELETE", "/streams/s?hard=maybe", &[], b"")
        .await
        .is_problem(400, "malformed-request");
    world.send("DELETE", "/streams/s", &[], b"").await.is(201);
    assert_eq!(world.get("/streams/s/info").await.is(200)["state"], "deleted");
    add(&world, "s").await;
    assert_eq!(world.get("/streams/s").await.is(200)["events"][0]["revision"], 1);
    world.send("DELETE", "/streams/s?hard=true", &[], b"").await.is(201);

    let append = world.post("/streams/s", &json!({"type": "T"})).await;
    let problem = append.is_problem(410, "tombstoned");
    assert_eq!(problem["violations"][0]["found"], json!({"state": "tombstoned", "last": 2}));
    assert_eq!(world.get("/streams/s/info").await.is(200)["state"], "tombstoned");
}

#[tokio::test]
async fn the_frontier_says_which_log_it_is_of() {
    let world = World::new().await;
    add(&world, "s").await;

    let frontier = world.get("/frontier").await.is(200);

    assert_eq!((&frontier["frontier"], &frontier["incarnation"]), (&json!(1), &json!(1)));
    assert_eq!(frontier["log"].as_str().unwrap().len(), 36);
}
