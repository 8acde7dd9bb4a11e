//! The layer that lies about what is beside the log.

use std::time::Duration;

use quipu_core::{
    BoxFuture, Checkpoint, CheckpointError, Checkpoints, ComponentKey, ComponentRequest,
    ComponentStatus, EventStore, Lease, LeaseError, Leases, Position, Registry, RegistryError,
    Snapshot, Snapshots, StorageError, SwapCheckpoint,
};

use super::liar::{Liar, Lie};

impl Snapshots for Liar {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Position,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, StorageError>> {
        let at = if self.lie == Lie::GivesLaterSnapshots { Position::MAX } else { at };
        self.honest.snapshots().get(key, at)
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        self.honest.snapshots().put(key, snapshot)
    }

    fn prune<'a>(
        &'a self,
        key: &'a str,
        keep: usize,
    ) -> BoxFuture<'a, Result<usize, StorageError>> {
        self.honest.snapshots().prune(key, keep)
    }
}

impl Checkpoints for Liar {
    fn get<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, CheckpointError>> {
        self.honest.checkpoints().get(name)
    }

    fn swap(&self, mut swap: SwapCheckpoint) -> BoxFuture<'_, Result<(), CheckpointError>> {
        Box::pin(async move {
            let identity = self.honest.identity();
            match self.lie {
                Lie::AcceptsStaleEpochs => swap.epoch = 0,
                Lie::AcceptsOtherLogs => swap.new.log = identity.log,
                Lie::AcceptsEndedLives => swap.new.incarnation = identity.incarnation,
                Lie::MovesCheckpointsFromAnywhere => {
                    let present = self.honest.checkpoints().get(&swap.name).await?;
                    swap.old = present.map(|it| it.position);
                }
                _ => {}
            }
            self.honest.checkpoints().swap(swap).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, CheckpointError>> {
        self.honest.checkpoints().list()
    }
}

impl Leases for Liar {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            let leases = self.honest.leases();
            let mut answer = leases.acquire(name, owner, ttl).await;
            if self.lie == Lie::GivesLeasesTwice && matches!(answer, Err(LeaseError::Held { .. })) {
                let held = leases.get(name).await?.expect("it is held");
                return Ok(Lease { owner: owner.to_owned(), ..held });
            }
            if let Ok(lease) = &mut answer
                && self.lie == Lie::GivesEpochsTwice
            {
                lease.epoch = 1;
            }
            answer
        })
    }

    fn renew<'a>(
        &'a self,
        lease: &'a Lease,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        self.honest.leases().renew(lease, ttl)
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(async move {
            let mut lease = lease.clone();
            if self.lie == Lie::GivesEpochsTwice
                && let Some(held) = self.honest.leases().get(&lease.name).await?
            {
                lease.epoch = held.epoch;
            }
            self.honest.leases().release(&lease).await
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>, LeaseError>> {
        self.honest.leases().get(name)
    }
}

impl Registry for Liar {
    fn report(&self, status: ComponentStatus) -> BoxFuture<'_, Result<(), RegistryError>> {
        self.honest.registry().report(status)
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<ComponentStatus>, RegistryError>> {
        self.honest.registry().components()
    }

    fn remove<'a>(&'a self, key: &'a ComponentKey) -> BoxFuture<'a, Result<(), RegistryError>> {
        self.honest.registry().remove(key)
    }

    fn request<'a>(
        &'a self,
        key: &'a ComponentKey,
        request: ComponentRequest,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        self.honest.registry().request(key, request)
    }

    fn take_requests<'a>(
        &'a self,
        key: &'a ComponentKey,
    ) -> BoxFuture<'a, Result<Vec<ComponentRequest>, RegistryError>> {
        Box::pin(async move {
            let taken = self.honest.registry().take_requests(key).await?;
            if self.lie == Lie::TakesRequestsTwice {
                for request in &taken {
                    self.honest.registry().request(key, *request).await?;
                }
            }
            Ok(taken)
        })
    }
}
