//! Types, tags and keys of tags, listed.

use serde_json::{Value, json};

use super::client::World;

async fn add(world: &World, stream: &str, event_type: &str, tags: &[&str]) {
    let event = json!({"type": event_type, "tags": tags, "data": 1});
    world.post(&format!("/streams/{stream}"), &event).await.is(201);
}

fn names(answer: &Value) -> Vec<&str> {
    answer["names"].as_array().unwrap().iter().map(|own| own["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn types_and_tags_of_the_whole_log_are_listed_with_their_events() {
    let world = World::new().await;
    add(&world, "order-1", "OrderPlaced", &["order:1", "customer:7"]).await;
    add(&world, "order-2", "OrderPlaced", &["order:2", "customer:7"]).await;
    add(&world, "order-1", "OrderPaid", &["order:1"]).await;

    let types = world.get("/types").await.is(200);
    let keys = world.get("/tag-keys").await.is(200);
    let tags = world.get("/tags?prefix=customer%3A").await.is(200);

    let expected = json!({"position": 3, "frontier": 3, "left_out_count": 0, "next": null, "names": [
        {"name": "OrderPaid", "event_count": 1}, {"name": "OrderPlaced", "event_count": 2},
    ]});
    assert_eq!(types, expected);
    let expected = json!([
        {"name": "customer", "event_count": 2, "tag_count": 1},
        {"name": "order", "event_count": 3, "tag_count": 2},
    ]);
    assert_eq!(keys["names"], expected);
    assert_eq!(tags["names"], json!([{"name": "customer:7", "event_count": 2}]));
}

#[tokio::test]
async fn what_comes_later_is_there_when_it_is_asked_for_again() {
    let world = World::new().await;
    add(&world, "order-1", "OrderPlaced", &[]).await;
    assert_eq!(names(&world.get("/types").await.is(200)), ["OrderPlaced"]);

    add(&world, "order-1", "OrderPaid", &[]).await;

    let again = world.get("/types").await.is(200);
    assert_eq!(names(&again), ["OrderPaid", "OrderPlaced"]);
    assert_eq!(again["position"], again["frontier"]);
}

#[tokio::test]
async fn names_are_listed_page_by_page() {
    let world = World::new().await;
    for index in 0..25 {
        add(&world, "s-1", "T", &[&format!("n:{index:02}"), "other:1"]).await;
    }
    let mut found = Vec::new();
    let mut next = Some("/tags?prefix=n%3A&limit=10".to_owned());

    while let Some(path) = next {
        let reply = world.get(&path).await;
        let page = reply.is(200);
        found.extend(names(&page).into_iter().map(str::to_owned));
        next = page["next"].as_str().map(str::to_owned);
        assert_eq!(reply.header("link").is_some(), next.is_some());
    }

    let expected: Vec<String> = (0..25).map(|index| format!("n:{index:02}")).collect();
    assert_eq!(found, expected);
    world.get("/tags?limit=0").await.is_problem(400, "malformed-request");
    world.get("/tags?colour=1").await.is_problem(400, "malformed-request");
}

#[tokio::test]
async fn the_names_of_a_query_are_those_of_its_events() {
    let world = World::new().await;
    add(&world, "order-1", "OrderPlaced", &["order:1"]).await;
    add(&world, "salary-1", "SalaryPaid", &["employee:1"]).await;

    let types = world.get("/types?query=category%3Aorder").await.is(200);
    let keys = world.get("/tag-keys?query=category%3Aorder").await.is(200);

    assert_eq!((names(&types), names(&keys)), (vec!["OrderPlaced"], vec!["order"]));
}
