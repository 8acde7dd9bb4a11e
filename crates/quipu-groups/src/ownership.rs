//! Ownership of a component: a lease that is renewed until it is lost or given back.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{EventStore, Lease, LeaseError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The right to run a component, for as long as [`lost`](Self::lost) does not say otherwise.
///
/// Dropping it stops the renewal and leaves the lease to expire, as a crash does.
#[derive(Debug)]
pub struct Ownership {
    lease: Lease,
    lost: watch::Receiver<bool>,
    renewal: JoinHandle<()>,
    store: StoreHandle,
}

/// The store, without being printed.
#[derive(Clone)]
struct StoreHandle(Arc<dyn EventStore>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventStore")
    }
}

impl Ownership {
    /// Takes the lease called `name` if nobody holds it, and renews it in the background.
    ///
    /// # Errors
    ///
    /// See [`LeaseError`]: [`LeaseError::Held`] while another owns the component.
    pub async fn acquire(
        store: Arc<dyn EventStore>,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Self, LeaseError> {
        let asked = Instant::now();
        let lease = store.leases().acquire(name, owner, ttl).await?;
        let (lose, lost) = watch::channel(false);
        let store = StoreHandle(store);
        let renewal = tokio::spawn(renew(store.clone(), lease.clone(), ttl, asked, lose));
        Ok(Self { lease, lost, renewal, store })
    }

    /// The epoch to present with everything that can be fenced.
    pub fn epoch(&self) -> u64 {
        self.lease.epoch
    }

    /// Waits until the ownership is lost: taken by another, or not renewed in time.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut lost = self.lost.clone();
        async move {
            // A renewal that ended without a word is as good as lost.
            lost.wait_for(|is_lost| *is_lost).await.ok();
        }
    }

    /// Gives the lease back, so that another can take it at once.
    pub async fn release(self) {
        self.renewal.abort();
        // Where it was lost before, there is nothing to give back; otherwise it expires.
        self.store.0.leases().release(&self.lease).await.ok();
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Renews three times in each life of the lease. Where the store does not answer, it goes on trying
/// until the lease has expired by this machine's clock, counted from before the last renewal: no
/// later than by the store's.
async fn renew(
    store: StoreHandle,
    mut lease: Lease,
    ttl: Duration,
    mut asked: Instant,
    lose: watch::Sender<bool>,
) {
    loop {
        sleep(ttl / 3).await;
        let now = Instant::now();
        let answer =
            tokio::time::timeout_at(asked + ttl, store.0.leases().renew(&lease, ttl)).await;
        match answer {
            Ok(Ok(renewed)) => {
                lease = renewed;
                asked = now;
            }
            Ok(Err(LeaseError::Storage(_))) if now < asked + ttl => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    // Nobody may be waiting any more.
    lose.send(true).ok();
}
