//! Errors as data: what each error of the contract is over the network, and back.
//!
//! [`TABLE`] says for each code which gRPC code it has, what to do about it, and whether the same
//! call may succeed later. An error travels as a [`proto::Error`] in the details of its status.

mod failure;
mod known;
mod table;
mod task;

use bytes::Bytes;
use prost::Message;
use quipu_core::StorageError;
use tonic::{Code, Status};

pub use failure::Failure;
pub use known::ContractError;
pub use table::{Meaning, TABLE, meaning};
pub use task::TaskError;

use crate::proto;

/// What a status has room for: the rest of an HTTP/2 header list of 16 KiB is for others.
const DETAILS_SIZE_MAX: usize = 8 << 10;
const ERROR_TYPE: &str = "type.googleapis.com/quipu.v1.Error";

/// `google.rpc.Status`, which gRPC libraries expect in the details of a status.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// The status that carries an error. A conflict's violations beyond what a status has room for are
/// left out: [`proto::Error::violation_count`] tells.
pub fn to_status(mut error: proto::Error) -> Status {
    while error.encoded_len() > DETAILS_SIZE_MAX && !error.violations.is_empty() {
        error.violations.truncate(error.violations.len() / 2);
    }
    shorten(&mut error.message);
    shorten(&mut error.cause);
    let code = meaning(error.code()).grpc;
    let message = error.message.clone();
    let value = error.encode_to_vec().into();
    let details = vec![Any { type_url: ERROR_TYPE.to_owned(), value }];
    let details = RpcStatus { code: code.into(), message: message.clone(), details };
    Status::with_details(code, message, details.encode_to_vec().into())
}

/// Cuts a text to what a header has room for.
fn shorten(text: &mut String) {
    const SIZE_MAX: usize = 1 << 10;
    let end = text.floor_char_boundary(SIZE_MAX);
    text.truncate(end);
}

/// The error that a status carries, if it carries one.
pub fn details(status: &Status) -> Option<proto::Error> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let own = details.into_iter().find(|detail| detail.type_url == ERROR_TYPE)?;
    proto::Error::decode(own.value).ok()
}

/// The contract's error that a call failed with.
pub fn from_status<E: ContractError>(status: Status) -> E {
    match details(&status) {
        Some(error) => from_error(error),
        None => E::storage(without_details(status)),
    }
}

/// The contract's error that a message says. One that the call cannot have, or that a later version
/// of the protocol has, is the `Storage` variant with its text.
pub fn from_error<E: ContractError>(error: proto::Error) -> E {
    if let Some(refused) = Refused::of(error.code(), &error.message) {
        return E::storage(StorageError::new(refused));
    }
    E::known(&error).unwrap_or_else(|| E::storage(remote(error)))
}

pub(crate) fn remote(error: proto::Error) -> StorageError {
    StorageError::new(RemoteError { error })
}

/// What a status without details means: no server of this protocol made it, but the connection, or
/// something between, or what guards the server.
pub(crate) fn without_details(status: Status) -> StorageError {
    match refused(&status) {
        Some(refused) => StorageError::new(refused),
        None => StorageError::new(TransportError { status }),
    }
}

/// Whether a status refuses the call, with details or without.
pub(crate) fn refused(status: &Status) -> Option<Refused> {
    match status.code() {
        Code::Unauthenticated => Some(Refused::Unauthenticated),
        Code::PermissionDenied => Some(Refused::Forbidden { message: status.message().to_owned() }),
        _ => None,
    }
}

/// The server refused a call: nothing was read or changed.
///
/// It is in the `Storage` variant of the call's error:
/// [`StorageError::downcast_ref`] finds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The token or the client certificate is missing or not valid. Connect with a valid one.
    #[error("the server needs valid credentials")]
    Unauthenticated,
    /// The caller may not do this. Ask an administrator for a rule that allows it.
    #[error("{message}")]
    Forbidden {
        /// Who may not do what.
        message: String,
    },
}

impl Refused {
    fn of(code: proto::ErrorCode, message: &str) -> Option<Self> {
        match code {
            proto::ErrorCode::Unauthenticated => Some(Self::Unauthenticated),
            proto::ErrorCode::Forbidden => Some(Self::Forbidden { message: message.to_owned() }),
            _ => None,
        }
    }
}

/// The server's store failed, or the server said something that this version does not know.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}{}", if error.cause.is_empty() { &error.message } else { &error.cause }, named(error))]
pub struct RemoteError {
    error: proto::Error,
}

/// Under which name the server's log has it.
fn named(error: &proto::Error) -> String {
    match error.request_id.as_str() {
        "" => String::new(),
        id => format!(" (request {id} in the server's log)"),
    }
}

impl RemoteError {
    /// What the server said.
    pub fn error(&self) -> &proto::Error {
        &self.error
    }
}

/// The server could not be reached, or the connection broke.
#[derive(Debug, thiserror::Error)]
#[error("the server could not be reached")]
pub struct TransportError {
    #[source]
    status: Status,
}

impl TransportError {
    pub(crate) fn new(status: Status) -> Self {
        Self { status }
    }

    /// What gRPC says about it.
    pub fn status(&self) -> &Status {
        &self.status
    }
}

#[cfg(test)]
mod tests;
