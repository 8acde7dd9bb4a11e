//! What a store in a database counts by itself: read when somebody looks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use quipu_postgres::PostgresStore;

/// The store's own counters, as metrics.
#[derive(Debug)]
pub(super) struct OfPostgres(pub(super) PostgresStore);

impl Collector for OfPostgres {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = self.0.counters();
        let mut counter = |name, help, value: u64| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
        };
        let help = "Appends done again since other transactions were in their way";
        counter("database_conflicts_retried", help, counters.conflicts_retried())?;
        let help = "Appends done again since the connection to the database broke";
        counter("database_cuts_retried", help, counters.cuts_retried())?;
        let help = "Times that the log could not be looked at for those who wait";
        counter("database_looks_failed", help, counters.looks_failed())?;
        let mut gauge = |name, help, unit: Option<&Unit>, value: i64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
        };
        let (used, idle) = self.0.connection_counts();
        let help = "Connections to the database that are in use";
        gauge("database_connections_used", help, None, used.into())?;
        gauge("database_connections_idle", "Connections that are not", None, idle.into())?;
        let help =
            "How long the oldest transaction that holds readers back was open when looked at last";
        let held = self.0.counters().held_back();
        let held = ConstGauge::new(held.as_secs_f64());
        let unit = Some(&Unit::Seconds);
        held.encode(encoder.encode_descriptor("held_back", help, unit, MetricType::Gauge)?)
    }
}
