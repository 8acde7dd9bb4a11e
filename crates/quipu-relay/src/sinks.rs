//! The sinks that come with the crate.

mod file;
#[cfg(feature = "webhook")]
mod webhook;
mod writer;

pub use file::FileSink;
#[cfg(feature = "webhook")]
pub use webhook::{WebhookError, WebhookMode, WebhookSink};
pub use writer::WriterSink;

use crate::cloudevents::write_json;
use crate::sink::Batch;

/// The batch as lines of JSON.
fn lines(batch: &Batch) -> Vec<u8> {
    let mut lines = Vec::new();
    for message in &batch.messages {
        write_json(message, &mut lines);
        lines.push(b'\n');
    }
    lines
}
