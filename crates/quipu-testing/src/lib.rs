//! The services that tests talk to: real ones, each in a directory of its own.
//!
//! Only tests and measurements depend on it. Where a service is not installed, a test says so and
//! is skipped; with `QUIPU_REQUIRE_SERVICES=1` it fails.

#![expect(clippy::unwrap_used, reason = "a set-up that fails fails its test")]

pub mod clock;
pub mod java;
pub mod kafka;
pub mod nats;
pub mod postgres;
mod process;
pub mod served;

/// Whether a test may go on: says that `service` is missing and that the test is skipped, or fails
/// where services are required.
///
/// # Panics
///
/// If `QUIPU_REQUIRE_SERVICES` is 1.
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
pub fn skip(service: &str) {
    let is_required = std::env::var("QUIPU_REQUIRE_SERVICES").is_ok_and(|it| it == "1");
    assert!(!is_required, "{service} is required, and it is not installed");
    eprintln!("SKIPPED: {service} is not installed");
}
