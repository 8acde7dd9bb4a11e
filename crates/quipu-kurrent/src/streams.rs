//! The service `Streams`.

mod appending;
mod batch;
mod deleting;
mod filter;
mod links;
mod reading;
mod request;
mod subscribing;

use std::pin::Pin;

use futures_lite::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::caller_of;
use crate::proto::event_store::client::streams as wire;
use request::{Count, ReadRequest};
use wire::streams_server::Streams;

pub use filter::{Filter, FilterError};
pub use links::{Links, Shown, read_event};
pub(crate) use links::{find_in, target};
pub(crate) use subscribing::confirmation;

/// The answers to a call that come one after the other. The next one is made when the transport has
/// taken the last.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(crate) struct Handler;

#[tonic::async_trait]
impl Streams for Handler {
    type ReadStream = Answers<wire::ReadResp>;

    async fn read(
        &self,
        request: Request<wire::ReadReq>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let caller = caller_of(&request)?;
        let read = ReadRequest::from_proto(request.into_inner())?;
        let answers = match read.count {
            Count::AtMost(count) => reading::begin(caller, read, count).await?,
            Count::Subscription => subscribing::begin(caller, read).await?,
        };
        Ok(Response::new(answers))
    }

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendReq>>,
    ) -> Result<Response<wire::AppendResp>, Status> {
        let caller = caller_of(&request)?;
        let answer = appending::append(&*caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteReq>,
    ) -> Result<Response<wire::DeleteResp>, Status> {
        let caller = caller_of(&request)?;
        let position = deleting::delete(&*caller, request.into_inner()).await?;
        Ok(Response::new(wire::DeleteResp {
            position_option: Some(wire::delete_resp::PositionOption::Position(position)),
        }))
    }

    async fn tombstone(
        &self,
        request: Request<wire::TombstoneReq>,
    ) -> Result<Response<wire::TombstoneResp>, Status> {
        let caller = caller_of(&request)?;
        let position = deleting::tombstone(&*caller, request.into_inner()).await?;
        Ok(Response::new(wire::TombstoneResp {
            position_option: Some(wire::tombstone_resp::PositionOption::Position(position)),
        }))
    }

    type BatchAppendStream = Answers<wire::BatchAppendResp>;

    async fn batch_append(
        &self,
        request: Request<Streaming<wire::BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let caller = caller_of(&request)?;
        Ok(Response::new(batch::answers(caller, request.into_inner())))
    }
}
