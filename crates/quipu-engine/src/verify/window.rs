//! A part of a file in memory, moving forward.
//!
//! Bytes are copied, not mapped: another process may be writing to them, and a disk that cannot
//! read a sector must lead to an error, not to a signal.

use std::io::Result;
use std::sync::Arc;

use crate::io::File;
use crate::segment::used_size;

/// How much is read at once, where there is so much.
const READ_SIZE: u64 = 1 << 20;

/// A window on a file whose size is taken once.
pub(super) struct Window {
    file: Arc<dyn File>,
    size: u64,
    begin: u64,
    bytes: Vec<u8>,
}

impl Window {
    pub(super) fn new(file: Arc<dyn File>) -> Result<Self> {
        let size = file.size()?;
        Ok(Self { file, size, begin: 0, bytes: Vec::new() })
    }

    /// Bytes in the file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// `size` bytes from `offset` on; `None` where the file ends before.
    pub(super) fn get(&mut self, offset: u64, size: u64) -> Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(size).filter(|end| *end <= self.size) else {
            return Ok(None);
        };
        if offset < self.begin || end > self.begin + self.bytes.len() as u64 {
            let wanted = size.max(READ_SIZE).min(self.size - offset);
            self.begin = offset;
            self.bytes.clear();
            self.bytes.resize(usize::try_from(wanted).unwrap_or(usize::MAX), 0);
            if let Err(error) = self.file.read_at(&mut self.bytes, offset) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let start = usize::try_from(offset - self.begin).unwrap_or(usize::MAX);
        let end = usize::try_from(end - self.begin).unwrap_or(usize::MAX);
        Ok(self.bytes.get(start..end))
    }

    /// How many bytes from `offset` on it takes to have all that are not zero.
    pub(super) fn used_from(&mut self, offset: u64) -> Result<u64> {
        let mut used = 0;
        let mut at = offset;
        while at < self.size {
            let size = READ_SIZE.min(self.size - at);
            let bytes = self.get(at, size)?.unwrap_or_default();
            match used_size(bytes) {
                0 => {}
                size => used = at - offset + size as u64,
            }
            at += size;
        }
        Ok(used)
    }
}
