//! What every handler shares: the store, the limits, the metrics, and the wish to stop.

use std::fmt;
use std::sync::Arc;

use quipu_core::EventStore;
use tokio::sync::watch;

use crate::config::Limits;
use crate::metrics::Metrics;
use crate::security::Authority;

/// A store that is being served.
///
/// Cloning gives another handle to the same service.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    /// With an application's rights.
    store: Arc<dyn EventStore>,
    /// With system rights: for those who may write what is reserved.
    system: Arc<dyn EventStore>,
    limits: Limits,
    metrics: Metrics,
    authority: Authority,
    stopping: watch::Sender<bool>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("limits", &self.inner.limits).finish_non_exhaustive()
    }
}

impl Service {
    /// A service over two handles to one log: one with an application's rights, one with the
    /// system's. Whoever reaches it may do what an application may do.
    pub fn new(store: Arc<dyn EventStore>, system: Arc<dyn EventStore>, limits: Limits) -> Self {
        Self::secured(store, system, limits, Authority::open())
    }

    /// As [`new`](Self::new), where `authority` decides who may do what.
    pub fn secured(
        store: Arc<dyn EventStore>,
        system: Arc<dyn EventStore>,
        limits: Limits,
        authority: Authority,
    ) -> Self {
        let stopping = watch::Sender::new(false);
        let metrics = Metrics::new();
        Self { inner: Arc::new(Inner { store, system, limits, metrics, authority, stopping }) }
    }

    /// Who decides who may do what.
    pub fn authority(&self) -> &Authority {
        &self.inner.authority
    }

    /// The store as applications see it. Handlers take it from
    /// [`Access`](crate::security::Access), which asks what the caller may do.
    pub(crate) fn store(&self) -> &Arc<dyn EventStore> {
        &self.inner.store
    }

    /// The store for those who may write what is reserved.
    pub(crate) fn system(&self) -> &Arc<dyn EventStore> {
        &self.inner.system
    }

    /// What one request may be and do at most.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// What is counted and timed.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Asks everything to come to its end: subscriptions first, since they never end by themselves.
    pub fn stop(&self) {
        self.inner.stopping.send_replace(true);
    }

    /// Waits until the service is asked to stop. What never ends by itself ends then, after telling
    /// its client where to go on.
    pub async fn stopping(&self) {
        let mut stopping = self.inner.stopping.subscribe();
        // The sender lives as long as `self`, so this waits for nothing but the wish.
        let _asked = stopping.wait_for(|is_stopping| *is_stopping).await;
    }
}
