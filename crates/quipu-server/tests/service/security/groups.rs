//! Consumer groups, for callers who may read the events of some of them.

use quipu_core::{Query, ReadError};
use quipu_groups::group::{GroupConfig, GroupError};
use quipu_server::security::{Credentials, Role};
use quipu_wire::{Client, ClientOptions, Refused};

use super::support::{Token, World, create, create_with};

async fn connect(world: &World, token: &Token) -> Client {
    let token = Some(token.text.reveal().to_owned());
    let options = ClientOptions { token, ..ClientOptions::default() };
    Client::connect(&format!("http://{}", world.address()), options).await.unwrap()
}

/// A server with the groups `orders` and `everything`, and who may read of orders only.
async fn world() -> (World, Token, Token) {
    let mut credentials = Credentials::default();
    let admin = create(&mut credentials, "admin", Role::Admin);
    let clerk = create_with(&mut credentials, "clerk", &["read category:order", "consume"]);
    let world = World::with(&credentials).await;
    let groups = connect(&world, &admin).await.groups();
    let orders: Query = "category:order".parse().unwrap();
    groups.create(&GroupConfig::new("orders", orders)).await.unwrap();
    groups.create(&GroupConfig::new("everything", Query::all())).await.unwrap();
    (world, admin, clerk)
}

#[tokio::test]
async fn how_a_group_is_is_told_to_those_who_may_read_its_events() {
    let (world, admin, clerk) = world().await;
    let groups = connect(&world, &clerk).await.groups();

    assert_eq!(groups.status("orders").await.unwrap().config.name, "orders");
    let refused = groups.status("everything").await.unwrap_err();
    let GroupError::Read(ReadError::Storage(cause)) = refused else { panic!("{refused:?}") };
    let refused = cause.downcast_ref::<Refused>().unwrap().to_string();
    assert!(refused.contains("clerk may not read"), "{refused}");
    assert_eq!(world.ask_as(&clerk.text, "GET /groups/orders").await.status(), 200);
    let refused = world.ask_as(&clerk.text, "GET /groups/everything").await;
    assert_eq!(refused.status(), 403, "{refused:?}");
    assert!(refused.body().contains("clerk may not read"), "{refused:?}");

    let groups = connect(&world, &admin).await.groups();
    assert_eq!(groups.status("everything").await.unwrap().config.name, "everything");
    assert_eq!(world.ask_as(&admin.text, "GET /groups/everything").await.status(), 200);
}

#[tokio::test]
async fn a_list_of_groups_has_those_that_the_caller_may_read() {
    let (world, admin, clerk) = world().await;

    for (who, expected) in [(&clerk, vec!["orders"]), (&admin, vec!["everything", "orders"])] {
        let listed = connect(&world, who).await.groups().list().await.unwrap();
        let names: Vec<&str> = listed.iter().map(|config| config.name.as_str()).collect();
        assert_eq!(names, expected);
        let listed = world.ask_as(&who.text, "GET /groups").await.json();
        let listed = listed["groups"].as_array().unwrap();
        let names: Vec<&str> = listed.iter().map(|own| own["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected);
    }
}
