//! The native protocol: what the contract suite does not ask.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    Append, AppendError, Delivery, EventStore, ExpectedRevision, MemoryStore, NewEvent, Query,
    StreamName, Subscribe, SubscribeFrom,
};
use quipu_server::config::Limits;
use quipu_server::server::Server;
use quipu_server::service::Service;
use quipu_wire::proto::append_stream_response::Outcome;
use quipu_wire::proto::store_client::StoreClient;
use quipu_wire::proto::{AppendStreamRequest, ErrorCode};
use quipu_wire::{Client, ClientOptions, ConnectError, status, to_proto};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

async fn serve(store: &MemoryStore, address: &str) -> Server {
    serve_with(store, address, Limits::default()).await
}

async fn serve_with(store: &MemoryStore, address: &str, limits: Limits) -> Server {
    let (store, system) = (Arc::new(store.clone()), Arc::new(store.system()));
    let service = Service::new(store, system, limits);
    Server::start(service, address.parse().unwrap(), None).await.unwrap()
}

async fn start(store: &MemoryStore) -> Server {
    serve(store, "127.0.0.1:0").await
}

async fn connect(server: &Server) -> Client {
    let uri = format!("http://{}", server.address());
    Client::connect(&uri, ClientOptions::default()).await.unwrap()
}

async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(format!("http://{}", server.address())).unwrap().connect().await.unwrap()
}

fn event(event_type: &str) -> NewEvent {
    NewEvent::json(event_type, "{}").unwrap()
}

fn stream(name: impl AsRef<str>) -> StreamName {
    StreamName::new(name).unwrap()
}

fn append(name: &str, event_type: &str) -> Append {
    Append::to_stream(stream(name), ExpectedRevision::Any, [event(event_type)])
}

fn everything(from_end: bool) -> Subscribe {
    let from = if from_end { SubscribeFrom::End } else { SubscribeFrom::Start };
    Subscribe::All { query: Query::all(), from }
}

#[tokio::test]
async fn a_conflict_that_no_header_has_room_for_arrives_whole() {
    let store = MemoryStore::new();
    let server = start(&store).await;
    let client = connect(&server).await;
    let mut demand = Append::new();
    for number in 0..2_000 {
        let name = stream(format!("a-stream-with-a-long-name-{number}"));
        demand = demand.expect(name, ExpectedRevision::StreamExists);
    }

    let here = store.append(demand.clone()).await.unwrap_err();
    let there = client.append(demand).await.unwrap_err();

    assert_eq!(here.violations().unwrap().len(), 2_000);
    assert_eq!(there.violations(), here.violations());
}

#[tokio::test]
async fn an_append_stream_answers_each_request_under_its_number() {
    let store = MemoryStore::new();
    let server = start(&store).await;
    let request = |number: u64| {
        // Every tenth demands what does not hold.
        let append = match number % 10 {
            0 => append("a-1", "A").expect(stream("none-1"), ExpectedRevision::StreamExists),
            _ => append("a-1", "A"),
        };
        let change = Some(to_proto::change(quipu_core::Change::Append(append)));
        AppendStreamRequest { number, change }
    };

    let mut client = StoreClient::new(channel(&server).await);
    let requests = tokio_stream::iter((0..500).map(request).collect::<Vec<_>>());
    let mut answers = client.append_stream(requests).await.unwrap().into_inner();
    let mut numbers = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.outcome.unwrap() {
            Outcome::Appended(_) => assert_ne!(answer.number % 10, 0),
            Outcome::Error(error) => {
                assert_eq!(error.code(), ErrorCode::AppendConflict);
                assert_eq!(answer.number % 10, 0);
            }
        }
        numbers.push(answer.number);
    }

    numbers.sort_unstable();
    assert_eq!(numbers, (0..500).collect::<Vec<u64>>());
    assert_eq!(store.frontier().await.unwrap().get(), 450);
}

#[tokio::test]
async fn a_subscription_goes_on_when_the_server_is_started_again() {
    let store = MemoryStore::new();
    let mut server = start(&store).await;
    let address = server.address().to_string();
    let client = connect(&server).await;
    let mut subscription = client.subscribe(everything(false)).await.unwrap();
    let mut types = Vec::new();
    let mut told = Vec::new();

    for round in 0..4 {
        for number in 0..10 {
            let event_type = format!("T{round}x{number}");
            store.append(append("a-1", &event_type)).await.unwrap();
        }
        while types.len() < (round + 1) * 10 {
            match subscription.next().await.unwrap() {
                Delivery::Events(batch) => {
                    types.extend(batch.iter().map(|it| it.event_type().to_owned()));
                }
                Delivery::CaughtUp => told.push("caught up"),
                Delivery::FellBehind => told.push("fell behind"),
                Delivery::Checkpoint(_) => {}
            }
        }
        server.stop().await;
        server = serve(&store, &address).await;
    }

    let expected = (0..4).flat_map(|round| (0..10).map(move |it| format!("T{round}x{it}")));
    assert_eq!(types, expected.collect::<Vec<_>>());
    let mut turns = told.chunks(2);
    assert!(turns.all(|turn| matches!(turn, ["caught up"] | ["caught up", "fell behind"])));
}

#[tokio::test]
async fn a_subscription_from_the_end_that_breaks_before_its_first_event_misses_nothing() {
    let store = MemoryStore::new();
    store.append(append("a-1", "Before")).await.unwrap();
    let server = start(&store).await;
    let address = server.address().to_string();
    let client = connect(&server).await;
    let mut subscription = client.subscribe(everything(true)).await.unwrap();

    server.stop().await;
    store.append(append("a-1", "Meanwhile")).await.unwrap();
    let _server = serve(&store, &address).await;

    loop {
        if let Delivery::Events(batch) = subscription.next().await.unwrap() {
            assert_eq!(batch.first().unwrap().event_type(), "Meanwhile");
            break;
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_tells_a_subscriber_where_to_go_on() {
    let store = MemoryStore::new();
    store.append(append("a-1", "A")).await.unwrap();
    let server = start(&store).await;
    let mut client = StoreClient::new(channel(&server).await);
    let request = to_proto::subscribe(&everything(false));
    let mut messages = client.subscribe(request).await.unwrap().into_inner();
    for _ in 0..3 {
        assert!(messages.message().await.unwrap().is_some(), "begun, events, caught up");
    }

    let stopped = tokio::spawn(server.stop());
    let status = messages.message().await.unwrap_err();

    assert_eq!(status.code(), Code::Unavailable);
    let error = status::details(&status).unwrap();
    assert_eq!(error.code(), ErrorCode::Stopping);
    assert_eq!(error.resume_after, Some(1));
    drop((messages, client));
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_change_that_cannot_have_arrived_promises_that_nothing_was_appended() {
    let store = MemoryStore::new();
    let server = start(&store).await;
    let uri = format!("http://{}", server.address());
    let options = ClientOptions { retry_count_max: 1, ..ClientOptions::default() };
    let client = Client::connect(&uri, options).await.unwrap();
    server.stop().await;
    // The first call may meet the connection as it ends.
    let _ended = client.frontier().await.unwrap_err();

    let error = client.append(append("a-1", "A")).await.unwrap_err();

    assert!(matches!(error, AppendError::Storage(_)), "{error:?}");
}

#[tokio::test]
async fn connecting_fails_where_no_server_is() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);

    let connected = Client::connect(&format!("http://{address}"), ClientOptions::default()).await;

    assert!(matches!(connected, Err(ConnectError::Unreachable(_))), "{connected:?}");
}

#[tokio::test]
async fn a_request_that_says_nothing_valid_is_told_what_is_wrong() {
    let store = MemoryStore::new();
    let server = start(&store).await;
    let mut client = StoreClient::new(channel(&server).await);

    let status = client.change(quipu_wire::proto::ChangeRequest { change: None }).await;

    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status::details(&status).unwrap().code(), ErrorCode::MalformedRequest);
}

#[tokio::test]
async fn health_is_told_and_told_again_when_the_server_stops() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    const SERVING: i32 = 1;
    let server = start(&MemoryStore::new()).await;
    let mut client = HealthClient::new(channel(&server).await);
    let request = || HealthCheckRequest { service: String::new() };
    assert_eq!(client.check(request()).await.unwrap().into_inner().status, SERVING);
    let mut watched = client.watch(request()).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status, SERVING);

    let stopped = tokio::time::timeout(Duration::from_secs(8), server.stop());
    let (stopped, next) = tokio::join!(stopped, watched.message());

    assert!(stopped.is_ok(), "a watcher of health does not hold up the server");
    assert!(!matches!(next, Ok(Some(it)) if it.status == SERVING));
}

#[tokio::test]
async fn reflection_knows_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let server = start(&MemoryStore::new()).await;
    let mut client = ServerReflectionClient::new(channel(&server).await);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };

    let requests = tokio_stream::once(request);
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();

    let MessageResponse::ListServicesResponse(list) = answer else {
        panic!("a list was expected, got {answer:?}");
    };
    let names: Vec<String> = list.service.into_iter().map(|it| it.name).collect();
    assert!(names.contains(&"quipu.v1.Store".to_owned()), "{names:?}");
    assert!(names.contains(&"quipu.v1.Notes".to_owned()), "{names:?}");
}

#[tokio::test]
async fn subscriptions_are_counted_however_they_come_and_given_back_when_they_end() {
    let store = MemoryStore::new();
    let limits = Limits { subscription_count_max: 2, ..Limits::default() };
    let server = serve_with(&store, "127.0.0.1:0", limits).await;
    let mut calls = StoreClient::new(channel(&server).await);
    let request = || to_proto::subscribe(&everything(false));

    let first = calls.subscribe(request()).await.unwrap();
    let _second = calls.subscribe(request()).await.unwrap();
    let refused = calls.subscribe(request()).await.unwrap_err();

    assert_eq!(refused.code(), Code::ResourceExhausted);
    let error = status::details(&refused).unwrap();
    assert_eq!(error.code(), ErrorCode::TooManySubscriptions);
    assert!(error.retryable && error.size_max == 2, "{error:?}");
    drop(first);
    let begin = std::time::Instant::now();
    while calls.subscribe(request()).await.is_err() {
        assert!(begin.elapsed() < Duration::from_mins(1), "its place is given back");
    }
}
