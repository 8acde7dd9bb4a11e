//! What Prometheus reads at `/metrics`.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// What is counted and timed. Each metric's meaning stands where it is registered.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections that were accepted.
    pub(crate) connections: Counter,
    /// Requests that were refused for what they showed or may not do.
    pub(crate) refused: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("quipu");
        let connections = Counter::default();
        registry.register("connections", "Connections accepted", connections.clone());
        let refused = Counter::default();
        let help = "Requests refused for want of credentials or rights";
        registry.register("requests_refused", help, refused.clone());
        Self { registry, connections, refused }
    }

    /// All metrics in the text format of `OpenMetrics` 1.0.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a text does not fail");
        text
    }
}
