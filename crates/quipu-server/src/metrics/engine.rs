//! What the embedded store counts by itself: read when somebody looks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use quipu_engine::{Activity, Distribution, Engine};

/// The store's own counters, as metrics.
#[derive(Debug)]
pub(super) struct OfEngine(pub(super) Engine);

#[expect(clippy::cast_precision_loss, reason = "what is looked at has fewer digits")]
impl Collector for OfEngine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Activity {
            group_counts,
            sync_micros,
            waiting_count,
            waiting_size,
            remembered_count,
            looked_up_count,
            unsealed_count,
            ..
        } = self.0.activity();
        let mut distribution = |name, help, unit: Option<&Unit>, own: &Distribution, scale: f64| {
            let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
            let bound = |own| if own == u64::MAX { f64::INFINITY } else { own as f64 * scale };
            let ranges: Vec<_> =
                own.ranges.iter().map(|(own, count)| (bound(*own), *count)).collect();
            let count = ranges.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(own.sum as f64 * scale, count, &ranges, None)
        };
        distribution("group_changes", "Changes that shared one sync", None, &group_counts, 1.0)?;
        let help = "Time that a sync of the log took";
        distribution("sync_duration", help, Some(&Unit::Seconds), &sync_micros, 1e-6)?;
        let mut gauge = |name, help, unit: Option<&Unit>, value: u64| {
            let gauge = ConstGauge::new(super::signed(value));
            gauge.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
        };
        gauge("waiting_changes", "Changes that wait for the writer", None, waiting_count)?;
        let help = "Changes that wait for the writer, by size";
        gauge("waiting", help, Some(&Unit::Bytes), waiting_size)?;
        let help = "Events that are in no run of the index yet, but in memory";
        gauge("unsealed_events", help, None, unsealed_count)?;
        let mut counter = |name, help, value: u64| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
        };
        let help = "Times that the writer remembered what a stream is like";
        counter("stream_cache_hits", help, remembered_count)?;
        counter("stream_cache_misses", "Times that it had to look it up", looked_up_count)
    }
}
