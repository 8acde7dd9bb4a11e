//! What the server can do. Clients leave out, or do in older ways, what is not listed.

use tonic::{Request, Response, Status};

use crate::VERSION;
use crate::proto::event_store::client::server_features::server_features_server::ServerFeatures;
use crate::proto::event_store::client::server_features::{SupportedMethod, SupportedMethods};

/// Answers calls.
#[derive(Debug)]
pub(crate) struct Handler;

/// A service, its methods, and the features that each of them has. Clients compare in lower case.
type Entry = (&'static str, &'static [&'static str], &'static [&'static str]);

const SUPPORTED: &[Entry] = &[
    ("event_store.client.server_features.serverfeatures", &["getsupportedmethods"], &[]),
    ("event_store.client.gossip.gossip", &["read"], &[]),
    ("event_store.client.streams.streams", &["read"], &["position", "events", "all"]),
    ("event_store.client.streams.streams", &["append", "delete", "tombstone"], &[]),
    ("event_store.client.streams.streams", &["batchappend"], &["deadline_duration"]),
    (
        "event_store.client.persistent_subscriptions.persistentsubscriptions",
        &[
            "create",
            "update",
            "delete",
            "read",
            "getinfo",
            "replayparked",
            "list",
            "restartsubsystem",
        ],
        &["stream", "all"],
    ),
    (
        "event_store.client.operations.operations",
        &[
            "startscavenge",
            "stopscavenge",
            "shutdown",
            "mergeindexes",
            "resignnode",
            "setnodepriority",
            "restartpersistentsubscriptions",
        ],
        &[],
    ),
    (
        "event_store.client.users.users",
        &[
            "create",
            "update",
            "delete",
            "disable",
            "enable",
            "details",
            "changepassword",
            "resetpassword",
        ],
        &[],
    ),
    ("event_store.client.monitoring.monitoring", &["stats"], &[]),
    ("event_store.client.projections.projections", &["create"], &["track_emitted_streams"]),
    (
        "event_store.client.projections.projections",
        &[
            "update",
            "delete",
            "statistics",
            "disable",
            "enable",
            "reset",
            "state",
            "result",
            "restartsubsystem",
        ],
        &[],
    ),
    ("kurrentdb.protocol.v2.streams.streamsservice", &["appendsession", "appendrecords"], &[]),
];

#[tonic::async_trait]
impl ServerFeatures for Handler {
    async fn get_supported_methods(
        &self,
        _: Request<()>,
    ) -> Result<Response<SupportedMethods>, Status> {
        let method = |service: &str, name: &str, features: &[&str]| SupportedMethod {
            method_name: name.to_owned(),
            service_name: service.to_owned(),
            features: features.iter().map(ToString::to_string).collect(),
        };
        let methods = SUPPORTED.iter().flat_map(|(service, names, features)| {
            names.iter().map(move |name| method(service, name, features))
        });
        Ok(Response::new(SupportedMethods {
            methods: methods.collect(),
            event_store_server_version: VERSION.to_owned(),
        }))
    }
}
