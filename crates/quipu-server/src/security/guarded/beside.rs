//! What consumers keep beside the log, as one caller may use it.
//!
//! Names of checkpoints, leases and components do not tell which streams they are about, so that
//! these rights are for all or none. A snapshot is made of events, and decisions rest on it: to have
//! one takes the right to read everything, to put one takes the right to append everything.

use std::time::Duration;

use quipu_core::{
    BoxFuture, Checkpoint, CheckpointError, Checkpoints, ComponentKey, ComponentRequest,
    ComponentStatus, Lease, LeaseError, Leases, Position, Registry, RegistryError, Snapshot,
    Snapshots, StorageError, SwapCheckpoint,
};

use super::Guarded;
use crate::security::access::Denied;
use crate::security::permissions::Action;
use crate::security::rules::Region;

fn checkpoint_error(denied: Denied) -> CheckpointError {
    CheckpointError::Storage(StorageError::new(denied))
}

fn lease_error(denied: Denied) -> LeaseError {
    LeaseError::Storage(StorageError::new(denied))
}

fn registry_error(denied: Denied) -> RegistryError {
    RegistryError::Storage(StorageError::new(denied))
}

impl Guarded {
    fn check_snapshots(&self, action: Action) -> Result<(), StorageError> {
        let may = self.access.may(Action::Consume);
        may.and_then(|()| self.access.may_on(action, &Region::everything()))
            .map_err(StorageError::new)
    }

    fn check_consume(&self) -> Result<(), Denied> {
        self.access.may(Action::Consume)
    }

    /// Components are looked at and steered by those who run them and by operators.
    fn check_components(&self) -> Result<(), Denied> {
        self.access.may_one_of([Action::Consume, Action::Operate])
    }
}

impl Snapshots for Guarded {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Position,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, StorageError>> {
        Box::pin(async move {
            self.check_snapshots(Action::Read)?;
            self.store.snapshots().get(key, at).await
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(async move {
            self.check_snapshots(Action::Append)?;
            self.store.snapshots().put(key, snapshot).await
        })
    }

    fn prune<'a>(
        &'a self,
        key: &'a str,
        keep: usize,
    ) -> BoxFuture<'a, Result<usize, StorageError>> {
        Box::pin(async move {
            self.check_snapshots(Action::Append)?;
            self.store.snapshots().prune(key, keep).await
        })
    }
}

impl Checkpoints for Guarded {
    fn get<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, CheckpointError>> {
        Box::pin(async move {
            self.check_consume().map_err(checkpoint_error)?;
            self.store.checkpoints().get(name).await
        })
    }

    fn swap(&self, swap: SwapCheckpoint) -> BoxFuture<'_, Result<(), CheckpointError>> {
        Box::pin(async move {
            self.check_consume().map_err(checkpoint_error)?;
            self.store.checkpoints().swap(swap).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, CheckpointError>> {
        Box::pin(async move {
            self.check_components().map_err(checkpoint_error)?;
            self.store.checkpoints().list().await
        })
    }
}

impl Leases for Guarded {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            self.check_consume().map_err(lease_error)?;
            self.store.leases().acquire(name, owner, ttl).await
        })
    }

    fn renew<'a>(
        &'a self,
        lease: &'a Lease,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            self.check_consume().map_err(lease_error)?;
            self.store.leases().renew(lease, ttl).await
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(async move {
            self.check_consume().map_err(lease_error)?;
            self.store.leases().release(lease).await
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>, LeaseError>> {
        Box::pin(async move {
            self.check_consume().map_err(lease_error)?;
            self.store.leases().get(name).await
        })
    }
}

impl Registry for Guarded {
    fn report(&self, status: ComponentStatus) -> BoxFuture<'_, Result<(), RegistryError>> {
        Box::pin(async move {
            self.check_consume().map_err(registry_error)?;
            self.store.registry().report(status).await
        })
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<ComponentStatus>, RegistryError>> {
        Box::pin(async move {
            self.check_components().map_err(registry_error)?;
            self.store.registry().components().await
        })
    }

    fn remove<'a>(&'a self, key: &'a ComponentKey) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            self.check_components().map_err(registry_error)?;
            self.store.registry().remove(key).await
        })
    }

    fn request<'a>(
        &'a self,
        key: &'a ComponentKey,
        request: ComponentRequest,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            self.check_components().map_err(registry_error)?;
            self.store.registry().request(key, request).await
        })
    }

    fn take_requests<'a>(
        &'a self,
        key: &'a ComponentKey,
    ) -> BoxFuture<'a, Result<Vec<ComponentRequest>, RegistryError>> {
        Box::pin(async move {
            self.check_consume().map_err(registry_error)?;
            self.store.registry().take_requests(key).await
        })
    }
}
