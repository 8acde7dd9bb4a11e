//! The names that events have, gathered an event at a time to a bound: types, tags, and the keys of
//! tags, the part before the first colon.
//!
//! The index knows types and tags by hashes and cannot list them; streams and categories it can.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use quipu_core::{EventRef, Position};

use crate::derived::{Derived, is_reserved};

/// The most types, and the most keys of tags.
const NAME_COUNT_MAX: usize = 10_000;
/// The most tags, some 20 MB of them where they are of usual length.
const TAG_COUNT_MAX: usize = 200_000;
/// The most tags of one key, so that one with a value for each event leaves room for others.
const TAG_OF_KEY_COUNT_MAX: u64 = 20_000;

/// The names in the events up to a position.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    /// Everything up to here is in it.
    position: Position,
    types: Names<Count>,
    keys: Names<KeyCounts>,
    tags: Names<Count>,
}

/// How many events have a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) event_count: u64,
}

/// How many events have a tag with a key, and how many such tags are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyCounts {
    pub(crate) event_count: u64,
    pub(crate) tag_count: u64,
}

/// Names in the order of their bytes, each with what is counted of it.
#[derive(Debug)]
pub(crate) struct Names<C> {
    counts: HashMap<Arc<str>, C>,
    order: BTreeSet<Arc<str>>,
    left_out_count: u64,
}

impl<C> Default for Names<C> {
    fn default() -> Self {
        Self { counts: HashMap::new(), order: BTreeSet::new(), left_out_count: 0 }
    }
}

impl<C: Copy + Default> Names<C> {
    /// What is counted of a name, which is new to it or not; nothing where there is no room.
    fn get(&mut self, name: &str, count_max: usize) -> Option<&mut C> {
        if !self.counts.contains_key(name) {
            if self.counts.len() >= count_max {
                self.left_out_count += 1;
                return None;
            }
            let own: Arc<str> = name.into();
            self.order.insert(Arc::clone(&own));
            self.counts.insert(own, C::default());
        }
        self.counts.get_mut(name)
    }

    /// How often there was no room for a name that came.
    pub(crate) fn left_out_count(&self) -> u64 {
        self.left_out_count
    }

    /// The names that begin with `prefix` and come after `after`, in order.
    pub(crate) fn page<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a str, C)> {
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let names = self.order.range::<str, _>((first, Bound::Unbounded));
        let counted = move |name: &'a Arc<str>| (&**name, self.counts[name]);
        names.take_while(move |name| name.starts_with(prefix)).map(counted)
    }
}

impl Vocabulary {
    /// The types of events.
    pub(crate) fn types(&self) -> &Names<Count> {
        &self.types
    }

    /// The keys of tags.
    pub(crate) fn keys(&self) -> &Names<KeyCounts> {
        &self.keys
    }

    /// The tags, but for the store's own.
    pub(crate) fn tags(&self) -> &Names<Count> {
        &self.tags
    }

    fn add_tag(&mut self, tag: &str, key: Option<&str>) {
        let is_new = !self.tags.counts.contains_key(tag);
        let of_key = key.and_then(|key| self.keys.counts.get_mut(key));
        let has_room = of_key.as_ref().is_none_or(|own| own.tag_count < TAG_OF_KEY_COUNT_MAX);
        if is_new && !has_room {
            self.tags.left_out_count += 1;
            return;
        }
        let Some(own) = self.tags.get(tag, TAG_COUNT_MAX) else { return };
        own.event_count += 1;
        if let Some(of_key) = of_key.filter(|_| is_new) {
            of_key.tag_count += 1;
        }
    }
}

impl Derived for Vocabulary {
    fn position(&self) -> Position {
        self.position
    }

    fn add(&mut self, event: EventRef<'_>) {
        self.position = event.position();
        if is_reserved(event) {
            return;
        }
        if let Some(own) = self.types.get(event.event_type(), NAME_COUNT_MAX) {
            own.event_count += 1;
        }
        // Tags come in the order of their bytes, so that those of one key come together.
        let mut last_key = None;
        for tag in event.tags().filter(|tag| !tag.starts_with('$')) {
            let key = tag.split_once(':').map(|(key, _)| key);
            if let Some(key) = key.filter(|_| key != last_key) {
                if let Some(own) = self.keys.get(key, NAME_COUNT_MAX) {
                    own.event_count += 1;
                }
                last_key = Some(key);
            }
            self.add_tag(tag, key);
        }
    }

    fn reach(&mut self, position: Position) {
        self.position = self.position.max(position);
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;
    use quipu_core::{Append, EventStore, MemoryStore, NewEvent, Query, ReadAll, StreamName};

    use super::*;

    fn vocabulary_of(events: &[(&str, &[&str])]) -> Vocabulary {
        let store = MemoryStore::new();
        for (event_type, tags) in events {
            let event = NewEvent::json(event_type, "{}").unwrap();
            let event = tags.iter().fold(event, |event, tag| event.with_tag(tag).unwrap());
            let append = Append::new().event(StreamName::new("s-1").unwrap(), event);
            block_on(store.system().append(append)).unwrap();
        }
        let mut own = Vocabulary::default();
        let mut batches = block_on(store.read_all(ReadAll::new(Query::all()))).unwrap().batches;
        while let Some(batch) = block_on(batches.next()).unwrap() {
            batch.iter().for_each(|event| own.add(event));
        }
        own
    }

    #[test]
    fn names_are_counted_and_the_stores_own_are_left_out() {
        let own = vocabulary_of(&[
            ("Placed", &["order:1", "order:2", "vip"]),
            ("Paid", &["order:1", "$quipu.command:1"]),
            ("Placed", &[]),
        ]);

        let types: Vec<_> = own.types().page("", None).collect();
        let keys: Vec<_> = own.keys().page("", None).collect();
        let tags: Vec<_> =
            own.tags().page("", None).map(|(name, own)| (name, own.event_count)).collect();

        let count = |event_count| Count { event_count };
        assert_eq!(types, [("Paid", count(1)), ("Placed", count(2))]);
        assert_eq!(keys, [("order", KeyCounts { event_count: 2, tag_count: 2 })]);
        assert_eq!(tags, [("order:1", 2), ("order:2", 1), ("vip", 1)]);
        assert_eq!(own.position(), Position::new(3));
    }

    #[test]
    fn a_page_has_what_begins_with_the_prefix_and_comes_after_the_place() {
        let own = vocabulary_of(&[("A", &["a:1", "a:2", "a:3", "b:1"])]);
        let page = |prefix, after| -> Vec<String> {
            own.tags().page(prefix, after).map(|(name, _)| name.to_owned()).collect()
        };

        assert_eq!(page("a:", None), ["a:1", "a:2", "a:3"]);
        assert_eq!(page("a:", Some("a:1")), ["a:2", "a:3"]);
        assert_eq!(page("b", Some("a:3")), ["b:1"]);
        assert_eq!(page("a:", Some("a:3")), [""; 0]);
        assert_eq!(page("c", None), [""; 0]);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut names = Names::<Count>::default();

        for name in ["a", "b", "c", "a", "c"] {
            if let Some(own) = names.get(name, 2) {
                own.event_count += 1;
            }
        }

        let all: Vec<_> = names.page("", None).map(|(name, own)| (name, own.event_count)).collect();
        assert_eq!((all, names.left_out_count()), (vec![("a", 2), ("b", 1)], 2));
    }
}
