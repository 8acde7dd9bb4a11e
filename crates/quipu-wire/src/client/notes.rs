//! What is beside the log, over the network.

use std::time::Duration;

use quipu_core::{
    BoxFuture, Checkpoint, CheckpointError, Checkpoints, ComponentKey, ComponentRequest,
    ComponentStatus, Lease, LeaseError, Leases, Position, Registry, RegistryError, Snapshot,
    Snapshots, StorageError, SwapCheckpoint,
};

use super::{Client, not_valid};
use crate::from_proto::{self, Malformed};
use crate::proto;
use crate::status::{ContractError, from_status};
use crate::to_proto;

/// Makes a call of the service `Notes`.
macro_rules! ask {
    ($client:ident . $method:ident, $request:expr) => {
        $client
            .note($request, |mut notes, request| async move { notes.$method(request).await })
            .await
            .map_err(from_status)
    };
}

fn valid<T, E: ContractError>(parsed: Result<T, Malformed>) -> Result<T, E> {
    parsed.map_err(|error| E::storage(not_valid(error)))
}

impl Snapshots for Client {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Position,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, StorageError>> {
        Box::pin(async move {
            let request = proto::GetSnapshotRequest { key: key.to_owned(), at: at.get() };
            let answer = ask!(self.get_snapshot, request)?;
            let found = answer.snapshot.map(|it| from_proto::snapshot(Some(it)));
            valid::<_, StorageError>(found.transpose())
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(async move {
            let snapshot = Some(to_proto::snapshot(snapshot));
            let request = proto::PutSnapshotRequest { key: key.to_owned(), snapshot };
            let proto::PutSnapshotResponse {} = ask!(self.put_snapshot, request)?;
            Ok(())
        })
    }

    fn prune<'a>(
        &'a self,
        key: &'a str,
        keep: usize,
    ) -> BoxFuture<'a, Result<usize, StorageError>> {
        Box::pin(async move {
            let request = proto::PruneSnapshotsRequest { key: key.to_owned(), keep: keep as u64 };
            Ok(from_proto::count(ask!(self.prune_snapshots, request)?.count))
        })
    }
}

impl Checkpoints for Client {
    fn get<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, CheckpointError>> {
        Box::pin(async move {
            let request = proto::GetCheckpointRequest { name: name.to_owned() };
            let answer = ask!(self.get_checkpoint, request)?;
            valid(answer.checkpoint.as_ref().map(from_proto::checkpoint).transpose())
        })
    }

    fn swap(&self, swap: SwapCheckpoint) -> BoxFuture<'_, Result<(), CheckpointError>> {
        Box::pin(async move {
            let SwapCheckpoint { name, epoch, old, new } = swap;
            let (old, new) = (old.map(Position::get), Some(to_proto::checkpoint(new)));
            let request = proto::SwapCheckpointRequest { name, epoch, old, new };
            let proto::SwapCheckpointResponse {} = ask!(self.swap_checkpoint, request)?;
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, CheckpointError>> {
        Box::pin(
            async move { Ok(ask!(self.list_checkpoints, proto::ListCheckpointsRequest {})?.names) },
        )
    }
}

impl Leases for Client {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            let (name, owner) = (name.to_owned(), owner.to_owned());
            let ttl_micros = to_proto::ttl_micros(ttl);
            let request = proto::AcquireLeaseRequest { name, owner, ttl_micros };
            valid(from_proto::lease(ask!(self.acquire_lease, request)?.lease))
        })
    }

    fn renew<'a>(
        &'a self,
        lease: &'a Lease,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            let ttl_micros = to_proto::ttl_micros(ttl);
            let lease = Some(to_proto::lease(lease));
            let request = proto::RenewLeaseRequest { lease, ttl_micros };
            valid(from_proto::lease(ask!(self.renew_lease, request)?.lease))
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(async move {
            let request = proto::ReleaseLeaseRequest { lease: Some(to_proto::lease(lease)) };
            let proto::ReleaseLeaseResponse {} = ask!(self.release_lease, request)?;
            Ok(())
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>, LeaseError>> {
        Box::pin(async move {
            let request = proto::GetLeaseRequest { name: name.to_owned() };
            let found = ask!(self.get_lease, request)?.lease;
            valid(found.map(|it| from_proto::lease(Some(it))).transpose())
        })
    }
}

impl Registry for Client {
    fn report(&self, status: ComponentStatus) -> BoxFuture<'_, Result<(), RegistryError>> {
        Box::pin(async move {
            let status = Some(to_proto::component_status(status));
            let request = proto::ReportComponentRequest { status };
            let proto::ReportComponentResponse {} = ask!(self.report_component, request)?;
            Ok(())
        })
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<ComponentStatus>, RegistryError>> {
        Box::pin(async move {
            let mut messages = ask!(self.list_components, proto::ListComponentsRequest {})?;
            let mut components = Vec::new();
            while let Some(message) = messages.message().await.map_err(from_status)? {
                let status: Result<_, RegistryError> =
                    valid(from_proto::component_status(message.status));
                components.push(status?);
            }
            Ok(components)
        })
    }

    fn remove<'a>(&'a self, key: &'a ComponentKey) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            let request = proto::RemoveComponentRequest { key: Some(to_proto::component_key(key)) };
            let proto::RemoveComponentResponse {} = ask!(self.remove_component, request)?;
            Ok(())
        })
    }

    fn request<'a>(
        &'a self,
        key: &'a ComponentKey,
        request: ComponentRequest,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            let request = Some(to_proto::component_request(request));
            let key = Some(to_proto::component_key(key));
            let request = proto::LeaveRequestRequest { key, request };
            let proto::LeaveRequestResponse {} = ask!(self.leave_request, request)?;
            Ok(())
        })
    }

    fn take_requests<'a>(
        &'a self,
        key: &'a ComponentKey,
    ) -> BoxFuture<'a, Result<Vec<ComponentRequest>, RegistryError>> {
        Box::pin(async move {
            let request = proto::TakeRequestsRequest { key: Some(to_proto::component_key(key)) };
            let taken = ask!(self.take_requests, request)?.requests;
            valid(taken.into_iter().map(|it| from_proto::component_request(Some(it))).collect())
        })
    }
}
