//! Relays and sinks, seen from outside.

#![expect(clippy::unwrap_used, reason = "what helps tests panics as tests do")]

mod file;
mod kafka;
mod kill;
mod nats;
mod relaying;
mod suite;
#[cfg(feature = "webhook")]
mod webhook;
mod writer;
