//! What the server is told: flags, environment and file, in this order of precedence.

use std::time::Duration;

/// What one request may be and do at most. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "those who start a server build it")]
pub struct Limits {
    /// The most bytes of one request: a gRPC message or an HTTP body.
    pub request_size_max: usize,
    /// The most bytes of events in one message or page of an answer.
    pub page_size_max: usize,
    /// The most connections at once.
    pub connection_count_max: usize,
    /// The most requests at once on one connection.
    pub in_flight_max: u32,
    /// The most subscriptions at once of one principal.
    pub subscription_count_max: usize,
    /// How long a TLS handshake or a request's head may take.
    pub handshake_timeout: Duration,
    /// How long requests under way may take to end once the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_size_max: 68 << 20,
            page_size_max: 4 << 20,
            connection_count_max: 10_000,
            in_flight_max: 128,
            subscription_count_max: 1_000,
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
