//! Sorting by hash, a part at a time.

/// Hashes are spread evenly, so that each bucket gets a like part of them.
const BUCKET_COUNT: usize = 256;
/// Items moved or written between two calls of `make_way`: some 50 µs of work.
pub(super) const STEP_COUNT: usize = 256;

/// The items in the order of their keys, which is that of their hashes; each part is sorted when it
/// is asked for. `count` is how many there are.
pub(super) fn in_order<T, K: Ord>(
    items: impl Iterator<Item = T>,
    count: usize,
    hash: impl Fn(&T) -> u64,
    key: impl Fn(&T) -> K,
    make_way: &dyn Fn(),
) -> impl Iterator<Item = T> {
    // Some more than a like part, so that few buckets have to grow.
    let room = count / BUCKET_COUNT * 9 / 8;
    let mut buckets: Vec<Vec<T>> = (0..BUCKET_COUNT).map(|_| Vec::with_capacity(room)).collect();
    for (index, item) in items.enumerate() {
        if index % STEP_COUNT == STEP_COUNT - 1 {
            make_way();
        }
        let bucket = (hash(&item) >> (u64::BITS - BUCKET_COUNT.ilog2())) as usize;
        buckets[bucket].push(item);
    }
    buckets.into_iter().flat_map(move |mut bucket| {
        bucket.sort_unstable_by_key(&key);
        // The buckets of a short run have next to nothing.
        if bucket.len() >= STEP_COUNT {
            make_way();
        }
        bucket
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_what_went_in_in_order() {
        let hashes: Vec<u64> = (0..10_000_u64)
            .map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .chain([0, 0, 1, u64::MAX])
            .collect();
        let mut expected = hashes.clone();
        expected.sort_unstable();

        let count = hashes.len();
        let ordered = in_order(hashes.into_iter(), count, |hash| *hash, |hash| *hash, &|| ());

        assert_eq!(ordered.collect::<Vec<_>>(), expected);
    }
}
