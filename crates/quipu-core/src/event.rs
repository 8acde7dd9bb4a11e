//! Events: before the store gave them a place, and after.

use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

use crate::batch::TagIter;
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
///
/// All of them are in one piece of memory: a set costs one allocation, and so does its copy.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Tags(
    /// Each tag behind a byte that says how many it has.
    Vec<u8>,
);

/// Most tags are shorter, with the byte in front.
const ENCODED_SIZE: usize = 20;

impl Tags {
    /// No tags.
    pub const EMPTY: Self = Self(Vec::new());

    /// Parses each text as a tag.
    ///
    /// # Errors
    ///
    /// The [`NameError`] of the first text that is not a tag.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, NameError> {
        let mut texts = texts.into_iter();
        let mut tags = Self(Vec::with_capacity(ENCODED_SIZE * texts.size_hint().0));
        let mut last = 0;
        while let Some(text) = texts.next() {
            let text = text.as_ref();
            Tag::check(text)?;
            // Where texts come in order, none of them is looked at twice.
            if tags.0.get(last + 1..).is_none_or(|last| last < text.as_bytes()) {
                last = tags.0.len();
                tags.push(text);
            } else {
                let before = tags.iter().map(Tag::new);
                let rest = texts.map(Tag::new);
                return before.chain([Tag::new(text)]).chain(rest).collect();
            }
        }
        Ok(tags)
    }

    /// Adds a tag, unless it is there.
    #[expect(clippy::needless_pass_by_value, reason = "a set takes what is put into it")]
    pub fn insert(&mut self, tag: Tag) {
        self.add(tag.as_str());
    }

    fn add(&mut self, tag: &str) {
        if !self.contains(tag) {
            *self = Self::sorted(self.iter().chain([tag]).collect());
        }
    }

    /// Whether the set has this tag.
    pub fn contains(&self, tag: &str) -> bool {
        self.iter().bytes().any(|own| own == tag.as_bytes())
    }

    /// The tags in order of their bytes.
    pub fn iter(&self) -> TagIter<'_> {
        TagIter::new(&self.0)
    }

    /// How many tags the set has.
    pub fn count(&self) -> usize {
        self.iter().bytes().count()
    }

    /// Whether the set has no tag.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tags one after the other, each behind a byte that says how many it has: as stores keep
    /// them.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    fn push(&mut self, tag: &str) {
        self.0.push(u8::try_from(tag.len()).expect("a tag has at most 255 bytes"));
        self.0.extend_from_slice(tag.as_bytes());
    }

    /// Tags that are right, in any order.
    fn sorted(mut tags: Vec<&str>) -> Self {
        tags.sort_unstable();
        tags.dedup();
        let mut sorted = Self(Vec::with_capacity(tags.iter().map(|tag| 1 + tag.len()).sum()));
        for tag in tags {
            sorted.push(tag);
        }
        sorted
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl FromIterator<Tag> for Tags {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> Self {
        let tags: Vec<Tag> = tags.into_iter().collect();
        Self::sorted(tags.iter().map(Tag::as_str).collect())
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = &'a str;
    type IntoIter = TagIter<'a>;

    fn into_iter(self) -> TagIter<'a> {
        self.iter()
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
        Tag::check(tag)?;
        self.tags.add(tag);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(texts: &[&str]) -> Tags {
        Tags::parse(texts).unwrap()
    }

    #[test]
    fn tags_are_a_set_in_order_however_they_come() {
        let long = "t".repeat(255);
        let sorted = tags(&["a", "b:1", "b:2", "b:20", &long, "ü"]);

        for texts in [
            ["ü", "b:20", &long, "a", "b:2", "b:1"],
            ["a", "b:2", "b:1", "b:20", &long, "ü"],
            ["a", "b:1", "b:2", "b:20", "ü", &long],
        ] {
            assert_eq!(tags(&texts), sorted);
            assert_eq!(tags(&texts.repeat(2)), sorted);
            let one_by_one = texts.iter().fold(Tags::EMPTY, |mut tags, text| {
                tags.insert(Tag::new(text).unwrap());
                tags
            });
            assert_eq!(one_by_one, sorted);
            let collected: Tags = texts.iter().map(|text| Tag::new(text).unwrap()).collect();
            assert_eq!(collected, sorted);
        }
        assert_eq!(sorted.iter().collect::<Vec<_>>(), ["a", "b:1", "b:2", "b:20", &long, "ü"]);
        assert_eq!(sorted.count(), 6);
        assert!(sorted.contains("b:2") && !sorted.contains("b:"));
    }

    #[test]
    fn a_text_that_is_not_a_tag_is_refused_wherever_it_stands() {
        for texts in [["", "b", "a"], ["b", "", "a"], ["b", "a", ""]] {
            assert_eq!(Tags::parse(texts), Err(NameError::Empty { what: "tag" }));
        }
        assert!(Tags::parse(["t".repeat(256)]).is_err());
    }

    #[test]
    fn tags_are_encoded_one_behind_the_other() {
        assert_eq!(tags(&["b", "ab"]).encoded(), b"\x02ab\x01b");
        assert!(Tags::EMPTY.encoded().is_empty() && Tags::EMPTY.is_empty());
        assert_eq!(format!("{:?}", tags(&["b", "ab"])), r#"{"ab", "b"}"#);
    }
}
