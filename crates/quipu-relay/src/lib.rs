//! Publishes a log's events elsewhere: the log is the outbox.
//!
//! A [`Relay`] reads the events of any store that match a query, maps each to a [`CloudEvent`] (a
//! `CloudEvents` 1.0 event) or keeps it private, and hands the cloud events to a [`Sink`]: in the
//! order of the log within each key, and checkpointed only once the sink has acknowledged them. So
//! nothing is lost and nothing overtakes; after a crash some cloud events come again, under the id
//! they had.
//!
//! ```
//! use std::sync::Arc;
//! use quipu_core::*;
//! use quipu_relay::{CloudEvent, FileSink, Relay};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("public.jsonl");
//! let store = Arc::new(MemoryStore::new());
//! let paid = NewEvent::json("OrderPaid", r#"{"cents":1200,"card":"4111"}"#)?;
//! let last = store.append(Append::new().event(StreamName::new("order-7")?, paid)).await?.last;
//!
//! let relay = Relay::new(store, "public-orders", Arc::new(FileSink::open(&path)?))
//!     .query("type:OrderPaid".parse()?)
//!     .map(|event| {
//!         // What others see is decided here, and is less than what happened.
//!         let public = CloudEvent::of(event).with_type("com.example.order.paid.v1");
//!         Ok(Some(public.with_json(r#"{"paid":true}"#)))
//!     });
//! let mut running = relay.spawn();
//! running.wait_for(last.unwrap()).await?;
//! running.stop().await?;
//!
//! let line = std::fs::read_to_string(&path)?;
//! assert!(line.contains(r#""type":"com.example.order.paid.v1","subject":"order-7""#));
//! assert!(!line.contains("4111"));
//! # Ok(())
//! # }
//! ```
//!
//! It is not exactly once by itself: consumers drop what they have seen by its id, or by its
//! `position`, which rises within each key. A sink that keeps checkpoints in the transaction of its
//! cloud events ([`Sink::places`]) is.

mod cloud_event;
mod deletion;
mod format;
mod relay;
mod seen;
mod sink;
mod sinks;

#[cfg(feature = "conform")]
pub mod conform;

pub use cloud_event::{CloudEvent, CloudEventError};
pub use relay::{MapError, Relay};
pub use seen::Seen;
pub use sink::{Batch, Sink, SinkError};
#[cfg(any(feature = "kafka", feature = "nats"))]
pub use sinks::TemplateError;
pub use sinks::{FileSink, WriterSink};
#[cfg(feature = "kafka")]
pub use sinks::{
    KafkaError, KafkaFormat, KafkaSecurity, KafkaSink, KafkaTls, KafkaTopics, SaslMechanism,
};
#[cfg(feature = "nats")]
pub use sinks::{NatsError, NatsFormat, NatsSecurity, NatsSink, NatsStreams};
#[cfg(feature = "webhook")]
pub use sinks::{WebhookError, WebhookMode, WebhookSink};
