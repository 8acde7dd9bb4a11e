//! What every handler shares: the store, the limits, the metrics, and the wish to stop.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use quipu_core::{EventStore, Query, Rights};
use quipu_engine::Engine;
use quipu_groups::group::{Groups, GroupsOptions};
use quipu_postgres::PostgresStore;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use crate::aside::Aside;
use crate::config::Limits;
use crate::derived::LastFew;
use crate::http::Members;
use crate::kurrent;
use crate::metrics::{Metered, Metrics};
use crate::process_map::{CaseBy, ProcessMap};
use crate::security::Authority;
use crate::slots::{Slot, Slots};
use crate::subscribers::Subscribers;
use crate::vocabulary::Vocabulary;

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
    /// Where the store is the embedded one: for what only it can do.
    engine: Option<Engine>,
    /// Replaced as a whole when the configuration is read again.
    limits: RwLock<Arc<Limits>>,
    metrics: Arc<Metrics>,
    groups: Arc<Groups>,
    /// Members of groups that come with requests of HTTP.
    members: Members,
    slots: Slots,
    subscribers: Subscribers,
    process_maps: LastFew<(Query, CaseBy), ProcessMap>,
    vocabularies: LastFew<Query, Vocabulary>,
    authority: Authority,
    kurrent: kurrent::State,
    stopping: watch::Sender<bool>,
    /// Where backups go, if somebody said so.
    backup_directory: OnceLock<PathBuf>,
    /// Tasks on the store run one at a time.
    task: Arc<Semaphore>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("limits", &self.limits()).finish_non_exhaustive()
    }
}

impl Service {
    /// A service over two handles to one log: one with an application's rights, one with the
    /// system's. Whoever reaches it may do what an application may do.
    pub fn new(store: Arc<dyn EventStore>, system: Arc<dyn EventStore>, limits: Limits) -> Self {
        Self::with(store, system, None, limits, Authority::open())
    }

    /// As [`new`](Self::new), where `authority` decides who may do what.
    pub fn secured(
        store: Arc<dyn EventStore>,
        system: Arc<dyn EventStore>,
        limits: Limits,
        authority: Authority,
    ) -> Self {
        Self::with(store, system, None, limits, authority)
    }

    /// A service over the embedded store, where `authority` decides who may do what.
    pub fn of_engine(engine: &Engine, limits: Limits, authority: Authority) -> Self {
        let with = |rights| Arc::new(Aside::new(Arc::new(engine.with_rights(rights))));
        let (store, system) = (with(Rights::Application), with(Rights::System));
        Self::with(store, system, Some(engine.clone()), limits, authority)
    }

    /// A service over a store in a database, where `authority` decides who may do what.
    pub fn of_postgres(store: &PostgresStore, limits: Limits, authority: Authority) -> Self {
        let metrics = Metrics::of_postgres(store);
        let application = Arc::new(store.with_rights(Rights::Application));
        let system = Arc::new(store.with_rights(Rights::System));
        Self::with_metrics(application, system, None, limits, authority, metrics)
    }

    fn with(
        store: Arc<dyn EventStore>,
        system: Arc<dyn EventStore>,
        engine: Option<Engine>,
        limits: Limits,
        authority: Authority,
    ) -> Self {
        let metrics = Metrics::new(engine.as_ref());
        Self::with_metrics(store, system, engine, limits, authority, metrics)
    }

    fn with_metrics(
        store: Arc<dyn EventStore>,
        system: Arc<dyn EventStore>,
        engine: Option<Engine>,
        limits: Limits,
        authority: Authority,
        metrics: Metrics,
    ) -> Self {
        let metrics = Arc::new(metrics);
        let store: Arc<dyn EventStore> = Arc::new(Metered::new(store, &metrics));
        let system: Arc<dyn EventStore> = Arc::new(Metered::new(system, &metrics));
        let owner = format!("server {}", std::process::id());
        let kurrent = kurrent::State::new(Arc::clone(&system), &owner);
        let options = GroupsOptions { owner, ..GroupsOptions::default() };
        let inner = Inner {
            groups: Arc::new(Groups::new(Arc::clone(&store), options)),
            members: Members::default(),
            store,
            system,
            engine,
            limits: RwLock::new(Arc::new(limits)),
            metrics,
            slots: Slots::default(),
            subscribers: Subscribers::default(),
            process_maps: LastFew::default(),
            vocabularies: LastFew::default(),
            authority,
            kurrent,
            stopping: watch::Sender::new(false),
            backup_directory: OnceLock::new(),
            task: Arc::new(Semaphore::new(1)),
        };
        Self { inner: Arc::new(inner) }
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

    /// The store as an application in this process may use it, with nobody to ask.
    pub fn application(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.inner.store)
    }

    /// The store for those who may write what is reserved.
    pub(crate) fn system(&self) -> &Arc<dyn EventStore> {
        &self.inner.system
    }

    /// The embedded store, where it is one.
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.inner.engine.as_ref()
    }

    /// What one request may be and do at most.
    pub fn limits(&self) -> Arc<Limits> {
        let limits = self.inner.limits.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&limits)
    }

    /// Sets other limits. They hold for requests and connections that begin from now on, but for
    /// the number of connections, which is set when the server starts.
    pub fn set_limits(&self, limits: Limits) {
        *self.inner.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    /// What KurrentDB's protocol remembers of this server.
    pub(crate) fn kurrent(&self) -> &kurrent::State {
        &self.inner.kurrent
    }

    /// The consumer groups. Handlers ask first what the caller may do.
    pub(crate) fn groups(&self) -> &Arc<Groups> {
        &self.inner.groups
    }

    /// The members of groups that come with requests of HTTP.
    pub(crate) fn members(&self) -> &Members {
        &self.inner.members
    }

    /// What is counted and timed.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// The process maps that were asked for last.
    pub(crate) fn process_maps(&self) -> &LastFew<(Query, CaseBy), ProcessMap> {
        &self.inner.process_maps
    }

    /// The names in the events of the queries that were asked for last.
    pub(crate) fn vocabularies(&self) -> &LastFew<Query, Vocabulary> {
        &self.inner.vocabularies
    }

    /// A place for one more subscription of this principal, until it is dropped; `None` where they
    /// have as many as they may.
    pub(crate) fn subscription_slot(&self, principal: &str) -> Option<Slot> {
        self.inner.slots.take(principal, self.limits().subscription_count_max)
    }

    /// The subscriptions that callers have open.
    pub(crate) fn subscribers(&self) -> &Subscribers {
        &self.inner.subscribers
    }

    /// Has backups go to directories in this one. It is said once, before the server starts.
    pub fn set_backup_directory(&self, directory: PathBuf) {
        let _said_before = self.inner.backup_directory.set(directory);
    }

    pub(crate) fn backup_directory(&self) -> Option<&Path> {
        self.inner.backup_directory.get().map(PathBuf::as_path)
    }

    /// The place for one task on the store, until it is dropped; `None` where another has it.
    pub(crate) fn task_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.inner.task).try_acquire_owned().ok()
    }

    /// Whether the service is asked to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.inner.stopping.borrow()
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
