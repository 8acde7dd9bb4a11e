//! UmaDB by gRPC. It has no streams of events, so a stream is one more tag, and no call with many
//! appends under way: where many are, they are as many calls on one connection.

use std::net::SocketAddr;

use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::Channel;
use uuid::Uuid;

use super::proto::umadb::dcb_client::DcbClient;
use super::proto::umadb::{
    AppendCondition, AppendRequest, Event, HeadRequest, Query, QueryItem, ReadRequest,
    SequencedEvent, SubscribeRequest, SubscribeResponse,
};
use super::{Answer, Client, Follower, Read, Result, Source, Tally, channel};
use crate::workload::{self, Batch, Condition};

/// A connection of its own to the server.
pub(crate) struct UmaDb {
    store: DcbClient<Channel>,
}

impl UmaDb {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        // As its own client has them.
        Ok(Self { store: DcbClient::new(channel(address, [4 << 20, 8 << 20]).await?) })
    }
}

impl Client for UmaDb {
    fn append(&mut self, batch: Batch) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.store.append(request(batch)).await?.into_inner().position) })
    }

    fn append_all<'a>(
        &'a mut self,
        source: &'a mut dyn Source,
        under_way_max: usize,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut under_way = JoinSet::new();
            loop {
                while under_way.len() < under_way_max
                    && let Some(batch) = source.next()
                {
                    let mut store = self.store.clone();
                    under_way.spawn(async move { store.append(request(batch)).await });
                }
                let Some(answer) = under_way.join_next().await else { return Ok(()) };
                answer??;
                source.done();
            }
        })
    }

    fn last(&mut self) -> Answer<'_, u64> {
        Box::pin(async move {
            Ok(self.store.head(HeadRequest {}).await?.into_inner().position.unwrap_or(0))
        })
    }

    fn read<'a>(&'a mut self, what: Read<'a>) -> Answer<'a, Tally> {
        Box::pin(async move {
            let request = match what {
                Read::First(count) => ReadRequest { query: None, limit: Some(count as u32) },
                Read::Tag(tag) => ReadRequest { query: Some(tagged(tag.to_owned())), limit: None },
            };
            let mut pages = self.store.read(request).await?.into_inner();
            let mut tally = Tally::default();
            while let Some(page) = pages.message().await? {
                page.events.iter().for_each(|event| tally.add(data(event)));
            }
            Ok(tally)
        })
    }

    fn follow(mut self: Box<Self>) -> Answer<'static, Box<dyn Follower>> {
        Box::pin(async move {
            let after = Some(self.last().await?);
            let pages = self.store.subscribe(SubscribeRequest { after }).await?.into_inner();
            Ok(Box::new(Following { pages }) as Box<dyn Follower>)
        })
    }
}

struct Following {
    pages: Streaming<SubscribeResponse>,
}

impl Follower for Following {
    fn next(&mut self) -> Answer<'_, usize> {
        Box::pin(async move {
            let page = self.pages.message().await?.ok_or("the server ended it")?;
            Ok(page.events.len())
        })
    }
}

fn data(event: &SequencedEvent) -> &[u8] {
    event.event.as_ref().map_or(&[], |event| &event.data)
}

fn request(batch: Batch) -> AppendRequest {
    let condition = batch.condition.map(|condition| match condition {
        Condition::Tag(tag) => {
            AppendCondition { fail_if_events_match: Some(tagged(tag)), after: None }
        }
        Condition::Type { name, after } => {
            let item = QueryItem { types: vec![name.to_owned()], tags: Vec::new() };
            let query = Query { items: vec![item] };
            AppendCondition { fail_if_events_match: Some(query), after: Some(after) }
        }
    });
    let stream = batch.stream;
    let events = batch.events.into_iter().map(|it| event(it, &stream)).collect();
    AppendRequest { events, condition }
}

fn event(event: workload::Event, stream: &str) -> Event {
    let [a, b, c] = event.tags.map(String::from);
    Event {
        event_type: event.event_type.to_owned(),
        tags: vec![a, b, c, stream.to_owned()],
        data: event.data,
        uuid: Uuid::from_bytes(event.id).to_string(),
    }
}

fn tagged(tag: String) -> Query {
    Query { items: vec![QueryItem { types: Vec::new(), tags: vec![tag] }] }
}
