//! The engine, seen from outside.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail like a test")]

mod backup;
mod basics;
mod contract;
mod decoders;
mod follow;
mod golden;
mod sample;
mod scavenge;
mod sim;
mod verify;
