//! The server in this process, as its clients see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod contract;
mod grpc;
