//! Keys: what the index knows events by.
//!
//! A key is the hash of a name and of what it names. Two names may have one key, so everything
//! found by a key is a candidate: look at the record before you believe it.

use quipu_core::{EventId, QueryItem, Revision, category};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::wanted::Wanted;

/// The hash of a stream, a category, a type, a tag, or of the constant "stream names".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(u64);

/// The hash of a stream and of the id of one of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IdKey(u64);

impl Key {
    /// The key that has this hash.
    pub(crate) const fn new(hash: u64) -> Self {
        Self(hash)
    }

    /// The hash.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl IdKey {
    /// The key that has this hash.
    pub(crate) const fn new(hash: u64) -> Self {
        Self(hash)
    }

    /// The hash.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

/// What a key is the hash of; the byte that goes in front of the name.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Stream = 1,
    Category = 2,
    Type = 3,
    Tag = 4,
    StreamNames = 5,
    Id = 6,
}

/// Most names are shorter, and are hashed from the stack in one go.
const SHORT_SIZE_MAX: usize = 256;
/// Nearly all are shorter than this, and less of the stack has to be made zero.
const SHORTER_SIZE_MAX: usize = 64;

/// Turns names into keys, with the seed of one store.
///
/// The seed is random and secret, so that nobody can choose names that share a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    /// The hasher with this seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed.
    pub(crate) const fn seed(self) -> u64 {
        self.seed
    }

    /// The key of the events of a stream.
    pub(crate) fn stream(self, name: &str) -> Key {
        Key(self.hash(Kind::Stream, &[], name.as_bytes()))
    }

    /// The key of the events that hold the metadata of a stream.
    pub(crate) fn metadata_stream(self, name: &str) -> Key {
        Key(self.hash(Kind::Stream, b"$$", name.as_bytes()))
    }

    /// The key of the events whose stream has this category.
    pub(crate) fn category(self, name: &str) -> Key {
        Key(self.hash(Kind::Category, &[], name.as_bytes()))
    }

    /// The key of the events of a type.
    pub(crate) fn event_type(self, name: &str) -> Key {
        Key(self.hash(Kind::Type, &[], name.as_bytes()))
    }

    /// The key of the events that have a tag.
    pub(crate) fn tag(self, name: &str) -> Key {
        Key(self.hash(Kind::Tag, &[], name.as_bytes()))
    }

    /// The key of the first event of every stream.
    pub(crate) fn stream_names(self) -> Key {
        Key(self.hash(Kind::StreamNames, &[], &[]))
    }

    /// The key of the event with this id in a stream.
    pub(crate) fn id(self, stream: &str, id: EventId) -> IdKey {
        IdKey(self.hash(Kind::Id, id.as_bytes(), stream.as_bytes()))
    }

    /// Puts all keys of one event behind those in `keys`.
    pub(crate) fn event_keys<'a>(
        self,
        keys: &mut Vec<Key>,
        stream: &str,
        revision: Revision,
        event_type: &str,
        tags: impl IntoIterator<Item = &'a str>,
    ) {
        self.name_keys(keys, stream, event_type, tags.into_iter().map(str::as_bytes));
        if revision == Revision::FIRST {
            keys.push(self.stream_names());
        }
    }

    /// Puts the keys of an event that do not depend on its revision behind those in `keys`; that of
    /// its stream is the first one.
    pub(crate) fn name_keys<'a>(
        self,
        keys: &mut Vec<Key>,
        stream: &str,
        event_type: &str,
        tags: impl IntoIterator<Item = &'a [u8]>,
    ) {
        keys.push(self.stream(stream));
        keys.push(self.category(category(stream)));
        keys.push(self.event_type(event_type));
        keys.extend(tags.into_iter().map(|tag| Key(self.hash(Kind::Tag, &[], tag))));
    }

    /// What an item of a query wants, as keys. The keys that few events have come first: where one
    /// of them is not in a run, nobody looks for the others.
    pub(crate) fn item(self, item: &QueryItem) -> Wanted {
        if item.is_all() {
            return Wanted::Everything;
        }
        let mut all = Vec::new();
        all.extend(item.stream.iter().map(|name| Wanted::Key(self.stream(name.as_str()))));
        all.extend(item.tags.iter().map(|tag| Wanted::Key(self.tag(tag))));
        all.extend(item.category.iter().map(|name| Wanted::Key(self.category(name))));
        if !item.types.is_empty() {
            let mut types: Vec<Key> =
                item.types.iter().map(|name| self.event_type(name.as_str())).collect();
            types.sort_unstable();
            types.dedup();
            all.push(Wanted::any(types.into_iter().map(Wanted::Key).collect()));
        }
        Wanted::all(all)
    }

    fn hash(self, kind: Kind, id: &[u8], name: &[u8]) -> u64 {
        let size = 1 + id.len() + name.len();
        if size > SHORT_SIZE_MAX {
            let mut hasher = Xxh3::with_seed(self.seed);
            hasher.update(&[kind as u8]);
            hasher.update(id);
            hasher.update(name);
            return hasher.digest();
        }
        if size > SHORTER_SIZE_MAX {
            return self.hash_on_stack::<SHORT_SIZE_MAX>(kind, id, name);
        }
        self.hash_on_stack::<SHORTER_SIZE_MAX>(kind, id, name)
    }

    fn hash_on_stack<const SIZE_MAX: usize>(self, kind: Kind, id: &[u8], name: &[u8]) -> u64 {
        let size = 1 + id.len() + name.len();
        let mut short = [0; SIZE_MAX];
        short[0] = kind as u8;
        short[1..=id.len()].copy_from_slice(id);
        short[1 + id.len()..size].copy_from_slice(name);
        xxh3_64_with_seed(&short[..size], self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_different_kinds_have_different_keys() {
        let hasher = KeyHasher::new(7);

        let mut keys = vec![
            hasher.stream("a"),
            hasher.category("a"),
            hasher.event_type("a"),
            hasher.tag("a"),
            hasher.stream_names(),
        ];
        keys.sort_unstable();
        keys.dedup();

        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn the_seed_changes_every_key() {
        let id = EventId::from_bytes([9; 16]);
        let (one, other) = (KeyHasher::new(1), KeyHasher::new(2));

        assert_ne!(one.stream("a"), other.stream("a"));
        assert_ne!(one.stream_names(), other.stream_names());
        assert_ne!(one.id("a", id), other.id("a", id));
    }

    /// Names near the border between the two ways to hash must not depend on which way was taken.
    #[test]
    fn a_long_name_is_hashed_like_a_short_one() {
        let hasher = KeyHasher::new(3);

        let borders = [SHORTER_SIZE_MAX, SHORT_SIZE_MAX];
        for size in borders.into_iter().flat_map(|border| border - 3..border + 3) {
            let name = "n".repeat(size);
            let mut bytes = vec![Kind::Tag as u8];
            bytes.extend_from_slice(name.as_bytes());
            assert_eq!(hasher.tag(&name).get(), xxh3_64_with_seed(&bytes, 3), "{size} bytes");
        }
    }

    /// The keys are on disk: a change of the hash is a change of the format.
    #[test]
    fn keys_stay_what_they_are() {
        let hasher = KeyHasher::new(0x5eed);

        assert_eq!(hasher.stream("order-1").get(), xxh3_64_with_seed(b"\x01order-1", 0x5eed));
        assert_eq!(hasher.metadata_stream("order-1"), hasher.stream("$$order-1"));
        assert_eq!(hasher.stream_names().get(), xxh3_64_with_seed(b"\x05", 0x5eed));
        let id = EventId::from_bytes(*b"0123456789abcdef");
        assert_eq!(
            hasher.id("order-1", id).get(),
            xxh3_64_with_seed(b"\x060123456789abcdeforder-1", 0x5eed)
        );
    }
}
