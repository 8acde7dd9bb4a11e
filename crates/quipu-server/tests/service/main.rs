//! The service as its clients meet it: one server a test, in this process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod security;
