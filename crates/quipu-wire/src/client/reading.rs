//! Reads on their way from the server.

use quipu_core::{Batches, BoxFuture, EventBatch, ReadError, StorageError};
use tonic::Streaming;

use super::not_valid;
use crate::from_proto::{self, Malformed};
use crate::proto;
use crate::status::from_status;

pub(super) fn malformed(error: Malformed) -> ReadError {
    ReadError::Storage(not_valid(error))
}

pub(super) fn broken(what: &'static str) -> ReadError {
    ReadError::Storage(StorageError::new(what))
}

/// The first message of a read.
pub(super) async fn head<M>(messages: &mut Streaming<M>) -> Result<M, ReadError> {
    let first = messages.message().await.map_err(from_status)?;
    first.ok_or_else(|| broken("the server ended the read before it began"))
}

/// The batches of a read: one a message.
pub(super) struct RemoteBatches<M> {
    messages: Streaming<M>,
    events_of: fn(M) -> Option<proto::Events>,
}

impl<M> RemoteBatches<M> {
    pub(super) fn new(messages: Streaming<M>, events_of: fn(M) -> Option<proto::Events>) -> Self {
        Self { messages, events_of }
    }
}

impl<M: Send + 'static> Batches for RemoteBatches<M> {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EventBatch>, ReadError>> {
        Box::pin(async move {
            while let Some(message) = self.messages.message().await.map_err(from_status)? {
                let events = (self.events_of)(message)
                    .ok_or_else(|| broken("the server sent something else than events"))?;
                let batch = from_proto::events(events).map_err(malformed)?;
                if !batch.is_empty() {
                    return Ok(Some(batch));
                }
            }
            Ok(None)
        })
    }
}
