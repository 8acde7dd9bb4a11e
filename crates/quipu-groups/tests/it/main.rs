//! What consumes a log, seen from outside.

#![expect(clippy::unwrap_used, reason = "what helps tests panics as tests do")]

mod machine;
mod random;
