//! The native protocol: `quipu.v1` over gRPC.

mod store;

use axum::Router;
use quipu_wire::proto::store_server::StoreServer;
use tonic::service::Routes;

use crate::service::Service;

/// The routes of all gRPC services.
pub(crate) fn routes(service: &Service) -> Router {
    let store = StoreServer::new(store::Handler)
        .max_decoding_message_size(service.limits().request_size_max);
    Routes::new(store).prepare().into_axum_router()
}
