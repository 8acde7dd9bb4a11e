//! What all handlers do: find what the caller may do, and say why a call did not succeed.

use std::pin::Pin;

use futures_lite::Stream;
use quipu_wire::Refused;
use quipu_wire::status::Failure;
use tonic::{Request, Status};

use crate::security::{Access, Denied};
use crate::server::RequestId;

/// The messages of an answer. The next one is made when the transport has taken the last.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the caller may do.
pub(super) fn access<T>(request: &Request<T>) -> Result<Access, Status> {
    let access = request.extensions().get().cloned();
    access.ok_or_else(|| failed(Refused::Unauthenticated))
}

/// The status that says why a call did not succeed.
pub(super) fn failed(failure: impl Into<Failure>) -> Status {
    quipu_wire::status::to_status(explained(failure))
}

/// The message that says why a call did not succeed. That the caller may not make it is found in
/// the store's error.
pub(super) fn explained(failure: impl Into<Failure>) -> quipu_wire::proto::Error {
    let failure = failure.into();
    let storage = failure.storage();
    let denied = storage.and_then(|cause| cause.downcast_ref::<Denied>());
    if let (Some(cause), None) = (storage, denied) {
        tracing::error!(%cause, "a request failed");
    }
    let mut error = match denied {
        Some(denied) => Failure::Refused(refused(denied)).to_error(),
        None => failure.to_error(),
    };
    let id = RequestId::current();
    error.request_id = id.map_or_else(String::new, |id| id.as_str().to_owned());
    error
}

pub(super) fn refused(denied: &Denied) -> Refused {
    match denied {
        Denied::Unauthenticated => Refused::Unauthenticated,
        Denied::Forbidden { .. } => Refused::Forbidden { message: denied.to_string() },
    }
}

/// Fails once the caller may no longer do what the call began with.
pub(super) fn check(access: &Access) -> Result<(), Status> {
    access.still_holds().map_err(|denied| failed(refused(&denied)))
}
