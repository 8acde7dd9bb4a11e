//! The sink to any writer.

use std::io;
use std::sync::{Arc, Mutex};

use quipu_core::BoxFuture;
use quipu_relay::conform::{self, Destination};
use quipu_relay::{Sink, WriterSink};
use serde_json::Value;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Destination for Shared {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Sink>> {
        let sink: Arc<dyn Sink> = Arc::new(WriterSink::new(self.clone()));
        Box::pin(async move { sink })
    }

    fn delivered(&self) -> BoxFuture<'_, Vec<Value>> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Box::pin(async move { lines })
    }
}

#[tokio::test]
async fn a_writer_does_what_every_sink_must() {
    conform::all(Shared::default).await;
}
