//! Records on their way in.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost_types::value::Kind;
use prost_types::{Struct, Value as WireValue};
use quipu_core::{
    Append, ContentType, EventId, EventType, ExpectedRevision, InvalidAppend, NewEvent, Revision,
    StreamName, TOMBSTONE_TYPE, limits,
};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use super::failure::Failure;
use crate::convert::tags_of;
use crate::proto::kurrentdb::protocol::v2::streams as wire;
use wire::{AppendRecord, SchemaFormat, SchemaInfo};

/// How deep a property's value may be nested.
const DEPTH_MAX: usize = 32;

/// An append on its way in, within the limits.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) append: Append,
    size: usize,
}

impl Batch {
    pub(super) fn push(&mut self, stream: StreamName, record: AppendRecord) -> Result<(), Failure> {
        let event = event(record)?;
        if event.size() > limits::EVENT_SIZE_MAX {
            return Err(Failure::RecordTooLarge {
                stream: stream.to_string(),
                id: event.id.to_string(),
                size: event.size(),
                size_max: limits::EVENT_SIZE_MAX,
            });
        }
        self.size += event.size();
        if self.size > limits::APPEND_SIZE_MAX {
            let (size, size_max) = (self.size, limits::APPEND_SIZE_MAX);
            return Err(Failure::AppendTooLarge { size, size_max });
        }
        let count = self.append.events.len() + 1;
        if count > limits::APPEND_COUNT_MAX {
            let count_max = limits::APPEND_COUNT_MAX;
            let error = InvalidAppend::TooManyEvents { count, count_max };
            return Err(Failure::bad("records", &error.to_string()));
        }
        self.append.events.push((stream, event));
        Ok(())
    }
}

/// The name of a stream.
pub(super) fn stream_name(text: &str, field: &str) -> Result<StreamName, Failure> {
    if text == "$$" {
        return Err(Failure::bad(field, "'$$' is the metadata of no stream"));
    }
    StreamName::new(text).map_err(|error| Failure::bad(field, &error.to_string()))
}

/// What is expected of a stream, by its number; nothing where there is none.
pub(super) fn expected(number: Option<i64>) -> Result<ExpectedRevision, Failure> {
    match number {
        None | Some(-2) => Ok(ExpectedRevision::Any),
        Some(-1) => Ok(ExpectedRevision::NoStream),
        Some(-4) => Ok(ExpectedRevision::StreamExists),
        Some(number) => {
            let revision = u64::try_from(number).map_err(|_| {
                let reason = format!("{number} is no revision: it is 0 or more, -1, -2 or -4");
                Failure::bad("expected_revision", &reason)
            })?;
            Ok(ExpectedRevision::Exactly(Revision::new(revision)))
        }
    }
}

/// What a check demands of a stream.
pub(super) fn check(
    check: wire::ConsistencyCheck,
) -> Result<(StreamName, ExpectedRevision), Failure> {
    let Some(wire::consistency_check::Type::StreamState(state)) = check.r#type else {
        return Err(Failure::bad("checks", "the check says nothing"));
    };
    let stream = stream_name(&state.stream, "checks.stream")?;
    let expected = match state.expected_state {
        -5 => ExpectedRevision::Deleted,
        -6 => ExpectedRevision::Tombstoned,
        -2 => {
            let reason = "a check that demands nothing checks nothing";
            return Err(Failure::bad("checks.expected_state", reason));
        }
        number => expected(Some(number))?,
    };
    Ok((stream, expected))
}

fn event(record: AppendRecord) -> Result<NewEvent, Failure> {
    let id = match record.record_id.as_deref() {
        None => EventId::generate(),
        Some(text) => match Uuid::parse_str(text) {
            Ok(id) if !id.is_nil() => EventId::from_uuid(id),
            _ => return Err(Failure::bad("record_id", "it has to be a UUID, and not nil")),
        },
    };
    let schema =
        record.schema.ok_or_else(|| Failure::bad("schema", "a record has to have a schema"))?;
    let (event_type, content_type) = kind(&schema)?;
    let metadata = metadata(record.properties, &schema)?;
    let mut event =
        NewEvent::new(event_type, content_type, record.data).with_id(id).with_metadata(metadata);
    event.tags = tags_of(&event.metadata);
    Ok(event)
}

/// The event type and the content type that a schema stands for.
fn kind(schema: &SchemaInfo) -> Result<(EventType, ContentType), Failure> {
    let content_type = match schema.format() {
        SchemaFormat::Unspecified => {
            return Err(Failure::bad("schema.format", "it has to be specified"));
        }
        SchemaFormat::Json => ContentType::json(),
        SchemaFormat::Protobuf | SchemaFormat::Avro | SchemaFormat::Bytes => ContentType::octets(),
    };
    let is_name = |c: char| c.is_alphanumeric() || "_.$:-".contains(c);
    if !schema.name.chars().all(is_name) {
        let reason = "it has letters, digits and _ . $ : - only";
        return Err(Failure::bad("schema.name", reason));
    }
    if schema.name == TOMBSTONE_TYPE {
        return Err(Failure::bad("schema.name", "tombstones are written by Tombstone only"));
    }
    if schema.id.as_deref().is_some_and(|id| Uuid::parse_str(id).is_err()) {
        return Err(Failure::bad("schema.id", "it has to be a UUID"));
    }
    let event_type = EventType::new(&schema.name)
        .map_err(|error| Failure::bad("schema.name", &error.to_string()))?;
    Ok((event_type, content_type))
}

/// The metadata that reads of version 1 show: the properties and the schema, as a JSON object.
fn metadata(properties: HashMap<String, WireValue>, schema: &SchemaInfo) -> Result<Bytes, Failure> {
    let mut object = Map::new();
    for (key, value) in properties {
        if key.is_empty() {
            return Err(Failure::bad("properties", "a property has to have a name"));
        }
        object.insert(key, json(value, DEPTH_MAX)?);
    }
    let format = match schema.format() {
        SchemaFormat::Json | SchemaFormat::Unspecified => "Json",
        SchemaFormat::Protobuf => "Protobuf",
        SchemaFormat::Avro => "Avro",
        SchemaFormat::Bytes => "Bytes",
    };
    object.insert("$schema.name".to_owned(), schema.name.clone().into());
    object.insert("$schema.format".to_owned(), format.into());
    if let Some(id) = &schema.id {
        object.insert("$schema.id".to_owned(), id.clone().into());
    }
    Ok(Value::Object(object).to_string().into())
}

fn json(value: WireValue, depth: usize) -> Result<Value, Failure> {
    let too_deep = || Failure::bad("properties", "a value is nested too deep");
    let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
    Ok(match value.kind {
        None => return Err(Failure::bad("properties", "a property has to have a value")),
        Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(own)) => own.into(),
        Some(Kind::NumberValue(own)) => number(own),
        Some(Kind::StringValue(own)) => own.into(),
        Some(Kind::ListValue(list)) => {
            let values = list.values.into_iter().map(|value| json(value, depth));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Some(Kind::StructValue(Struct { fields })) => object(fields, depth)?,
    })
}

fn object(fields: BTreeMap<String, WireValue>, depth: usize) -> Result<Value, Failure> {
    let fields = fields.into_iter().map(|(key, value)| Ok((key, json(value, depth)?)));
    Ok(Value::Object(fields.collect::<Result<_, Failure>>()?))
}

/// A number as JSON writes it: whole where it is whole.
fn number(own: f64) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if own.fract() == 0.0 && own.abs() <= EXACT_MAX {
        return Value::Number(Number::from(own as i64));
    }
    Number::from_f64(own).map_or(Value::Null, Value::Number)
}
