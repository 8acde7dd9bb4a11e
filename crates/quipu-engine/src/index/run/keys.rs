//! The keys of a run, block by block.

use super::{Run, RunList};
use crate::format::run::postings::{self, SKIP_SIZE};
use crate::format::run::{
    BLOCK_INDEX_SIZE, BLOCK_KEY_COUNT, KEY_SIZE, Section, VARINT_SIZE_MAX, u32_at,
};
use crate::index::error::Result;
use crate::index::key::Key;

/// A block of keys, found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Where its postings begin in the file.
    begin: u64,
    /// Where its hashes begin in the file, and its postings end.
    pub(super) hashes: u64,
    /// How many keys it has.
    pub(super) count: u64,
}

impl Run {
    /// The block with this index.
    pub(super) fn block(&self, block: u64) -> Result<Block> {
        let index = self.footer.section(Section::BlockIndex).start;
        let keys = self.footer.section(Section::Keys);
        let entry = index + block * BLOCK_INDEX_SIZE;
        let hashes = self.u64_at(entry + 8)?;
        let begin = match block {
            0 => keys.start,
            // The block before is not the last one, so it is full.
            _ => self
                .u64_at(entry - BLOCK_INDEX_SIZE + 8)?
                .saturating_add(BLOCK_KEY_COUNT * KEY_SIZE),
        };
        let count = (self.footer.key_count - block * BLOCK_KEY_COUNT).min(BLOCK_KEY_COUNT);
        let end = hashes.saturating_add(count * KEY_SIZE);
        if begin < keys.start || begin > hashes || end > keys.end {
            return Err(self.corrupt(entry, "a block of keys is not where it could be"));
        }
        Ok(Block { begin, hashes, count })
    }

    /// The list of a key, by the key's index in its block.
    pub(super) fn list(&self, block: &Block, index: u64) -> Result<RunList> {
        let ends = block.hashes + block.count * 8;
        let end_at = |index: u64| {
            let bytes = self.at(ends + index * 4, 4)?;
            Ok(u64::from(u32_at(bytes, 0).expect("at() answers as many bytes as were asked for")))
        };
        let begin = block.begin + if index == 0 { 0 } else { end_at(index - 1)? };
        let end = block.begin + end_at(index)?;
        if begin > end || end > block.hashes {
            return Err(self.corrupt(ends, "the lists of a block do not follow each other"));
        }
        let head = self.at(begin, (end - begin).min(2 * VARINT_SIZE_MAX))?;
        let (count, last, head_size) =
            postings::decode_head(head).map_err(|reason| self.corrupt(begin, reason))?;
        let deltas_begin = begin + head_size as u64;
        let skips_size = u64::from(postings::skip_count(count)) * SKIP_SIZE;
        let deltas_end = end.checked_sub(skips_size).filter(|end| *end >= deltas_begin);
        match deltas_end {
            Some(deltas_end) if u64::from(last) < self.name.event_count() => {
                Ok(RunList { count, last, deltas_begin, deltas_end })
            }
            _ => Err(self.corrupt(begin, "a list says more than it can hold")),
        }
    }
}

/// All keys of a run with their lists, in order.
#[derive(Debug)]
pub(in crate::index) struct RunKeys<'a> {
    run: &'a Run,
    next: u64,
    block: Option<Block>,
    before: Option<Key>,
}

impl<'a> RunKeys<'a> {
    pub(in crate::index) fn new(run: &'a Run) -> Self {
        Self { run, next: 0, block: None, before: None }
    }

    /// The next key and its list.
    pub(in crate::index) fn next(&mut self) -> Result<Option<(Key, RunList)>> {
        if self.next == self.run.footer.key_count {
            return Ok(None);
        }
        let within = self.next % BLOCK_KEY_COUNT;
        let block = match self.block {
            Some(block) if within > 0 => block,
            _ => self.run.block(self.next / BLOCK_KEY_COUNT)?,
        };
        self.block = Some(block);
        self.next += 1;
        let key = Key::new(self.run.u64_at(block.hashes + within * 8)?);
        if self.before.is_some_and(|before| before >= key) {
            return Err(self.run.corrupt(block.hashes, "the keys do not rise"));
        }
        self.before = Some(key);
        Ok(Some((key, self.run.list(&block, within)?)))
    }
}
