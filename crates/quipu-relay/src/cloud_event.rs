//! What is published of an event.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_core::{EventData, RecordedEvent, Timestamp};
use serde_json::Value;

/// A `CloudEvents` 1.0 event: what the world sees of an event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "mappings build it field by field")]
pub struct CloudEvent {
    /// The event's id: the same one however often it is published.
    pub id: String,
    /// Who publishes it, a URI reference. The relay puts its own where there is none.
    pub source: Option<String>,
    /// What kind of fact it is.
    pub event_type: String,
    /// What it is about; by default the event's stream.
    pub subject: Option<String>,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// How to read the data.
    pub data_content_type: Option<String>,
    /// The data; none where there is none, or where it was erased.
    pub data: Option<Bytes>,
    /// The key that brokers partition by (`partitionkey`). The relay puts the key within which it
    /// keeps order where there is none.
    pub key: Option<String>,
    /// Further attributes. Names are lower-case letters and digits.
    pub extensions: BTreeMap<String, String>,
}

/// Extensions that metadata keys of the framework become.
const FROM_METADATA: [(&str, &str); 4] = [
    ("$correlationId", "correlationid"),
    ("$causationId", "causationid"),
    ("traceparent", "traceparent"),
    ("tracestate", "tracestate"),
];

/// Names that are not extensions, since they mean something already.
const ATTRIBUTES: [&str; 11] = [
    "id",
    "source",
    "specversion",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "partitionkey",
    "database64",
];

impl CloudEvent {
    /// A cloud event of this type that says nothing else yet. [`about`](Self::about) gives it the
    /// id and the place of an event.
    pub fn new(event_type: &str) -> Self {
        Self {
            id: String::new(),
            source: None,
            event_type: event_type.to_owned(),
            subject: None,
            time: None,
            data_content_type: None,
            data: None,
            key: None,
            extensions: BTreeMap::new(),
        }
    }

    /// The same cloud event with what it does not say itself taken from the event that it is about:
    /// id, subject, time and extensions. Never the data: what is public is the mapping's to say.
    #[must_use]
    pub fn about(mut self, event: &RecordedEvent) -> Self {
        let full = Self::of(event);
        if self.id.is_empty() {
            self.id = full.id;
        }
        self.subject = self.subject.or(full.subject);
        self.time = self.time.or(full.time);
        for (name, value) in full.extensions {
            self.extensions.entry(name).or_insert(value);
        }
        self
    }

    /// Everything of the event as it is in the log, with its position, correlation, causation and
    /// trace context as extensions.
    pub fn of(event: &RecordedEvent) -> Self {
        let mut extensions = BTreeMap::new();
        extensions.insert("position".to_owned(), event.position.to_string());
        let metadata: Value = serde_json::from_slice(&event.metadata).unwrap_or_default();
        for (key, name) in FROM_METADATA {
            if let Some(text) = metadata.get(key).and_then(Value::as_str) {
                extensions.insert(name.to_owned(), text.to_owned());
            }
        }
        let data = match &event.data {
            EventData::Present(data) => Some(data.clone()),
            EventData::Erased => {
                extensions.insert("erased".to_owned(), "true".to_owned());
                None
            }
        };
        Self {
            id: event.id.to_string(),
            source: None,
            event_type: event.event_type.to_string(),
            subject: Some(event.stream.to_string()),
            time: Some(event.recorded_at),
            data_content_type: data.is_some().then(|| event.content_type.to_string()),
            data,
            key: None,
            extensions,
        }
    }

    /// The same cloud event of this type.
    #[must_use]
    pub fn with_type(mut self, event_type: &str) -> Self {
        event_type.clone_into(&mut self.event_type);
        self
    }

    /// The same cloud event about this.
    #[must_use]
    pub fn with_subject(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }

    /// The same cloud event with this key.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The same cloud event with this data, which is JSON.
    #[must_use]
    pub fn with_json(mut self, data: impl Into<Bytes>) -> Self {
        self.data = Some(data.into());
        self.data_content_type = Some("application/json".to_owned());
        self
    }

    /// The same cloud event with one more attribute.
    #[must_use]
    pub fn with_extension(mut self, name: &str, value: &str) -> Self {
        self.extensions.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Checks what the specification demands of a cloud event, and that no attribute breaks the
    /// headers it may be sent in.
    ///
    /// # Errors
    ///
    /// See [`CloudEventError`]. The event's mapping is at fault.
    pub fn check(&self) -> Result<(), CloudEventError> {
        let source = self.source.as_deref();
        let required = [("id", Some(&*self.id)), ("type", Some(&*self.event_type))];
        for (name, value) in required.into_iter().chain([("source", source)]) {
            if value.is_none_or(str::is_empty) {
                return Err(CloudEventError::Empty { name });
            }
        }
        for name in self.extensions.keys() {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let is_name = !name.is_empty() && name.bytes().all(is_plain);
            if !is_name || ATTRIBUTES.contains(&&**name) {
                return Err(CloudEventError::ExtensionName { name: name.clone() });
            }
        }
        let own = [&self.subject, &self.data_content_type, &self.key, &self.source];
        let texts = own.into_iter().flatten().chain(self.extensions.values());
        let mut texts = texts.chain([&self.id, &self.event_type]);
        match texts.find(|text| text.chars().any(char::is_control)) {
            Some(text) => Err(CloudEventError::ControlCharacter { text: text.clone() }),
            None => Ok(()),
        }
    }
}

/// Why a cloud event cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloudEventError {
    /// An attribute that every cloud event has is empty.
    #[error("the cloud event's {name} is empty")]
    Empty {
        /// The attribute.
        name: &'static str,
    },
    /// An extension's name is not lower-case letters and digits, or means something else.
    #[error("\"{name}\" cannot be the name of an extension")]
    ExtensionName {
        /// The name.
        name: String,
    },
    /// An attribute has a control character.
    #[error("the attribute {text:?} has a control character")]
    ControlCharacter {
        /// The attribute's value.
        text: String,
    },
}
