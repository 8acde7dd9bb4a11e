//! Ids, names and events, both ways: the only place that knows how they look on the wire.

use bytes::Bytes;
use prost_types::Timestamp as WireTimestamp;
use quipu_core::{
    ContentType, EventId, EventRef, EventType, ExpectedRevision, NewEvent, Position, Revision,
    StreamName, TOMBSTONE_TYPE, Tags, Timestamp,
};
use serde_json::value::RawValue;
use tonic::Status;
use uuid::Uuid;

use crate::failure::Failure;
use crate::proto::event_store::client as shared;
use crate::proto::event_store::client::streams::{ProposedMessage, StreamExpectation};

/// The revision that the protocol shows of a tombstone: 2^63-1.
pub const TOMBSTONE_REVISION: u64 = i64::MAX as u64;
/// The type of events that stand for another event.
pub const LINK_TYPE: &str = "$>";
/// The key under which a JSON object in an event's metadata has the event's tags.
const TAGS: &str = "$tags";

/// How a client wants ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum IdForm {
    /// As two numbers.
    Structured,
    /// As text.
    Text,
}

impl IdForm {
    /// What a request asks for.
    ///
    /// # Errors
    ///
    /// It asks for nothing.
    pub fn from_proto(option: Option<&shared::UuidOption>) -> Result<Self, Failure> {
        use shared::uuid_option::Content;
        match option.and_then(|option| option.content) {
            Some(Content::Structured(())) => Ok(Self::Structured),
            Some(Content::String(())) => Ok(Self::Text),
            None => Err(Failure::invalid("the request has no uuid_option")),
        }
    }

    /// An id in this form.
    pub fn to_proto(self, id: Uuid) -> shared::Uuid {
        use shared::uuid::{Structured, Value};
        let value = match self {
            Self::Structured => {
                let (most, least) = id.as_u64_pair();
                Value::Structured(Structured {
                    most_significant_bits: most.cast_signed(),
                    least_significant_bits: least.cast_signed(),
                })
            }
            Self::Text => Value::String(id.hyphenated().to_string()),
        };
        shared::Uuid { value: Some(value) }
    }
}

/// An id in either form.
///
/// # Errors
///
/// There is none, or its text is not one.
pub fn id(id: Option<&shared::Uuid>) -> Result<Uuid, Failure> {
    use shared::uuid::Value;
    match id.and_then(|id| id.value.as_ref()) {
        Some(Value::Structured(own)) => Ok(Uuid::from_u64_pair(
            own.most_significant_bits.cast_unsigned(),
            own.least_significant_bits.cast_unsigned(),
        )),
        Some(Value::String(text)) => {
            Uuid::parse_str(text).map_err(|_| Failure::invalid(format!("'{text}' is not a UUID")))
        }
        None => Err(Failure::invalid("the request has no UUID where one has to be")),
    }
}

/// The name of a stream.
///
/// # Errors
///
/// It is missing, not UTF-8, or not a name.
pub fn stream_name(identifier: Option<&shared::StreamIdentifier>) -> Result<StreamName, Failure> {
    let bytes = identifier.map_or(&[][..], |identifier| &identifier.stream_name);
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Failure::invalid("the stream's name is not UTF-8"))?;
    if text == "$$" {
        return Err(Failure::invalid("'$$' is the metadata of no stream"));
    }
    StreamName::new(text).map_err(|error| Failure::invalid(error.to_string()))
}

/// A stream as messages name it.
pub fn stream_identifier(stream: &str) -> shared::StreamIdentifier {
    shared::StreamIdentifier { stream_name: Bytes::copy_from_slice(stream.as_bytes()) }
}

/// A stream and what is expected of it.
///
/// # Errors
///
/// The stream is not one, or nothing is said about it.
pub fn expectation(
    options: Option<&StreamExpectation>,
) -> Result<(StreamName, ExpectedRevision), Failure> {
    use crate::proto::event_store::client::streams::stream_expectation::ExpectedStreamRevision as E;
    let options = options.ok_or_else(|| Failure::invalid("the request has no options"))?;
    let expected = match options.expected_stream_revision {
        Some(E::Revision(revision)) => ExpectedRevision::Exactly(Revision::new(revision)),
        Some(E::NoStream(())) => ExpectedRevision::NoStream,
        Some(E::Any(())) => ExpectedRevision::Any,
        Some(E::StreamExists(())) => ExpectedRevision::StreamExists,
        None => return Err(Failure::invalid("the request does not say what it expects")),
    };
    Ok((stream_name(options.stream_identifier.as_ref())?, expected))
}

/// A place in the log.
pub fn position(position: Position) -> shared::AllStreamPosition {
    let place = position.get();
    shared::AllStreamPosition { commit_position: place, prepare_position: place }
}

/// A moment.
pub fn timestamp(moment: Timestamp) -> WireTimestamp {
    let micros = moment.as_micros();
    WireTimestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or_default(),
    }
}

/// An event that is to be appended.
///
/// # Errors
///
/// It has no id, type or content type, or one that cannot be.
pub fn new_event(proposed: ProposedMessage) -> Result<NewEvent, Failure> {
    let id = EventId::from_uuid(id(proposed.id.as_ref())?);
    let (mut event_type, mut content_type) = (None, None);
    for property in &proposed.metadata {
        match &*property.key {
            b"type" => event_type = Some(&property.value),
            b"content-type" => content_type = Some(&property.value),
            _ => {}
        }
    }
    let (Some(event_type), Some(content_type)) = (event_type, content_type) else {
        return Err(Failure::MissingMetadata);
    };
    let event_type = text(event_type).and_then(|text| {
        EventType::new(text).map_err(|error| Failure::invalid(error.to_string()))
    })?;
    let content_type = match &**content_type {
        b"application/json" => ContentType::json(),
        // KurrentDB knows JSON and everything else; nothing that it lets pass may be refused.
        other => std::str::from_utf8(other)
            .ok()
            .and_then(|text| ContentType::new(text).ok())
            .unwrap_or_else(ContentType::octets),
    };
    let mut event = NewEvent::new(event_type, content_type, proposed.data)
        .with_id(id)
        .with_metadata(proposed.custom_metadata);
    event.tags = tags_of(&event.metadata);
    Ok(event)
}

fn text(bytes: &Bytes) -> Result<&str, Failure> {
    std::str::from_utf8(bytes).map_err(|_| Failure::invalid("the event's type is not UTF-8"))
}

/// The tags that an event's metadata has under `$tags`: those that can be tags. The others, and what
/// is not a list, are passed over: the bytes are kept as they came in any case.
pub fn tags_of(metadata: &[u8]) -> Tags {
    #[derive(serde::Deserialize)]
    struct Tagged {
        #[serde(rename = "$tags")]
        tags: Vec<serde_json::Value>,
    }
    // Most metadata has none, and is not parsed to find that out.
    let is_there = metadata.windows(TAGS.len() + 1).any(|part| part == b"\"$tags");
    if !is_there {
        return Tags::EMPTY;
    }
    let Ok(Tagged { tags }) = serde_json::from_slice(metadata) else { return Tags::EMPTY };
    let tags = tags.iter().filter_map(|tag| quipu_core::Tag::new(tag.as_str()?).ok());
    let is_free = |tag: &quipu_core::Tag| !tag.is_system();
    tags.filter(is_free).take(quipu_core::limits::TAG_COUNT_MAX).collect()
}

/// An event as clients see it.
pub fn recorded(event: EventRef<'_>, form: IdForm) -> shared::RecordedEvent {
    let is_tombstone = event.event_type() == TOMBSTONE_TYPE;
    let revision = if is_tombstone { TOMBSTONE_REVISION } else { event.revision().get() };
    let place = event.position().get();
    shared::RecordedEvent {
        id: Some(form.to_proto(event.id().as_uuid())),
        stream_identifier: Some(stream_identifier(event.stream())),
        stream_revision: revision,
        prepare_position: place,
        commit_position: place,
        metadata: properties(
            event.event_type(),
            event.recorded_at(),
            is_json(event.content_type()),
        ),
        custom_metadata: with_tags(event),
        data: event.data().present().cloned().unwrap_or_default(),
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence == "application/json" || essence.ends_with("+json")
}

/// What the protocol tells of every event.
pub fn properties(
    event_type: &str,
    recorded_at: Timestamp,
    is_json: bool,
) -> Vec<shared::Property> {
    let kind: &'static [u8] =
        if is_json { b"application/json" } else { b"application/octet-stream" };
    // Ticks of 100 ns since 1970.
    let created = recorded_at.as_micros().saturating_mul(10).to_string();
    let property = |key: &'static str, value| shared::Property {
        key: Bytes::from_static(key.as_bytes()),
        value,
    };
    vec![
        property("type", Bytes::copy_from_slice(event_type.as_bytes())),
        property("created", Bytes::from(created)),
        property("content-type", Bytes::from_static(kind)),
    ]
}

/// The event's metadata, with its tags where they are not in it and can be put there.
fn with_tags(event: EventRef<'_>) -> Bytes {
    type Object<'a> = std::collections::BTreeMap<String, &'a RawValue>;
    let metadata = event.metadata();
    let tags: Vec<&str> = event.tags().filter(|tag| !tag.starts_with('$')).collect();
    if tags.is_empty() {
        return metadata;
    }
    if metadata.is_empty() {
        return serde_json::json!({ TAGS: tags }).to_string().into();
    }
    // The other values stay as they are, to the byte; their order is the alphabet's.
    let Ok(mut object) = serde_json::from_slice::<Object<'_>>(&metadata) else { return metadata };
    if object.contains_key(TAGS) {
        return metadata;
    }
    let Ok(tags) = serde_json::value::to_raw_value(&tags) else { return metadata };
    object.insert(TAGS.to_owned(), &tags);
    serde_json::to_vec(&object).map_or_else(|_| metadata.clone(), Bytes::from)
}

/// A failure as the answer to a call.
pub fn refuse<T>(failure: Failure) -> Result<T, Status> {
    Err(failure.into())
}
