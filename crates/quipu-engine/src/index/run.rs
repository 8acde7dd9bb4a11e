//! A run: the index of consecutive events in a file that never changes.
//!
//! A run is opened by reading its two ends; everything else is read where it lies when it is asked
//! for, and a page's checksum is compared the first time something in the page is read.

mod keys;
mod names;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::error::{IndexError, Result};
use super::key::{IdKey, Key};
use crate::format::run::postings::{self, GROUP_COUNT, Group, SKIP_SIZE, Skip};
use crate::format::run::{
    BLOCK_INDEX_SIZE, BLOCK_KEY_COUNT, Damage, FOOTER_SIZE, Footer, HEADER_SIZE, Header, ID_SIZE,
    PAGE_SIZE, RunName, Section, filter, u32_at, u64_at,
};
use crate::io::Io;

pub(super) use keys::RunKeys;
pub(super) use names::RunNames;

/// The index of consecutive events, on disk.
pub(crate) struct Run {
    name: RunName,
    path: PathBuf,
    bytes: Bytes,
    footer: Footer,
    /// A bit per page whose checksum was compared. The bytes never change, so it does not matter
    /// in which order threads see the bits, nor whether two compare one page.
    compared: Box<[AtomicU64]>,
}

/// Where the positions of one key are in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunList {
    pub(super) count: u32,
    /// The last local position.
    pub(super) last: u32,
    deltas_begin: u64,
    deltas_end: u64,
}

impl Run {
    /// Opens the run of a directory that `expected` says.
    ///
    /// # Errors
    ///
    /// - [`IndexError::Corrupt`] if it is not that run, or its ends are not whole: build it again.
    /// - [`IndexError::Io`] if the file is missing or cannot be read.
    pub(crate) fn open(io: &dyn Io, dir: &Path, expected: Header) -> Result<Self> {
        let name = expected.name;
        let path = dir.join(name.to_string());
        let file = io.open(&path).map_err(IndexError::io(&path))?;
        let size = file.size().map_err(IndexError::io(&path))?;
        let bytes = file.bytes(0..size).map_err(IndexError::io(&path))?;
        let corrupt = |offset, reason| IndexError::Corrupt { file: path.clone(), offset, reason };

        let header = Header::decode(&bytes).map_err(|reason| corrupt(0, reason))?;
        if header != expected {
            return Err(corrupt(0, "the file holds another run than its name says"));
        }
        let footer_begin = bytes.len().saturating_sub(FOOTER_SIZE).max(HEADER_SIZE);
        let footer = Footer::decode(&bytes[footer_begin..], size, name.event_count())
            .map_err(|reason| corrupt(footer_begin as u64, reason))?;
        if footer.header_crc != crc32c::crc32c(&bytes[..HEADER_SIZE]) {
            return Err(corrupt(0, "the header is not the one the footer was written for"));
        }
        let checksums = footer.section(Section::Checksums);
        let place = checksums.start as usize..checksums.end as usize;
        if footer.checksums_crc != crc32c::crc32c(&bytes[place]) {
            return Err(corrupt(checksums.start, "the checksums do not match their checksum"));
        }
        // The zeros behind the checksums are the only bytes that no checksum covers.
        if bytes[checksums.end as usize..footer_begin].iter().any(|byte| *byte != 0) {
            return Err(corrupt(checksums.end, "there are bytes between the sections"));
        }
        let page_count = checksums.start.div_ceil(PAGE_SIZE);
        let compared = (0..page_count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { name, path, bytes, footer, compared })
    }

    /// Which run it is.
    pub(crate) fn name(&self) -> RunName {
        self.name
    }

    /// The run's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes of the run's file.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many streams begin in the run.
    pub(crate) fn name_count(&self) -> u64 {
        self.footer.name_count
    }

    /// Bytes in the run's file.
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The positions of a key, if it has any.
    pub(super) fn find(&self, key: Key) -> Result<Option<RunList>> {
        let hash = key.get();
        if !self.may_contain(Section::KeyFilter, self.footer.key_count, hash)? {
            return Ok(None);
        }
        let block_count = self.footer.key_count.div_ceil(BLOCK_KEY_COUNT);
        let index = self.footer.section(Section::BlockIndex).start;
        let after = partition(block_count, hash, |block| {
            Ok(self.u64_at(index + block * BLOCK_INDEX_SIZE)? <= hash)
        })?;
        let Some(block) = after.checked_sub(1) else {
            return Ok(None);
        };
        let block = self.block(block)?;
        let hashes = self.at(block.hashes, block.count * 8)?;
        let is_below = |index: usize| u64_at(hashes, index * 8).is_some_and(|other| other < hash);
        let (mut low, mut high) = (0, block.count as usize);
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_below(middle) { low = middle + 1 } else { high = middle }
        }
        if u64_at(hashes, low * 8) != Some(hash) {
            return Ok(None);
        }
        self.list(&block, low as u64).map(Some)
    }

    /// The index among the ids, in their order, of the last one before `end` that is this id, and
    /// its local position.
    pub(super) fn find_id(&self, id: IdKey, end: Option<u64>) -> Result<Option<(u64, u32)>> {
        let (hash, count) = (id.get(), self.name.event_count());
        let ids = self.footer.section(Section::Ids).start;
        let end = match end {
            Some(end) => end,
            None if self.may_contain(Section::IdFilter, count, hash)? => {
                partition(count, hash, |index| Ok(self.u64_at(ids + index * ID_SIZE)? <= hash))?
            }
            None => 0,
        };
        let Some(index) = end.checked_sub(1) else {
            return Ok(None);
        };
        let (found, local) = self.id(index)?;
        Ok((found == id).then_some((index, local)))
    }

    /// The id with this index in the order of ids, and its local position.
    pub(super) fn id(&self, index: u64) -> Result<(IdKey, u32)> {
        let offset = self.footer.section(Section::Ids).start + index * ID_SIZE;
        let entry = self.at(offset, ID_SIZE)?;
        let local = u32_at(entry, 8).filter(|local| u64::from(*local) < self.name.event_count());
        match (u64_at(entry, 0), local) {
            (Some(hash), Some(local)) => Ok((IdKey::new(hash), local)),
            _ => Err(self.corrupt(offset, "an id is of an event that the run does not have")),
        }
    }

    /// Appends a group of a list: the positions from the ordinal `index * GROUP_COUNT` on.
    pub(super) fn read_group(
        &self,
        list: RunList,
        index: u32,
        locals: &mut Vec<u32>,
    ) -> Result<()> {
        let skip_count = postings::skip_count(list.count);
        if index > skip_count {
            return Ok(());
        }
        let (first, begin) = if index == 0 {
            (None, 0)
        } else {
            let skip = self.skip(list, index)?;
            (Some(skip.first), u64::from(skip.offset))
        };
        let is_last = index == skip_count;
        let (end, bytes_end) = if is_last {
            (list.last, list.deltas_end)
        } else {
            let next = self.skip(list, index + 1)?;
            (next.first, list.deltas_begin + u64::from(next.offset))
        };
        let begin = list.deltas_begin + begin;
        if begin > bytes_end || bytes_end > list.deltas_end {
            return Err(self.corrupt(list.deltas_end, "the skips of a list do not rise"));
        }
        let count = (list.count - index * GROUP_COUNT).min(GROUP_COUNT);
        let bytes = self.at(begin, bytes_end - begin)?;
        let group = Group { first, count, end, is_last };
        group.decode(bytes, locals).map_err(|reason| self.corrupt(begin, reason))
    }

    /// The index of a group of a list such that everything before it is below `local` and
    /// everything after it is not.
    pub(super) fn find_group(&self, list: RunList, local: u32) -> Result<u32> {
        let (mut low, mut high) = (0, postings::skip_count(list.count));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.skip(list, middle + 1)?.first < local {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn skip(&self, list: RunList, group: u32) -> Result<Skip> {
        let offset = list.deltas_end + u64::from(group - 1) * SKIP_SIZE;
        let bytes = self.at(offset, SKIP_SIZE)?;
        Skip::decode(bytes).map_err(|reason| self.corrupt(offset, reason))
    }

    /// Looks at a byte of the line that decides whether the run has a key, so that it is fetched.
    pub(super) fn touch(&self, key: Key) -> u8 {
        let block = self.filter_block(Section::KeyFilter, self.footer.key_count, key.get());
        let byte = block.and_then(|offset| self.bytes.get(offset as usize));
        byte.copied().unwrap_or_default()
    }

    /// Whether a filter has the hash. One line of the processor's cache decides.
    fn may_contain(&self, section: Section, hash_count: u64, hash: u64) -> Result<bool> {
        let Some(offset) = self.filter_block(section, hash_count, hash) else { return Ok(false) };
        let block = self.at(offset, filter::BLOCK_SIZE as u64)?;
        let block = block.try_into().expect("at() answers as many bytes as were asked for");
        Ok(filter::may_contain(block, hash))
    }

    /// Where the block of a hash is; `None` in a filter of no hashes.
    fn filter_block(&self, section: Section, hash_count: u64, hash: u64) -> Option<u64> {
        let block_count = filter::block_count(hash_count);
        let offset = filter::block_of(hash, block_count) * filter::BLOCK_SIZE as u64;
        (block_count > 0).then(|| self.footer.section(section).start + offset)
    }

    fn u64_at(&self, offset: u64) -> Result<u64> {
        let bytes = self.at(offset, 8)?;
        Ok(u64_at(bytes, 0).expect("at() answers as many bytes as were asked for"))
    }

    /// Bytes of the file, from pages whose checksums were compared.
    fn at(&self, offset: u64, size: u64) -> Result<&[u8]> {
        let end = offset
            .checked_add(size)
            .filter(|end| *end <= self.footer.section(Section::Checksums).start);
        let Some(end) = end else {
            return Err(self.corrupt(offset, "something is said to lie outside of the sections"));
        };
        if size > 0 {
            for page in offset / PAGE_SIZE..=(end - 1) / PAGE_SIZE {
                let bits = self.compared[(page / 64) as usize].load(Ordering::Relaxed);
                if bits & (1 << (page % 64)) == 0 {
                    self.compare_page(page)?;
                }
            }
        }
        Ok(&self.bytes[offset as usize..end as usize])
    }

    /// Compares the checksums of all pages, those that were compared before too.
    pub(crate) fn compare_pages(&self) -> Result<()> {
        let page_count = self.footer.section(Section::Checksums).start.div_ceil(PAGE_SIZE);
        (0..page_count).try_for_each(|page| self.compare_page(page))
    }

    pub(super) fn corrupt_keys(&self, reason: Damage) -> IndexError {
        self.corrupt(self.footer.section(Section::Keys).start, reason)
    }

    pub(super) fn corrupt_ids(&self, reason: Damage) -> IndexError {
        self.corrupt(self.footer.section(Section::Ids).start, reason)
    }

    #[cold]
    fn compare_page(&self, page: u64) -> Result<()> {
        let checksums = self.footer.section(Section::Checksums);
        let begin = page * PAGE_SIZE;
        let end = (begin + PAGE_SIZE).min(checksums.start);
        let crc = crc32c::crc32c(&self.bytes[begin as usize..end as usize]);
        if u32_at(&self.bytes, (checksums.start + page * 4) as usize) != Some(crc) {
            return Err(self.corrupt(begin, "a page does not match its checksum"));
        }
        self.compared[(page / 64) as usize].fetch_or(1 << (page % 64), Ordering::Relaxed);
        Ok(())
    }

    fn corrupt(&self, offset: u64, reason: Damage) -> IndexError {
        IndexError::Corrupt { file: self.path.clone(), offset, reason }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("path", &self.path).finish_non_exhaustive()
    }
}

/// How many of `count` entries come before the first that is not `before`. Their hashes are spread
/// evenly, so the search begins near where `hash` should be and widens from there.
fn partition(count: u64, hash: u64, before: impl Fn(u64) -> Result<bool>) -> Result<u64> {
    let (mut low, mut high) = (0, count);
    if count == 0 {
        return Ok(0);
    }
    let mut step = 4;
    let mut probe = ((u128::from(hash) * u128::from(count)) >> 64) as u64;
    if before(probe)? {
        low = probe + 1;
        while low < high {
            probe = (probe + step).min(count - 1);
            step *= 2;
            if !before(probe)? {
                high = probe;
                break;
            }
            low = probe + 1;
        }
    } else {
        high = probe;
        while low < high {
            probe = probe.saturating_sub(step);
            step *= 2;
            if before(probe)? {
                low = probe + 1;
                break;
            }
            high = probe;
        }
    }
    while low < high {
        let middle = u64::midpoint(low, high);
        if before(middle)? { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_found_wherever_the_guess_is() {
        for count in 0..70 {
            for answer in 0..=count {
                for hash in [0, 1 << 60, 1 << 62, 1 << 63, u64::MAX] {
                    let found = partition(count, hash, |index| {
                        assert!(index < count, "only entries that exist are looked at");
                        Ok(index < answer)
                    });
                    assert_eq!(found.unwrap(), answer, "of {count} from {hash}");
                }
            }
        }
    }
}
