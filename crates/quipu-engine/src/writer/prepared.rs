//! What can be done for a change before it is decided: its callers do it, who are many.

use quipu_core::decide::Layout;
use quipu_core::{Append, Change, NewEvent, StreamName, TOMBSTONE_TYPE};

use super::facts::StreamKeys;
use crate::format::record;
use crate::index::{Entries, IdKey, Key, KeyHasher};

/// A change and all that was done for it. That lies close together, so that the writer need not
/// fetch names that the caller's processor has.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(super) change: Change,
    pub(super) layout: Layout,
    /// Of the layout's streams.
    pub(super) stream_keys: StreamKeys,
    /// Of an append's events.
    pub(super) events: Option<Prepared>,
}

impl Preparation {
    /// Prepares a valid change with this layout.
    pub(crate) fn new(hasher: KeyHasher, change: Change, layout: Layout) -> Self {
        let events = match &change {
            Change::Append(Append { events, .. }) => {
                Some(Prepared::new(hasher, events.iter().map(|(stream, event)| (stream, event))))
            }
            Change::SetMetadata { .. } | Change::Delete { .. } | Change::Tombstone { .. } => None,
        };
        let stream_keys = StreamKeys::of(hasher, layout.streams());
        Self { change, layout, stream_keys, events }
    }

    /// Bytes of the events and of their records.
    pub(crate) fn size(&self) -> usize {
        let size = match &self.change {
            Change::Append(append) => append.size(),
            Change::SetMetadata { metadata, .. } => metadata.len(),
            Change::Delete { .. } | Change::Tombstone { .. } => 0,
        };
        size + self.events.as_ref().map_or(0, Prepared::size)
    }
}

/// The records of some events, all but their places, and their keys, all but the one of a stream's
/// first event.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Back to back.
    records: Vec<u8>,
    events: Vec<Ready>,
    entries: Entries,
}

/// What staging wants to know of an event beside its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// Bytes of its record.
    pub(super) size: usize,
    /// The time that its caller gave it.
    pub(super) given: Option<i64>,
    pub(super) is_tombstone: bool,
}

impl Prepared {
    pub(super) fn new<'a, I>(hasher: KeyHasher, events: I) -> Self
    where
        I: ExactSizeIterator<Item = (&'a StreamName, &'a NewEvent)> + Clone,
    {
        let count = events.len();
        if count == 0 {
            return Self::default();
        }
        let sizes =
            events.clone().map(|(stream, event)| record::encoded_size(stream.as_str(), event));
        let mut records = Vec::with_capacity(sizes.sum());
        let mut ready = Vec::with_capacity(count);
        let mut entries = Entries::with_room(count);
        for (stream, event) in events {
            let stream = stream.as_str();
            let begin = records.len();
            record::encode(&mut records, stream, event);
            ready.push(Ready {
                size: records.len() - begin,
                given: event.recorded_at.map(quipu_core::Timestamp::as_micros),
                is_tombstone: event.event_type == TOMBSTONE_TYPE,
            });
            entries.push(|keys| {
                hasher.name_keys(
                    keys,
                    stream,
                    event.event_type.as_str(),
                    event.tags.iter().bytes(),
                );
                hasher.id(stream, event.id)
            });
        }
        Self { records, events: ready, entries }
    }

    /// Bytes of all records.
    pub(super) fn size(&self) -> usize {
        self.records.len()
    }

    /// The records, back to back.
    pub(super) fn records(&self) -> &[u8] {
        &self.records
    }

    /// Each event with the key of its id, and its other keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Ready, IdKey, &[Key])> {
        let ready = self.events.iter().copied();
        ready.zip(self.entries.all().iter()).map(|(ready, (id, keys))| (ready, id, keys))
    }
}
