//! What Prometheus reads at `/metrics`. Each metric's meaning stands where it is registered;
//! `docs/metrics.md` has them all.

mod engine;
mod groups;
mod metered;
mod postgres;
mod process;
mod relays;
mod requests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use quipu_engine::Engine;
use quipu_groups::RunnerStatus;
use quipu_groups::group::GroupInfo;
use quipu_postgres::PostgresStore;
use tokio::sync::watch::Receiver;

pub(crate) use metered::Metered;
pub use relays::PublishCounts;
pub(crate) use requests::Ending;

/// From 50 µs to 1.6 s, each bound twice the one before.
fn buckets() -> impl Iterator<Item = f64> {
    prometheus_client::metrics::histogram::exponential_buckets(50e-6, 2.0, 16)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Kind {
    pub(crate) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

/// What is counted and timed.
pub struct Metrics {
    registry: Registry,
    pub(crate) connections: Counter,
    /// Connections that the system did not hand over.
    pub(crate) accept_failures: Counter,
    pub(crate) requests: requests::Requests,
    insecure: Gauge,
    /// Requests that were refused for what they showed or may not do.
    pub(crate) refused: Counter,
    reloads: Family<Outcome, Counter>,
    pub(crate) changes: Family<Outcome, Counter>,
    pub(crate) change_duration: Histogram,
    pub(crate) appended_events: Counter,
    pub(crate) reads: Family<Kind, Counter>,
    pub(crate) read_events: Counter,
    pub(crate) delivered_events: Counter,
    frontier: Gauge,
    subscriptions: Gauge,
    subscription_lag: Gauge,
    disk: Family<Part, Gauge>,
    segments: Gauge,
    runs: Gauge,
    groups: groups::OfGroups,
    relays: relays::OfRelays,
    resident: Gauge,
    files: Gauge,
    /// How far each subscription to the log has delivered.
    places: Mutex<HashMap<u64, Arc<AtomicU64>>>,
    next_place: AtomicU64,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics of a store; with those that the embedded one counts by itself, where it is one.
    pub(crate) fn new(engine: Option<&Engine>) -> Self {
        let mut own = Self {
            registry: Registry::with_prefix("quipu"),
            connections: Counter::default(),
            accept_failures: Counter::default(),
            requests: requests::Requests::new(),
            insecure: Gauge::default(),
            refused: Counter::default(),
            reloads: Family::default(),
            changes: Family::default(),
            change_duration: Histogram::new(buckets()),
            appended_events: Counter::default(),
            reads: Family::default(),
            read_events: Counter::default(),
            delivered_events: Counter::default(),
            frontier: Gauge::default(),
            subscriptions: Gauge::default(),
            subscription_lag: Gauge::default(),
            disk: Family::default(),
            segments: Gauge::default(),
            runs: Gauge::default(),
            groups: groups::OfGroups::default(),
            relays: relays::OfRelays::default(),
            resident: Gauge::default(),
            files: Gauge::default(),
            places: Mutex::default(),
            next_place: AtomicU64::new(0),
        };
        own.register();
        if let Some(engine) = engine {
            own.registry.register_collector(Box::new(engine::OfEngine(engine.clone())));
        }
        own
    }

    /// Metrics of a store in a database, with those that it counts by itself.
    pub(crate) fn of_postgres(store: &PostgresStore) -> Self {
        let mut own = Self::new(None);
        own.registry.register_collector(Box::new(postgres::OfPostgres(store.clone())));
        own
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("connections", "Connections accepted", self.connections.clone());
        to.register(
            "accept_failures",
            "Times that a connection could not be accepted",
            self.accept_failures.clone(),
        );
        self.requests.register(to);
        to.register(
            "insecure",
            "1 if others can reach the server without TLS or without authentication",
            self.insecure.clone(),
        );
        to.register(
            "requests_refused",
            "Requests refused for want of credentials or rights",
            self.refused.clone(),
        );
        to.register(
            "reloads",
            "Times the configuration was read again, by whether it was taken",
            self.reloads.clone(),
        );
        to.register(
            "changes",
            "Appends, deletes and changes of metadata, by what became of them",
            self.changes.clone(),
        );
        to.register_with_unit(
            "change_duration",
            "Time from taking a change to its answer, waiting and syncing included",
            Unit::Seconds,
            self.change_duration.clone(),
        );
        to.register("appended_events", "Events appended", self.appended_events.clone());
        to.register("reads", "Reads begun, by kind", self.reads.clone());
        to.register("read_events", "Events that reads gave", self.read_events.clone());
        to.register(
            "delivered_events",
            "Events that subscriptions gave",
            self.delivered_events.clone(),
        );
        to.register("frontier", "The last position that readers see", self.frontier.clone());
        to.register("subscriptions", "Subscriptions that are open", self.subscriptions.clone());
        to.register(
            "subscription_lag",
            "Positions between the frontier and the slowest subscription to the log",
            self.subscription_lag.clone(),
        );
        to.register_with_unit(
            "disk",
            "What the store takes of the disk, by part",
            Unit::Bytes,
            self.disk.clone(),
        );
        to.register("segments", "Segments of the log", self.segments.clone());
        to.register("index_runs", "Runs of the index", self.runs.clone());
        self.groups.register(to);
        self.relays.register(to);
        to.register_with_unit(
            "resident_memory",
            "Memory of the process that is in use, files mapped into it included",
            Unit::Bytes,
            self.resident.clone(),
        );
        to.register("open_files", "File descriptors that are open", self.files.clone());
    }

    /// All metrics in the text format of `OpenMetrics` 1.0, with what the store is like right now.
    pub(crate) fn text(
        &self,
        frontier: u64,
        engine: Option<&Engine>,
        groups: &[(String, GroupInfo)],
    ) -> String {
        self.groups.set(groups);
        self.relays.set(frontier);
        self.frontier.set(signed(frontier));
        self.look_at_subscriptions(frontier);
        if let Some(Ok(stats)) = engine.map(Engine::stats) {
            let parts = [
                ("log", stats.log_size),
                ("index", stats.index_size),
                ("spare", stats.spare_size),
                ("beside", stats.beside_size),
                ("torn", stats.torn_size),
            ];
            for (part, size) in parts {
                self.disk.get_or_create(&Part { part }).set(signed(size));
            }
            self.segments.set(signed(stats.segment_count));
            self.runs.set(signed(stats.run_count));
        }
        let (resident, files) = process::usage();
        self.resident.set(signed(resident));
        self.files.set(signed(files));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a text does not fail");
        text
    }

    /// The configuration was read again; `taken` says whether it is used now.
    pub fn count_reload(&self, taken: bool) {
        let outcome = if taken { "done" } else { "failed" };
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// What the relay of this name, which is to run here, counts.
    pub(crate) fn relay_counts(&self, relay: &str) -> PublishCounts {
        self.relays.counts(relay)
    }

    /// A relay runs here, and is measured from now on.
    pub(crate) fn add_relay(&self, relay: &str, status: Receiver<RunnerStatus>) {
        self.relays.add(relay, status);
    }

    /// Whether others can reach the server without TLS or without authentication.
    pub fn set_insecure(&self, is_insecure: bool) {
        self.insecure.set(i64::from(is_insecure));
    }

    fn look_at_subscriptions(&self, frontier: u64) {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let slowest = places.values().map(|place| place.load(Ordering::Relaxed)).min();
        let lag = slowest.map_or(0, |slowest| frontier.saturating_sub(slowest));
        self.subscription_lag.set(signed(lag));
    }

    /// A subscription was opened; it is closed when the answer is dropped.
    pub(crate) fn open_subscription(self: &Arc<Self>, place: Option<u64>) -> OpenSubscription {
        self.subscriptions.inc();
        let number = self.next_place.fetch_add(1, Ordering::Relaxed);
        let place = place.map(|place| Arc::new(AtomicU64::new(place)));
        if let Some(place) = &place {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.insert(number, Arc::clone(place));
        }
        OpenSubscription { metrics: Arc::clone(self), number, place }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A subscription that counts as open.
#[derive(Debug)]
pub(crate) struct OpenSubscription {
    metrics: Arc<Metrics>,
    number: u64,
    /// Of a subscription to the log, how far it has delivered.
    place: Option<Arc<AtomicU64>>,
}

impl OpenSubscription {
    /// Notes how far it has delivered.
    pub(crate) fn reach(&self, position: u64) {
        if let Some(place) = &self.place {
            place.store(position, Ordering::Relaxed);
        }
    }
}

impl Drop for OpenSubscription {
    fn drop(&mut self) {
        self.metrics.subscriptions.dec();
        let mut places = self.metrics.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.remove(&self.number);
    }
}
