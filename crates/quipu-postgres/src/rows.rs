//! Between rows and what the contract speaks of: the only place where either is made of the other.

use bytes::{BufMut as _, Bytes, BytesMut};
use quipu_core::{
    EventBatch, EventId, EventSpan, NewEvent, Position, ReadError, Revision, Timestamp,
};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::corrupt;

/// What separates tags on the way: no name has a control character.
pub(crate) const TAG_SEPARATOR: &str = "\n";

/// A number as the database has it. What is above its highest number is as good as that.
pub(crate) fn i64_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as we have it: none of them is below 0.
pub(crate) fn u64_of(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(crate) fn position_of(number: i64) -> Position {
    Position::new(u64_of(number))
}

pub(crate) fn revision_of(number: i64) -> Revision {
    Revision::new(u64_of(number))
}

/// A stream's row.
#[derive(Debug, Default)]
pub(crate) struct StreamRow {
    pub(crate) name: String,
    pub(crate) last: Option<Revision>,
    pub(crate) tombstoned: bool,
    pub(crate) metadata: Option<Bytes>,
}

impl StreamRow {
    /// From its columns `name`, `last`, `tombstoned`, `metadata`.
    pub(crate) fn from_rows(rows: &[PgRow]) -> Result<Vec<Self>, sqlx::Error> {
        let read = |row: &PgRow| Ok(Self { name: row.try_get(0)?, ..Self::from_columns(row, 1)? });
        rows.iter().map(read).collect()
    }

    /// From the columns `last`, `tombstoned`, `metadata` that begin at one; nulls where there is no
    /// row.
    pub(crate) fn from_columns(row: &PgRow, at: usize) -> Result<Self, sqlx::Error> {
        let metadata: Option<Vec<u8>> = row.try_get(at + 2)?;
        Ok(Self {
            name: String::new(),
            last: row.try_get::<Option<i64>, _>(at)?.map(revision_of),
            tombstoned: row.try_get::<Option<bool>, _>(at + 1)?.unwrap_or(false),
            metadata: metadata.map(Bytes::from),
        })
    }
}

/// Events as columns, as the function `append` takes them.
#[derive(Default)]
pub(crate) struct EventColumns<'a> {
    pub(crate) stream: Vec<i32>,
    pub(crate) offset: Vec<i64>,
    pub(crate) id: Vec<Uuid>,
    pub(crate) event_type: Vec<&'a str>,
    pub(crate) tags: Vec<String>,
    pub(crate) content_type: Vec<Option<&'a str>>,
    pub(crate) data: Vec<&'a [u8]>,
    pub(crate) metadata: Vec<&'a [u8]>,
    pub(crate) recorded_at: Vec<Option<i64>>,
}

impl<'a> EventColumns<'a> {
    /// Adds an event: which of the append's streams it goes to, counted from 1, and how many of the
    /// append's go there before it.
    pub(crate) fn push(&mut self, stream: usize, offset: i64, event: &'a NewEvent) {
        self.stream.push(i32::try_from(stream).unwrap_or(i32::MAX));
        self.offset.push(offset);
        self.id.push(event.id.as_uuid());
        self.event_type.push(event.event_type.as_str());
        self.tags.push(event.tags.iter().collect::<Vec<_>>().join(TAG_SEPARATOR));
        let content_type = event.content_type.as_str();
        self.content_type.push((content_type != JSON).then_some(content_type));
        self.data.push(&event.data);
        self.metadata.push(&event.metadata);
        self.recorded_at.push(event.recorded_at.map(Timestamp::as_micros));
    }
}

/// What no content type stands for.
const JSON: &str = "application/json";

/// Gathers rows into a batch.
#[derive(Default)]
pub(crate) struct BatchBuilder {
    buffer: BytesMut,
    spans: Vec<EventSpan>,
}

impl BatchBuilder {
    /// Adds the event of a row, whose columns begin at one. Answers its span.
    pub(crate) fn push(&mut self, row: &PgRow, at: usize) -> Result<EventSpan, ReadError> {
        let span = self.write(row, at).map_err(|cause| ReadError::Storage(corrupt(cause)))?;
        if !span.is_valid(&self.buffer) {
            let what = format!("the event at position {} has a name that is none", span.position);
            return Err(ReadError::Storage(corrupt(what)));
        }
        self.spans.push(span);
        Ok(span)
    }

    /// Takes the event added last back out.
    pub(crate) fn pop(&mut self) {
        if let Some(span) = self.spans.pop() {
            self.buffer.truncate(span.offset as usize);
        }
    }

    pub(crate) fn build(self) -> EventBatch {
        EventBatch::from_spans(self.buffer.freeze(), self.spans)
    }

    fn write(&mut self, row: &PgRow, at: usize) -> Result<EventSpan, sqlx::Error> {
        let offset = size_of(self.buffer.len())?;
        let mut put = |bytes: &[u8]| {
            self.buffer.put_slice(bytes);
            bytes.len()
        };
        let stream_size = size_of(put(row.try_get::<&str, _>(at + 4)?.as_bytes()))?;
        let type_size = size_of(put(row.try_get::<&str, _>(at + 5)?.as_bytes()))?;
        let content_type: Option<&str> = row.try_get(at + 6)?;
        let content_type_size = size_of(put(content_type.unwrap_or(JSON).as_bytes()))?;
        let mut tags_size = 0_usize;
        let tags: &str = row.try_get(at + 7)?;
        for tag in tags.split(TAG_SEPARATOR).filter(|tag| !tag.is_empty()) {
            put(&[size_of::<u8>(tag.len())?]);
            tags_size += 1 + put(tag.as_bytes());
        }
        let metadata_size = size_of(put(row.try_get(at + 8)?))?;
        let data_size = size_of(put(row.try_get(at + 9)?))?;
        Ok(EventSpan {
            position: position_of(row.try_get(at)?),
            revision: revision_of(row.try_get(at + 1)?),
            recorded_at: Timestamp::from_micros(row.try_get(at + 2)?),
            id: EventId::from_uuid(row.try_get(at + 3)?),
            offset,
            data_size,
            metadata_size,
            stream_size,
            tags_size: size_of(tags_size)?,
            type_size,
            content_type_size,
            erased: false,
        })
    }
}

fn size_of<T: TryFrom<usize>>(size: usize) -> Result<T, sqlx::Error> {
    T::try_from(size).map_err(|_| sqlx::Error::Decode("a part of an event is too large".into()))
}
