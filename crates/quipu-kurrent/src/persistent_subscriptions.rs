//! Persistent subscriptions: groups whose place the server keeps.

use std::pin::Pin;

use futures_lite::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::failure::Failure;
use crate::proto::event_store::client::persistent_subscriptions as wire;
use wire::persistent_subscriptions_server::PersistentSubscriptions;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(crate) struct Handler;

fn not_here<T>() -> Result<T, Status> {
    let reason = "persistent subscriptions are not served here: subscribe with a checkpoint of \
                  your own instead";
    Err(Failure::Unsupported { reason }.into())
}

#[tonic::async_trait]
impl PersistentSubscriptions for Handler {
    async fn create(
        &self,
        _: Request<wire::CreateReq>,
    ) -> Result<Response<wire::CreateResp>, Status> {
        not_here()
    }

    async fn update(
        &self,
        _: Request<wire::UpdateReq>,
    ) -> Result<Response<wire::UpdateResp>, Status> {
        not_here()
    }

    async fn delete(
        &self,
        _: Request<wire::DeleteReq>,
    ) -> Result<Response<wire::DeleteResp>, Status> {
        not_here()
    }

    type ReadStream = Pin<Box<dyn Stream<Item = Result<wire::ReadResp, Status>> + Send>>;

    async fn read(
        &self,
        _: Request<Streaming<wire::ReadReq>>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        not_here()
    }

    async fn get_info(
        &self,
        _: Request<wire::GetInfoReq>,
    ) -> Result<Response<wire::GetInfoResp>, Status> {
        not_here()
    }

    async fn replay_parked(
        &self,
        _: Request<wire::ReplayParkedReq>,
    ) -> Result<Response<wire::ReplayParkedResp>, Status> {
        not_here()
    }

    async fn truncate_parked(
        &self,
        _: Request<wire::TruncateParkedReq>,
    ) -> Result<Response<wire::TruncateParkedResp>, Status> {
        not_here()
    }

    async fn list(&self, _: Request<wire::ListReq>) -> Result<Response<wire::ListResp>, Status> {
        not_here()
    }

    async fn restart_subsystem(&self, _: Request<()>) -> Result<Response<()>, Status> {
        not_here()
    }
}
