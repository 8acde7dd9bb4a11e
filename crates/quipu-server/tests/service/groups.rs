//! Consumer groups over the native protocol.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{Append, EventStore, MemoryStore, NewEvent, Position, Query, StreamName};
use quipu_groups::group::{GroupConfig, GroupEnd, GroupError, Nack};
use quipu_groups::{Backoff, OnError};
use quipu_server::config::Limits;
use quipu_server::server::Server;
use quipu_server::service::Service;
use quipu_wire::{Client, ClientOptions, Dispatched, Groups, Member};
use tokio::time::timeout;

async fn serve(store: &MemoryStore) -> (Server, Client) {
    let (own, system) = (Arc::new(store.clone()), Arc::new(store.system()));
    let service = Service::new(own, system, Limits::default());
    let server = Server::start(service, "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let uri = format!("http://{}", server.address());
    (server, Client::connect(&uri, ClientOptions::default()).await.unwrap())
}

async fn append(store: &MemoryStore, stream: &str) -> Position {
    let event = NewEvent::json("Happened", "{}").unwrap();
    let append = Append::new().event(StreamName::new(stream).unwrap(), event);
    store.append(append).await.unwrap().last.unwrap()
}

fn hasty(name: &str) -> GroupConfig {
    let backoff = Backoff { first: Duration::ZERO, max: Duration::ZERO };
    let on_error = OnError::retry(1).backoff(backoff).then_park();
    GroupConfig { on_error, ..GroupConfig::new(name, Query::all()) }
}

async fn take(member: &mut Member, count: usize) -> Vec<Dispatched> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = timeout(Duration::from_secs(30), member.next()).await;
        taken.extend(next.expect("events come").unwrap());
    }
    taken
}

async fn parked(groups: &Groups, name: &str, count: usize) {
    for _ in 0..300 {
        if groups.parked(name).await.unwrap().len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} parked events were expected");
}

#[tokio::test]
async fn a_group_is_created_consumed_parked_replayed_and_deleted_over_the_network() {
    let store = MemoryStore::new();
    let (_server, client) = serve(&store).await;
    let groups = client.groups();
    for stream in ["a-1", "a-1", "b-1"] {
        append(&store, stream).await;
    }
    groups.create(&hasty("g")).await.unwrap();
    assert!(matches!(groups.create(&hasty("g")).await, Err(GroupError::Exists { .. })));
    assert_eq!(groups.list().await.unwrap(), [hasty("g")]);

    let mut member = groups.join("g", "worker-1", 10).await.unwrap();
    let got = take(&mut member, 2).await;
    assert_eq!(got.iter().map(|it| it.key.as_str()).collect::<Vec<_>>(), ["a-1", "b-1"]);
    member.ack([got[1].number]).await.unwrap();
    member.nack([got[0].number], Nack::Park, "no luck").await.unwrap();
    parked(&groups, "g", 2).await;

    let status = groups.status("g").await.unwrap();
    let running = status.running.unwrap();
    assert_eq!((status.parked_count, running.members.len()), (2, 1));
    assert_eq!((running.members[0].name.as_str(), running.members[0].capacity), ("worker-1", 10));

    assert_eq!(groups.replay("g", None).await.unwrap(), 2);
    for revision in 0..2 {
        let got = take(&mut member, 1).await;
        assert_eq!(got[0].event.revision.get(), revision);
        member.ack([got[0].number]).await.unwrap();
    }
    parked(&groups, "g", 0).await;
    assert_eq!(groups.drop_parked("g", None).await.unwrap(), 0);

    groups.delete("g").await.unwrap();
    let told = timeout(Duration::from_secs(30), member.next()).await.unwrap();
    assert!(matches!(told, Err(GroupError::Ended(GroupEnd::Deleted))), "{told:?}");
    let gone = groups.join("g", "worker-1", 1).await;
    assert!(matches!(gone, Err(GroupError::Unknown { name }) if name == "g"));
}

#[tokio::test]
async fn what_a_member_said_before_it_went_still_counts() {
    let store = MemoryStore::new();
    let (_server, client) = serve(&store).await;
    let groups = client.groups();
    groups.create(&hasty("g")).await.unwrap();
    for _ in 0..20 {
        let position = append(&store, "a-1").await;
        let mut member = groups.join("g", "", 1).await.unwrap();

        let got = take(&mut member, 1).await;
        member.ack([got[0].number]).await.unwrap();
        drop(member);

        assert_eq!(got[0].event.position, position, "the one before was acknowledged");
    }
}

#[tokio::test]
async fn a_server_that_stops_tells_members_and_the_next_one_goes_on() {
    let store = MemoryStore::new();
    let (server, client) = serve(&store).await;
    let groups = client.groups();
    groups.create(&hasty("g")).await.unwrap();
    append(&store, "a-1").await;
    append(&store, "b-1").await;
    let mut member = groups.join("g", "", 1).await.unwrap();
    let got = take(&mut member, 1).await;
    member.ack([got[0].number]).await.unwrap();
    take(&mut member, 1).await;

    server.stop().await;
    let told = timeout(Duration::from_secs(30), member.next()).await.unwrap();
    assert!(matches!(told, Err(GroupError::Ended(GroupEnd::Stopped))), "{told:?}");

    let (_server, client) = serve(&store).await;
    let mut member = client.groups().join("g", "", 10).await.unwrap();
    let got = take(&mut member, 1).await;
    assert_eq!(got[0].event.stream, "b-1", "a-1 is settled");
}

#[tokio::test]
async fn a_member_that_says_what_it_may_not_is_told_what_is_wrong() {
    use quipu_wire::proto::groups_client::GroupsClient;
    use quipu_wire::proto::{AckEvents, ConsumeRequest, JoinGroup, consume_request};
    let store = MemoryStore::new();
    let (server, client) = serve(&store).await;
    client.groups().create(&hasty("g")).await.unwrap();
    let uri = format!("http://{}", server.address());
    let channel = tonic::transport::Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
    let mut calls = GroupsClient::new(channel);
    let join = |capacity| JoinGroup { group: "g".to_owned(), capacity, name: String::new() };
    let cases = [
        vec![consume_request::Message::Ack(AckEvents { numbers: vec![1] })],
        vec![consume_request::Message::Join(join(0))],
        vec![consume_request::Message::Join(join(10_001))],
        vec![consume_request::Message::Join(join(1)), consume_request::Message::Join(join(1))],
    ];
    for words in cases {
        let words = words.into_iter().map(|message| ConsumeRequest { message: Some(message) });
        let answer = calls.consume(tokio_stream::iter(words.collect::<Vec<_>>())).await;
        let status = match answer {
            Err(status) => status,
            Ok(answer) => {
                let mut messages = answer.into_inner();
                loop {
                    match messages.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("an error was expected"),
                        Err(status) => break status,
                    }
                }
            }
        };
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    }
    // Numbers that nobody gave out are passed over.
    let mut member = client.groups().join("g", "", 1).await.unwrap();
    member.ack([1, u64::MAX]).await.unwrap();
    append(&store, "a-1").await;
    take(&mut member, 1).await;
}
