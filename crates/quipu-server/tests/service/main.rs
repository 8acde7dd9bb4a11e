//! The server in this process, as its clients see it over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod abuse;
mod admin;
mod contract;
mod groups;
mod grpc;
mod http;
mod kurrent;
mod metrics;
mod security;
mod tools;
