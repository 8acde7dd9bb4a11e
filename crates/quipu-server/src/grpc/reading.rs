//! Reads: the head first, then a message a page. A page is made when the transport has taken the
//! one before.

use std::collections::VecDeque;

use futures_lite::stream;
use quipu_core::{Batches, IndexRead, LogRead, StreamRead};
use quipu_wire::proto::{
    self, ReadAllResponse, ReadIndexResponse, ReadStreamResponse, read_all_response,
    read_index_response, read_stream_response,
};
use quipu_wire::to_proto;
use tonic::Status;

use super::answering::{Answers, check, failed};
use crate::security::Access;

/// A read under way.
struct Pages<M> {
    access: Access,
    /// What is to be sent before more is read: the head, or the pages of one batch.
    ready: VecDeque<M>,
    /// `None` once the read is over.
    batches: Option<Box<dyn Batches>>,
    wrap: fn(proto::Events) -> M,
}

impl<M> Pages<M> {
    async fn next(&mut self) -> Option<Result<M, Status>> {
        if let Err(status) = check(&self.access) {
            self.ready.clear();
            return self.batches.take().map(|_| Err(status));
        }
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(Ok(message));
            }
            match self.batches.as_mut()?.next().await {
                Ok(Some(batch)) => {
                    let size_max = self.access.service().limits().page_size_max;
                    self.ready.extend(to_proto::events(&batch, size_max).map(self.wrap));
                }
                Ok(None) => self.batches = None,
                Err(error) => {
                    self.batches = None;
                    return Some(Err(failed(error)));
                }
            }
        }
    }
}

fn pages<M: Send + 'static>(
    access: Access,
    head: M,
    batches: Box<dyn Batches>,
    wrap: fn(proto::Events) -> M,
) -> Answers<M> {
    let pages = Pages { access, ready: VecDeque::from([head]), batches: Some(batches), wrap };
    Box::pin(stream::unfold(pages, |mut pages| async move {
        let message = pages.next().await?;
        Some((message, pages))
    }))
}

/// The messages of a read of one stream.
pub(super) fn of_stream(access: Access, read: StreamRead) -> Answers<ReadStreamResponse> {
    use read_stream_response::Part;
    let state = Part::State(to_proto::stream_state(read.state));
    let head = ReadStreamResponse { part: Some(state) };
    pages(access, head, read.batches, |events| ReadStreamResponse {
        part: Some(Part::Events(events)),
    })
}

/// The messages of a read of the log.
pub(super) fn of_log(access: Access, read: LogRead) -> Answers<ReadAllResponse> {
    use read_all_response::Part;
    let head = ReadAllResponse { part: Some(Part::Frontier(read.frontier.get())) };
    pages(access, head, read.batches, |events| ReadAllResponse { part: Some(Part::Events(events)) })
}

/// The messages of a read of one term. The read is whole in memory already.
pub(super) fn of_index(access: &Access, read: &IndexRead) -> Answers<ReadIndexResponse> {
    use read_index_response::Part;
    let head = Part::Head(to_proto::index_head(read));
    let size_max = access.service().limits().page_size_max;
    let entries = to_proto::index_entries(read, size_max).map(Part::Entries);
    let parts: Vec<Part> = std::iter::once(head).chain(entries).collect();
    let messages = parts.into_iter().map(|part| Ok(ReadIndexResponse { part: Some(part) }));
    Box::pin(stream::iter(messages))
}
