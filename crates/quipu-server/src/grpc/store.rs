//! The service `Store`.

use quipu_wire::proto::store_server::Store;
use quipu_wire::proto::{IdentifyRequest, IdentifyResponse};
use tonic::{Request, Response, Status};

use crate::security::Access;

/// Answers calls. What it needs comes with each request.
#[derive(Debug)]
pub(super) struct Handler;

fn access<T>(request: &Request<T>) -> Result<&Access, Status> {
    request.extensions().get().ok_or_else(|| Status::unauthenticated("no access"))
}

#[tonic::async_trait]
impl Store for Handler {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let identity = access(&request)?.store().identity();
        Ok(Response::new(IdentifyResponse {
            log: identity.log.as_uuid().as_bytes().to_vec().into(),
            incarnation: identity.incarnation.get(),
            name: identity.name,
        }))
    }
}
