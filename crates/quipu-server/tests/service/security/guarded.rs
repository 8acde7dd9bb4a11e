//! The store as a caller may use it. Handlers pass calls on to it, so that it is asked itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quipu_core::{
    AppendError, Delivery, Direction, EventStore, ExpectedRevision, ListStreams, Position, Query,
    QueryItem, ReadAll, ReadError, ReadIndex, ReadStream, Rights, Snapshot, Subscribe,
    SubscribeError, SubscribeFrom, Term,
};
use quipu_server::config::Limits;
use quipu_server::security::{Access, Authority, Credentials, Denied, Role};
use quipu_server::service::Service;

use super::support::{PATIENCE, Token, World, append, create, create_with, stream};

fn denied_append(error: AppendError) -> String {
    match error {
        AppendError::Storage(cause) => cause.downcast_ref::<Denied>().unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}

fn denied_read(error: ReadError) -> String {
    match error {
        ReadError::Storage(cause) => cause.downcast_ref::<Denied>().unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}

fn store_of(world: &World, token: &Token) -> Arc<dyn EventStore> {
    Access::of_token(&world.service, &token.text).unwrap().store()
}

fn query(text: &str) -> Query {
    text.parse().unwrap()
}

/// A server whose principal `orders` may do all to orders, and read the category `open`.
async fn world() -> (World, Arc<dyn EventStore>) {
    let mut credentials = Credentials::default();
    let rules = [
        "append category:order",
        "read category:order",
        "delete category:order",
        "metadata category:order",
        "read tag:tenant:7",
        "consume",
    ];
    let orders = create_with(&mut credentials, "orders", &rules);
    let world = World::with(&credentials).await;
    world.store.append(append("order-1")).await.unwrap();
    world.store.append(append("salary-1")).await.unwrap();
    let store = store_of(&world, &orders);
    (world, store)
}

#[tokio::test]
async fn an_append_is_allowed_only_where_each_event_is() {
    let (world, store) = world().await;

    store.append(append("order-2")).await.unwrap();
    let both = append("order-3").event(stream("salary-1"), append("x").events.remove(0).1);
    let refused = denied_append(store.append(both).await.unwrap_err());

    let expected =
        "orders may not append to the stream \"salary-1\": only category:order is allowed";
    assert_eq!(refused, expected);
    let state = world.store.stream_info(stream("order-3")).await.unwrap();
    assert_eq!(state.count, 0, "nothing of it was appended");
}

#[tokio::test]
async fn names_are_told_of_what_may_be_read_and_of_nothing_else() {
    let mut credentials = Credentials::default();
    let orders = create_with(&mut credentials, "orders", &["read category:order"]);
    let operator = create(&mut credentials, "operator", Role::Operator);
    let reader = create(&mut credentials, "reader", Role::Reader);
    let world = World::with(&credentials).await;
    world.store.append(append("salary-1")).await.unwrap();

    // Gathered for somebody who may, and kept.
    assert_eq!(world.ask_as(&reader.text, "GET /types").await.status(), 200);
    for path in ["/types", "/tags", "/tag-keys", "/types?query=category%3Asalary"] {
        let operation = format!("GET {path}");
        assert_eq!(world.ask_as(&orders.text, &operation).await.status(), 403, "{path}");
        assert_eq!(world.ask_as(&operator.text, &operation).await.status(), 403, "{path}");
    }
    let own = world.ask_as(&orders.text, "GET /types?query=category%3Aorder").await;
    assert_eq!((own.status(), &own.json()["names"]), (200, &serde_json::json!([])));

    assert_eq!(world.ask_as(&reader.text, "GET /subscriptions").await.status(), 403);
    assert_eq!(world.ask_as(&operator.text, "GET /subscriptions").await.status(), 200);
}

#[tokio::test]
async fn demands_of_what_may_not_be_read_are_refused_not_answered() {
    let (_world, store) = world().await;
    let other = stream("salary-1");

    let asking = append("order-2").expect(other.clone(), ExpectedRevision::NoStream);
    assert!(denied_append(store.append(asking).await.unwrap_err()).contains("read the stream"));
    let absent = append("order-2").expect(stream("salary-2"), ExpectedRevision::NoStream);
    assert!(denied_append(store.append(absent).await.unwrap_err()).contains("read the stream"));
    let condition = append("order-2").fail_if(query("stream:salary-1"), None);
    assert!(denied_append(store.append(condition).await.unwrap_err()).contains("read the stream"));
    let everything = append("order-2").fail_if(query("type:Made"), None);
    assert!(
        denied_append(store.append(everything).await.unwrap_err()).contains("read all streams")
    );

    let own = append("order-2").fail_if(query("stream:order-2"), None);
    let own = own.expect(stream("order-1"), ExpectedRevision::StreamExists);
    store.append(own).await.unwrap();
    let tagged = append("order-2").fail_if(query("tag:tenant:7"), None);
    store.append(tagged).await.unwrap();
}

#[tokio::test]
async fn deletes_and_metadata_take_their_own_rights() {
    let (world, store) = world().await;
    let any = ExpectedRevision::Any;
    let mut credentials = Credentials::default();
    let writer = create(&mut credentials, "writer", Role::Writer);
    world.service.authority().replace(credentials);
    let writing = store_of(&world, &writer);

    for name in ["order-1", "salary-1"] {
        let refused = [
            denied_append(writing.delete(stream(name), any).await.unwrap_err()),
            denied_append(writing.tombstone(stream(name), any).await.unwrap_err()),
            denied_append(writing.set_metadata(stream(name), any, "{}".into()).await.unwrap_err()),
        ];
        assert!(refused.iter().all(|it| it.contains("no role and no rule")), "{refused:?}");
    }
    assert!(
        denied_append(store.append(append("order-9")).await.unwrap_err()).contains("credentials")
    );
}

#[tokio::test]
async fn a_principal_deletes_what_a_rule_lets_it_delete() {
    let (_world, store) = world().await;
    let any = ExpectedRevision::Any;

    assert!(store.delete(stream("salary-1"), any).await.is_err());
    assert!(store.set_metadata(stream("salary-1"), any, "{}".into()).await.is_err());
    store.set_metadata(stream("order-1"), any, "{}".into()).await.unwrap();
    store.delete(stream("order-1"), any).await.unwrap();
    store.tombstone(stream("order-1"), any).await.unwrap();
}

#[tokio::test]
async fn reads_that_could_meet_what_is_forbidden_are_refused() {
    let (_world, store) = world().await;
    let order = QueryItem { category: Some("order".to_owned()), ..QueryItem::default() };
    let list = |prefix: &str, category: Option<&str>| ListStreams {
        prefix: prefix.to_owned(),
        category: category.map(str::to_owned),
        after: None,
        limit: 10,
    };
    let index = |term| ReadIndex { term, from: None, direction: Direction::Forward, limit: 10 };

    let refused = denied_read(store.read_all(ReadAll::new(Query::all())).await.unwrap_err());
    assert!(refused.contains("limit every item of the query"), "{refused}");
    assert!(store.read_all(ReadAll::new(query("type:Made"))).await.is_err());
    assert!(store.read_all(ReadAll::new(query("category:salary"))).await.is_err());
    assert!(store.read_stream(ReadStream::new(stream("salary-1"))).await.is_err());
    assert!(store.read_stream(ReadStream::new(stream("$$salary-1"))).await.is_err());
    assert!(store.stream_info(stream("salary-1")).await.is_err());
    assert!(store.list_streams(list("", None)).await.is_err());
    assert!(store.list_streams(list("order", None)).await.is_err(), "orders-1 begins with it too");
    assert!(store.read_index(index(Term::StreamNames)).await.is_err());
    assert!(store.read_index(index(Term::Category("salary".to_owned()))).await.is_err());

    let read = store.read_all(ReadAll::new(Query::from(order))).await.unwrap();
    assert_eq!(quipu_core::collect(read.batches).await.unwrap().len(), 1);
    store.read_all(ReadAll::new(query("tag:tenant:7:a"))).await.unwrap();
    store.read_stream(ReadStream::new(stream("order-1"))).await.unwrap();
    store.read_stream(ReadStream::new(stream("$$order-1"))).await.unwrap();
    store.list_streams(list("order-", None)).await.unwrap();
    store.list_streams(list("", Some("order"))).await.unwrap();
    store.read_index(index(Term::Category("order".to_owned()))).await.unwrap();
}

#[tokio::test]
async fn snapshots_take_the_rights_to_everything_they_may_be_made_of() {
    let (world, store) = world().await;
    let mut credentials = Credentials::default();
    let reader = create(&mut credentials, "reader", Role::Reader);
    let writer = create(&mut credentials, "writer", Role::Writer);
    let snapshot = || Snapshot { position: Position::new(1), data: "state".into() };

    assert!(store.snapshots().get("a", Position::MAX).await.is_err(), "it reads only orders");
    assert!(store.checkpoints().list().await.is_ok());
    world.service.authority().replace(credentials);
    let (reading, writing) = (store_of(&world, &reader), store_of(&world, &writer));
    assert!(reading.snapshots().get("a", Position::MAX).await.is_ok());
    assert!(reading.snapshots().put("a", snapshot()).await.is_err(), "writers would rely on it");
    assert!(writing.snapshots().put("a", snapshot()).await.is_ok());
}

#[tokio::test]
async fn only_administrators_write_reserved_names() {
    let mut credentials = Credentials::default();
    let writer = create(&mut credentials, "writer", Role::Writer);
    let admin = create(&mut credentials, "admin", Role::Admin);
    let world = World::with(&credentials).await;
    let access = |token: &Token| Access::of_token(&world.service, &token.text).unwrap();

    assert!(access(&writer).with_system_rights().is_err());
    assert!(access(&admin).store().append(append("$own")).await.is_err());
    let system = access(&admin).with_system_rights().unwrap().store();
    assert!(system.append(append("$own")).await.is_ok());
    assert!(system.append(append("$audit-1")).await.is_err(), "the record is the server's own");
    assert!(system.delete(stream("$audit"), ExpectedRevision::Any).await.is_err());
}

#[tokio::test]
async fn an_open_server_lets_whoever_asks_write_reserved_names() {
    let world = World::open().await;

    let access = Access::anonymous(&world.service);

    assert!(access.store().append(append("order-1")).await.is_ok());
    assert!(access.store().append(append("$own")).await.is_err(), "nobody writes them by accident");
    let system = access.with_system_rights().unwrap().store();
    assert!(system.append(append("$own")).await.is_ok());
    assert!(system.append(append("$audit")).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_system_rights_is_an_administrators() {
    let mut credentials = Credentials::default();
    let writer = create(&mut credentials, "writer", Role::Writer);
    let admin = create(&mut credentials, "admin", Role::Admin);
    let world = World::with(&credentials).await;
    let connect = async |token: &Token| {
        let token = Some(token.text.reveal().to_owned());
        let uri = format!("http://{}", world.address());
        let options =
            quipu_wire::ClientOptions { token, rights: Rights::System, ..Default::default() };
        quipu_wire::Client::connect(&uri, options).await
    };

    let refused = connect(&writer).await.unwrap_err();
    let system = connect(&admin).await.unwrap();

    assert!(matches!(refused, quipu_wire::ConnectError::Refused(_)), "{refused}");
    system.append(append("$own")).await.unwrap();
    assert!(system.append(append("$audit")).await.is_err());
}

/// Pulls until the end is reached.
async fn caught_up(subscription: &mut dyn quipu_core::Subscription) {
    while !matches!(subscription.next().await.unwrap(), Delivery::CaughtUp) {}
}

#[tokio::test]
async fn a_subscription_that_waits_ends_within_a_second_of_the_revocation() {
    let mut credentials = Credentials::default();
    let reader = create(&mut credentials, "reader", Role::Reader);
    let world = World::with(&credentials).await;
    let store = store_of(&world, &reader);
    let all = Subscribe::All { query: Query::all(), from: SubscribeFrom::End };
    let mut subscription = store.subscribe(all).await.unwrap();
    caught_up(&mut *subscription).await;

    world.edit(|own| own.revoke_token(&reader.id).unwrap());
    let begin = Instant::now();
    let mut ended = tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap();
    // The server tells the subscription of its own audit first, if that was quicker.
    while ended.is_ok() {
        ended = tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap();
    }
    let took = begin.elapsed();

    let Err(SubscribeError::Storage(cause)) = ended else { panic!("{ended:?}") };
    assert_eq!(cause.downcast_ref(), Some(&Denied::Unauthenticated));
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    assert!(Access::of_token(&world.service, &reader.text).is_none());
}

#[tokio::test]
async fn a_subscription_ends_when_a_new_rule_denies_what_it_may_show() {
    let mut credentials = Credentials::default();
    let reader = create(&mut credentials, "reader", Role::Reader);
    let world = World::with(&credentials).await;
    let store = store_of(&world, &reader);
    let orders = Subscribe::All { query: query("category:order"), from: SubscribeFrom::Start };
    let all = Subscribe::All { query: Query::all(), from: SubscribeFrom::Start };
    let mut orders = store.subscribe(orders).await.unwrap();
    let mut all = store.subscribe(all).await.unwrap();
    caught_up(&mut *orders).await;
    caught_up(&mut *all).await;

    let deny = quipu_server::security::Rule::parse(
        quipu_server::security::Effect::Deny,
        "read category:salary",
    );
    credentials.add_rule("reader", deny.unwrap()).unwrap();
    world.service.authority().replace(credentials);

    let ended = loop {
        match all.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let SubscribeError::Storage(cause) = ended else { panic!("{ended:?}") };
    assert!(cause.to_string().contains("deny read category:salary"), "{cause}");
    world.store.append(append("order-1")).await.unwrap();
    let delivery = loop {
        match orders.next().await.unwrap() {
            Delivery::Events(events) => break events,
            Delivery::Checkpoint(_) | Delivery::CaughtUp | Delivery::FellBehind => {}
        }
    };
    assert_eq!(delivery.iter().count(), 1, "orders are not denied");
}

#[tokio::test]
async fn a_read_under_way_ends_with_the_right_to_it() {
    let mut credentials = Credentials::default();
    let reader = create(&mut credentials, "reader", Role::Reader);
    let world = World::with(&credentials).await;
    world.store.append(append("order-1")).await.unwrap();
    let mut read = store_of(&world, &reader).read_all(ReadAll::new(Query::all())).await.unwrap();

    world.service.authority().replace(Credentials::default());

    assert!(denied_read(read.batches.next().await.unwrap_err()).contains("credentials"));
}

#[tokio::test]
async fn a_subscription_ends_when_its_token_expires() {
    let mut credentials = Credentials::default();
    let end = quipu_core::Timestamp::now().as_micros() + 300_000;
    let end = Some(quipu_core::Timestamp::from_micros(end));
    let (_, text) = credentials.create_token("a", Some(Role::Reader), &[], end).unwrap();
    let store = Arc::new(quipu_core::MemoryStore::new());
    let authority = Authority::of(credentials);
    let service = Service::secured(store.clone(), store, Limits::default(), authority);
    let store = Access::of_token(&service, &text).unwrap().store();
    let all = Subscribe::All { query: Query::all(), from: SubscribeFrom::Start };
    let mut subscription = store.subscribe(all).await.unwrap();
    caught_up(&mut *subscription).await;

    let ended = tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap();

    assert!(matches!(ended, Err(SubscribeError::Storage(_))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_only_delete_or_only_change_metadata_can_do_that_over_grpc_and_no_more() {
    let mut credentials = Credentials::default();
    let deleter = create_with(&mut credentials, "deleter", &["delete category:order"]);
    let keeper = create_with(&mut credentials, "keeper", &["metadata category:order"]);
    let world = World::with(&credentials).await;
    for name in ["order-1", "order-2"] {
        world.store.append(append(name)).await.unwrap();
    }
    let connect = async |token: &Token| {
        let token = Some(token.text.reveal().to_owned());
        let uri = format!("http://{}", world.address());
        let options = quipu_wire::ClientOptions { token, ..Default::default() };
        quipu_wire::Client::connect(&uri, options).await.unwrap()
    };
    let (deleter, keeper) = (connect(&deleter).await, connect(&keeper).await);
    let metadata = || "{}".into();
    let any = ExpectedRevision::Any;
    let is_refused = |error: AppendError| match error {
        AppendError::Storage(cause) => cause.downcast_ref::<quipu_wire::Refused>().is_some(),
        _ => false,
    };

    deleter.delete(stream("order-1"), any).await.unwrap();
    keeper.set_metadata(stream("order-2"), any, metadata()).await.unwrap();

    for client in [&deleter, &keeper] {
        assert!(is_refused(client.append(append("order-3")).await.unwrap_err()));
    }
    assert!(is_refused(keeper.delete(stream("order-2"), any).await.unwrap_err()));
    let other = deleter.set_metadata(stream("order-2"), any, metadata()).await;
    assert!(is_refused(other.unwrap_err()));
    assert!(is_refused(deleter.delete(stream("salary-1"), any).await.unwrap_err()));
}
