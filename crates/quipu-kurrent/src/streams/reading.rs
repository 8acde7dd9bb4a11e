//! Bounded reads: of a stream, of the log.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_lite::stream;
use quipu_core::{
    Batches, Direction, EventBatch, Position, Query, ReadAll, ReadStream, Revision, StreamName,
    StreamState,
};
use tonic::Status;

use crate::caller::Caller;
use crate::convert::{IdForm, stream_identifier};
use crate::failure::Failure;
use crate::indexes::{self, Shape};
use crate::proto::event_store::client::streams::{ReadResp, read_resp};
use read_resp::Content;

use super::Answers;
use super::filter::Filter;
use super::links::{Links, read_event};
use super::request::{From, Place, ReadRequest};

/// How many events KurrentDB reads at a time: a stream's first place is told where the first of such
/// pages would have shown nothing.
const PAGE: u64 = 32;

pub(super) async fn begin(
    caller: Arc<dyn Caller>,
    read: ReadRequest,
    count: u64,
) -> Result<Answers<ReadResp>, Status> {
    let links = if read.links { Links::Resolved } else { Links::Kept };
    let pages = match read.from {
        From::Stream { ref stream, place } => {
            if let Some(index) = indexes::of_stream(&*caller, stream).await? {
                let from = match place {
                    Place::Start => Some(0),
                    Place::At(revision) => Some(revision.get()),
                    Place::End => None,
                };
                let shape = Shape { links, form: read.form, wants_places: read.wants_places };
                return indexes::read(caller, index, from, read.direction, count, shape).await;
            }
            of_stream(&caller, stream.clone(), place, &read, count).await?
        }
        From::All { place, filter } => {
            of_log(&caller, place, filter, read.direction, count).await?
        }
    };
    let Some(Source { batches, filter, head, tail, left }) = pages else {
        return Ok(Box::pin(stream::empty()));
    };
    let pages = Pages {
        caller,
        batches: Some(batches),
        batch: EventBatch::default(),
        next: 0,
        filter,
        links,
        form: read.form,
        ready: head,
        tail,
        left,
    };
    Ok(Box::pin(stream::unfold(Box::new(pages), |mut pages| async move {
        let answer = pages.next().await?;
        Some((answer, pages))
    })))
}

/// Where the events of a read come from.
struct Source {
    batches: Box<dyn Batches>,
    filter: Option<Filter>,
    /// What is sent before them.
    head: VecDeque<ReadResp>,
    /// What is sent behind them.
    tail: Option<Content>,
    /// How many more events are wanted.
    left: u64,
}

async fn of_stream(
    caller: &Arc<dyn Caller>,
    stream: StreamName,
    place: Place<Revision>,
    read: &ReadRequest,
    count: u64,
) -> Result<Option<Source>, Failure> {
    let from = match (place, read.direction) {
        (Place::Start, _) => Some(Revision::FIRST),
        (Place::At(revision), _) => Some(revision),
        // Behind the last event there is nothing yet.
        (Place::End, Direction::Forward) => Some(Revision::MAX),
        (Place::End, Direction::Backward) => None,
    };
    let asked = ReadStream {
        stream: stream.clone(),
        from,
        direction: read.direction,
        limit: Some(count),
        as_of: None,
    };
    let found = caller.store().read_stream(asked).await;
    let found = found.map_err(|error| Failure::of_read(&**caller, &error))?;
    let last = match found.state {
        StreamState::Absent | StreamState::Deleted { .. } => {
            let missing = Content::StreamNotFound(read_resp::StreamNotFound {
                stream_identifier: Some(stream_identifier(stream.as_str())),
            });
            let head = VecDeque::from([ReadResp { content: Some(missing) }]);
            let batches = found.batches;
            return Ok(Some(Source { batches, filter: None, head, tail: None, left: 0 }));
        }
        StreamState::Tombstoned { .. } => {
            return Err(Failure::StreamDeleted { stream: stream.to_string() });
        }
        StreamState::Live { last } => last,
    };
    let mut head = VecDeque::new();
    let mut batches = found.batches;
    if read.wants_places && read.direction == Direction::Forward {
        let (first, rest) = peek(&mut *batches, caller).await?;
        let asked = from.map_or(0, Revision::get);
        if let Some(first) = first.filter(|first| *first >= asked.saturating_add(PAGE.min(count))) {
            head.push_back(ReadResp { content: Some(Content::FirstStreamPosition(first)) });
        }
        batches = Box::new(Peeked { first: rest, rest: batches });
    }
    let tail = read.wants_places.then(|| Content::LastStreamPosition(last.get()));
    Ok(Some(Source { batches, filter: None, head, tail, left: count }))
}

/// The first batch of a read, and the revision that it begins with.
async fn peek(
    batches: &mut dyn Batches,
    caller: &Arc<dyn Caller>,
) -> Result<(Option<u64>, Option<EventBatch>), Failure> {
    let batch = batches.next().await.map_err(|error| Failure::of_read(&**caller, &error))?;
    let first = batch.as_ref().and_then(EventBatch::first).map(|event| event.revision().get());
    Ok((first, batch))
}

/// A read whose first batch was looked at.
struct Peeked {
    first: Option<EventBatch>,
    rest: Box<dyn Batches>,
}

impl Batches for Peeked {
    fn next(
        &mut self,
    ) -> quipu_core::BoxFuture<'_, Result<Option<EventBatch>, quipu_core::ReadError>> {
        match self.first.take() {
            Some(batch) => Box::pin(std::future::ready(Ok(Some(batch)))),
            None => self.rest.next(),
        }
    }
}

async fn of_log(
    caller: &Arc<dyn Caller>,
    place: Place<Position>,
    filter: Option<Filter>,
    direction: Direction,
    count: u64,
) -> Result<Option<Source>, Failure> {
    let from = match (place, direction) {
        (Place::Start, Direction::Forward) | (Place::End, Direction::Backward) => None,
        (Place::At(position), Direction::Forward) => Some(position),
        // Backward, a place is exclusive: what lies before it is wanted.
        (Place::At(position), Direction::Backward) if position > Position::FIRST => {
            Some(position.previous())
        }
        _ => return Ok(None),
    };
    // What the filter leaves out does not count.
    let limit = if filter.is_some() { None } else { Some(count) };
    let query = filter.as_ref().map_or_else(Query::all, Filter::query);
    let read = ReadAll { query, from, direction, limit, as_of: None };
    let found = caller.store().read_all(read).await;
    let found = found.map_err(|error| Failure::of_read(&**caller, &error))?;
    let head = VecDeque::new();
    Ok(Some(Source { batches: found.batches, filter, head, tail: None, left: count }))
}

/// A read under way.
struct Pages {
    caller: Arc<dyn Caller>,
    /// `None` once the read is over.
    batches: Option<Box<dyn Batches>>,
    batch: EventBatch,
    /// The next event of the batch.
    next: usize,
    filter: Option<Filter>,
    links: Links,
    form: IdForm,
    ready: VecDeque<ReadResp>,
    tail: Option<Content>,
    left: u64,
}

impl Pages {
    async fn next(&mut self) -> Option<Result<ReadResp, Status>> {
        if let Some(message) = self.ready.pop_front() {
            return Some(Ok(message));
        }
        match self.event().await {
            Ok(Some(event)) => Some(Ok(event)),
            Ok(None) => {
                self.batches = None;
                let content = self.tail.take()?;
                Some(Ok(ReadResp { content: Some(content) }))
            }
            Err(failure) => {
                self.batches = None;
                self.tail = None;
                Some(Err(failure.into()))
            }
        }
    }

    async fn event(&mut self) -> Result<Option<ReadResp>, Failure> {
        while self.left > 0 {
            let Some(event) = self.batch.get(self.next) else {
                let Some(batches) = &mut self.batches else { return Ok(None) };
                let batch = batches.next().await;
                let batch = batch.map_err(|error| Failure::of_read(&*self.caller, &error))?;
                let Some(batch) = batch else { return Ok(None) };
                (self.batch, self.next) = (batch, 0);
                continue;
            };
            self.next += 1;
            let shows = self.filter.as_ref().map_or(Ok(true), |filter| filter.shows(event));
            if !shows? {
                continue;
            }
            self.left -= 1;
            let event = read_event(&*self.caller, event, self.links, self.form).await?;
            return Ok(Some(ReadResp { content: Some(Content::Event(event)) }));
        }
        Ok(None)
    }
}
