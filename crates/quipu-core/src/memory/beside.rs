//! What is kept beside the log: snapshots, checkpoints, leases, the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checkpoint::{Checkpoint, CheckpointError, Checkpoints, SwapCheckpoint};
use crate::lease::{Lease, LeaseError, Leases};
use crate::place::{Position, Timestamp};
use crate::read::StorageError;
use crate::registry::{
    ComponentKey, ComponentRequest, ComponentStatus, PARKED_ITEMS_MAX, REQUESTS_MAX, Registry,
    RegistryError,
};
use crate::snapshot::{Snapshot, Snapshots};
use crate::store::BoxFuture;

use super::MemoryStore;

const NAME_SIZE_MAX: usize = 255;

#[derive(Default)]
pub(super) struct Beside {
    snapshots: BTreeMap<String, BTreeMap<Position, Snapshot>>,
    checkpoints: BTreeMap<String, Held>,
    leases: BTreeMap<String, Taken>,
    components: BTreeMap<ComponentKey, Component>,
}

/// A checkpoint, and the highest epoch that moved it.
struct Held {
    checkpoint: Checkpoint,
    epoch: u64,
}

struct Taken {
    lease: Lease,
    /// For how long it was given.
    ttl: Duration,
    is_released: bool,
}

struct Component {
    status: ComponentStatus,
    requests: Vec<ComponentRequest>,
}

fn is_name(name: &str) -> bool {
    (1..=NAME_SIZE_MAX).contains(&name.len())
}

impl Snapshots for MemoryStore {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Position,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, StorageError>> {
        Box::pin(async move {
            let log = self.shared.lock();
            let latest = log.beside.snapshots.get(key).and_then(|own| own.range(..=at).next_back());
            Ok(latest.map(|(_, snapshot)| snapshot.clone()))
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        snapshot: Snapshot,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(async move {
            let mut log = self.shared.lock();
            let own = log.beside.snapshots.entry(key.to_owned()).or_default();
            own.insert(snapshot.position, snapshot);
            Ok(())
        })
    }

    fn prune<'a>(
        &'a self,
        key: &'a str,
        keep: usize,
    ) -> BoxFuture<'a, Result<usize, StorageError>> {
        Box::pin(async move {
            let mut log = self.shared.lock();
            let Some(own) = log.beside.snapshots.get_mut(key) else { return Ok(0) };
            let count = own.len().saturating_sub(keep);
            for _ in 0..count {
                own.pop_first();
            }
            Ok(count)
        })
    }
}

impl Checkpoints for MemoryStore {
    fn get<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, CheckpointError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(CheckpointError::InvalidName);
            }
            let log = self.shared.lock();
            let Some(held) = log.beside.checkpoints.get(name) else { return Ok(None) };
            log.lives().check(&held.checkpoint, log.last_position())?;
            Ok(Some(held.checkpoint))
        })
    }

    fn swap(&self, swap: SwapCheckpoint) -> BoxFuture<'_, Result<(), CheckpointError>> {
        Box::pin(async move {
            let SwapCheckpoint { name, epoch, old, new } = swap;
            if !is_name(&name) {
                return Err(CheckpointError::InvalidName);
            }
            let mut log = self.shared.lock();
            log.lives().check(&new, log.last_position())?;
            let held = log.beside.checkpoints.get(&name);
            let current = held.map_or(0, |held| held.epoch);
            if epoch < current {
                return Err(CheckpointError::StaleEpoch { name, epoch, current });
            }
            let actual = held.map(|held| held.checkpoint.position);
            if actual != old {
                return Err(CheckpointError::Moved { name, actual });
            }
            log.beside.checkpoints.insert(name, Held { checkpoint: new, epoch });
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, CheckpointError>> {
        Box::pin(async move { Ok(self.shared.lock().beside.checkpoints.keys().cloned().collect()) })
    }
}

impl Beside {
    /// The lease as its holder knows it, if it is still the holder's.
    fn own_lease(&mut self, lease: &Lease) -> Result<&mut Taken, LeaseError> {
        let lost = || LeaseError::Lost { name: lease.name.clone(), epoch: lease.epoch };
        let taken = self.leases.get_mut(&lease.name).ok_or_else(lost)?;
        let is_own = taken.lease.epoch == lease.epoch && !taken.is_released;
        if is_own { Ok(taken) } else { Err(lost()) }
    }
}

impl Leases for MemoryStore {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(LeaseError::InvalidName);
            }
            let mut log = self.shared.lock();
            let now: Timestamp = log.now();
            let mut epoch = 1;
            if let Some(Taken { lease, ttl, is_released }) = log.beside.leases.get(name) {
                if !is_released && !lease.is_over(*ttl, now) {
                    let (owner, expires_at) = (lease.owner.clone(), lease.expires_at);
                    return Err(LeaseError::Held { name: name.to_owned(), owner, expires_at });
                }
                epoch = lease.epoch + 1;
            }
            let (name, owner) = (name.to_owned(), owner.to_owned());
            let lease = Lease { name: name.clone(), owner, epoch, expires_at: now.plus(ttl) };
            let taken = Taken { lease: lease.clone(), ttl, is_released: false };
            log.beside.leases.insert(name, taken);
            Ok(lease)
        })
    }

    fn renew<'a>(
        &'a self,
        lease: &'a Lease,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            let mut log = self.shared.lock();
            let expires_at = log.now().plus(ttl);
            let taken = log.beside.own_lease(lease)?;
            taken.lease.expires_at = expires_at;
            taken.ttl = ttl;
            Ok(taken.lease.clone())
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(async move {
            let mut log = self.shared.lock();
            let now = log.now();
            let taken = log.beside.own_lease(lease)?;
            taken.is_released = true;
            taken.lease.expires_at = taken.lease.expires_at.min(now);
            Ok(())
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>, LeaseError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(LeaseError::InvalidName);
            }
            let log = self.shared.lock();
            Ok(log.beside.leases.get(name).map(|taken| taken.lease.clone()))
        })
    }
}

fn check_key(key: &ComponentKey) -> Result<(), RegistryError> {
    let is_valid = is_name(&key.name) && !key.name.chars().any(char::is_control);
    if is_valid { Ok(()) } else { Err(RegistryError::InvalidName) }
}

impl Registry for MemoryStore {
    fn report(&self, mut status: ComponentStatus) -> BoxFuture<'_, Result<(), RegistryError>> {
        Box::pin(async move {
            check_key(&status.key)?;
            status.parked.truncate(PARKED_ITEMS_MAX);
            let mut log = self.shared.lock();
            let components = &mut log.beside.components;
            if let Some(known) = components.get_mut(&status.key) {
                let (epoch, current) = (status.epoch, known.status.epoch);
                if epoch < current {
                    return Err(RegistryError::StaleEpoch { epoch, current });
                }
                known.status = status;
            } else {
                let key = status.key.clone();
                components.insert(key, Component { status, requests: Vec::new() });
            }
            Ok(())
        })
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<ComponentStatus>, RegistryError>> {
        Box::pin(async move {
            let log = self.shared.lock();
            Ok(log.beside.components.values().map(|known| known.status.clone()).collect())
        })
    }

    fn remove<'a>(&'a self, key: &'a ComponentKey) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            self.shared.lock().beside.components.remove(key);
            Ok(())
        })
    }

    fn request<'a>(
        &'a self,
        key: &'a ComponentKey,
        request: ComponentRequest,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            let mut log = self.shared.lock();
            let Some(known) = log.beside.components.get_mut(key) else {
                return Err(RegistryError::Unknown { key: key.clone() });
            };
            if known.requests.len() >= REQUESTS_MAX {
                return Err(RegistryError::TooManyRequests);
            }
            known.requests.push(request);
            Ok(())
        })
    }

    fn take_requests<'a>(
        &'a self,
        key: &'a ComponentKey,
    ) -> BoxFuture<'a, Result<Vec<ComponentRequest>, RegistryError>> {
        Box::pin(async move {
            let mut log = self.shared.lock();
            let known = log.beside.components.get_mut(key);
            Ok(known.map(|known| std::mem::take(&mut known.requests)).unwrap_or_default())
        })
    }
}
