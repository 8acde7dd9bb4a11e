//! The native protocol: `quipu.v1` over gRPC. The services of KurrentDB's protocol are beside it.

mod admin;
mod answering;
mod changes;
pub mod credentials;
mod groups;
mod notes;
mod reading;
mod store;
mod subscribing;
pub mod to_proto;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use quipu_wire::proto::DESCRIPTORS;
use quipu_wire::proto::admin_server::AdminServer;
use quipu_wire::proto::groups_server::GroupsServer;
use quipu_wire::proto::notes_server::NotesServer;
use quipu_wire::proto::store_server::StoreServer;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service as _;

use crate::service::Service;

/// What the service of health knows: the server as a whole, and the services of the protocol.
const HEALTHY: [&str; 5] =
    ["", "quipu.v1.Store", "quipu.v1.Notes", "quipu.v1.Groups", "quipu.v1.Admin"];

/// What the paths of the service `Store` begin with.
const STORE: &str = "/quipu.v1.Store/";

/// The service `Store`. It is found without the routes of the others: its calls are the ones that
/// come by the ten thousand a second.
#[derive(Clone, Debug)]
pub(crate) struct Store(StoreServer<store::Handler>);

impl Store {
    pub(crate) fn new(service: &Service) -> Self {
        let size_max = service.limits().request_size_max;
        Self(StoreServer::new(store::Handler).max_decoding_message_size(size_max))
    }

    /// Whether this service answers what comes to the path.
    pub(crate) fn has(path: &str) -> bool {
        path.starts_with(STORE)
    }

    pub(crate) async fn answer(mut self, request: Request) -> Response {
        let Ok(answer) = self.0.call(request).await;
        answer.map(Body::new)
    }
}

/// The routes of all gRPC services but [`Store`].
pub(crate) fn routes(service: &Service) -> Router {
    let size_max = service.limits().request_size_max;
    let notes = NotesServer::new(notes::Handler).max_decoding_message_size(size_max);
    let groups = GroupsServer::new(groups::Handler).max_decoding_message_size(size_max);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()
        .expect("the build made the descriptors from the protocol's files");
    let reporter = HealthReporter::new();
    let health = HealthService::from_health_reporter(reporter.clone());
    tokio::spawn(report_health(reporter, service.clone()));
    let routes = Routes::new(notes)
        .add_service(groups)
        .add_service(AdminServer::new(admin::Handler))
        .add_service(reflection)
        .add_service(tonic_health::pb::health_server::HealthServer::new(health));
    let routes = quipu_kurrent::add_services(routes, size_max);
    crate::kurrent::with_callers(routes.prepare().into_axum_router())
}

/// Says that everything serves until the server stops. Then those who watch are told, and their
/// calls end, so that the server need not wait for them.
async fn report_health(mut reporter: HealthReporter, service: Service) {
    for name in HEALTHY {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    service.stopping().await;
    for name in HEALTHY {
        reporter.set_service_status(name, ServingStatus::NotServing).await;
        reporter.clear_service_status(name).await;
    }
}
