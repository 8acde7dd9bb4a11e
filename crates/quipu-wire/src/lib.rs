//! Quipu's own gRPC protocol: its messages, what they mean, and a client that is an event store.
//!
//! ```text
//! proto       the messages, generated from proto/quipu/v1
//! to_proto    the contract's words as messages
//! from_proto  messages in the contract's words; checks everything
//! status      the table of errors, both ways
//! client      an event store over the network
//! ```

pub mod from_proto;
pub mod status;
pub mod to_proto;

mod client;
#[cfg(test)]
mod descriptors;
mod secrets;

pub use client::{
    Answers, Client, ClientIdentity, ClientOptions, ConnectError, Groups, Member, RIGHTS,
    SYSTEM_RIGHTS, Watch,
};
pub use from_proto::Dispatched;
pub use status::{Refused, RemoteError, TransportError};

/// The messages and services as `proto/quipu/v1` has them.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::default_trait_access,
    clippy::doc_markdown,
    clippy::large_enum_variant,
    clippy::too_many_lines,
    reason = "generated from the protocol"
)]
pub mod proto {
    tonic::include_proto!("quipu.v1");

    /// The protocol's descriptors, for reflection and for the check that it only grows.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
