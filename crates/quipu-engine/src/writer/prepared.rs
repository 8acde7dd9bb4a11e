//! What can be done for an append before it is decided: its callers do it, who are many.

use quipu_core::{NewEvent, StreamName};

use crate::format::record;
use crate::index::{Entries, IdKey, Key, KeyHasher};
use crate::io::Io;

/// The records of some events, all but their places, and their keys, all but the one of a stream's
/// first event.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Back to back.
    records: Vec<u8>,
    /// By event: where its record ends.
    ends: Vec<usize>,
    entries: Entries,
}

impl Prepared {
    pub(crate) fn new<'a, I>(io: &dyn Io, hasher: KeyHasher, events: I) -> Self
    where
        I: ExactSizeIterator<Item = (&'a StreamName, &'a NewEvent)> + Clone,
    {
        let count = events.len();
        if count == 0 {
            return Self::default();
        }
        let mut salts = vec![[0; 16]; count];
        io.randomize(salts.as_flattened_mut());
        let sizes =
            events.clone().map(|(stream, event)| record::encoded_size(stream.as_str(), event));
        let mut records = Vec::with_capacity(sizes.sum());
        let mut ends = Vec::with_capacity(count);
        let mut entries = Entries::with_room(count);
        for ((stream, event), salt) in events.zip(salts) {
            let stream = stream.as_str();
            record::encode(&mut records, stream, event, salt);
            ends.push(records.len());
            let tags = event.tags.iter().map(quipu_core::Tag::as_str);
            entries.push(|keys| {
                hasher.name_keys(keys, stream, event.event_type.as_str(), tags);
                hasher.id(stream, event.id)
            });
        }
        Self { records, ends, entries }
    }

    /// Bytes of all records.
    pub(crate) fn size(&self) -> usize {
        self.records.len()
    }

    /// Each event's record, the key of its id, and its other keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], IdKey, &[Key])> {
        let mut begin = 0;
        let records = self.ends.iter().map(move |end| {
            let record = &self.records[begin..*end];
            begin = *end;
            record
        });
        records.zip(self.entries.all().iter()).map(|(record, (id, keys))| (record, id, keys))
    }
}
