//! The store on a real `PostgreSQL`, which the tests start.

#![expect(clippy::unwrap_used, reason = "what helps tests panics as tests do")]

mod contract;
mod debezium;
mod disk;
mod failover;
mod failures;
mod following;
mod opening;
mod outbox;
mod proxy;
mod races;
mod support;
mod transactions;
