//! Batches of recorded events that share their bytes.
//!
//! A batch is one buffer and, for each event, a [`EventSpan`]: where its parts lie in the buffer.
//! So a store hands out what it read as it read it, without an allocation an event.

use bytes::{BufMut, Bytes, BytesMut};

use crate::event::{EventData, EventId, RecordedEvent, Tags};
use crate::limits;
use crate::name::{
    ContentType, EventType, StreamName, is_name, is_printable, stream_name_size_max,
};
use crate::place::{Position, Revision, Timestamp};

/// Where one event's parts lie in a batch's buffer. For stores that build batches.
///
/// From `offset` on the parts follow each other without gaps: stream, type, content type, tags,
/// metadata, data. Each tag is one byte of size and then its bytes, in order of the bytes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "stores build it field by field")]
pub struct EventSpan {
    /// The event's place in the log.
    pub position: Position,
    /// The event's place in its stream.
    pub revision: Revision,
    /// When the store recorded it.
    pub recorded_at: Timestamp,
    /// The event's id.
    pub id: EventId,
    /// Where the stream's name begins in the buffer.
    pub offset: u32,
    /// Bytes in the data.
    pub data_size: u32,
    /// Bytes in the metadata.
    pub metadata_size: u32,
    /// Bytes in the stream's name.
    pub stream_size: u16,
    /// Bytes in the encoded tags, their sizes included.
    pub tags_size: u16,
    /// Bytes in the type.
    pub type_size: u8,
    /// Bytes in the content type. None stands for `application/json`, which most events have.
    pub content_type_size: u8,
    /// Whether the data was erased.
    pub erased: bool,
}

impl EventSpan {
    /// Whether the span lies in `buffer` and its names are names.
    ///
    /// A batch made of spans that are not valid panics when they are looked at, so a store checks
    /// the spans it makes of bytes from outside.
    pub fn is_valid(&self, buffer: &[u8]) -> bool {
        let names = usize::from(self.stream_size)
            + usize::from(self.type_size)
            + usize::from(self.content_type_size)
            + usize::from(self.tags_size);
        let start = self.offset as usize;
        let end = start + names + self.metadata_size as usize + self.data_size as usize;
        if end > buffer.len() {
            return false;
        }
        let Some(names) = buffer.get(start..start + names) else { return false };
        let (texts, mut tags) = names.split_at(names.len() - usize::from(self.tags_size));
        let (stream, rest) = texts.split_at(usize::from(self.stream_size));
        let (event_type, content_type) = rest.split_at(usize::from(self.type_size));
        // Most names are printable, and then it takes one pass to see that all three are.
        let are_printable = is_printable(texts);
        let is_one = |name: &[u8], size_max| {
            if are_printable {
                (1..=size_max).contains(&name.len())
            } else {
                is_name(name, size_max)
            }
        };
        if !(is_one(stream, stream_name_size_max(stream))
            && is_one(event_type, limits::EVENT_TYPE_SIZE_MAX)
            && (content_type.is_empty() || is_one(content_type, limits::CONTENT_TYPE_SIZE_MAX)))
        {
            return false;
        }
        while let Some((size, rest)) = tags.split_first() {
            let Some((tag, rest)) = rest.split_at_checked(usize::from(*size)) else { return false };
            if !is_name(tag, limits::TAG_SIZE_MAX) {
                return false;
            }
            tags = rest;
        }
        true
    }
}

/// Some recorded events, in the order they were read, backed by shared bytes.
///
/// Cloning is cheap. [`EventRef::data`] and [`EventRef::metadata`] give slices that keep the
/// buffer alive, without copying.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    buffer: Bytes,
    spans: Vec<EventSpan>,
}

impl EventBatch {
    /// A batch of these spans over `buffer`. For stores; every span must be
    /// [valid](EventSpan::is_valid) in the buffer.
    pub fn from_spans(buffer: Bytes, spans: Vec<EventSpan>) -> Self {
        debug_assert!(spans.iter().all(|span| span.is_valid(&buffer)), "spans must be valid");
        Self { buffer, spans }
    }

    /// How many events the batch has.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// Whether the batch has no event.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The event at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<EventRef<'_>> {
        Some(EventRef { buffer: &self.buffer, span: self.spans.get(index)? })
    }

    /// The first event.
    pub fn first(&self) -> Option<EventRef<'_>> {
        self.get(0)
    }

    /// The last event.
    pub fn last(&self) -> Option<EventRef<'_>> {
        self.get(self.spans.len().checked_sub(1)?)
    }

    /// The events, in the order they were read.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = EventRef<'_>> + ExactSizeIterator {
        self.spans.iter().map(|span| EventRef { buffer: &self.buffer, span })
    }

    /// Keeps the first `count` events.
    pub fn truncate(&mut self, count: usize) {
        self.spans.truncate(count);
    }

    /// Keeps the events for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(EventRef<'_>) -> bool) {
        let buffer = &self.buffer;
        self.spans.retain(|span| keep(EventRef { buffer, span }));
    }

    /// The events in their owned form.
    pub fn to_vec(&self) -> Vec<RecordedEvent> {
        self.iter().map(EventRef::to_recorded).collect()
    }
}

impl<'a> FromIterator<&'a RecordedEvent> for EventBatch {
    fn from_iter<I: IntoIterator<Item = &'a RecordedEvent>>(events: I) -> Self {
        let mut buffer = BytesMut::new();
        let spans = events.into_iter().map(|event| write_span(&mut buffer, event)).collect();
        Self { buffer: buffer.freeze(), spans }
    }
}

fn write_span(buffer: &mut BytesMut, event: &RecordedEvent) -> EventSpan {
    let offset = narrow(buffer.len());
    buffer.put_slice(event.stream.as_str().as_bytes());
    buffer.put_slice(event.event_type.as_str().as_bytes());
    buffer.put_slice(event.content_type.as_str().as_bytes());
    buffer.put_slice(event.tags.encoded());
    let tags_size = narrow(event.tags.encoded().len());
    buffer.put_slice(&event.metadata);
    let data = event.data.present().map_or(&[][..], |data| data);
    buffer.put_slice(data);
    EventSpan {
        position: event.position,
        revision: event.revision,
        recorded_at: event.recorded_at,
        id: event.id,
        offset,
        data_size: narrow(data.len()),
        metadata_size: narrow(event.metadata.len()),
        stream_size: narrow(event.stream.as_str().len()),
        tags_size,
        type_size: narrow(event.event_type.as_str().len()),
        content_type_size: narrow(event.content_type.as_str().len()),
        erased: event.data == EventData::Erased,
    }
}

fn narrow<T: TryFrom<usize>>(size: usize) -> T {
    T::try_from(size).unwrap_or_else(|_| panic!("the limits of names and events bound {size}"))
}

/// One event of a batch, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'a> {
    buffer: &'a Bytes,
    span: &'a EventSpan,
}

impl<'a> EventRef<'a> {
    /// The event's id.
    pub fn id(self) -> EventId {
        self.span.id
    }

    /// The event's place in the log.
    pub fn position(self) -> Position {
        self.span.position
    }

    /// The event's place in its stream.
    pub fn revision(self) -> Revision {
        self.span.revision
    }

    /// When the store recorded it.
    pub fn recorded_at(self) -> Timestamp {
        self.span.recorded_at
    }

    /// The name of the stream it is in.
    pub fn stream(self) -> &'a str {
        self.text(self.stream_offset(), usize::from(self.span.stream_size))
    }

    /// The event's type.
    pub fn event_type(self) -> &'a str {
        self.text(self.type_offset(), usize::from(self.span.type_size))
    }

    /// How to read the data.
    pub fn content_type(self) -> &'a str {
        match self.span.content_type_size {
            0 => "application/json",
            size => self.text(self.content_type_offset(), usize::from(size)),
        }
    }

    /// The event's tags, in order of their bytes.
    pub fn tags(self) -> TagIter<'a> {
        TagIter::new(self.slice(self.tags_offset(), usize::from(self.span.tags_size)))
    }

    /// Whether the event has this tag.
    pub fn has_tag(self, tag: &str) -> bool {
        self.tags().any(|own| own == tag)
    }

    /// The metadata, sharing the batch's bytes.
    pub fn metadata(self) -> Bytes {
        let offset = self.metadata_offset();
        self.buffer.slice(offset..offset + self.span.metadata_size as usize)
    }

    /// The metadata, borrowed.
    pub fn metadata_bytes(self) -> &'a [u8] {
        self.slice(self.metadata_offset(), self.span.metadata_size as usize)
    }

    /// The data, sharing the batch's bytes, or the fact that it was erased.
    pub fn data(self) -> EventData {
        if self.span.erased {
            return EventData::Erased;
        }
        let offset = self.data_offset();
        EventData::Present(self.buffer.slice(offset..offset + self.span.data_size as usize))
    }

    /// The data, borrowed: empty where it was erased.
    pub fn data_bytes(self) -> &'a [u8] {
        self.slice(self.data_offset(), self.span.data_size as usize)
    }

    /// Whether the data was erased.
    pub fn is_erased(self) -> bool {
        self.span.erased
    }

    /// The owned form of this event. Data and metadata share the batch's bytes.
    pub fn to_recorded(self) -> RecordedEvent {
        const PROOF: &str = "a store gives out only names that it accepted";
        RecordedEvent {
            id: self.id(),
            stream: StreamName::new(self.stream()).expect(PROOF),
            event_type: EventType::new(self.event_type()).expect(PROOF),
            tags: Tags::parse(self.tags()).expect(PROOF),
            content_type: ContentType::new(self.content_type()).expect(PROOF),
            data: self.data(),
            metadata: self.metadata(),
            recorded_at: self.recorded_at(),
            position: self.position(),
            revision: self.revision(),
        }
    }

    fn stream_offset(self) -> usize {
        self.span.offset as usize
    }

    fn type_offset(self) -> usize {
        self.stream_offset() + usize::from(self.span.stream_size)
    }

    fn content_type_offset(self) -> usize {
        self.type_offset() + usize::from(self.span.type_size)
    }

    fn tags_offset(self) -> usize {
        self.content_type_offset() + usize::from(self.span.content_type_size)
    }

    fn metadata_offset(self) -> usize {
        self.tags_offset() + usize::from(self.span.tags_size)
    }

    fn data_offset(self) -> usize {
        self.metadata_offset() + self.span.metadata_size as usize
    }

    fn slice(self, offset: usize, size: usize) -> &'a [u8] {
        self.buffer.get(offset..offset + size).expect("stores give only valid spans")
    }

    fn text(self, offset: usize, size: usize) -> &'a str {
        std::str::from_utf8(self.slice(offset, size)).expect("stores give only valid spans")
    }
}

/// The tags of one event, in order of their bytes.
#[derive(Clone, Debug)]
pub struct TagIter<'a> {
    rest: &'a [u8],
}

impl<'a> TagIter<'a> {
    /// The tags that these bytes are, each behind its size.
    pub(crate) fn new(encoded: &'a [u8]) -> Self {
        Self { rest: encoded }
    }

    /// The same tags as bytes, for who need not know that they are text.
    pub fn bytes(self) -> impl Iterator<Item = &'a [u8]> {
        let mut tags = self;
        std::iter::from_fn(move || tags.next_bytes())
    }

    fn next_bytes(&mut self) -> Option<&'a [u8]> {
        let (size, rest) = self.rest.split_first()?;
        let (tag, rest) = rest.split_at(usize::from(*size));
        self.rest = rest;
        Some(tag)
    }
}

impl<'a> Iterator for TagIter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let tag = self.next_bytes()?;
        Some(std::str::from_utf8(tag).expect("stores give only valid spans"))
    }
}

#[cfg(test)]
mod tests;
