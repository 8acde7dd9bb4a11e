//! The suite that every sink passes, in each format that keeps all of a cloud event.

use std::sync::Arc;

use krafka::ConsumerRecord;
use quipu_core::BoxFuture;
use quipu_relay::conform::{self, Destination};
use quipu_relay::{KafkaFormat, Sink};
use serde_json::{Map, Value};

use super::{broker, read_committed, sink, unique};

struct Topic {
    servers: String,
    name: String,
    format: KafkaFormat,
}

impl Destination for Topic {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Sink>> {
        let sink: Arc<dyn Sink> = Arc::new(sink(&self.servers, &self.name).format(self.format));
        Box::pin(async move { sink })
    }

    fn delivered(&self) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(async move {
            let records = read_committed(&self.servers, &self.name).await;
            records.iter().map(cloud_event).collect()
        })
    }
}

/// The cloud event that a message holds, in the JSON format.
fn cloud_event(record: &ConsumerRecord) -> Value {
    let text = |value: &Option<bytes::Bytes>| {
        String::from_utf8(value.as_deref().unwrap_or_default().to_vec()).unwrap()
    };
    let mut object = Map::new();
    for (name, value) in &record.headers {
        match name.strip_prefix("ce_") {
            Some(attribute) => object.insert(attribute.to_owned(), text(value).into()),
            None if name == "content-type" => {
                object.insert("datacontenttype".to_owned(), text(value).into())
            }
            None => None,
        };
    }
    let Some(value) = &record.value else { return object.into() };
    match object.get("datacontenttype").and_then(Value::as_str) {
        Some(it) if it.starts_with("application/cloudevents+json") => {
            return serde_json::from_slice(value).unwrap();
        }
        Some("application/json") => {
            object.insert("data".to_owned(), serde_json::from_slice(value).unwrap());
        }
        _ => {
            use base64::Engine as _;
            let base64 = base64::engine::general_purpose::STANDARD.encode(value);
            object.insert("data_base64".to_owned(), base64.into());
        }
    }
    assert_eq!(record.key.as_deref(), object["partitionkey"].as_str().map(str::as_bytes));
    object.into()
}

async fn pass(format: KafkaFormat) {
    let Some(cluster) = broker() else { return };
    conform::all(|| Topic { servers: cluster.servers(), name: unique("suite"), format }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_passes_the_suite_of_sinks() {
    pass(KafkaFormat::Binary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_passes_the_suite_of_sinks_with_structured_cloud_events() {
    pass(KafkaFormat::Structured).await;
}
