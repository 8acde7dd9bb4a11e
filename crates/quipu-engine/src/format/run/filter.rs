//! The layout of a filter: which hashes a run may have, in about ten bits each.
//!
//! A filter is a number of blocks of 64 bytes, one for every 51.2 hashes or part of that. The block
//! of a hash is `hash * blocks / 2^64`, so that rising hashes fill rising blocks and the filter
//! can be written front to back. In its block the hash has seven bits: with `m` the low 64 bits of
//! `hash * 0x9e3779b97f4a7c15`, bit `i` has the index `(m >> (1 + 9 * i)) & 511`, where bit 0 is the
//! lowest of the first byte.
//!
//! About one of a hundred hashes that are not there seems to be.

/// Bytes in a block: what the processor loads at once.
pub(crate) const BLOCK_SIZE: usize = 64;

const BITS_PER_HASH: u64 = 10;
const BITS_PER_BLOCK: u64 = 8 * BLOCK_SIZE as u64;

/// How many blocks the filter of that many hashes has.
pub(crate) const fn block_count(hash_count: u64) -> u64 {
    (hash_count * BITS_PER_HASH).div_ceil(BITS_PER_BLOCK)
}

/// How many bytes the filter of that many hashes has.
pub(crate) const fn size(hash_count: u64) -> u64 {
    block_count(hash_count) * BLOCK_SIZE as u64
}

/// The block of a hash in a filter of that many blocks.
pub(crate) const fn block_of(hash: u64, block_count: u64) -> u64 {
    ((hash as u128 * block_count as u128) >> 64) as u64
}

/// Marks a hash in its block.
pub(crate) fn insert(block: &mut [u8; BLOCK_SIZE], hash: u64) {
    for bit in bits(hash) {
        block[bit / 8] |= 1 << (bit % 8);
    }
}

/// Whether a hash may have been marked in its block.
pub(crate) fn may_contain(block: &[u8; BLOCK_SIZE], hash: u64) -> bool {
    bits(hash).all(|bit| block[bit / 8] & (1 << (bit % 8)) != 0)
}

fn bits(hash: u64) -> impl Iterator<Item = usize> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..7).map(move |i| ((mixed >> (1 + 9 * i)) & (BITS_PER_BLOCK - 1)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(number: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), 5)
    }

    #[test]
    fn a_filter_knows_its_hashes_and_few_others() {
        const COUNT: u64 = 100_000;
        let blocks = block_count(COUNT);
        let mut filter = vec![[0; BLOCK_SIZE]; usize::try_from(blocks).unwrap()];

        for hash in (0..COUNT).map(spread) {
            insert(&mut filter[block_of(hash, blocks) as usize], hash);
        }

        let found = |hash| may_contain(&filter[block_of(hash, blocks) as usize], hash);
        assert!((0..COUNT).map(spread).all(found));
        let wrong = (COUNT..2 * COUNT).map(spread).filter(|hash| found(*hash)).count();
        assert!((500..1_500).contains(&wrong), "{wrong} of {COUNT} seem to be there");
    }

    #[test]
    fn rising_hashes_fill_rising_blocks() {
        assert_eq!(block_of(0, 7), 0);
        assert_eq!(block_of(u64::MAX, 7), 6);
        assert!((0..1_000).map(|i| block_of(i << 54, 7)).is_sorted());
    }

    #[test]
    fn no_hashes_need_no_filter() {
        assert_eq!(size(0), 0);
        assert_eq!(size(1), 64);
        assert_eq!(size(52), 128);
    }
}
