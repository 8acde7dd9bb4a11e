//! What a file holds: on the disk, and in the memory of the system.

use std::io::{ErrorKind, Result};
use std::ops::Range;

use super::fates::{Fate, Fates};
use super::sectors::{SECTOR_SIZE, SectorSet, sectors_of};

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What the disk holds.
    durable: Vec<u8>,
    /// What reads show.
    current: Vec<u8>,
    /// The sectors that were written to since they were last synced.
    dirty: SectorSet,
    /// The sectors that a failed sync gave up: reads show what was written, a later sync finds
    /// nothing to do, and the disk holds what it held before.
    given_up: SectorSet,
    /// The sectors that take space: a file may be longer than what was ever written to it.
    allocated: SectorSet,
}

impl Content {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.current
    }

    pub(super) fn durable_bytes(&self) -> &[u8] {
        &self.durable
    }

    /// A range of what reads show.
    pub(super) fn slice(&self, range: Range<u64>) -> Result<&[u8]> {
        if range.start > range.end {
            return Err(ErrorKind::InvalidInput.into());
        }
        let in_memory = |offset| usize::try_from(offset).ok();
        in_memory(range.start)
            .zip(in_memory(range.end))
            .and_then(|(start, end)| self.current.get(start..end))
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    pub(super) fn allocated_size(&self) -> u64 {
        (self.allocated.count() * SECTOR_SIZE) as u64
    }

    /// How many of `size` bytes from `offset` on can be written when so much space is free.
    pub(super) fn fitting(&self, offset: usize, size: usize, free: u64) -> usize {
        let mut left = free / SECTOR_SIZE as u64;
        for sector in sectors_of(offset..offset + size) {
            if self.allocated.contains(sector) {
                continue;
            }
            if left == 0 {
                return (sector * SECTOR_SIZE).saturating_sub(offset);
            }
            left -= 1;
        }
        size
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.current.len() {
            self.set_size(end);
        }
        self.current[offset..end].copy_from_slice(bytes);
        for sector in sectors_of(offset..end) {
            self.dirty.insert(sector);
            // The whole sector will be written anew, what was given up of it too.
            self.given_up.remove(sector);
            self.allocated.insert(sector);
        }
    }

    pub(super) fn set_size(&mut self, size: usize) {
        let old = self.current.len();
        self.current.resize(size, 0);
        if size < old {
            let kept = size.div_ceil(SECTOR_SIZE);
            self.dirty.remove_from(kept);
            self.given_up.remove_from(kept);
            self.allocated.remove_from(kept);
        }
        // The disk may still hold what was there before the file was cut.
        for sector in sectors_of(old..size.max(old)) {
            self.dirty.insert(sector);
            self.given_up.remove(sector);
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.current.len(), 0);
        for sector in self.dirty.iter() {
            let range = clip(sector, self.current.len());
            self.durable[range.clone()].copy_from_slice(&self.current[range]);
        }
        self.dirty.clear();
    }

    /// A sync that fails, as Linux does it: what could not be written counts as clean from then
    /// on, so that reads show it and no later sync writes it.
    pub(super) fn fail_sync(&mut self, fates: &mut Fates) {
        if fates.is_kept() {
            self.durable.resize(self.current.len(), 0);
        }
        for sector in self.dirty.iter() {
            let range = clip(sector, self.current.len());
            if range.end <= self.durable.len() && fates.is_kept() {
                self.durable[range.clone()].copy_from_slice(&self.current[range]);
            } else {
                self.given_up.insert(sector);
            }
        }
        self.dirty.clear();
    }

    /// Drops what the system keeps of the file in memory, but for what waits to be written.
    pub(super) fn forget(&mut self, offset: u64) {
        let first = usize::try_from(offset).unwrap_or(usize::MAX) / SECTOR_SIZE;
        for sector in self.given_up.iter().filter(|sector| *sector >= first) {
            let range = clip(sector, self.current.len());
            for offset in range {
                self.current[offset] = self.durable.get(offset).copied().unwrap_or(0);
            }
        }
        self.given_up.remove_from(first);
    }

    /// How many things a crash would decide on.
    pub(super) fn undecided(&self) -> usize {
        self.dirty.count() + usize::from(self.durable.len() != self.current.len())
    }

    /// The power fails.
    pub(super) fn crash(&mut self, fates: &mut Fates) {
        if self.undecided() > 0 {
            fates.change_mood();
        }
        if self.durable.len() != self.current.len() {
            let size = fates.of_size(self.durable.len(), self.current.len());
            self.durable.resize(size, 0);
        }
        for sector in self.dirty.iter() {
            let fate = fates.of_sector();
            let mut range = clip(sector, self.durable.len().min(self.current.len()));
            match fate {
                Fate::Kept => {}
                Fate::Lost => continue,
                Fate::Torn(size) => range.end = range.end.min(range.start + size),
            }
            self.durable[range.clone()].copy_from_slice(&self.current[range]);
        }
        self.dirty.clear();
        self.given_up.clear();
        // Where a cut was lost, what was written before is there again and takes its space.
        for sector in sectors_of(self.current.len()..self.durable.len()) {
            self.allocated.insert(sector);
        }
        self.allocated.remove_from(self.durable.len().div_ceil(SECTOR_SIZE));
        self.current.clone_from(&self.durable);
    }

    /// Changes a byte where it is, in memory and on the disk, as a failing medium does.
    pub(super) fn damage(&mut self, offset: usize, change: impl Fn(u8) -> u8) {
        for image in [&mut self.current, &mut self.durable] {
            if let Some(byte) = image.get_mut(offset) {
                *byte = change(*byte);
            }
        }
    }
}

/// The bytes of a sector in a file of this size.
fn clip(sector: usize, size: usize) -> Range<usize> {
    let start = (sector * SECTOR_SIZE).min(size);
    start..(start + SECTOR_SIZE).min(size)
}
