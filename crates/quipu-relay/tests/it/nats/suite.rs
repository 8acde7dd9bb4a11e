//! The suite that every sink passes, in both formats.

use std::sync::Arc;

use async_nats::jetstream::message::StreamMessage;
use base64::Engine as _;
use quipu_core::BoxFuture;
use quipu_relay::conform::{self, Destination};
use quipu_relay::{NatsFormat, Sink};
use quipu_testing::nats::Nats;
use serde_json::{Map, Value};

use super::{header, read, server, sink, unique};

struct Stream {
    server: &'static Nats,
    name: String,
    format: NatsFormat,
}

impl Destination for Stream {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Sink>> {
        let sink: Arc<dyn Sink> = Arc::new(sink(self.server, &self.name).format(self.format));
        Box::pin(async move { sink })
    }

    fn delivered(&self) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(
            async move { read(self.server, &self.name).await.iter().map(cloud_event).collect() },
        )
    }
}

/// What the binding encodes in headers' values.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(&behind[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The cloud event that a message holds, in the JSON format.
fn cloud_event(message: &StreamMessage) -> Value {
    if header(message, "content-type").is_some() {
        return serde_json::from_slice(&message.payload).unwrap();
    }
    let mut object = Map::new();
    for (name, values) in message.headers.iter() {
        if let Some(attribute) = name.to_string().strip_prefix("ce-") {
            object.insert(attribute.to_owned(), unescape(values[0].as_str()).into());
        }
    }
    match object.get("datacontenttype").and_then(Value::as_str) {
        None => assert!(message.payload.is_empty(), "data has a content type"),
        Some("application/json") => {
            let data = serde_json::from_slice(&message.payload).unwrap();
            object.insert("data".to_owned(), data);
        }
        Some(_) => {
            let base64 = base64::engine::general_purpose::STANDARD.encode(&message.payload);
            object.insert("data_base64".to_owned(), base64.into());
        }
    }
    object.into()
}

async fn pass(format: NatsFormat) {
    let Some(server) = server() else { return };
    conform::all(|| Stream { server, name: unique("suite"), format }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_passes_the_suite_of_sinks() {
    pass(NatsFormat::Binary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_passes_the_suite_of_sinks_with_structured_cloud_events() {
    pass(NatsFormat::Structured).await;
}
