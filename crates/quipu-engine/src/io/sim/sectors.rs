//! Sets of a file's sectors.

use std::ops::Range;

/// The bytes that a disk writes at once or, if the power fails, perhaps only in part.
pub(super) const SECTOR_SIZE: usize = 512;

/// Which sectors of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct SectorSet {
    words: Vec<u64>,
}

impl SectorSet {
    pub(super) fn insert(&mut self, sector: usize) {
        let word = sector / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (sector % 64);
    }

    pub(super) fn remove(&mut self, sector: usize) {
        if let Some(word) = self.words.get_mut(sector / 64) {
            *word &= !(1 << (sector % 64));
        }
    }

    pub(super) fn contains(&self, sector: usize) -> bool {
        self.words.get(sector / 64).is_some_and(|word| word & (1 << (sector % 64)) != 0)
    }

    /// Removes every sector from `first` on.
    pub(super) fn remove_from(&mut self, first: usize) {
        self.words.truncate(first.div_ceil(64));
        if let Some(word) = self.words.get_mut(first / 64) {
            *word &= (1 << (first % 64)) - 1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
    }

    pub(super) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The sectors, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    index * 64 + bit
                })
            })
        })
    }
}

/// The sectors that hold a range of bytes.
pub(super) fn sectors_of(bytes: Range<usize>) -> Range<usize> {
    if bytes.is_empty() {
        return 0..0;
    }
    bytes.start / SECTOR_SIZE..bytes.end.div_ceil(SECTOR_SIZE)
}
