//! Events: before the store gave them a place, and after.

use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

use crate::name::{ContentType, EventType, NameError, StreamName, Tag};
use crate::place::{Position, Revision, Timestamp};

/// What makes two attempts to append one event the same event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id: UUID version 7, so that ids made later sort later.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id that is this UUID, of any version.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id as a UUID.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }

    /// The id's 16 bytes, in the order of RFC 9562.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id of these 16 bytes, in the order of RFC 9562.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A set of tags, kept in order of their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// No tags.
    pub const EMPTY: Self = Self(Vec::new());

    /// Parses each text as a tag.
    ///
    /// # Errors
    ///
    /// The [`NameError`] of the first text that is not a tag.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, NameError> {
        texts.into_iter().map(Tag::new).collect()
    }

    /// Adds a tag, unless it is there.
    pub fn insert(&mut self, tag: Tag) {
        if let Err(index) = self.0.binary_search(&tag) {
            self.0.insert(index, tag);
        }
    }

    /// Whether the set has this tag.
    pub fn contains(&self, tag: &str) -> bool {
        self.0.binary_search_by(|own| own.as_str().cmp(tag)).is_ok()
    }

    /// The tags in order of their bytes.
    pub fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.0.iter()
    }

    /// How many tags the set has.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether the set has no tag.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Tag> for Tags {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> Self {
        let mut tags: Vec<Tag> = tags.into_iter().collect();
        tags.sort();
        tags.dedup();
        Self(tags)
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = &'a Tag;
    type IntoIter = std::slice::Iter<'a, Tag>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// An event that is to be appended.
///
/// ```
/// use quipu_core::NewEvent;
///
/// let placed = NewEvent::json("OrderPlaced", r#"{"total_cents":1200}"#)?.with_tag("order:4711")?;
/// assert!(placed.tags.contains("order:4711"));
/// # Ok::<(), quipu_core::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it field by field")]
pub struct NewEvent {
    /// What makes a retry the same event.
    pub id: EventId,
    /// What kind of fact it is.
    pub event_type: EventType,
    /// What queries find it by.
    pub tags: Tags,
    /// How to read the data.
    pub content_type: ContentType,
    /// The event's body, opaque to the store.
    pub data: Bytes,
    /// What travels beside the data, opaque to the store; a JSON object when the framework writes it.
    pub metadata: Bytes,
    /// When it happened, for import and copy only: the store's clock otherwise. Never later than
    /// the store's clock; where it is earlier than the last event's, the engine takes that one's.
    pub recorded_at: Option<Timestamp>,
}

impl NewEvent {
    /// An event with a new id and data that is JSON. The store does not look into the data.
    ///
    /// # Errors
    ///
    /// A [`NameError`] if `event_type` is not a name.
    pub fn json(event_type: &str, data: impl Into<Bytes>) -> Result<Self, NameError> {
        Ok(Self::new(EventType::new(event_type)?, ContentType::json(), data.into()))
    }

    /// An event with a new id and data of any kind.
    pub fn new(event_type: EventType, content_type: ContentType, data: Bytes) -> Self {
        Self {
            id: EventId::generate(),
            event_type,
            tags: Tags::EMPTY,
            content_type,
            data,
            metadata: Bytes::new(),
            recorded_at: None,
        }
    }

    /// The same event with this id.
    #[must_use]
    pub fn with_id(mut self, id: EventId) -> Self {
        self.id = id;
        self
    }

    /// The same event with one more tag.
    ///
    /// # Errors
    ///
    /// A [`NameError`] if `tag` is not a name.
    pub fn with_tag(mut self, tag: &str) -> Result<Self, NameError> {
        self.tags.insert(Tag::new(tag)?);
        Ok(self)
    }

    /// The same event with this metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// The bytes that count toward [`EVENT_SIZE_MAX`](crate::limits::EVENT_SIZE_MAX).
    pub fn size(&self) -> usize {
        self.data.len() + self.metadata.len()
    }
}

/// An event's data, or the fact that it was erased.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "readers must handle both; there is no third")]
pub enum EventData {
    /// The bytes as they were appended.
    Present(Bytes),
    /// The data was erased after it was appended. The event stays: its place, type and tags.
    Erased,
}

impl EventData {
    /// The bytes, or `None` where they were erased.
    pub fn present(&self) -> Option<&Bytes> {
        match self {
            Self::Present(data) => Some(data),
            Self::Erased => None,
        }
    }
}

/// An event in the log, with the place the store gave it.
///
/// Reads give [`EventRef`](crate::EventRef)s, which borrow from a batch; this is the owned form.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores build it field by field")]
pub struct RecordedEvent {
    /// What makes a retry the same event.
    pub id: EventId,
    /// The stream it is in.
    pub stream: StreamName,
    /// What kind of fact it is.
    pub event_type: EventType,
    /// What queries find it by.
    pub tags: Tags,
    /// How to read the data.
    pub content_type: ContentType,
    /// The event's body.
    pub data: EventData,
    /// What travels beside the data.
    pub metadata: Bytes,
    /// When the store recorded it.
    pub recorded_at: Timestamp,
    /// Its place in the log.
    pub position: Position,
    /// Its place in its stream.
    pub revision: Revision,
}
