//! What the index is told of events: their keys and ids.

use super::key::{IdKey, Key};

/// The keys and ids of consecutive events, on their way into the index.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// The keys of all events, one event's after the other's.
    keys: Vec<Key>,
    /// By event: its id, and where its keys end.
    events: Vec<(IdKey, usize)>,
}

impl Entries {
    /// Nothing, with room for so many ordinary events.
    pub(crate) fn with_room(count: usize) -> Self {
        // A stream, a category, a type and a few tags.
        Self { keys: Vec::with_capacity(6 * count), events: Vec::with_capacity(count) }
    }

    /// Adds the next event, whose keys `add_keys` puts behind those that are there.
    pub(crate) fn push(&mut self, add_keys: impl FnOnce(&mut Vec<Key>) -> IdKey) {
        let id = add_keys(&mut self.keys);
        self.events.push((id, self.keys.len()));
    }

    /// How many events there are.
    pub(crate) fn count(&self) -> usize {
        self.events.len()
    }

    /// Forgets all events and keeps their room.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.events.clear();
    }

    /// All of them.
    pub(crate) fn all(&self) -> Part<'_> {
        Part { entries: self, from: 0, to: self.events.len() }
    }
}

/// Some neighbouring events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    entries: &'a Entries,
    from: usize,
    to: usize,
}

impl<'a> Part<'a> {
    /// How many events there are.
    pub(super) fn count(&self) -> usize {
        self.to - self.from
    }

    /// All but the first `count` of them.
    pub(crate) fn skip(self, count: usize) -> Self {
        Self { from: self.to.min(self.from.saturating_add(count)), ..self }
    }

    /// The first `count` of them, and the others.
    pub(super) fn split_at(self, count: usize) -> (Self, Self) {
        let at = self.from + count;
        assert!(at <= self.to, "a part is split within itself");
        (Self { to: at, ..self }, Self { from: at, ..self })
    }

    /// The same events in parts of at most `key_count` keys, or of one event where it has more.
    pub(super) fn chunks(self, key_count: usize) -> impl Iterator<Item = Self> {
        let mut rest = self;
        std::iter::from_fn(move || {
            if rest.count() == 0 {
                return None;
            }
            let ends = &rest.entries.events[rest.from..rest.to];
            let begin = rest.begin();
            let count = ends.partition_point(|(_, end)| end - begin <= key_count);
            let (chunk, after) = rest.split_at(count.max(1));
            rest = after;
            Some(chunk)
        })
    }

    /// The keys of all of them.
    pub(super) fn keys(&self) -> &'a [Key] {
        let end = self.to.checked_sub(1).map_or(0, |last| self.entries.events[last].1);
        &self.entries.keys[self.begin()..end.max(self.begin())]
    }

    /// Each event's id and keys.
    pub(crate) fn iter(self) -> impl Iterator<Item = (IdKey, &'a [Key])> {
        let entries = self.entries;
        let mut begin = self.begin();
        entries.events[self.from..self.to].iter().map(move |(id, end)| {
            let keys = &entries.keys[begin..*end];
            begin = *end;
            (*id, keys)
        })
    }

    fn begin(&self) -> usize {
        self.from.checked_sub(1).map_or(0, |before| self.entries.events[before].1)
    }
}
