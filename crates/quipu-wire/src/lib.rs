//! Quipu's own gRPC protocol: its messages, what they mean, and a client that is an event store.

/// The messages and services as `proto/quipu/v1/quipu.proto` has them.
#[expect(missing_docs, unused_qualifications, reason = "generated from the protocol")]
pub mod proto {
    tonic::include_proto!("quipu.v1");

    /// The protocol's descriptors, for reflection and for the check that it only grows.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
