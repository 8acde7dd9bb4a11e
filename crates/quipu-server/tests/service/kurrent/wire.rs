//! A client that says anything, and the requests that most tests make.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use quipu_core::{Append, EventStore, ExpectedRevision, MemoryStore, NewEvent, StreamName};
use quipu_kurrent::proto::event_store::client as shared;
use quipu_kurrent::proto::event_store::client::{persistent_subscriptions as groups, streams};
use quipu_server::config::Limits;
use quipu_server::server::Server;
use quipu_server::service::Service;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use uuid::Uuid;

pub(super) const STREAMS: &str = "/event_store.client.streams.Streams/";
pub(super) const GROUPS: &str =
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/";

/// How long anything may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// An open server over a store in memory, and a connection to it.
pub(super) struct World {
    server: Server,
    pub(super) store: MemoryStore,
    channel: Channel,
}

impl World {
    pub(super) async fn open() -> Self {
        let store = MemoryStore::new();
        let (own, system) = (Arc::new(store.clone()), Arc::new(store.system()));
        let service = Service::new(own, system, Limits::default());
        let server = Server::start(service, "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let uri = format!("http://{}", server.address());
        let channel = Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
        Self { server, store, channel }
    }

    async fn grpc(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        grpc
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// One request, one answer.
    pub(super) async fn ask<A, B>(&self, path: &str, request: A) -> Result<B, Status>
    where
        A: Message + 'static,
        B: Message + Default + 'static,
    {
        let codec = ProstCodec::<A, B>::default();
        let mut grpc = self.grpc().await;
        let asked = grpc.unary(Request::new(request), path_of(path), codec);
        Ok(timeout(PATIENCE, asked).await.expect("an answer comes")?.into_inner())
    }

    /// Some requests, and the answers as they come.
    pub(super) async fn talk<A, B>(
        &self,
        path: &str,
        requests: mpsc::Receiver<A>,
    ) -> Result<Streaming<B>, Status>
    where
        A: Message + 'static,
        B: Message + Default + 'static,
    {
        let codec = ProstCodec::<A, B>::default();
        let requests = Request::new(ReceiverStream::new(requests));
        let mut grpc = self.grpc().await;
        let asked = grpc.streaming(requests, path_of(path), codec);
        Ok(timeout(PATIENCE, asked).await.expect("an answer comes")?.into_inner())
    }

    /// Requests that are all there, and all answers up to the end or a failure.
    pub(super) async fn say<A, B>(&self, path: &str, requests: Vec<A>) -> Result<Vec<B>, Status>
    where
        A: Message + 'static,
        B: Message + Default + 'static,
    {
        let (tell, told) = mpsc::channel(requests.len().max(1));
        for request in requests {
            tell.try_send(request).unwrap();
        }
        drop(tell);
        let mut answers = self.talk(path, told).await?;
        let mut all = Vec::new();
        while let Some(answer) = next(&mut answers).await? {
            all.push(answer);
        }
        Ok(all)
    }

    pub(super) async fn read(
        &self,
        options: streams::read_req::Options,
    ) -> Result<Vec<streams::ReadResp>, Status> {
        let request = streams::ReadReq { options: Some(options) };
        self.say(&format!("{STREAMS}Read"), vec![request]).await
    }

    /// An append of one event over the wire.
    pub(super) async fn propose(
        &self,
        stream: &str,
        message: streams::ProposedMessage,
    ) -> Result<Vec<streams::AppendResp>, Status> {
        use streams::append_req::Content;
        let contents =
            [Content::Options(expecting(stream, None)), Content::ProposedMessage(message)];
        let requests = contents.map(|own| streams::AppendReq { content: Some(own) });
        self.say(&format!("{STREAMS}Append"), requests.to_vec()).await
    }

    pub(super) async fn append(&self, stream: &str, count: usize) {
        let events = (0..count).map(|_| NewEvent::json("Made", "{}").unwrap());
        let append = Append::to_stream(name(stream), ExpectedRevision::Any, events);
        self.store.append(append).await.unwrap();
    }

    pub(super) async fn tombstone(&self, stream: &str) {
        self.store.tombstone(name(stream), ExpectedRevision::Any).await.unwrap();
    }

    pub(super) async fn create(
        &self,
        stream: &str,
        change: impl FnOnce(&mut groups::create_req::Settings),
    ) -> Result<groups::CreateResp, Status> {
        let mut settings = groups::create_req::Settings {
            max_retry_count: 10,
            min_checkpoint_count: 10,
            max_checkpoint_count: 1_000,
            live_buffer_size: 500,
            read_batch_size: 20,
            history_buffer_size: 500,
            consumer_strategy: "RoundRobin".to_owned(),
            ..groups::create_req::Settings::default()
        };
        change(&mut settings);
        let own = shared::StreamOptions {
            stream_identifier: Some(identifier(stream)),
            revision_option: Some(shared::stream_options::RevisionOption::Start(())),
        };
        let options = groups::create_req::Options {
            stream_option: Some(groups::create_req::options::StreamOption::Stream(own)),
            group_name: "g".to_owned(),
            settings: Some(settings),
            ..groups::create_req::Options::default()
        };
        let request = groups::CreateReq { options: Some(options) };
        self.ask(&format!("{GROUPS}Create"), request).await
    }

    pub(super) async fn info(&self, stream: &str) -> Result<groups::SubscriptionInfo, Status> {
        let options = groups::get_info_req::Options {
            group_name: "g".to_owned(),
            stream_option: Some(groups::get_info_req::options::StreamOption::StreamIdentifier(
                identifier(stream),
            )),
        };
        let request = groups::GetInfoReq { options: Some(options) };
        let answer: groups::GetInfoResp = self.ask(&format!("{GROUPS}GetInfo"), request).await?;
        Ok(answer.subscription_info.unwrap())
    }

    pub(super) async fn replay(
        &self,
        stream: &str,
        until: Option<i64>,
    ) -> Result<groups::ReplayParkedResp, Status> {
        use groups::replay_parked_req::options::{StopAtOption, StreamOption};
        let options = groups::replay_parked_req::Options {
            group_name: "g".to_owned(),
            stream_option: Some(StreamOption::StreamIdentifier(identifier(stream))),
            stop_at_option: Some(until.map_or(StopAtOption::NoLimit(()), StopAtOption::StopAt)),
        };
        let request = groups::ReplayParkedReq { options: Some(options) };
        self.ask(&format!("{GROUPS}ReplayParked"), request).await
    }

    pub(super) async fn join(&self, stream: &str, size: i32) -> Result<Consumer, Status> {
        let (words, said) = mpsc::channel(100);
        let options = groups::read_req::Options {
            stream_option: Some(groups::read_req::options::StreamOption::StreamIdentifier(
                identifier(stream),
            )),
            group_name: "g".to_owned(),
            buffer_size: size,
            uuid_option: Some(structured()),
        };
        let content = Some(groups::read_req::Content::Options(options));
        words.try_send(groups::ReadReq { content }).unwrap();
        let answers = self.talk(&format!("{GROUPS}Read"), said).await?;
        Ok(Consumer { words, answers })
    }
}

/// A consumer of a persistent subscription.
pub(super) struct Consumer {
    words: mpsc::Sender<groups::ReadReq>,
    answers: Streaming<groups::ReadResp>,
}

impl Consumer {
    /// The next event, and how often it was tried before.
    pub(super) async fn event(&mut self) -> Result<(shared::RecordedEvent, i32), Status> {
        use groups::read_resp::{Content, read_event::Count};
        loop {
            let answer = next(&mut self.answers).await?.expect("more comes");
            if let Some(Content::Event(event)) = answer.content {
                let Some(Count::RetryCount(count)) = event.count else { panic!("{event:?}") };
                return Ok((event.event.unwrap(), count));
            }
        }
    }

    pub(super) async fn ack(&self, ids: Vec<shared::Uuid>) {
        let ack = groups::read_req::Ack { ids, ..groups::read_req::Ack::default() };
        self.say(groups::read_req::Content::Ack(ack)).await;
    }

    pub(super) async fn nack(&self, ids: Vec<shared::Uuid>, reason: &str) {
        use groups::read_req::{Nack, nack::Action};
        let (action, reason) = (Action::Park.into(), reason.to_owned());
        let nack = Nack { ids, action, reason, ..Nack::default() };
        self.say(groups::read_req::Content::Nack(nack)).await;
    }

    async fn say(&self, content: groups::read_req::Content) {
        self.words.send(groups::ReadReq { content: Some(content) }).await.unwrap();
    }
}

fn path_of(path: &str) -> PathAndQuery {
    path.parse().unwrap()
}

async fn next<B>(answers: &mut Streaming<B>) -> Result<Option<B>, Status> {
    timeout(PATIENCE, answers.message()).await.expect("an answer comes")
}

pub(super) fn name(stream: &str) -> StreamName {
    StreamName::new(stream).unwrap()
}

pub(super) fn identifier(stream: &str) -> shared::StreamIdentifier {
    shared::StreamIdentifier { stream_name: Bytes::copy_from_slice(stream.as_bytes()) }
}

fn structured() -> shared::UuidOption {
    shared::UuidOption { content: Some(shared::uuid_option::Content::Structured(())) }
}

pub(super) fn id() -> shared::Uuid {
    let value = shared::uuid::Value::String(Uuid::new_v4().to_string());
    shared::Uuid { value: Some(value) }
}

/// What is expected of a stream: any state, or this revision.
pub(super) fn expecting(stream: &str, revision: Option<u64>) -> streams::StreamExpectation {
    use streams::stream_expectation::ExpectedStreamRevision as Expected;
    let expected = revision.map_or(Expected::Any(()), Expected::Revision);
    streams::StreamExpectation {
        stream_identifier: Some(identifier(stream)),
        expected_stream_revision: Some(expected),
    }
}

pub(super) fn proposed(metadata: &[(&str, &str)], data: Vec<u8>) -> streams::ProposedMessage {
    let property = |(key, value): &(&str, &str)| shared::Property {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    streams::ProposedMessage {
        id: Some(id()),
        metadata: metadata.iter().map(property).collect(),
        custom_metadata: Bytes::new(),
        data: data.into(),
    }
}

/// A read of a stream from its start.
pub(super) fn of_stream(stream: &str) -> streams::read_req::Options {
    use streams::read_req::options::{CountOption, FilterOption, StreamOption};
    let own = shared::StreamOptions {
        stream_identifier: Some(identifier(stream)),
        revision_option: Some(shared::stream_options::RevisionOption::Start(())),
    };
    streams::read_req::Options {
        stream_option: Some(StreamOption::Stream(own)),
        count_option: Some(CountOption::Count(100)),
        filter_option: Some(FilterOption::NoFilter(())),
        uuid_option: Some(structured()),
        ..streams::read_req::Options::default()
    }
}

/// A read of the log from its start, with a filter by the streams' names.
pub(super) fn of_all(regex: &str, prefixes: &[&str]) -> streams::read_req::Options {
    use shared::filter_options::{Expression, Filter, Window};
    use streams::read_req::options::{AllOptions, FilterOption, StreamOption, all_options};
    let prefix = prefixes.iter().map(ToString::to_string).collect();
    let filter = shared::FilterOptions {
        filter: Some(Filter::StreamIdentifier(Expression { regex: regex.to_owned(), prefix })),
        window: Some(Window::Max(32)),
        checkpoint_interval_multiplier: 1,
    };
    let all = AllOptions { all_option: Some(all_options::AllOption::Start(())) };
    streams::read_req::Options {
        stream_option: Some(StreamOption::All(all)),
        filter_option: Some(FilterOption::Filter(filter)),
        ..of_stream("any")
    }
}
