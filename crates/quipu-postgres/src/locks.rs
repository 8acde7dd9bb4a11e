//! What an append locks: buckets of types, tags and categories, and streams.
//!
//! Everyone takes locks in one order, so that nobody waits in a circle: the store-wide one, buckets
//! by their number, then the rows of streams by the bytes of their names.

use std::collections::{BTreeMap, HashSet};

use quipu_core::{
    Append, Change, METADATA_TYPE, Query, QueryItem, StreamName, TOMBSTONE_TYPE, category,
};
use sha2::{Digest as _, Sha256};

/// How many buckets there are.
const BUCKET_COUNT: u64 = 4_096;
/// The most buckets that an append locks; one that is about more locks the whole store instead.
pub const BUCKETS_MAX: usize = 256;
/// The store's own lock: every append shares it, but for those that need it for themselves.
const WHOLE: u64 = 0;

/// Advisory locks in the order in which they are taken.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    pub(crate) keys: Vec<i64>,
    pub(crate) exclusive: Vec<bool>,
}

/// What a bucket is of. The numbers are the same on every node and in every version.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Type = 1,
    Tag = 2,
    Category = 3,
}

/// As the function `bucket` has it in the database.
fn bucket(kind: Kind, name: &str) -> u64 {
    let hash = Sha256::new().chain_update(format!("{}:", kind as u8)).chain_update(name).finalize();
    let [high, low, ..]: [u8; 32] = hash.into();
    1 + (u64::from(high) * 256 + u64::from(low)) % BUCKET_COUNT
}

/// The locks of some appends that are written together. `table` keeps stores in one database apart.
pub(crate) fn locks_of<'a>(table: u32, appends: impl Iterator<Item = &'a Append>) -> Locks {
    let mut buckets = BTreeMap::new();
    for append in appends {
        lock_append(append, &mut buckets);
    }
    in_order(table, buckets)
}

/// The locks of a change that may write metadata and tombstones beside what it says.
pub(crate) fn locks_of_change(table: u32, change: &Change, roots: &[StreamName]) -> Locks {
    let mut buckets = BTreeMap::new();
    if let Change::Append(append) = change {
        lock_append(append, &mut buckets);
    }
    let types = [METADATA_TYPE, TOMBSTONE_TYPE].map(|own| bucket(Kind::Type, own));
    let categories = roots.iter().flat_map(|root| {
        let metadata = root.metadata_stream();
        [root.category(), metadata.category()].map(|own| bucket(Kind::Category, own))
    });
    for number in types.into_iter().chain(categories) {
        buckets.entry(number).or_insert(false);
    }
    in_order(table, buckets)
}

fn lock_append(append: &Append, buckets: &mut BTreeMap<u64, bool>) {
    // Most events of an append have the type and the category of another.
    let mut names = HashSet::new();
    for (stream, event) in &append.events {
        names.insert((Kind::Category, stream.category()));
        names.insert((Kind::Type, event.event_type.as_str()));
        names.extend(event.tags.iter().map(|tag| (Kind::Tag, tag)));
    }
    for (kind, name) in names {
        buckets.entry(bucket(kind, name)).or_insert(false);
    }
    for condition in &append.conditions {
        lock_query(&condition.query, buckets);
    }
}

fn in_order(table: u32, mut buckets: BTreeMap<u64, bool>) -> Locks {
    let is_whole = buckets.len() > BUCKETS_MAX;
    if is_whole {
        buckets.clear();
    }
    let whole = *buckets.entry(WHOLE).or_insert(false) || is_whole;
    buckets.insert(WHOLE, whole);
    let key = |number: &u64| (u64::from(table) << 32 | number).cast_signed();
    Locks {
        keys: buckets.keys().map(key).collect(),
        exclusive: buckets.values().copied().collect(),
    }
}

/// Whatever matches the query shares one of the buckets locked here.
fn lock_query(query: &Query, buckets: &mut BTreeMap<u64, bool>) {
    for item in &query.items {
        for number in item_buckets(item) {
            buckets.insert(number, true);
        }
    }
}

fn item_buckets(item: &QueryItem) -> Vec<u64> {
    if let Some(tag) = item.tags.iter().next() {
        return vec![bucket(Kind::Tag, tag)];
    }
    if !item.types.is_empty() {
        return item.types.iter().map(|own| bucket(Kind::Type, own.as_str())).collect();
    }
    let of_stream = item.stream.as_ref().map(|stream| category(stream.as_str()));
    match item.category.as_deref().or(of_stream) {
        Some(category) => vec![bucket(Kind::Category, category)],
        None => vec![WHOLE],
    }
}

/// The stream whose row guards this one's: a metadata stream goes with the stream it describes.
pub(crate) fn root(stream: &StreamName) -> StreamName {
    let mut root = stream.clone();
    while root.is_metadata()
        && let Some(base) = root.metadata_of()
    {
        root = base;
    }
    root
}

/// The rows that a decision about a change rests on, in the order in which they are locked.
pub(crate) fn roots_of(change: &Change) -> Vec<StreamName> {
    let mut roots: Vec<StreamName> = match change {
        Change::Append(append) => {
            let expected = append.expectations.iter().map(|(stream, _)| stream);
            append.events.iter().map(|(stream, _)| stream).chain(expected).map(root).collect()
        }
        Change::Delete { stream, .. }
        | Change::Tombstone { stream, .. }
        | Change::SetMetadata { stream, .. } => vec![root(stream)],
    };
    roots.sort_unstable();
    roots.dedup();
    roots
}

#[cfg(test)]
mod tests {
    use quipu_core::NewEvent;

    use super::*;

    fn append(tag_count: usize) -> Append {
        let event = NewEvent::json("T", "{}").unwrap();
        (0..tag_count).fold(Append::new(), |append, number| {
            let event = event.clone().with_tag(&format!("t:{number}")).unwrap();
            append.event(StreamName::new("a-1").unwrap(), event)
        })
    }

    fn conditioned(text: &str) -> Append {
        Append::new().fail_if(text.parse().unwrap(), None)
    }

    #[test]
    fn locks_are_in_order_and_only_those_of_conditions_are_exclusive() {
        let locks = locks_of(7, [&append(3), &conditioned("type:T tag:x")].into_iter());

        assert!(locks.keys.is_sorted());
        assert_eq!(locks.keys.len(), 1 + 3 + 1 + 1 + 1, "store, tags, type, category, condition");
        assert_eq!(locks.exclusive.iter().filter(|it| **it).count(), 1);
        assert_eq!(locks.exclusive.first(), Some(&false));
    }

    #[test]
    fn what_matches_a_query_shares_a_bucket_with_it() {
        let event = locks_of(7, [&append(1)].into_iter());
        for text in ["tag:t:0", "tag:t:0 type:U", "type:T,U", "category:a", "stream:a-1", "*"] {
            let query = if text == "*" { Query::all() } else { text.parse().unwrap() };
            let condition = Append::new().fail_if(query, None);
            let locks = locks_of(7, [&condition].into_iter());
            let own = locks.keys.iter().zip(&locks.exclusive);
            let shared = own.filter(|(key, exclusive)| **exclusive && event.keys.contains(key));
            assert!(shared.count() > 0, "{text}");
        }
    }

    #[test]
    fn an_append_about_too_much_locks_the_store() {
        let locks = locks_of(7, [&append(1_000)].into_iter());

        assert_eq!((locks.keys.len(), locks.exclusive), (1, vec![true]));
    }

    #[test]
    fn metadata_goes_with_its_stream() {
        for name in ["a-1", "$$a-1", "$$$$a-1"] {
            assert_eq!(root(&StreamName::new(name).unwrap()).as_str(), "a-1");
        }
    }
}
