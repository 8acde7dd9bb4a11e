//! KurrentDB's client protocol over any event store: clients made for that server go on unchanged.
//!
//! ```text
//! caller    what a request brings: the store as its caller may use it, and the server around it
//! convert   ids, names and events, both ways: the only place that knows how they look on the wire
//! failure   every way a call fails: its code, its text, its trailers, in one table
//! streams   reads, subscriptions, appends, deletes; what links and filters mean
//! indexes   the streams of system projections, read from the store's indexes
//! ...       one module for each of the other services
//! ```
//!
//! # Positions
//!
//! A position of that protocol is two numbers, commit and prepare. Here both are the event's
//! [`Position`](quipu_core::Position), so that places are small and have no gaps in between.

pub mod caller;
pub mod convert;
pub mod failure;
pub mod gossip;
pub mod persistent_subscriptions;
pub mod streams;

mod indexes;
mod operations;
mod projections;
mod server_features;
mod streams_v2;
mod users;

/// The messages and services as the files in `proto` have them.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    clippy::pedantic,
    reason = "generated from the protocol"
)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/protocol.rs"));
}

use tonic::service::Routes;

use proto::event_store::client::gossip::gossip_server::GossipServer;
use proto::event_store::client::monitoring::monitoring_server::MonitoringServer;
use proto::event_store::client::operations::operations_server::OperationsServer;
use proto::event_store::client::persistent_subscriptions::persistent_subscriptions_server::PersistentSubscriptionsServer;
use proto::event_store::client::projections::projections_server::ProjectionsServer;
use proto::event_store::client::server_features::server_features_server::ServerFeaturesServer;
use proto::event_store::client::streams::streams_server::StreamsServer;
use proto::event_store::client::users::users_server::UsersServer;
use proto::kurrentdb::protocol::v2::streams::streams_service_server::StreamsServiceServer;

/// The version of KurrentDB's server whose protocol this is. Clients decide by it what they ask for.
pub const VERSION: &str = "26.1.0";

/// Adds the services of the protocol. Requests have to bring an [`Arc`](std::sync::Arc) of a
/// [`Caller`](caller::Caller) in their extensions; no message may be larger than `size_max` bytes.
#[must_use]
pub fn add_services(routes: Routes, size_max: usize) -> Routes {
    let persistent = PersistentSubscriptionsServer::new(persistent_subscriptions::Handler);
    let v2 = StreamsServiceServer::new(streams_v2::Handler);
    routes
        .add_service(ServerFeaturesServer::new(server_features::Handler))
        .add_service(GossipServer::new(gossip::Handler))
        .add_service(UsersServer::new(users::Handler))
        .add_service(OperationsServer::new(operations::Handler))
        .add_service(MonitoringServer::new(operations::Handler))
        .add_service(ProjectionsServer::new(projections::Handler))
        .add_service(StreamsServer::new(streams::Handler).max_decoding_message_size(size_max))
        .add_service(v2.max_decoding_message_size(size_max))
        .add_service(persistent.max_decoding_message_size(size_max))
}
