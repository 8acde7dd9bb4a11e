//! Cloud events as messages: their topic, key, headers and value.

use std::str::FromStr;

use bytes::Bytes;
use krafka::Record;
use quipu_core::category;

use super::error::KafkaError;
use crate::cloud_event::CloudEvent;
use crate::format::{attributes, write_json};

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

/// Where cloud events go: a topic's name, or how to make one.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Category,
    Type,
    Extension(String),
}

impl Template {
    /// The topic of a cloud event.
    pub(super) fn of(&self, cloud_event: &CloudEvent) -> Result<String, KafkaError> {
        let mut topic = String::new();
        for part in &self.0 {
            let missing = |attribute: &str| KafkaError::Unroutable { attribute: attribute.into() };
            topic.push_str(match part {
                Part::Text(text) => text,
                Part::Type => &cloud_event.event_type,
                Part::Category => {
                    let subject = cloud_event.subject.as_deref();
                    category(subject.ok_or_else(|| missing("subject"))?)
                }
                Part::Extension(name) => {
                    cloud_event.extensions.get(name).ok_or_else(|| missing(name))?
                }
            });
        }
        if is_topic(&topic) { Ok(topic) } else { Err(KafkaError::TopicName { topic }) }
    }
}

impl FromStr for Template {
    type Err = KafkaError;

    fn from_str(template: &str) -> Result<Self, KafkaError> {
        let wrong = |reason| KafkaError::Template { template: template.to_owned(), reason };
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, behind)) = rest.split_once('{') {
            let (name, after) =
                behind.split_once('}').ok_or_else(|| wrong("a brace is not closed"))?;
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            parts.push(match name {
                "category" => Part::Category,
                "type" => Part::Type,
                name if !name.is_empty() && name.bytes().all(is_plain) => {
                    Part::Extension(name.to_owned())
                }
                _ => return Err(wrong("in braces is category, type or the name of an extension")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let mut texts = parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text),
            Part::Category | Part::Type | Part::Extension(_) => None,
        });
        if !texts.all(|text| text.bytes().all(is_topic_byte)) {
            return Err(wrong("a topic's name has letters, digits, \".\", \"_\" and \"-\""));
        }
        if parts.is_empty() {
            return Err(wrong("it is empty"));
        }
        if let [Part::Text(text)] = parts.as_slice()
            && !is_topic(text)
        {
            return Err(wrong("a topic's name has at most 249 bytes and is not \".\" or \"..\""));
        }
        Ok(Self(parts))
    }
}

fn is_topic_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name.bytes().all(is_topic_byte)
        && !matches!(name, "." | "..")
}

/// The topic of a relay's checkpoint.
pub(super) fn checkpoint_topic(relay: &str) -> String {
    let plain = |c: char| if c.is_ascii() && is_topic_byte(c as u8) { c } else { '_' };
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

    fn topic(template: &str) -> Result<String, KafkaError> {
        template.parse::<Template>()?.of(&cloud_event())
    }

    #[test]
    fn a_topic_is_a_name_or_made_of_the_cloud_event() {
        assert_eq!(topic("orders").unwrap(), "orders");
        assert_eq!(topic("outbox.event.{category}").unwrap(), "outbox.event.order");
        assert_eq!(topic("{type}-{position}_x").unwrap(), "OrderPaid-9_x");
    }

    #[test]
    fn a_template_that_gives_no_topic_is_refused() {
        let long = "x".repeat(250);
        for template in ["", ".", "a b", "{category", "{}", "{Type}", "tür", &long] {
            let refused = template.parse::<Template>();
            assert!(matches!(refused, Err(KafkaError::Template { .. })), "{template}");
        }
    }

    #[test]
    fn a_cloud_event_that_gives_no_topic_says_why() {
        assert_eq!(
            topic("t.{tenant}").unwrap_err().to_string(),
            "no topic for the cloud event: it has no \"tenant\""
        );
        let spaced = cloud_event().with_type("Order Paid");
        let refused = "{type}".parse::<Template>().unwrap().of(&spaced);
        assert!(matches!(refused, Err(KafkaError::TopicName { topic }) if topic == "Order Paid"));
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
        assert!(is_topic(&checkpoint_topic(&"x".repeat(200))));
    }
}
