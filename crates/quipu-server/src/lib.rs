//! Quipu as a service: one port for gRPC, HTTP/JSON, server-sent events, metrics and health.
//!
//! ```text
//! server    accepts connections, TLS, stops in order
//! security  who asks, what they may do; hands out the only way to the store
//! grpc      the native protocol over `quipu-wire`
//! kurrent   the protocol of KurrentDB's clients over `quipu-kurrent`
//! http      JSON, server-sent events
//! ui        the page at /, a client of http
//! process_map  which type of event follows which
//! vocabulary   the types and tags that events have
//! derived   what is made of the log and goes on from where it was: maps, vocabularies
//! metrics   what Prometheus reads
//! subscribers  the subscriptions that are open, one by one
//! relays    what is published elsewhere, by configuration
//! ```
//!
//! The server never looks into events: data and metadata are bytes to it. Handlers get the store
//! from [`Access`](security::Access) alone, so none can forget to ask what the caller may do.

mod aside;
pub mod config;
mod derived;
mod descriptors;
pub mod grpc;
pub mod http;
mod kurrent;
pub mod line;
pub mod metrics;
mod process_map;
pub mod relays;
pub mod security;
pub mod server;
pub mod service;
pub mod shop;
mod slots;
mod subscribers;
pub mod text;
pub mod time;
mod ui;
mod vocabulary;
