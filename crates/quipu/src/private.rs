//! What derived code calls. Not part of the API.

use std::borrow::Cow;

use quipu_core::{EventType, NameError, Query, QueryItem, StreamName, Tag, Tags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Codec, CodecError, Json};
use crate::event::{EventSet, EventShape};

pub use crate::model::{Member, SnapshotJob};

/// The tags of these names and values.
pub fn tags<'a>(named: impl AsRef<[(&'static str, Cow<'a, str>)]>) -> Result<Tags, NameError> {
    named.as_ref().iter().map(|(name, value)| Tag::new(format!("{name}:{value}"))).collect()
}

/// The stream of one thing of a category.
pub fn stream(category: &str, value: &str) -> Result<StreamName, NameError> {
    StreamName::new(format!("{category}-{value}"))
}

/// The events of a set that have these tags.
pub fn tag_query<'a, E: EventSet>(
    named: impl AsRef<[(&'static str, Cow<'a, str>)]>,
) -> Result<Query, NameError> {
    let (types, tags) = (types::<E>()?, tags(named)?);
    Ok(QueryItem { types, tags, ..QueryItem::default() }.into())
}

/// The events of a set in one stream.
pub fn stream_query<E: EventSet>(stream: StreamName) -> Result<Query, NameError> {
    let types = types::<E>()?;
    Ok(QueryItem { types, stream: Some(stream), ..QueryItem::default() }.into())
}

/// The types of a set.
pub fn types<E: EventSet>() -> Result<Vec<EventType>, NameError> {
    E::SHAPES.iter().map(|shape| EventType::new(shape.event_type)).collect()
}

/// A model's state as bytes.
pub fn to_snapshot<M: Serialize>(model: &M) -> Result<Vec<u8>, CodecError> {
    Json::encode(model)
}

/// A model's state of bytes; none where they are of another shape.
pub fn from_snapshot<M: DeserializeOwned>(data: &[u8]) -> Option<M> {
    Json::decode(data).ok()
}

/// Refuses, as the code is compiled, a set in which two variants have one type.
pub const fn assert_distinct(shapes: &[EventShape]) {
    let mut i = 0;
    while i < shapes.len() {
        let mut j = i + 1;
        while j < shapes.len() {
            assert!(
                !is_same(shapes[i].event_type.as_bytes(), shapes[j].event_type.as_bytes()),
                "two variants of the set have the same event type: take one out"
            );
            j += 1;
        }
        i += 1;
    }
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
