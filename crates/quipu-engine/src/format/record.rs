//! A record: the bytes of one event.

use quipu_core::{EventId, EventSpan, NewEvent, Position, Revision, Timestamp};

use super::checksum;
use super::fields::u32_at;

/// Bytes before a record's options and names.
pub(crate) const RECORD_HEADER_SIZE: usize = 76;
/// The checksum covers the position and everything from here on.
const CHECKED_FROM: usize = 8;

/// Facts about a record that are not part of the event.
pub(crate) mod flag {
    /// The record is the last of its append.
    pub(crate) const LAST_OF_APPEND: u16 = 1;
    /// The time was given by the caller: an import or a copy.
    pub(crate) const GIVEN_TIME: u16 = 1 << 1;
    /// The data was erased.
    pub(crate) const ERASED: u16 = 1 << 2;
    /// Scavenging left this stub in place of the record: see `format/commitment.rs`.
    pub(crate) const STUB: u16 = 1 << 5;
    /// Flags that this version understands. Others (encrypted, redacted) come with later ones.
    pub(crate) const KNOWN: u16 = LAST_OF_APPEND | GIVEN_TIME | ERASED | STUB;
}

/// An optional field whose kind has this bit must be understood by whoever reads the record.
const CRITICAL: u8 = 0x80;

/// What a record says of its event's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordPlace {
    pub(crate) position: u64,
    pub(crate) revision: u64,
    pub(crate) recorded_at: i64,
    pub(crate) flags: u16,
    pub(crate) salt: [u8; 16],
}

/// Appends the record of `event` to `buffer`, all but its place.
pub(crate) fn encode(buffer: &mut Vec<u8>, stream: &str, event: &NewEvent) {
    let start = buffer.len();
    let content_type = match event.content_type.as_str() {
        "application/json" => "",
        other => other,
    };
    let tags = event.tags.encoded();
    let size = RECORD_HEADER_SIZE
        + stream.len()
        + event.event_type.as_str().len()
        + content_type.len()
        + tags.len()
        + event.metadata.len()
        + event.data.len();
    let mut head = [0; RECORD_HEADER_SIZE];
    head[0..4].copy_from_slice(&narrow_u32(size).to_le_bytes());
    head[10..12].copy_from_slice(&narrow_u16(stream.len()).to_le_bytes());
    head[12] = narrow_u8(event.event_type.as_str().len());
    head[13] = narrow_u8(content_type.len());
    head[14..16].copy_from_slice(&narrow_u16(tags.len()).to_le_bytes());
    head[16..20].copy_from_slice(&narrow_u32(event.metadata.len()).to_le_bytes());
    head[20..24].copy_from_slice(&narrow_u32(event.data.len()).to_le_bytes());
    head[44..60].copy_from_slice(event.id.as_bytes());
    buffer.reserve(size);
    buffer.extend_from_slice(&head);
    buffer.extend_from_slice(stream.as_bytes());
    buffer.extend_from_slice(event.event_type.as_str().as_bytes());
    buffer.extend_from_slice(content_type.as_bytes());
    buffer.extend_from_slice(tags);
    buffer.extend_from_slice(&event.metadata);
    buffer.extend_from_slice(&event.data);
    debug_assert_eq!(buffer.len() - start, size, "the size was computed from the same parts");
}

/// Puts an encoded record in its place, which makes it complete.
pub(crate) fn place(record: &mut [u8], seed: u32, place: &RecordPlace) {
    record[8..10].copy_from_slice(&place.flags.to_le_bytes());
    record[28..36].copy_from_slice(&place.revision.to_le_bytes());
    record[36..44].copy_from_slice(&place.recorded_at.to_le_bytes());
    record[60..76].copy_from_slice(&place.salt);
    seal(record, seed, place.position);
}

/// Bytes of the record of `event`.
pub(crate) fn encoded_size(stream: &str, event: &NewEvent) -> usize {
    RECORD_HEADER_SIZE
        + stream.len()
        + event.event_type.as_str().len()
        + event.content_type.as_str().len()
        + event.tags.encoded().len()
        + event.metadata.len()
        + event.data.len()
}

/// Writes the checksum into a record whose other bytes are complete.
pub(crate) fn seal(record: &mut [u8], seed: u32, position: u64) {
    let crc = record_checksum(seed, position, &record[CHECKED_FROM..]);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn record_checksum(seed: u32, position: u64, checked: &[u8]) -> u32 {
    checksum(checksum(seed, &position.to_le_bytes()), checked)
}

fn narrow_u8(size: usize) -> u8 {
    u8::try_from(size).expect("names are within their limits")
}

fn narrow_u16(size: usize) -> u16 {
    u16::try_from(size).expect("names are within their limits")
}

fn narrow_u32(size: usize) -> u32 {
    u32::try_from(size).expect("events are within their limits")
}

/// A record, borrowed from the bytes it was read from. Its checksum and its grammar are right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    bytes: &'a [u8],
    head: &'a [u8; RECORD_HEADER_SIZE],
    position: u64,
}

impl<'a> Record<'a> {
    /// Reads the record of `position` at the start of `bytes`, and checks it.
    pub(crate) fn decode(bytes: &'a [u8], seed: u32, position: u64) -> Result<Self, &'static str> {
        let record = Self::decode_unchecked(bytes, position)?;
        let crc = record_checksum(seed, position, &record.bytes[CHECKED_FROM..]);
        if u32_at(bytes, 4) != Some(crc) {
            return Err("the record fails its checksum");
        }
        record.check_grammar()?;
        Ok(record)
    }

    /// Reads the record of `position` at the start of `bytes`, which are part of a batch whose
    /// checksum is right, and checks the rest.
    #[inline]
    pub(crate) fn decode_summed(bytes: &'a [u8], position: u64) -> Result<Self, &'static str> {
        let record = Self::decode_unchecked(bytes, position)?;
        record.check_grammar()?;
        Ok(record)
    }

    /// Reads the record's sizes. They are within the bytes, but nothing else is checked: for bytes
    /// that were checked before, or are about to be.
    #[inline]
    pub(crate) fn decode_unchecked(bytes: &'a [u8], position: u64) -> Result<Self, &'static str> {
        const SHORT: &str = "the record is cut short";
        let head = bytes.first_chunk::<RECORD_HEADER_SIZE>().ok_or(SHORT)?;
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let bytes = bytes.get(..size).ok_or(SHORT)?;
        let record = Self { bytes, head, position };
        let names = record.options_size()
            + record.stream_size()
            + record.type_size()
            + record.content_type_size()
            + record.tags_size();
        let parts =
            names as u64 + u64::from(record.metadata_size()) + u64::from(record.data_size());
        if RECORD_HEADER_SIZE as u64 + parts != size as u64 {
            return Err("the record's parts do not add up to its size");
        }
        Ok(record)
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.head[at], self.head[at + 1]])
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.head[at], self.head[at + 1], self.head[at + 2], self.head[at + 3]])
    }

    fn options_size(&self) -> usize {
        usize::from(self.u16_at(24))
    }

    fn stream_size(&self) -> usize {
        usize::from(self.u16_at(10))
    }

    fn type_size(&self) -> usize {
        usize::from(self.head[12])
    }

    fn content_type_size(&self) -> usize {
        usize::from(self.head[13])
    }

    fn tags_size(&self) -> usize {
        usize::from(self.u16_at(14))
    }

    fn metadata_size(&self) -> u32 {
        self.u32_at(16)
    }

    fn data_size(&self) -> u32 {
        self.u32_at(20)
    }

    fn check_grammar(&self) -> Result<(), &'static str> {
        if self.flags() & !flag::KNOWN != 0 {
            return Err("the record has flags that this version does not know");
        }
        let mut options = self.part(RECORD_HEADER_SIZE, self.options_size());
        while let Some((kind, rest)) = options.split_first() {
            let (size, rest) = rest.split_first().ok_or("an optional field is cut short")?;
            options = rest.get(usize::from(*size)..).ok_or("an optional field is cut short")?;
            if kind & CRITICAL != 0 {
                return Err("the record has a field that this version does not know");
            }
        }
        if !self.is_stub() && !self.span(0).is_valid(self.bytes) {
            return Err("the record's names are not text");
        }
        Ok(())
    }

    /// Bytes of the whole record.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn flags(&self) -> u16 {
        self.u16_at(8)
    }

    pub(crate) fn is_stub(&self) -> bool {
        self.flags() & flag::STUB != 0
    }

    pub(crate) fn is_erased(&self) -> bool {
        self.flags() & flag::ERASED != 0
    }

    pub(crate) fn revision(&self) -> u64 {
        u64::from_le_bytes(self.field(28))
    }

    pub(crate) fn recorded_at(&self) -> i64 {
        i64::from_le_bytes(self.field(36))
    }

    pub(crate) fn id(&self) -> EventId {
        EventId::from_bytes(self.field(44))
    }

    pub(crate) fn salt(&self) -> [u8; 16] {
        self.field(60)
    }

    /// The stream's name; empty in a stub.
    pub(crate) fn stream(&self) -> &'a str {
        self.text(self.names_offset(), self.stream_size())
    }

    /// The event's type; empty in a stub.
    pub(crate) fn event_type(&self) -> &'a str {
        let offset = self.names_offset() + self.stream_size();
        self.text(offset, self.type_size())
    }

    pub(crate) fn content_type(&self) -> &'a str {
        let offset = self.names_offset() + self.stream_size() + self.type_size();
        match self.content_type_size() {
            0 => "application/json",
            size => self.text(offset, size),
        }
    }

    /// The tags, each one byte of size and its bytes.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &'a str> {
        let mut rest = self.part(self.tags_offset(), self.tags_size());
        std::iter::from_fn(move || {
            let (size, tail) = rest.split_first()?;
            let (tag, tail) = tail.split_at_checked(usize::from(*size))?;
            rest = tail;
            std::str::from_utf8(tag).ok()
        })
    }

    pub(crate) fn metadata(&self) -> &'a [u8] {
        let offset = self.tags_offset() + self.tags_size();
        self.part(offset, self.metadata_size() as usize)
    }

    /// The data; in a stub, what scavenging left of the event.
    pub(crate) fn data(&self) -> &'a [u8] {
        let size = self.data_size() as usize;
        self.part(self.bytes.len() - size, size)
    }

    /// The part of the record that an [`EventSpan`] describes: names, metadata and data.
    pub(crate) fn body(&self) -> &'a [u8] {
        &self.bytes[self.names_offset()..]
    }

    /// The event as a span of a buffer in which this record begins at `offset`.
    pub(crate) fn span(&self, offset: usize) -> EventSpan {
        self.span_of_body(offset + self.names_offset())
    }

    /// The event as a span of a buffer in which this record's body begins at `offset`.
    pub(crate) fn span_of_body(&self, offset: usize) -> EventSpan {
        EventSpan {
            position: Position::new(self.position),
            revision: Revision::new(self.revision()),
            recorded_at: Timestamp::from_micros(self.recorded_at()),
            id: self.id(),
            offset: narrow_u32(offset),
            data_size: self.data_size(),
            metadata_size: self.metadata_size(),
            stream_size: self.u16_at(10),
            tags_size: self.u16_at(14),
            type_size: self.head[12],
            content_type_size: self.head[13],
            erased: self.is_erased(),
        }
    }

    fn names_offset(&self) -> usize {
        RECORD_HEADER_SIZE + self.options_size()
    }

    fn tags_offset(&self) -> usize {
        self.names_offset() + self.stream_size() + self.type_size() + self.content_type_size()
    }

    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        *self.head[offset..].first_chunk().expect("fields are within the header")
    }

    fn part(&self, offset: usize, size: usize) -> &'a [u8] {
        &self.bytes[offset..offset + size]
    }

    fn text(&self, offset: usize, size: usize) -> &'a str {
        std::str::from_utf8(self.part(offset, size)).unwrap_or_default()
    }
}
