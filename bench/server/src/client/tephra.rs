//! tephra by frames on a connection, which may have many requests under way. It has no streams of
//! events, so a stream is one more tag, and no ids.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::proto::tephra::request::Kind as Ask;
use super::proto::tephra::response::Kind as Told;
use super::proto::tephra::{
    AppendCondition, AppendRequest, Event, Hello, Query, QueryItem, ReadEvents, ReadRequest,
    Request, Response, StatsRequest, SubscribeRequest,
};
use super::{Answer, Client, Follower, Read, Result, Source, Tally};
use crate::workload::{self, Batch, Condition};

/// The version of the protocol.
const VERSION: u32 = 1;

/// A connection of its own to the server.
pub(crate) struct Tephra {
    receiving: BufReader<OwnedReadHalf>,
    sending: OwnedWriteHalf,
    /// Frames that are not sent yet.
    frames: BytesMut,
    request_id: u64,
}

impl Tephra {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (receiving, sending) = stream.into_split();
        let receiving = BufReader::with_capacity(256 << 10, receiving);
        let mut new = Self { receiving, sending, frames: BytesMut::new(), request_id: 0 };
        match new.ask(Ask::Hello(Hello { protocol_version: VERSION })).await? {
            Told::HelloAck(_) => Ok(new),
            other => Err(unexpected(other)),
        }
    }

    /// Puts a request behind those that are to be sent.
    fn put(&mut self, kind: Ask) -> Result<()> {
        self.request_id += 1;
        let request = Request { request_id: self.request_id, kind: Some(kind) };
        self.frames.put_u32(u32::try_from(request.encoded_len())?);
        request.encode(&mut self.frames)?;
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        self.sending.write_all(&self.frames).await?;
        self.frames.clear();
        Ok(())
    }

    async fn receive(&mut self) -> Result<Told> {
        let size = self.receiving.read_u32().await?;
        let mut body = vec![0; size as usize];
        self.receiving.read_exact(&mut body).await?;
        let response = Response::decode(Bytes::from(body))?;
        Ok(response.kind.ok_or("an answer of a kind that is not known")?)
    }

    async fn ask(&mut self, kind: Ask) -> Result<Told> {
        self.put(kind)?;
        self.send().await?;
        self.receive().await
    }

    /// Whether a whole answer has come already.
    fn has_received(&self) -> bool {
        let mut buffer = self.receiving.buffer();
        buffer.len() >= 4 && buffer.get_u32() as usize <= buffer.len()
    }
}

impl Client for Tephra {
    fn append(&mut self, batch: Batch) -> Answer<'_, u64> {
        Box::pin(async move {
            match self.ask(Ask::Append(request(batch))).await? {
                Told::Append(range) => Ok(range.last),
                other => Err(unexpected(other)),
            }
        })
    }

    fn append_all<'a>(
        &'a mut self,
        source: &'a mut dyn Source,
        under_way_max: usize,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut under_way = 0;
            loop {
                while under_way < under_way_max
                    && let Some(batch) = source.next()
                {
                    self.put(Ask::Append(request(batch)))?;
                    under_way += 1;
                }
                if under_way == 0 {
                    return Ok(());
                }
                self.send().await?;
                // All answers that came together are seen to before more is sent.
                loop {
                    match self.receive().await? {
                        Told::Append(_) => source.done(),
                        other => return Err(unexpected(other)),
                    }
                    under_way -= 1;
                    if !self.has_received() {
                        break;
                    }
                }
            }
        })
    }

    fn last(&mut self) -> Answer<'_, u64> {
        Box::pin(async move {
            match self.ask(Ask::Stats(StatsRequest {})).await? {
                // Positions have no gaps.
                Told::Stats(stats) => Ok(stats.event_count),
                other => Err(unexpected(other)),
            }
        })
    }

    fn read<'a>(&'a mut self, what: Read<'a>) -> Answer<'a, Tally> {
        Box::pin(async move {
            let (query, limit) = match what {
                Read::First(count) => (all(), Some(count as u64)),
                Read::Tag(tag) => (tagged(tag.to_owned()), None),
            };
            self.put(Ask::Read(ReadRequest { query: Some(query), after: 0, limit }))?;
            self.send().await?;
            let mut tally = Tally::default();
            loop {
                match self.receive().await? {
                    Told::ReadEvents(page) => add(&mut tally, &page),
                    Told::ReadEnd(_) => return Ok(tally),
                    other => return Err(unexpected(other)),
                }
            }
        })
    }

    fn follow(mut self: Box<Self>) -> Answer<'static, Box<dyn Follower>> {
        Box::pin(async move {
            let after = self.last().await?;
            match self.ask(Ask::Subscribe(SubscribeRequest { query: Some(all()), after })).await? {
                Told::CaughtUp(_) => Ok(self as Box<dyn Follower>),
                other => Err(unexpected(other)),
            }
        })
    }
}

impl Follower for Tephra {
    fn next(&mut self) -> Answer<'_, usize> {
        Box::pin(async move {
            loop {
                match self.receive().await? {
                    Told::ReadEvents(page) => return Ok(page.events.len()),
                    Told::CaughtUp(_) => {}
                    other => return Err(unexpected(other)),
                }
            }
        })
    }
}

fn add(tally: &mut Tally, page: &ReadEvents) {
    for event in &page.events {
        tally.add(event.event.as_ref().map_or(&[], |event| &event.payload));
    }
}

fn unexpected(answer: Told) -> super::Error {
    match answer {
        Told::Error(error) => error.message.into(),
        other => format!("not the answer to this: {other:?}").into(),
    }
}

fn request(batch: Batch) -> AppendRequest {
    let condition = batch.condition.map(|condition| match condition {
        // The whole log.
        Condition::Tag(tag) => {
            AppendCondition { fail_if_events_match: Some(tagged(tag)), after: 0 }
        }
        Condition::Type { name, after } => {
            let item = QueryItem { types: vec![name.to_owned()], tags: Vec::new() };
            let query = Query { all: false, items: vec![item] };
            AppendCondition { fail_if_events_match: Some(query), after }
        }
    });
    let stream = batch.stream;
    let events = batch.events.into_iter().map(|it| event(it, &stream)).collect();
    AppendRequest { events, condition }
}

fn event(event: workload::Event, stream: &str) -> Event {
    let [a, b, c] = event.tags.map(String::from);
    Event {
        r#type: event.event_type.to_owned(),
        tags: vec![a, b, c, stream.to_owned()],
        payload: event.data,
    }
}

fn all() -> Query {
    Query { all: true, items: Vec::new() }
}

fn tagged(tag: String) -> Query {
    Query { all: false, items: vec![QueryItem { types: Vec::new(), tags: vec![tag] }] }
}
