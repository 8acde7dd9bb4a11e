//! HTTP: JSON, server-sent events, `CloudEvents`, problems, the description.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod append;
pub(crate) mod client;
mod cloud_events;
mod components;
mod description;
mod examples;
mod groups;
mod names;
mod noise;
mod problems;
mod read;
mod schemathesis;
mod spied;
mod streams;
mod subscribe;
mod subscriptions;
mod vocabulary;
