//! The JSON line: one event as one object on one line. The only place that knows its shape.
//!
//! `position, revision, stream, id, type, time, tags, content_type, data | data_base64, metadata |
//! metadata_base64`. Bytes stand inline, as the very JSON text they are, where a reader of the line
//! gets the same bytes back; in base64 otherwise. Metadata without bytes is left out.
//!
//! # Invariants
//!
//! - `from_json(to_json(event))` has the event's stream, id, type, time, tags, content type, data
//!   and metadata, bit for bit.
//! - A written line has no line break in it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use quipu_core::{ContentType, EventId, EventRef, EventType, StreamName, Tag, Tags, Timestamp};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::time;

/// The most bytes in a line: room for the largest event in base64, with its names.
pub const LINE_SIZE_MAX: usize = 32 << 20;

/// The most tags that are looked at in a line: what an event may have with reserved ones.
const LINE_TAG_COUNT_MAX: usize = quipu_core::limits::TAG_COUNT_TOTAL_MAX;

/// An event as a line gives it. `S` is what it says of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it is taken apart field by field")]
pub struct Line<S = StreamName> {
    /// The stream it is for.
    pub stream: S,
    /// What makes a retry the same event.
    pub id: Option<EventId>,
    /// What kind of fact it is.
    pub event_type: EventType,
    /// When it was recorded.
    pub time: Option<Timestamp>,
    /// What queries find it by.
    pub tags: Tags,
    /// How to read the data.
    pub content_type: ContentType,
    /// The event's data.
    pub data: Bytes,
    /// What travels beside the data.
    pub metadata: Bytes,
}

impl<S> Line<S> {
    /// The same event with something else in the stream's place.
    fn map_stream<T>(self, map: impl FnOnce(S) -> T) -> Line<T> {
        Line {
            stream: map(self.stream),
            id: self.id,
            event_type: self.event_type,
            time: self.time,
            tags: self.tags,
            content_type: self.content_type,
            data: self.data,
            metadata: self.metadata,
        }
    }
}

/// Why a text is not an event.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it is taken apart field by field")]
pub struct LineError {
    /// The line of the text, counted from 1: always 1 for what is one line.
    pub line: usize,
    /// The byte of the line, counted from 1, at which that showed.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

impl From<serde_json::Error> for LineError {
    fn from(error: serde_json::Error) -> Self {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        let reason = message.strip_suffix(&place).unwrap_or(&message).to_owned();
        Self { line: error.line(), column: error.column(), reason }
    }
}

/// Reads a line.
pub fn from_json(line: &[u8]) -> Result<Line, LineError> {
    Ok(parse::<Parsed<StreamName>>(line)?.map_stream(|stream| stream.0))
}

/// Reads an event whose stream may be known from elsewhere. The text may have line breaks.
pub fn event_from_json(text: &[u8]) -> Result<Line<Option<StreamName>>, LineError> {
    let line = parse::<Option<Parsed<StreamName>>>(text)?;
    Ok(line.map_stream(|stream| stream.map(|own| own.0)))
}

fn parse<'a, S: Deserialize<'a>>(text: &'a [u8]) -> Result<Line<S>, LineError> {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
    // An array would be taken as the fields in their order.
    if text.get(start) != Some(&b'{') {
        return Err(error_at(text, start, "a line is a JSON object, from { to }"));
    }
    let fields: FieldsIn<'_, S> = serde_json::from_slice(text)?;
    let at_end = |reason: &str| error_at(text, text.len().saturating_sub(1), reason);
    if fields.erased.is_some() {
        return Err(at_end("the event's data was erased, there is nothing to import"));
    }
    let (data, default_content_type) = match (fields.data, fields.data_base64) {
        (Some(_), Some(_)) => return Err(at_end("an event has data or data_base64, not both")),
        (Some(json), None) => (bytes_of(json), ContentType::json()),
        (None, Some(Parsed(bytes))) => (bytes, ContentType::octets()),
        (None, None) => (Bytes::new(), ContentType::octets()),
    };
    let metadata = match (fields.metadata, fields.metadata_base64) {
        (Some(_), Some(_)) => {
            return Err(at_end("an event has metadata or metadata_base64, not both"));
        }
        (Some(json), None) => bytes_of(json),
        (None, Some(Parsed(bytes))) => bytes,
        (None, None) => Bytes::new(),
    };
    Ok(Line {
        stream: fields.stream,
        id: fields.id.map(|id| id.0),
        event_type: fields.event_type.0,
        time: fields.time.map(|time| time.0),
        tags: fields.tags.map(|tags| tags.0).unwrap_or_default(),
        content_type: fields.content_type.map_or(default_content_type, |parsed| parsed.0),
        data,
        metadata,
    })
}

fn error_at(text: &[u8], offset: usize, reason: &str) -> LineError {
    let (line, column) = place_of(text, offset);
    LineError { line, column, reason: reason.to_owned() }
}

/// The line and the column, both counted from 1, of the byte at `offset`.
pub fn place_of(text: &[u8], offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let breaks = before.split(|byte| *byte == b'\n').count() - 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |index| index + 1);
    (breaks + 1, before.len() - start + 1)
}

/// Writes an event as a line, line break included, behind what `out` holds.
pub fn to_json(event: EventRef<'_>, out: &mut Vec<u8>) {
    let (data, data_base64) =
        if event.is_erased() { (None, None) } else { inline_or_base64(event.data_bytes()) };
    let (metadata, metadata_base64) = match event.metadata_bytes() {
        [] => (None, None),
        bytes => inline_or_base64(bytes),
    };
    let fields = FieldsOut {
        position: event.position().get(),
        revision: event.revision().get(),
        stream: event.stream(),
        id: event.id().to_string(),
        event_type: event.event_type(),
        time: time::to_text(event.recorded_at()),
        tags: event.tags().collect(),
        content_type: event.content_type(),
        data,
        data_base64,
        erased: event.is_erased(),
        metadata,
        metadata_base64,
    };
    serde_json::to_writer(&mut *out, &fields).expect("names are text and a Vec takes all bytes");
    out.push(b'\n');
}

/// The bytes as JSON text if they are one value, alone, without blanks around it or line breaks
/// within, that every reader of JSON can take; otherwise as base64.
fn inline_or_base64(bytes: &[u8]) -> (Option<&RawValue>, Option<String>) {
    match as_inline(bytes) {
        Some(json) => (Some(json), None),
        None => (None, Some(BASE64.encode(bytes))),
    }
}

/// The bytes as JSON text if they are one value that every reader of JSON can take.
pub(crate) fn as_inline(bytes: &[u8]) -> Option<&RawValue> {
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return None;
    }
    // A raw value is checked for its grammar only. The line must not become unreadable for
    // programs because of a number, a surrogate or a nesting that they cannot take.
    serde_json::from_slice::<Readable>(bytes).ok()?;
    let json: &RawValue = serde_json::from_slice(bytes).ok()?;
    Some(json).filter(|json| json.get().len() == bytes.len())
}

fn bytes_of(json: &RawValue) -> Bytes {
    Bytes::copy_from_slice(json.get().as_bytes())
}

#[derive(Serialize)]
struct FieldsOut<'a> {
    position: u64,
    revision: u64,
    stream: &'a str,
    id: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    time: String,
    tags: Vec<&'a str>,
    content_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldsIn<'a, S> {
    #[serde(default, rename = "position")]
    _position: IgnoredAny,
    #[serde(default, rename = "revision")]
    _revision: IgnoredAny,
    stream: S,
    id: Option<Parsed<EventId>>,
    #[serde(rename = "type")]
    event_type: Parsed<EventType>,
    time: Option<Parsed<Timestamp>>,
    tags: Option<BoundedTags>,
    content_type: Option<Parsed<ContentType>>,
    // `null` is a JSON value like any other where it stands for bytes.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    data_base64: Option<Parsed<Bytes>>,
    erased: Option<bool>,
    #[serde(borrow, default, deserialize_with = "present")]
    metadata: Option<&'a RawValue>,
    metadata_base64: Option<Parsed<Bytes>>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// Any JSON value whose numbers, strings and nesting were looked at; nothing is kept of it.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// A list of tags that ends with an error where no event could have so many.
struct BoundedTags(Tags);

impl<'de> Deserialize<'de> for BoundedTags {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = BoundedTags;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tags")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<BoundedTags, A::Error> {
                let mut tags = Vec::new();
                while let Some(Parsed(tag)) = items.next_element::<Parsed<Tag>>()? {
                    if tags.len() == LINE_TAG_COUNT_MAX {
                        return Err(serde::de::Error::custom(format_args!(
                            "an event has at most {LINE_TAG_COUNT_MAX} tags"
                        )));
                    }
                    tags.push(tag);
                }
                Ok(BoundedTags(tags.into_iter().collect()))
            }
        }

        from.deserialize_seq(List)
    }
}

/// A value that is parsed from a JSON string while the line is read, so that an error knows its
/// column.
struct Parsed<T>(T);

trait Parse: Sized {
    fn parse(text: &str) -> Result<Self, String>;
}

impl Parse for StreamName {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|error| error.to_string())
    }
}

impl Parse for EventType {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|error| error.to_string())
    }
}

impl Parse for Tag {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|error| error.to_string())
    }
}

impl Parse for ContentType {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|error| error.to_string())
    }
}

impl Parse for EventId {
    fn parse(text: &str) -> Result<Self, String> {
        match uuid::Uuid::try_parse(text) {
            Ok(uuid) => Ok(Self::from_uuid(uuid)),
            Err(error) => Err(format!("the id \"{text}\" is not a UUID: {error}")),
        }
    }
}

impl Parse for Timestamp {
    fn parse(text: &str) -> Result<Self, String> {
        time::parse(text)
    }
}

impl Parse for Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        match BASE64.decode(text) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(format!("not base64: {error}")),
        }
    }
}

impl<'de, T: Parse> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text<T>(std::marker::PhantomData<T>);

        impl<T: Parse> Visitor<'_> for Text<T> {
            type Value = Parsed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::parse(text).map(Parsed).map_err(E::custom)
            }
        }

        from.deserialize_str(Text(std::marker::PhantomData))
    }
}

#[cfg(test)]
#[path = "line/tests.rs"]
mod tests;
