//! Lines of JSON to whatever can be written to.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use quipu_core::BoxFuture;

use super::lines;
use crate::sink::{Batch, Sink, SinkError};

/// Writes each cloud event as a line of JSON, and takes it as published once the writer is flushed.
/// What the other end does with it is not known, so that this is for looking on and for pipes.
#[derive(Debug)]
pub struct WriterSink<W> {
    /// Held while a batch is written, so that batches do not mix.
    writer: Arc<Mutex<W>>,
}

impl WriterSink<std::io::Stdout> {
    /// Writes to standard output.
    pub fn stdout() -> Self {
        Self::new(std::io::stdout())
    }
}

impl<W: Write + Send + 'static> WriterSink<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer: Arc::new(Mutex::new(writer)) }
    }
}

impl<W: Write + Send + 'static> Sink for WriterSink<W> {
    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let (lines, writer) = (lines(batch), Arc::clone(&self.writer));
            let written = tokio::task::spawn_blocking(move || {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                writer.write_all(&lines)?;
                writer.flush()
            });
            let unavailable =
                |source| SinkError::Unavailable { published: 0, retry_after: None, source };
            match written.await {
                Ok(written) => written.map_err(|error| unavailable(error.into())),
                Err(error) => Err(unavailable(error.into())),
            }
        })
    }
}
