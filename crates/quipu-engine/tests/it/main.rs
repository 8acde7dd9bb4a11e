//! The engine, seen from outside.

#![expect(clippy::unwrap_used, reason = "what helps tests panics as tests do")]

mod backup;
mod basics;
mod closing;
mod contract;
mod decoders;
mod follow;
mod golden;
mod opening;
mod sample;
mod scavenge;
mod sim;
mod verify;
mod waiting;
