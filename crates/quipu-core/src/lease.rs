//! Leases: who may do what only one may do, for how long, and under which epoch.

use std::time::Duration;

use crate::place::Timestamp;
use crate::read::StorageError;
use crate::store::BoxFuture;

/// The right to do what `name` stands for, until `expires_at`.
///
/// The clock of one machine may be wrong, so the time alone proves nothing: present the epoch with
/// every effect, and what stores the effect refuses a stale one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// Who holds it, for people.
    pub owner: String,
    /// One more with every holder. Never falls.
    pub epoch: u64,
    /// When another may take it, by the store's clock.
    pub expires_at: Timestamp,
}

impl Lease {
    /// Whether another may take a lease that was given for `ttl`. For stores.
    pub fn is_over(&self, ttl: Duration, now: Timestamp) -> bool {
        // No lease is given for longer than its life: where much more is left, the clock was set back
        // since, and a holder that is there would have renewed it by the clock as it is.
        let was_set_back = now.plus(ttl.saturating_mul(2)) < self.expires_at;
        now >= self.expires_at || was_set_back
    }
}

/// Where leases are kept.
pub trait Leases: Send + Sync {
    /// Takes the lease if nobody holds it, under an epoch that is higher than all before it. It can
    /// be taken from the moment that it expires, and as soon as it is released. Where the store's clock
    /// was set back it can be taken when more than twice its life is left.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Held`] while it is held, be it under the same owner's name: two instances may
    /// share one.
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>>;

    /// Extends a lease to `ttl` from now.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Lost`] if it was released or taken by another. An expired lease that nobody
    /// took can still be renewed.
    fn renew<'a>(
        &'a self,
        lease: &'a Lease,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>>;

    /// Gives a lease back.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Lost`] if it was released or taken by another.
    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>>;

    /// The lease as it is, held, expired or released; `None` if nobody ever took it. A released one
    /// expired when it was released.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Storage`].
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>, LeaseError>>;
}

/// Why a lease was not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another holds it. Wait until it expires, then try again.
    #[error("the lease \"{name}\" is held by {owner}")]
    Held {
        /// What it is for.
        name: String,
        /// Who holds it.
        owner: String,
        /// When it expires unless it is renewed.
        expires_at: Timestamp,
    },
    /// It is not the caller's any more. Stop what it was for.
    #[error("the lease \"{name}\" under epoch {epoch} is lost")]
    Lost {
        /// What it was for.
        name: String,
        /// The caller's epoch.
        epoch: u64,
    },
    /// The name is empty, or over 255 bytes.
    #[error("a lease's name has 1 to 255 bytes")]
    InvalidName,
    /// The store was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store failed.
    #[error("the store could not keep leases")]
    Storage(#[source] StorageError),
}
