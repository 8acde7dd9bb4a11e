//! Cloud events as messages: their subject, headers and content.

use async_nats::header::{HeaderMap, HeaderValue};
use async_nats::jetstream::message::PublishMessage;

use crate::cloud_event::CloudEvent;
use crate::format::{attributes, escape, write_json};
use crate::sinks::template::Naming;

/// Which names subjects have.
pub(super) const SUBJECT: Naming = Naming {
    word: "subject",
    rule: "a subject is words with \".\" between them, without blanks, \"*\" and \">\"",
    takes: |c| !c.is_whitespace() && !c.is_control() && !matches!(c, '*' | '>'),
    // Those with a sign at their beginning are the server's own.
    is_whole: |name| {
        name.len() <= 1_024
            && !name.starts_with('$')
            && name.split('.').all(|word| !word.is_empty())
    },
};

/// How a cloud event is put into a message.
///
/// In both, `traceparent` and `tracestate` are headers as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatsFormat {
    /// The data is the content, the attributes are headers: `ce-id`, `ce-type`, `ce-datacontenttype`
    /// and so on.
    #[default]
    Binary,
    /// The content is the cloud event as JSON: `application/cloudevents+json`.
    Structured,
}

pub(super) struct Message {
    pub(super) subject: String,
    pub(super) content: PublishMessage,
}

impl NatsFormat {
    /// The cloud event as a message, under an id that is the same however often the relay publishes it,
    /// and no other relay's.
    pub(super) fn message(self, subject: String, relay: &str, cloud_event: &CloudEvent) -> Message {
        let mut headers = HeaderMap::new();
        let mut header = |name: &str, value: &str| {
            headers.insert(name, HeaderValue::from(escape(value)));
        };
        for name in ["traceparent", "tracestate"] {
            if let Some(value) = cloud_event.extensions.get(name) {
                header(name, value);
            }
        }
        let content = match self {
            Self::Binary => {
                for (name, value) in attributes(cloud_event) {
                    header(&format!("ce-{name}"), &value);
                }
                cloud_event.data.clone().unwrap_or_default()
            }
            Self::Structured => {
                header("content-type", "application/cloudevents+json;charset=UTF-8");
                let mut json = Vec::new();
                write_json(cloud_event, &mut json);
                json.into()
            }
        };
        let id = format!("{}/{}", escape(relay), escape(&cloud_event.id));
        let content = PublishMessage::build().headers(headers).payload(content).message_id(id);
        Message { subject, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_words_without_wildcards() {
        for name in ["orders", "orders.eu.order-7", "\u{fc}.customer:9"] {
            assert!(SUBJECT.is_name(name), "{name}");
        }
        for name in ["", ".", "a..b", "a.", "a b", "a.*", "orders.>", "$JS.API", "a\r\nPUB"] {
            assert!(!SUBJECT.is_name(name), "{name}");
        }
    }
}
