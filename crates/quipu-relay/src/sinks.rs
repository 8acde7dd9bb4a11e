//! The sinks that come with the crate.

mod file;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod template;
#[cfg(feature = "webhook")]
mod webhook;
mod writer;

pub use file::FileSink;
#[cfg(feature = "kafka")]
pub use kafka::{
    KafkaError, KafkaFormat, KafkaSecurity, KafkaSink, KafkaTls, KafkaTopics, SaslMechanism,
};
#[cfg(feature = "nats")]
pub use nats::{NatsError, NatsFormat, NatsSecurity, NatsSink, NatsStreams};
#[cfg(any(feature = "kafka", feature = "nats"))]
pub use template::TemplateError;
#[cfg(feature = "webhook")]
pub use webhook::{WebhookError, WebhookMode, WebhookSink};
pub use writer::WriterSink;

use crate::format::write_json;
use crate::sink::Batch;

/// The batch as lines of JSON.
fn lines(batch: &Batch) -> Vec<u8> {
    let mut lines = Vec::new();
    for cloud_event in &batch.cloud_events {
        write_json(cloud_event, &mut lines);
        lines.push(b'\n');
    }
    lines
}
