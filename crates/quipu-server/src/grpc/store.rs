//! The service `Store`.

use quipu_wire::proto::store_server::Store;
use quipu_wire::proto::{
    AppendStreamRequest, AppendStreamResponse, ChangeRequest, ChangeResponse, FrontierRequest,
    FrontierResponse, IdentifyRequest, IdentifyResponse, ListStreamsRequest, ListStreamsResponse,
    PositionAtRequest, PositionAtResponse, ReadAllRequest, ReadAllResponse, ReadIndexRequest,
    ReadIndexResponse, ReadStreamRequest, ReadStreamResponse, StreamInfoRequest,
    StreamInfoResponse, SubscribeRequest, SubscribeResponse, WaitVisibleRequest,
    WaitVisibleResponse,
};
use quipu_wire::{from_proto, to_proto};
use tonic::{Request, Response, Status, Streaming};

use super::answering::{Answers, access, failed};
use super::{changes, reading, subscribing};

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(super) struct Handler;

#[tonic::async_trait]
impl Store for Handler {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let identity = access(&request)?.store().identity();
        Ok(Response::new(to_proto::identity(identity)))
    }

    async fn change(
        &self,
        request: Request<ChangeRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let store = access(&request)?.store();
        match changes::make(&*store, request.into_inner().change).await {
            Ok(appended) => Ok(Response::new(ChangeResponse { appended: Some(appended) })),
            Err(error) => Err(quipu_wire::status::to_status(*error)),
        }
    }

    type AppendStreamStream = Answers<AppendStreamResponse>;

    async fn append_stream(
        &self,
        request: Request<Streaming<AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let access = access(&request)?;
        Ok(Response::new(changes::answers(access, request.into_inner())))
    }

    type ReadStreamStream = Answers<ReadStreamResponse>;

    async fn read_stream(
        &self,
        request: Request<ReadStreamRequest>,
    ) -> Result<Response<Self::ReadStreamStream>, Status> {
        let access = access(&request)?;
        let read = from_proto::read_stream(request.into_inner()).map_err(failed)?;
        let read = access.store().read_stream(read).await.map_err(failed)?;
        Ok(Response::new(reading::of_stream(access, read)))
    }

    type ReadAllStream = Answers<ReadAllResponse>;

    async fn read_all(
        &self,
        request: Request<ReadAllRequest>,
    ) -> Result<Response<Self::ReadAllStream>, Status> {
        let access = access(&request)?;
        let read = from_proto::read_all(request.into_inner()).map_err(failed)?;
        let read = access.store().read_all(read).await.map_err(failed)?;
        Ok(Response::new(reading::of_log(access, read)))
    }

    type ReadIndexStream = Answers<ReadIndexResponse>;

    async fn read_index(
        &self,
        request: Request<ReadIndexRequest>,
    ) -> Result<Response<Self::ReadIndexStream>, Status> {
        let access = access(&request)?;
        let read = from_proto::read_index(request.into_inner()).map_err(failed)?;
        let read = access.store().read_index(read).await.map_err(failed)?;
        Ok(Response::new(reading::of_index(&access, &read)))
    }

    async fn frontier(
        &self,
        request: Request<FrontierRequest>,
    ) -> Result<Response<FrontierResponse>, Status> {
        let frontier = access(&request)?.store().frontier().await.map_err(failed)?;
        Ok(Response::new(FrontierResponse { position: frontier.get() }))
    }

    async fn position_at(
        &self,
        request: Request<PositionAtRequest>,
    ) -> Result<Response<PositionAtResponse>, Status> {
        let store = access(&request)?.store();
        let time = quipu_core::Timestamp::from_micros(request.into_inner().time);
        let position = store.position_at(time).await.map_err(failed)?.get();
        Ok(Response::new(PositionAtResponse { position }))
    }

    async fn wait_visible(
        &self,
        request: Request<WaitVisibleRequest>,
    ) -> Result<Response<WaitVisibleResponse>, Status> {
        let store = access(&request)?.store();
        let position = quipu_core::Position::new(request.into_inner().position);
        store.wait_visible(position).await.map_err(failed)?;
        Ok(Response::new(WaitVisibleResponse {}))
    }

    async fn list_streams(
        &self,
        request: Request<ListStreamsRequest>,
    ) -> Result<Response<ListStreamsResponse>, Status> {
        let access = access(&request)?;
        let list = from_proto::list_streams(request.into_inner()).map_err(failed)?;
        let names = access.store().list_streams(list).await.map_err(failed)?;
        let size_max = access.service().limits().page_size_max;
        Ok(Response::new(to_proto::stream_names(&names, size_max)))
    }

    async fn stream_info(
        &self,
        request: Request<StreamInfoRequest>,
    ) -> Result<Response<StreamInfoResponse>, Status> {
        let store = access(&request)?.store();
        let stream = from_proto::stream_name(request.into_inner().stream).map_err(failed)?;
        let info = store.stream_info(stream).await.map_err(failed)?;
        Ok(Response::new(to_proto::stream_info(&info)))
    }

    type SubscribeStream = Answers<SubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let access = access(&request)?;
        let to = from_proto::subscribe(request.into_inner()).map_err(failed)?;
        Ok(Response::new(subscribing::begin(access, to).await?))
    }
}
