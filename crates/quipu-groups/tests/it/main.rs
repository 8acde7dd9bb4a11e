//! What consumes a log, seen from outside.

#![expect(clippy::unwrap_used, reason = "what helps tests panics as tests do")]

mod crashes;
mod errors;
mod group;
mod group_machine;
mod machine;
mod operation;
mod ownership;
mod random;
mod replays;
mod sample;
