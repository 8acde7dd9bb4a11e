//! Writing a file page by page, with a checksum of each.

use std::path::PathBuf;
use std::sync::Arc;

use crate::format::run::{PAGE_SIZE, SECTION_ALIGNMENT};
use crate::index::error::{IndexError, Result};
use crate::io::File;

/// A file that grows at its end, a page at a time.
pub(super) struct PageWriter {
    file: Arc<dyn File>,
    path: PathBuf,
    /// Where the page begins in the file.
    page_begin: u64,
    page: Vec<u8>,
    /// The checksums of the pages before.
    checksums: Vec<u8>,
}

impl PageWriter {
    pub(super) fn new(file: Arc<dyn File>, path: PathBuf) -> Self {
        let page = Vec::with_capacity(PAGE_SIZE as usize);
        Self { file, path, page_begin: 0, page, checksums: Vec::new() }
    }

    /// How many bytes were put.
    pub(super) fn offset(&self) -> u64 {
        self.page_begin + self.page.len() as u64
    }

    /// Appends bytes.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = PAGE_SIZE as usize - self.page.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.page.extend_from_slice(now);
            bytes = later;
            if self.page.len() == PAGE_SIZE as usize {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Appends zeros up to where a section may begin.
    pub(super) fn pad(&mut self) -> Result<()> {
        let offset = self.offset();
        let zeros = [0; SECTION_ALIGNMENT as usize];
        let size = offset.next_multiple_of(SECTION_ALIGNMENT) - offset;
        self.put(&zeros[..size as usize])
    }

    /// Ends the page, full or not, and answers the checksums of all pages so far.
    pub(super) fn end_page(&mut self) -> Result<Vec<u8>> {
        self.flush()?;
        Ok(std::mem::take(&mut self.checksums))
    }

    /// Writes what is not yet written.
    pub(super) fn flush(&mut self) -> Result<()> {
        if !self.page.is_empty() {
            let crc = crc32c::crc32c(&self.page);
            self.checksums.extend_from_slice(&crc.to_le_bytes());
            let written = self.file.write_at(&self.page, self.page_begin);
            written.map_err(IndexError::io(&self.path))?;
            self.page_begin = self.offset();
            self.page.clear();
        }
        Ok(())
    }

    /// Makes what was flushed durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(IndexError::io(&self.path))
    }

    /// Reads bytes that were put.
    pub(super) fn read_back(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let flushed = self.page_begin.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let (from_file, from_page) = bytes.split_at_mut(flushed);
        if !from_file.is_empty() {
            self.file.read_at(from_file, offset).map_err(IndexError::io(&self.path))?;
        }
        if !from_page.is_empty() {
            let begin = (offset + flushed as u64 - self.page_begin) as usize;
            from_page.copy_from_slice(&self.page[begin..begin + from_page.len()]);
        }
        Ok(())
    }
}
