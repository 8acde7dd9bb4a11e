//! Finding streams and events: the index proposes, the records decide.

use std::sync::Arc;

use quipu_core::decide::StreamFacts;
use quipu_core::{
    Direction, EventId, METADATA_TYPE, Query, Revision, StreamMetadata, StreamName, TOMBSTONE_TYPE,
};

use crate::error::DiskError;
use crate::format::commitment::Stub;
use crate::format::record::Record;
use crate::index::{Key, KeyHasher, Reader};
use crate::log::Log;

/// Where records are looked at: the log, and for the writer what it has staged too.
pub(crate) trait Records {
    /// Looks at the record of a position that the index knows.
    fn with_record<T>(
        &self,
        position: u64,
        look: impl FnOnce(Record<'_>) -> T,
    ) -> Result<T, DiskError>;
}

impl Records for Log {
    fn with_record<T>(
        &self,
        position: u64,
        look: impl FnOnce(Record<'_>) -> T,
    ) -> Result<T, DiskError> {
        Self::with_record(self, position, look)
    }
}

/// Whether a record is the event with this id in this stream, scavenged or not.
pub(crate) fn is_event(
    record: &Record<'_>,
    hasher: KeyHasher,
    stream: &StreamName,
    id: EventId,
) -> bool {
    record.id() == id && is_in_stream(record, hasher, stream)
}

/// Whether a record is of this stream. Of a scavenged one only the hash can tell.
fn is_in_stream(record: &Record<'_>, hasher: KeyHasher, stream: &StreamName) -> bool {
    if record.is_stub() {
        let own = hasher.id(stream.as_str(), record.id());
        return Stub::decode(record).is_some_and(|stub| stub.id_key == own.get());
    }
    record.stream() == stream.as_str()
}

/// Whether a record matches a query. Scavenged ones match nothing.
pub(crate) fn matches(record: &Record<'_>, query: &Query) -> bool {
    !record.is_stub()
        && query.items.iter().any(|item| {
            item.matches_names(record.stream(), record.event_type(), |tag| {
                record.tags().any(|own| own == tag)
            })
        })
}

/// The last event of a stream, its type included.
struct Head {
    revision: Revision,
    is_tombstone: bool,
}

/// What is known of a stream, as far as `reader` sees.
pub(crate) fn facts(
    records: &impl Records,
    reader: &Reader,
    hasher: KeyHasher,
    stream: &StreamName,
) -> Result<StreamFacts, DiskError> {
    let head = find_last(records, reader, hasher, stream, |record| {
        Some(Head {
            revision: Revision::new(record.revision()),
            is_tombstone: record.event_type() == TOMBSTONE_TYPE,
        })
    })?;
    let metadata = if stream.is_metadata() {
        None
    } else {
        metadata(records, reader, hasher, stream)?.map(|(metadata, _)| Arc::new(metadata))
    };
    Ok(StreamFacts {
        last: head.as_ref().map(|head| head.revision),
        tombstoned: head.is_some_and(|head| head.is_tombstone),
        metadata,
    })
}

/// The metadata of a stream and the revision of the event that carries it.
pub(crate) fn metadata(
    records: &impl Records,
    reader: &Reader,
    hasher: KeyHasher,
    stream: &StreamName,
) -> Result<Option<(StreamMetadata, Revision)>, DiskError> {
    // Most streams have none, and the name of the metadata stream takes an allocation.
    if !reader.has(hasher.metadata_stream(stream.as_str()))? {
        return Ok(None);
    }
    find_last(records, reader, hasher, &stream.metadata_stream(), |record| {
        (record.event_type() == METADATA_TYPE)
            .then(|| (StreamMetadata::parse(record.data()), Revision::new(record.revision())))
    })
}

/// The last event of a stream that `look` finds something in. It may be a scavenged one, which has
/// no type: as of an earlier moment the last event may be one that is gone by now.
fn find_last<T>(
    records: &impl Records,
    reader: &Reader,
    hasher: KeyHasher,
    stream: &StreamName,
    look: impl Fn(&Record<'_>) -> Option<T>,
) -> Result<Option<T>, DiskError> {
    reader.last_with(hasher.stream(stream.as_str()), |position| {
        records.with_record(position, |record| {
            if is_in_stream(&record, hasher, stream) { look(&record) } else { None }
        })
    })
}

/// The name of the stream that begins at a position, if one does.
///
/// Scavenging takes the name out of a stream's first event, but leaves the stream's last event, or
/// its tombstone, whole: the name is found there.
pub(crate) fn name_at(
    records: &impl Records,
    reader: &Reader,
    position: u64,
) -> Result<Option<StreamName>, DiskError> {
    let mut stub = None;
    let name = records.with_record(position, |record| {
        if record.is_stub() {
            stub = Stub::decode(&record).map(|stub| (stub.id_key, stub.keys, record.id()));
        }
        let begins = record.revision() == 0 && stub.is_none();
        begins.then(|| StreamName::new(record.stream()).ok()).flatten()
    })?;
    let Some((id_key, keys, id)) = stub else { return Ok(name) };
    // The key of the stream is the first one.
    let Some(key) = keys.first() else { return Ok(None) };
    let hasher = reader.hasher();
    let mut cursor = reader.cursor(Key::new(*key), u64::MAX, Direction::Backward);
    while let Some(position) = cursor.next()? {
        let name = records.with_record(position, |record| {
            let own = !record.is_stub() && hasher.id(record.stream(), id).get() == id_key;
            own.then(|| StreamName::new(record.stream()).ok()).flatten()
        })?;
        if name.is_some() {
            return Ok(name);
        }
    }
    Ok(None)
}

/// The position of the event at a revision of a stream.
pub(crate) fn place_of(
    records: &impl Records,
    reader: &Reader,
    hasher: KeyHasher,
    stream: &StreamName,
    revision: Revision,
) -> Result<Option<u64>, DiskError> {
    let key = hasher.stream(stream.as_str());
    let is_it = |position| {
        records.with_record(position, |record| {
            record.revision() == revision.get() && is_in_stream(&record, hasher, stream)
        })
    };
    // Every event of a stream has its key, so the revision is the ordinal under it; unless another
    // stream has the same hash, which sends us through the whole list.
    match reader.nth(key, revision.get())? {
        None => return Ok(None),
        Some(position) if is_it(position)? => return Ok(Some(position)),
        Some(_) => {}
    }
    let mut cursor = reader.cursor(key, 0, Direction::Forward);
    while let Some(position) = cursor.next()? {
        if is_it(position)? {
            return Ok(Some(position));
        }
    }
    Ok(None)
}
