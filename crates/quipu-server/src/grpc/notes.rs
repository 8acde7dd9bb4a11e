//! The service `Notes`: snapshots, checkpoints, leases, and the registry.

use futures_lite::stream;
use quipu_core::Position;
use quipu_wire::proto::notes_server::Notes;
use quipu_wire::proto::{
    AcquireLeaseRequest, AcquireLeaseResponse, GetCheckpointRequest, GetCheckpointResponse,
    GetLeaseRequest, GetLeaseResponse, GetSnapshotRequest, GetSnapshotResponse,
    LeaveRequestRequest, LeaveRequestResponse, ListCheckpointsRequest, ListCheckpointsResponse,
    ListComponentsRequest, ListComponentsResponse, PruneSnapshotsRequest, PruneSnapshotsResponse,
    PutSnapshotRequest, PutSnapshotResponse, ReleaseLeaseRequest, ReleaseLeaseResponse,
    RemoveComponentRequest, RemoveComponentResponse, RenewLeaseRequest, RenewLeaseResponse,
    ReportComponentRequest, ReportComponentResponse, SwapCheckpointRequest, SwapCheckpointResponse,
    TakeRequestsRequest, TakeRequestsResponse,
};
use quipu_wire::{from_proto, to_proto};
use tonic::{Request, Response, Status};

use super::answering::{Answers, access, failed};

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(super) struct Handler;

#[tonic::async_trait]
impl Notes for Handler {
    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let store = access(&request)?.store();
        let it = request.into_inner();
        let at = Position::new(it.at);
        let found = store.snapshots().get(&it.key, at).await.map_err(failed)?;
        Ok(Response::new(GetSnapshotResponse { snapshot: found.map(to_proto::snapshot) }))
    }

    async fn put_snapshot(
        &self,
        request: Request<PutSnapshotRequest>,
    ) -> Result<Response<PutSnapshotResponse>, Status> {
        let store = access(&request)?.store();
        let it = request.into_inner();
        let snapshot = from_proto::snapshot(it.snapshot).map_err(failed)?;
        store.snapshots().put(&it.key, snapshot).await.map_err(failed)?;
        Ok(Response::new(PutSnapshotResponse {}))
    }

    async fn prune_snapshots(
        &self,
        request: Request<PruneSnapshotsRequest>,
    ) -> Result<Response<PruneSnapshotsResponse>, Status> {
        let store = access(&request)?.store();
        let it = request.into_inner();
        let keep = usize::try_from(it.keep).unwrap_or(usize::MAX);
        let count = store.snapshots().prune(&it.key, keep).await.map_err(failed)? as u64;
        Ok(Response::new(PruneSnapshotsResponse { count }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        let store = access(&request)?.store();
        let it = request.into_inner();
        let found = store.checkpoints().get(&it.name).await.map_err(failed)?;
        let checkpoint = found.map(to_proto::checkpoint);
        Ok(Response::new(GetCheckpointResponse { checkpoint }))
    }

    async fn swap_checkpoint(
        &self,
        request: Request<SwapCheckpointRequest>,
    ) -> Result<Response<SwapCheckpointResponse>, Status> {
        let store = access(&request)?.store();
        let swap = from_proto::swap_checkpoint(request.into_inner()).map_err(failed)?;
        store.checkpoints().swap(swap).await.map_err(failed)?;
        Ok(Response::new(SwapCheckpointResponse {}))
    }

    async fn list_checkpoints(
        &self,
        request: Request<ListCheckpointsRequest>,
    ) -> Result<Response<ListCheckpointsResponse>, Status> {
        let store = access(&request)?.store();
        let names = store.checkpoints().list().await.map_err(failed)?;
        Ok(Response::new(ListCheckpointsResponse { names }))
    }

    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        let store = access(&request)?.store();
        let it = request.into_inner();
        let ttl = from_proto::ttl(it.ttl_micros);
        let lease = store.leases().acquire(&it.name, &it.owner, ttl).await.map_err(failed)?;
        Ok(Response::new(AcquireLeaseResponse { lease: Some(to_proto::lease(&lease)) }))
    }

    async fn renew_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        let store = access(&request)?.store();
        let it = request.into_inner();
        let lease = from_proto::lease(it.lease).map_err(failed)?;
        let ttl = from_proto::ttl(it.ttl_micros);
        let lease = store.leases().renew(&lease, ttl).await.map_err(failed)?;
        Ok(Response::new(RenewLeaseResponse { lease: Some(to_proto::lease(&lease)) }))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let store = access(&request)?.store();
        let lease = from_proto::lease(request.into_inner().lease).map_err(failed)?;
        store.leases().release(&lease).await.map_err(failed)?;
        Ok(Response::new(ReleaseLeaseResponse {}))
    }

    async fn get_lease(
        &self,
        request: Request<GetLeaseRequest>,
    ) -> Result<Response<GetLeaseResponse>, Status> {
        let store = access(&request)?.store();
        let it = request.into_inner();
        let found = store.leases().get(&it.name).await.map_err(failed)?;
        Ok(Response::new(GetLeaseResponse { lease: found.as_ref().map(to_proto::lease) }))
    }

    async fn report_component(
        &self,
        request: Request<ReportComponentRequest>,
    ) -> Result<Response<ReportComponentResponse>, Status> {
        let store = access(&request)?.store();
        let status = from_proto::component_status(request.into_inner().status).map_err(failed)?;
        store.registry().report(status).await.map_err(failed)?;
        Ok(Response::new(ReportComponentResponse {}))
    }

    type ListComponentsStream = Answers<ListComponentsResponse>;

    async fn list_components(
        &self,
        request: Request<ListComponentsRequest>,
    ) -> Result<Response<Self::ListComponentsStream>, Status> {
        let store = access(&request)?.store();
        let components = store.registry().components().await.map_err(failed)?;
        let messages = components.into_iter().map(|status| {
            let status = Some(to_proto::component_status(status));
            Ok(ListComponentsResponse { status })
        });
        Ok(Response::new(Box::pin(stream::iter(messages))))
    }

    async fn remove_component(
        &self,
        request: Request<RemoveComponentRequest>,
    ) -> Result<Response<RemoveComponentResponse>, Status> {
        let store = access(&request)?.store();
        let key = from_proto::component_key(request.into_inner().key).map_err(failed)?;
        store.registry().remove(&key).await.map_err(failed)?;
        Ok(Response::new(RemoveComponentResponse {}))
    }

    async fn leave_request(
        &self,
        request: Request<LeaveRequestRequest>,
    ) -> Result<Response<LeaveRequestResponse>, Status> {
        let store = access(&request)?.store();
        let it = request.into_inner();
        let key = from_proto::component_key(it.key).map_err(failed)?;
        let asked = from_proto::component_request(it.request).map_err(failed)?;
        store.registry().request(&key, asked).await.map_err(failed)?;
        Ok(Response::new(LeaveRequestResponse {}))
    }

    async fn take_requests(
        &self,
        request: Request<TakeRequestsRequest>,
    ) -> Result<Response<TakeRequestsResponse>, Status> {
        let store = access(&request)?.store();
        let key = from_proto::component_key(request.into_inner().key).map_err(failed)?;
        let taken = store.registry().take_requests(&key).await.map_err(failed)?;
        let requests = taken.into_iter().map(to_proto::component_request).collect();
        Ok(Response::new(TakeRequestsResponse { requests }))
    }
}
