//! What every request goes through before its handler: who asks, and whether they may.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::security::Access;
use crate::service::Service;

/// Puts the gate before all routes.
pub(super) fn guard(router: Router, service: &Service) -> Router {
    router.layer(middleware::from_fn_with_state(service.clone(), pass))
}

async fn pass(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let operation = operation_of(&request);
    if crate::security::action_of(&operation).is_none() {
        return crate::http::unknown(&request);
    }
    request.extensions_mut().insert(Access::open(service));
    next.run(request).await
}

/// The operation as the permission table names it.
fn operation_of(request: &Request) -> String {
    let path = request.uri().path();
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return path.to_owned();
    }
    let route = request.extensions().get::<MatchedPath>().map_or(path, MatchedPath::as_str);
    format!("{} {route}", request.method())
}
