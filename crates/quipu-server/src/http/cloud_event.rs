//! `CloudEvents` 1.0 in JSON: read for appends, written for reads.
//!
//! | attribute | read | written |
//! |---|---|---|
//! | `id` | the event's id if it is a UUID; else one derived from `source` and `id` | the event's id |
//! | `source` | kept in the metadata | `/streams/{stream}` |
//! | `type` | the type | the type |
//! | `subject` | kept in the metadata | the stream |
//! | `time` | kept in the metadata: the store records its own | when it was recorded |
//! | `datacontenttype`, `data`, `data_base64` | content type and data | the same |
//! | `quiputags` | the tags: a JSON list of texts, as one text | the same |
//! | `quipuposition`, `quipurevision` | passed over | the places, as texts |
//! | `correlationid`, `causationid`, `traceparent`, `tracestate` | the metadata keys of the framework | the same |
//! | `dataschema` and other extensions | kept in the metadata | the same |
//!
//! What is kept in the metadata is there under the key `cloudEvent`, by the attributes' names.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use quipu_core::{ContentType, EventId, EventRef, EventType, NewEvent, Tags};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::line::{self, LineError};
use crate::time;

/// The content type of one event.
pub(super) const ONE: &str = "application/cloudevents+json";
/// The content type of a list of events.
pub(super) const BATCH: &str = "application/cloudevents-batch+json";

/// The most attributes of one event.
const ATTRIBUTE_COUNT_MAX: usize = 256;

/// The metadata key of what the store has no place for.
const KEPT: &str = "cloudEvent";
const TAGS: &str = "quiputags";
const POSITION: &str = "quipuposition";
const REVISION: &str = "quipurevision";

/// Extensions that are metadata keys of the framework.
const AS_METADATA: [(&str, &str); 4] = [
    ("correlationid", "$correlationId"),
    ("causationid", "$causationId"),
    ("traceparent", "traceparent"),
    ("tracestate", "tracestate"),
];

/// Attributes that are written by the store itself, whatever was kept.
const OWN: [&str; 13] = [
    "id",
    "source",
    "specversion",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "data",
    "data_base64",
    "erased",
    TAGS,
    POSITION,
    REVISION,
];

/// Reads one cloud event.
pub(super) fn from_json(text: &[u8]) -> Result<NewEvent, LineError> {
    let AttributeMap(mut attributes) = serde_json::from_slice(text)?;
    // What is wrong with an attribute is said where the event begins.
    let attributes = Attributes::take(&mut attributes);
    let event = attributes.and_then(Attributes::into_event);
    event.map_err(|reason| LineError { line: 1, column: 1, reason })
}

/// The members of a cloud event by name: each once, and no more than an event could need.
struct AttributeMap<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for AttributeMap<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a cloud event, from { to }")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.contains_key(&name) {
                        let reason = format_args!("the attribute {name:?} is there twice");
                        return Err(A::Error::custom(reason));
                    }
                    if members.len() == ATTRIBUTE_COUNT_MAX {
                        let reason = format_args!("more than {ATTRIBUTE_COUNT_MAX} attributes");
                        return Err(A::Error::custom(reason));
                    }
                    members.insert(name, value);
                }
                Ok(members)
            }
        }

        from.deserialize_map(Members).map(Self)
    }
}

struct Attributes {
    texts: BTreeMap<String, Value>,
    data: Option<Bytes>,
    data_text: Option<String>,
    data_base64: Option<Bytes>,
}

impl Attributes {
    fn take(all: &mut BTreeMap<String, &RawValue>) -> Result<Self, String> {
        let data = all.remove("data").filter(|raw| raw.get() != "null");
        let data_base64 = all.remove("data_base64").filter(|raw| raw.get() != "null");
        if data.is_some() && data_base64.is_some() {
            return Err("a cloud event has data or data_base64, not both".to_owned());
        }
        let data_base64 = data_base64.map(|raw| {
            let text: String = serde_json::from_str(raw.get())
                .map_err(|_| "the attribute data_base64 is a text".to_owned())?;
            let bytes = BASE64.decode(text);
            bytes.map(Bytes::from).map_err(|error| format!("data_base64 is not base64: {error}"))
        });
        let mut texts = BTreeMap::new();
        for (name, raw) in &*all {
            if name.is_empty()
                || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            {
                return Err(format!(
                    "the name of the attribute {name:?} is not lower-case letters and digits"
                ));
            }
            let value: Value =
                serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
            match value {
                Value::Null => continue,
                Value::Array(_) | Value::Object(_) => {
                    return Err(format!("the attribute {name} is a text, a number, true or false"));
                }
                plain => texts.insert(name.clone(), plain),
            };
        }
        Ok(Self {
            texts,
            data: data.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())),
            data_text: data.and_then(|raw| serde_json::from_str(raw.get()).ok()),
            data_base64: data_base64.transpose()?,
        })
    }

    fn into_event(mut self) -> Result<NewEvent, String> {
        let version = self.required("specversion")?;
        if version != "1.0" {
            return Err(format!("specversion is \"1.0\" here, not {version:?}"));
        }
        let id = self.required("id")?;
        let source = self.required("source")?;
        let event_type = self.required("type")?;
        let event_type = EventType::new(&event_type).map_err(|error| error.to_string())?;
        let mut kept = Map::new();
        if let Some(time) = self.text("time")? {
            time::parse(&time)?;
            kept.insert("time".to_owned(), time.into());
        }
        let tags = match self.text(TAGS)? {
            Some(text) => tags_of(&text)?,
            None => Tags::EMPTY,
        };
        let (content_type, data) = self.take_data()?;
        self.texts.remove(POSITION);
        self.texts.remove(REVISION);
        let mut metadata = Map::new();
        for (name, key) in AS_METADATA {
            if let Some(value) = self.text(name)? {
                metadata.insert(key.to_owned(), value.into());
            }
        }
        let uuid = Uuid::try_parse(&id).unwrap_or_else(|_| {
            let name = format!("{source}\n{id}");
            kept.insert("id".to_owned(), id.into());
            Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
        });
        kept.insert("source".to_owned(), source.into());
        kept.extend(self.texts);
        metadata.insert(KEPT.to_owned(), kept.into());
        let mut event =
            NewEvent::new(event_type, content_type, data).with_id(EventId::from_uuid(uuid));
        event.tags = tags;
        Ok(event.with_metadata(Value::Object(metadata).to_string()))
    }

    fn take_data(&mut self) -> Result<(ContentType, Bytes), String> {
        let content_type = self.text("datacontenttype")?;
        let is_json = content_type.as_deref().is_none_or(is_json);
        let data = match (self.data.take(), self.data_base64.take(), self.data_text.take()) {
            (_, Some(bytes), _) => bytes,
            (Some(json), None, _) if is_json => json,
            (Some(_), None, Some(text)) => text.into(),
            (Some(_), None, None) => {
                return Err(
                    "data that is not JSON is a text, or it stands in data_base64".to_owned()
                );
            }
            (None, None, _) => Bytes::new(),
        };
        let content_type = match content_type {
            Some(text) => ContentType::new(&text).map_err(|error| error.to_string())?,
            None => ContentType::json(),
        };
        Ok((content_type, data))
    }

    fn required(&mut self, name: &str) -> Result<String, String> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(format!("the required attribute {name} is missing or empty")),
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.texts.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("the attribute {name} is a text")),
        }
    }
}

fn tags_of(text: &str) -> Result<Tags, String> {
    let list: Vec<String> = serde_json::from_str(text)
        .map_err(|_| format!("the attribute {TAGS} is a JSON list of texts, as one text"))?;
    Tags::parse(list).map_err(|error| format!("the attribute {TAGS} has no valid tags: {error}"))
}

/// Whether a content type says that the data is JSON.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.ends_with("/json") || kind.ends_with("+json")
}

/// Writes an event as a cloud event.
pub(super) fn to_json(event: EventRef<'_>, out: &mut Vec<u8>) {
    let bytes = event.data_bytes();
    let is_there = !event.is_erased() && !bytes.is_empty();
    let as_json = is_there.then(|| line::as_inline(bytes)).flatten();
    let as_json = as_json.filter(|_| is_json(event.content_type()));
    let is_text = event.content_type().starts_with("text/");
    let as_text = std::str::from_utf8(bytes).ok().filter(|_| is_there && is_text);
    let is_encoded = is_there && as_json.is_none() && as_text.is_none();
    let tags: Vec<&str> = event.tags().collect();
    let tags =
        (!tags.is_empty()).then(|| serde_json::to_string(&tags).expect("a list of texts is JSON"));
    let fields = CloudEventOut {
        specversion: "1.0",
        id: event.id().to_string(),
        source: format!("/streams/{}", super::request::encode(event.stream())),
        event_type: event.event_type(),
        subject: event.stream(),
        time: time::to_text(event.recorded_at()),
        datacontenttype: (!event.is_erased()).then(|| event.content_type()),
        quipuposition: event.position().to_string(),
        quipurevision: event.revision().to_string(),
        quiputags: tags,
        erased: event.is_erased(),
        extensions: extensions_of(event.metadata_bytes()),
        data: as_json,
        data_text: as_text,
        data_base64: is_encoded.then(|| BASE64.encode(bytes)),
    };
    serde_json::to_writer(out, &fields).expect("names are text and a Vec takes all bytes");
}

/// What the metadata says that is an attribute: the framework's keys, and what an append kept.
fn extensions_of(metadata: &[u8]) -> Map<String, Value> {
    let mut extensions = Map::new();
    let Ok(Value::Object(mut metadata)) = serde_json::from_slice(metadata) else {
        return extensions;
    };
    if let Some(Value::Object(kept)) = metadata.remove(KEPT) {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let is_plain = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        extensions.extend(kept.into_iter().filter(|(name, value)| {
            is_name(name) && is_plain(value) && !OWN.contains(&name.as_str())
        }));
    }
    for (name, key) in AS_METADATA {
        if let Some(Value::String(text)) = metadata.remove(key) {
            extensions.insert(name.to_owned(), text.into());
        }
    }
    extensions
}

#[derive(Serialize)]
struct CloudEventOut<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    subject: &'a str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'a str>,
    quipuposition: String,
    quipurevision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    quiputags: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
    #[serde(flatten)]
    extensions: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(rename = "data", skip_serializing_if = "Option::is_none")]
    data_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

#[cfg(test)]
mod tests {
    use quipu_core::Timestamp;
    use quipu_core::{EventBatch, EventData, Position, RecordedEvent, Revision, StreamName};
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<NewEvent, String> {
        from_json(value.to_string().as_bytes()).map_err(|error| error.reason)
    }

    fn written(event: &NewEvent) -> Value {
        let recorded = RecordedEvent {
            id: event.id,
            stream: StreamName::new("order 1").unwrap(),
            event_type: event.event_type.clone(),
            tags: event.tags.clone(),
            content_type: event.content_type.clone(),
            data: EventData::Present(event.data.clone()),
            metadata: event.metadata.clone(),
            recorded_at: Timestamp::from_micros(0),
            position: Position::new(7),
            revision: Revision::new(3),
        };
        let batch = EventBatch::from_iter([&recorded]);
        let mut out = Vec::new();
        to_json(batch.first().unwrap(), &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    fn minimal() -> Value {
        json!({"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "OrderPlaced"})
    }

    #[test]
    fn an_event_goes_through_and_keeps_what_it_says() {
        let mut event = minimal();
        event["datacontenttype"] = json!("application/json");
        event["data"] = json!({"total_cents": 1200});
        event["quiputags"] = json!("[\"order:1\",\"a b\"]");
        event["correlationid"] = json!("c-1");
        event["dataschema"] = json!("/schemas/order");
        event["priority"] = json!(5);
        event["urgent"] = json!(true);
        event["time"] = json!("2011-12-24T18:00:00Z");

        let new = read(&event).unwrap();
        let out = written(&new);

        for name in [
            "type",
            "data",
            "datacontenttype",
            "quiputags",
            "correlationid",
            "dataschema",
            "priority",
            "urgent",
        ] {
            let mut expected = event[name].clone();
            if name == "quiputags" {
                expected = json!("[\"a b\",\"order:1\"]");
            }
            assert_eq!(out[name], expected, "{name}");
        }
        assert_eq!(out["source"], "/streams/order%201");
        assert_eq!(out["subject"], "order 1");
        assert_eq!(out["quipuposition"], "7");
        assert_eq!(out["quipurevision"], "3");
        let metadata: Value = serde_json::from_slice(&new.metadata).unwrap();
        assert_eq!(metadata["cloudEvent"]["id"], "a-1");
        assert_eq!(metadata["cloudEvent"]["source"], "/shop");
        assert_eq!(metadata["cloudEvent"]["time"], "2011-12-24T18:00:00Z");
        assert_eq!(metadata["$correlationId"], "c-1");
    }

    #[test]
    fn the_same_id_of_the_same_source_is_the_same_event() {
        let mut other_source = minimal();
        other_source["source"] = json!("/elsewhere");
        let mut uuid = minimal();
        uuid["id"] = json!("018c2e65-4b7d-7000-8000-000000000001");

        let id = |value: &Value| read(value).unwrap().id;

        assert_eq!(id(&minimal()), id(&minimal()));
        assert_ne!(id(&minimal()), id(&other_source));
        assert_eq!(id(&uuid).to_string(), "018c2e65-4b7d-7000-8000-000000000001");
    }

    #[test]
    fn data_of_every_kind_goes_through() {
        let cases = [
            (json!({"data": "text"}), b"\"text\"".as_slice()),
            (json!({"datacontenttype": "text/plain", "data": "text"}), b"text"),
            (json!({"datacontenttype": "image/png", "data_base64": "/wA="}), b"\xff\0"),
            (json!({"datacontenttype": "application/json", "data_base64": "ewp9"}), b"{\n}"),
            (
                json!({"datacontenttype": "application/vnd.a+json; charset=utf-8", "data": [1]}),
                b"[1]",
            ),
            (json!({}), b""),
        ];
        for (members, bytes) in cases {
            let mut event = minimal();
            for (name, value) in members.as_object().unwrap() {
                event[name] = value.clone();
            }

            let new = read(&event).unwrap();
            let out = written(&new);

            assert_eq!(new.data, bytes, "{event}");
            assert_eq!(out.get("data"), event.get("data"), "{event}");
            assert_eq!(out.get("data_base64"), event.get("data_base64"), "{event}");
        }
    }

    #[test]
    fn what_is_no_cloud_event_is_refused_with_the_reason() {
        let cases = [
            ("specversion", json!(null), "the required attribute specversion"),
            ("specversion", json!("0.3"), "specversion is \"1.0\""),
            ("id", json!(""), "the required attribute id"),
            ("id", json!(7), "the attribute id is a text"),
            ("source", json!(null), "the required attribute source"),
            ("type", json!(null), "the required attribute type"),
            ("type", json!("a\u{7}"), "control"),
            ("time", json!("noon"), "RFC 3339"),
            ("quiputags", json!("order:1"), "a JSON list"),
            ("quiputags", json!("[\"\"]"), "no valid tags"),
            ("Priority", json!("x"), "lower-case"),
            ("nested", json!({}), "a text, a number"),
            ("data_base64", json!("?"), "not base64"),
            ("datacontenttype", json!(1), "the attribute datacontenttype is a text"),
        ];
        for (name, value, reason) in cases {
            let mut event = minimal();
            event[name] = value;

            let refused = read(&event).unwrap_err();

            assert!(refused.contains(reason), "{event}: {refused}");
        }
        let twice = from_json(br#"{"id":"a","id":"b"}"#).unwrap_err();
        assert!(twice.reason.contains("twice") && twice.column > 1, "{twice:?}");
        let many: Vec<String> = (0..=ATTRIBUTE_COUNT_MAX).map(|n| format!("\"a{n}\":1")).collect();
        let many = from_json(format!("{{{}}}", many.join(",")).as_bytes()).unwrap_err();
        assert!(many.reason.contains("more than 256"), "{many:?}");
        let both = json!({"data": 1, "data_base64": ""});
        assert!(read(&both).unwrap_err().contains("not both"));
        let not_json = json!({"datacontenttype": "text/plain", "data": 1, "specversion": "1.0",
            "id": "1", "source": "/a", "type": "T"});
        assert!(read(&not_json).unwrap_err().contains("is a text"));
    }
}
