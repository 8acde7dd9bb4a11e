//! Cloud events as messages: their topic, key, headers and value.

use bytes::Bytes;
use krafka::Record;

use crate::cloud_event::CloudEvent;
use crate::format::{attributes, write_json};
use crate::sinks::template::Naming;

/// The largest message that is sent: what the largest event of a log takes, and its headers. Brokers
/// take less unless they are told to (`message.max.bytes`).
pub(super) const MESSAGE_SIZE_MAX: usize = 17 << 20;

/// How a cloud event is put into a message.
///
/// In all of them the key is the cloud event's, `traceparent` and `tracestate` are headers as well,
/// and a cloud event without data has no value: on a compacted topic it deletes its key. The time of
/// the message is when it was published, since brokers delete by it; when the event happened is in
/// the cloud event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaFormat {
    /// The data is the value, the attributes are headers: `ce_id`, `ce_type`, `content-type` and so
    /// on.
    #[default]
    Binary,
    /// The value is the cloud event as JSON: `application/cloudevents+json`.
    Structured,
    /// As Debezium's outbox event router writes it: the data is the value, the headers are `id` and
    /// `eventType`, and `position`. The key is what the stream's name has behind its category.
    Debezium,
}

impl KafkaFormat {
    pub(super) fn record(self, topic: String, cloud_event: &CloudEvent) -> Record {
        let mut record = Record::new(topic, Bytes::new());
        record.key = cloud_event.key.as_ref().map(|key| Bytes::copy_from_slice(key.as_bytes()));
        record.value.clone_from(&cloud_event.data);
        let mut header = |name: &str, value: &str| {
            record.headers.push((name.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes()))));
        };
        for name in ["traceparent", "tracestate"] {
            if let Some(value) = cloud_event.extensions.get(name) {
                header(name, value);
            }
        }
        match self {
            Self::Structured if cloud_event.data.is_some() => {
                header("content-type", "application/cloudevents+json; charset=UTF-8");
                let mut json = Vec::new();
                write_json(cloud_event, &mut json);
                record.value = Some(json.into());
            }
            Self::Binary | Self::Structured => {
                for (name, value) in attributes(cloud_event) {
                    match name {
                        "datacontenttype" => header("content-type", &value),
                        name => header(&format!("ce_{name}"), &value),
                    }
                }
            }
            Self::Debezium => {
                header("id", &cloud_event.id);
                header("eventType", &cloud_event.event_type);
                if let Some(position) = cloud_event.extensions.get("position") {
                    header("position", position);
                }
                if let Some(id) = aggregate_id(cloud_event) {
                    record.key = Some(Bytes::copy_from_slice(id.as_bytes()));
                }
            }
        }
        record
    }
}

/// What a stream that is its own key has behind its category.
fn aggregate_id(cloud_event: &CloudEvent) -> Option<&str> {
    let subject = cloud_event.subject.as_deref()?;
    let is_key = cloud_event.key.as_deref() == Some(subject);
    subject.split_once('-').map(|(_, id)| id).filter(|_| is_key)
}

/// Which names topics have.
pub(super) const TOPIC: Naming = Naming {
    word: "topic",
    rule: "a topic's name has 1 to 249 letters, digits, \".\", \"_\" and \"-\"",
    takes: |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'),
    is_whole: |name| name.len() <= 249 && !matches!(name, "." | ".."),
};

/// The topic of a relay's checkpoint.
pub(super) fn checkpoint_topic(relay: &str) -> String {
    let plain = |c: char| if (TOPIC.takes)(c) { c } else { '_' };
    // A name has at most 200 bytes. Where two come to share a topic, their records' keys differ.
    format!("quipu.relay.{}", relay.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud_event() -> CloudEvent {
        CloudEvent { id: "1".to_owned(), ..CloudEvent::new("OrderPaid") }
            .with_subject("order-7")
            .with_key("order-7")
            .with_json("{}")
            .with_extension("position", "9")
            .with_extension("traceparent", "00-1-2-01")
    }

    fn headers(record: &Record) -> Vec<(&str, &str)> {
        let headers = record.headers.iter().map(|(name, value)| {
            (name.as_str(), std::str::from_utf8(value.as_ref().unwrap()).unwrap())
        });
        headers.collect()
    }

    #[test]
    fn a_topic_has_at_most_249_bytes_and_is_not_a_dot() {
        let names =
            ["orders", &"x".repeat(249), "..", &"x".repeat(250)].map(|it| TOPIC.is_name(it));

        assert_eq!(names, [true, true, false, false]);
    }

    #[test]
    fn debezium_s_dialect_has_the_router_s_headers_and_key() {
        let record = KafkaFormat::Debezium.record("t".to_owned(), &cloud_event());

        assert_eq!(
            headers(&record),
            [
                ("traceparent", "00-1-2-01"),
                ("id", "1"),
                ("eventType", "OrderPaid"),
                ("position", "9")
            ]
        );
        assert_eq!(record.key.as_deref(), Some(&b"7"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"{}"[..]));
    }

    #[test]
    fn without_data_there_is_no_value_in_any_format() {
        let none = CloudEvent { data: None, data_content_type: None, ..cloud_event() };
        for format in [KafkaFormat::Binary, KafkaFormat::Structured, KafkaFormat::Debezium] {
            let record = format.record("t".to_owned(), &none);
            assert!(record.is_tombstone(), "{format:?}");
        }
    }

    #[test]
    fn a_checkpoint_s_topic_is_a_topic_whatever_the_relay_is_called() {
        assert_eq!(checkpoint_topic("public-orders"), "quipu.relay.public-orders");
        assert_eq!(checkpoint_topic("tür/ 1"), "quipu.relay.t_r__1");
        assert!(TOPIC.is_name(&checkpoint_topic(&"x".repeat(200))));
    }
}
