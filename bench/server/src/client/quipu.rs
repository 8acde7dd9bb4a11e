//! Quipu by its own protocol: unary calls, and the call with many appends under way.

use std::net::SocketAddr;

use bytes::Bytes;
use quipu_wire::from_proto;
use quipu_wire::proto::append_stream_response::Outcome;
use quipu_wire::proto::change::Change as Message;
use quipu_wire::proto::read_all_response::Part;
use quipu_wire::proto::store_client::StoreClient;
use quipu_wire::proto::subscribe_request::{From, To};
use quipu_wire::proto::subscribe_response::Delivery;
use quipu_wire::proto::{
    self, AppendStreamRequest, ChangeRequest, FrontierRequest, Query, QueryItem, ReadAllRequest,
    SubscribeRequest, SubscribeResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::{Answer, Client, Follower, Read, Result, Source, Tally, channel};
use crate::workload::{Batch, Condition, Event};

/// A connection of its own to the server.
pub(crate) struct Quipu {
    store: StoreClient<Channel>,
}

impl Quipu {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        // As `quipu_wire::Client` has them.
        let channel = channel(address, [512 << 10, 64 << 20]).await?;
        Ok(Self { store: StoreClient::new(channel).max_decoding_message_size(96 << 20) })
    }

    /// Follows one stream from its beginning; it need not exist yet.
    pub(crate) async fn follow_stream(&mut self, stream: String) -> Result<Box<dyn Follower>> {
        self.subscribe(To::Stream(stream), None).await
    }

    async fn subscribe(&mut self, to: To, from: Option<From>) -> Result<Box<dyn Follower>> {
        let request = SubscribeRequest { to: Some(to), from };
        let mut deliveries = self.store.subscribe(request).await?.into_inner();
        // The first one says that it has begun.
        deliveries.message().await?;
        Ok(Box::new(Following { deliveries }))
    }
}

impl Client for Quipu {
    fn append(&mut self, batch: Batch) -> Answer<'_, u64> {
        Box::pin(async move {
            let request = ChangeRequest { change: Some(change(batch)) };
            let answer = self.store.change(request).await?.into_inner();
            let last = answer.appended.and_then(|appended| appended.last);
            Ok(last.ok_or("no place was answered")?)
        })
    }

    fn append_all<'a>(
        &'a mut self,
        source: &'a mut dyn Source,
        under_way_max: usize,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let (requests, waiting) = mpsc::channel(under_way_max);
            let request = |batch| AppendStreamRequest { number: 0, change: Some(change(batch)) };
            let mut under_way = 0;
            while under_way < under_way_max
                && let Some(batch) = source.next()
            {
                requests.send(request(batch)).await?;
                under_way += 1;
            }
            let answers = self.store.append_stream(ReceiverStream::new(waiting)).await?;
            let mut answers = answers.into_inner();
            while under_way > 0 {
                let answer = answers.message().await?.ok_or("the server ended the call")?;
                match answer.outcome.ok_or("an answer without an outcome")? {
                    Outcome::Appended(_) => source.done(),
                    Outcome::Error(error) => return Err(error.message.into()),
                }
                under_way -= 1;
                if let Some(batch) = source.next() {
                    requests.send(request(batch)).await?;
                    under_way += 1;
                }
            }
            Ok(())
        })
    }

    fn last(&mut self) -> Answer<'_, u64> {
        Box::pin(
            async move { Ok(self.store.frontier(FrontierRequest {}).await?.into_inner().position) },
        )
    }

    fn read<'a>(&'a mut self, what: Read<'a>) -> Answer<'a, Tally> {
        Box::pin(async move {
            let (item, limit) = match what {
                Read::First(count) => (QueryItem::default(), Some(count as u64)),
                Read::Tag(tag) => (tagged(tag.to_owned()), None),
            };
            let query = Some(Query { items: vec![item] });
            let request = ReadAllRequest {
                query,
                limit,
                direction: proto::Direction::Forward.into(),
                ..Default::default()
            };
            let mut parts = self.store.read_all(request).await?.into_inner();
            let mut tally = Tally::default();
            while let Some(part) = parts.message().await? {
                if let Some(Part::Events(events)) = part.part {
                    let events = from_proto::events(events)?;
                    events.iter().for_each(|event| tally.add(event.data_bytes()));
                }
            }
            Ok(tally)
        })
    }

    fn follow(mut self: Box<Self>) -> Answer<'static, Box<dyn Follower>> {
        Box::pin(async move {
            let all = Query { items: vec![QueryItem::default()] };
            self.subscribe(To::Query(all), Some(From::End(true))).await
        })
    }
}

struct Following {
    deliveries: Streaming<SubscribeResponse>,
}

impl Follower for Following {
    fn next(&mut self) -> Answer<'_, usize> {
        Box::pin(async move {
            loop {
                let delivery = self.deliveries.message().await?.ok_or("the server ended it")?;
                if let Some(Delivery::Events(events)) = delivery.delivery {
                    return Ok(from_proto::events(events)?.count());
                }
            }
        })
    }
}

fn change(batch: Batch) -> proto::Change {
    let conditions = batch.condition.into_iter().map(condition).collect();
    let mut events: Vec<_> = batch.events.into_iter().map(event).collect();
    // Those behind the first are in the same stream.
    events[0].stream = batch.stream;
    let append = proto::Append { events, conditions, ..Default::default() };
    proto::Change { change: Some(Message::Append(append)) }
}

fn event(event: Event) -> proto::NewEvent {
    proto::NewEvent {
        id: Bytes::copy_from_slice(&event.id),
        r#type: event.event_type.to_owned(),
        tags: event.tags.map(String::from).into(),
        data: event.data,
        ..Default::default()
    }
}

fn condition(condition: Condition) -> proto::Condition {
    let (item, after) = match condition {
        Condition::Tag(tag) => (tagged(tag), None),
        Condition::Type { name, after } => {
            (QueryItem { types: vec![name.to_owned()], ..Default::default() }, Some(after))
        }
    };
    proto::Condition { query: Some(Query { items: vec![item] }), after }
}

fn tagged(tag: String) -> QueryItem {
    QueryItem { tags: vec![tag], ..Default::default() }
}
