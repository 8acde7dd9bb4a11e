//! Writing a run, front to back, with little of it in memory.
//!
//! The steps follow the sections: every key in rising order, then every id, then every name, then
//! [`RunWriter::finish`]. What stays in memory is a page of 64 KiB, 16 bytes for every 32 keys, and
//! the skips of one block's lists. Filters need to know how many hashes there are, so they are
//! made by reading the hashes back.

mod pages;

use std::ops::Range;
use std::path::{Path, PathBuf};

use quipu_core::StreamName;

use self::pages::PageWriter;
use super::error::{IndexError, Result};
use super::key::{IdKey, Key};
use super::order::STEP_COUNT;
use crate::format::run::names::put_name;
use crate::format::run::postings::Encoder;
use crate::format::run::{
    BLOCK_KEY_COUNT, BLOCK_NAME_COUNT, Footer, Header, ID_SIZE, RunName, Section, TEMPORARY_SUFFIX,
    filter, u64_at,
};
use crate::io::{Io, SeededBug};

/// A run that is being written, under a temporary name.
pub(super) struct RunWriter<'a> {
    io: &'a dyn Io,
    dir: &'a Path,
    name: RunName,
    temporary: PathBuf,
    pages: PageWriter,
    footer: Footer,
    section_begin: u64,
    /// What is about to go to the page.
    bytes: Vec<u8>,
    block: Block,
    /// Per block its first hash and where its hashes are.
    block_index: Vec<(u64, u64)>,
    last_key: Option<Key>,
    last_id: Option<(IdKey, u32)>,
    id_count: u64,
    last_name: Option<StreamName>,
    /// Where each block of names begins in its section.
    name_index: Vec<u8>,
    /// Lets others have the processor.
    make_way: &'a dyn Fn(),
}

/// The keys of the block that is being written.
#[derive(Default)]
struct Block {
    begin: u64,
    hashes: Vec<u64>,
    ends: Vec<u32>,
}

impl<'a> RunWriter<'a> {
    /// Begins to write a run in a directory.
    pub(super) fn create(
        io: &'a dyn Io,
        dir: &'a Path,
        header: Header,
        make_way: &'a dyn Fn(),
    ) -> Result<Self> {
        let name = header.name;
        let temporary = dir.join(format!("{name}{TEMPORARY_SUFFIX}"));
        let file = io.create(&temporary).or_else(|error| {
            // A process that died while it wrote this run has left its file.
            if error.kind() != std::io::ErrorKind::AlreadyExists {
                return Err(error);
            }
            io.remove(&temporary)?;
            io.create(&temporary)
        });
        let file = file.map_err(IndexError::io(&temporary))?;
        let header = header.encode();
        let mut writer = Self {
            io,
            dir,
            name,
            pages: PageWriter::new(file, temporary.clone()),
            temporary,
            footer: Footer { header_crc: crc32c::crc32c(&header), ..Footer::default() },
            section_begin: 0,
            bytes: Vec::new(),
            block: Block::default(),
            block_index: Vec::new(),
            last_key: None,
            last_id: None,
            id_count: 0,
            last_name: None,
            name_index: Vec::new(),
            make_way,
        };
        writer.pages.put(&header)?;
        writer.begin_section()?;
        writer.block.begin = writer.section_begin;
        Ok(writer)
    }

    /// Begins the list of a key, which has `count` positions up to `last`. Each is given to
    /// [`posting`](Self::posting), and then [`end_key`](Self::end_key) is called.
    pub(super) fn begin_key(&mut self, key: Key, count: u32, last: u32) -> Encoder {
        assert!(self.last_key.is_none_or(|before| before < key), "keys rise");
        self.last_key = Some(key);
        self.block.hashes.push(key.get());
        Encoder::begin(count, last, &mut self.bytes)
    }

    /// Writes a position of the key.
    pub(super) fn posting(&mut self, list: &mut Encoder, local: u32) -> Result<()> {
        list.push(local, &mut self.bytes);
        // Long lists go to the page in pieces.
        if self.bytes.len() >= PIECE_SIZE { self.flush() } else { Ok(()) }
    }

    /// Ends the list of a key.
    pub(super) fn end_key(&mut self, list: Encoder) -> Result<()> {
        list.end(&mut self.bytes);
        self.flush()?;
        let end = self.pages.offset() - self.block.begin;
        let end = u32::try_from(end).expect("32 lists of at most EVENT_COUNT_MAX fit 32 bits");
        self.block.ends.push(end);
        self.footer.key_count += 1;
        self.step(self.footer.key_count);
        if self.footer.key_count.is_multiple_of(BLOCK_KEY_COUNT) {
            self.end_block()?;
        }
        Ok(())
    }

    /// Ends the keys: writes their index and filter.
    pub(super) fn end_keys(&mut self) -> Result<()> {
        if !self.block.hashes.is_empty() {
            self.end_block()?;
        }
        self.end_section(Section::Keys)?;
        for index in 0..self.block_index.len() {
            let (first, hashes) = self.block_index[index];
            self.pages.put(&first.to_le_bytes())?;
            self.pages.put(&hashes.to_le_bytes())?;
        }
        self.end_section(Section::BlockIndex)?;
        let mut filter = FilterWriter::new(self.footer.key_count);
        let mut rest = self.footer.key_count;
        let blocks = std::mem::take(&mut self.block_index);
        for (_, hashes) in blocks {
            let count = rest.min(BLOCK_KEY_COUNT);
            self.read_back(hashes..hashes + count * 8)?;
            for index in 0..count as usize {
                let hash = u64_at(&self.bytes, index * 8).expect("as many were read");
                filter.insert(hash, &mut self.pages)?;
            }
            rest -= count;
            self.step(self.footer.key_count - rest);
        }
        self.bytes.clear();
        filter.finish(&mut self.pages)?;
        self.end_section(Section::KeyFilter)
    }

    /// Writes the id of an event.
    pub(super) fn id(&mut self, id: IdKey, local: u32) -> Result<()> {
        assert!(self.last_id < Some((id, local)), "ids rise");
        self.last_id = Some((id, local));
        self.id_count += 1;
        self.step(self.id_count);
        self.pages.put(&id.get().to_le_bytes())?;
        self.pages.put(&local.to_le_bytes())
    }

    /// Ends the ids: writes their filter.
    pub(super) fn end_ids(&mut self) -> Result<()> {
        assert!(self.id_count == self.name.event_count(), "every event has an id");
        self.end_section(Section::Ids)?;
        let mut filter = FilterWriter::new(self.id_count);
        let ids = self.footer.section(Section::Ids);
        let mut begin = ids.start;
        while begin < ids.end {
            let end = ids.end.min(begin + ID_SIZE * 1_024);
            self.read_back(begin..end)?;
            for entry in 0..((end - begin) / ID_SIZE) as usize {
                let hash =
                    u64_at(&self.bytes, entry * ID_SIZE as usize).expect("as many were read");
                filter.insert(hash, &mut self.pages)?;
            }
            begin = end;
            self.step((begin - ids.start) / ID_SIZE);
        }
        self.bytes.clear();
        filter.finish(&mut self.pages)?;
        self.end_section(Section::IdFilter)
    }

    /// Writes the name of a stream that begins in the run. Names rise.
    pub(super) fn name(&mut self, name: StreamName) -> Result<()> {
        assert!(self.last_name.as_ref().is_none_or(|before| *before < name), "names rise");
        let begins_block = self.footer.name_count.is_multiple_of(BLOCK_NAME_COUNT);
        if begins_block {
            let begin = self.pages.offset() - self.section_begin;
            self.name_index.extend_from_slice(&begin.to_le_bytes());
        }
        let previous = self.last_name.as_ref().filter(|_| !begins_block);
        put_name(&mut self.bytes, previous.map(StreamName::as_str), name.as_str());
        self.footer.name_count += 1;
        self.last_name = Some(name);
        self.flush()
    }

    /// Ends the run. When this returns, the run is durable under its name.
    pub(super) fn finish(mut self) -> Result<()> {
        self.end_section(Section::Names)?;
        let name_index = std::mem::take(&mut self.name_index);
        self.pages.put(&name_index)?;
        self.end_section(Section::NameIndex)?;
        let checksums = self.pages.end_page()?;
        self.footer.checksums_crc = crc32c::crc32c(&checksums);
        self.pages.put(&checksums)?;
        self.end_section(Section::Checksums)?;
        let footer = self.footer.encode();
        self.pages.put(&footer)?;
        self.pages.flush()?;
        // The name must not be durable before the bytes are, or a crash leaves a run of zeros.
        if !self.io.has_bug(SeededBug::IndexBeforeRunSynced) {
            self.pages.sync()?;
        }
        let path = self.dir.join(self.name.to_string());
        self.io.rename(&self.temporary, &path).map_err(IndexError::io(&path))?;
        // The manifest will name the run, so its name has to be durable first.
        self.io.sync_dir(self.dir).map_err(IndexError::io(self.dir))
    }

    /// Removes what was written so far.
    pub(super) fn abandon(self) {
        // The space comes back once nobody has the file open.
        drop(self.pages);
        // If this fails as well, the file stays under its temporary name: it takes space, but
        // nothing reads it, and the next attempt at this run or the next start removes it.
        self.io.remove(&self.temporary).and_then(|()| self.io.sync_dir(self.dir)).ok();
    }

    fn end_block(&mut self) -> Result<()> {
        let hashes = self.pages.offset();
        self.block_index.push((self.block.hashes[0], hashes));
        for hash in self.block.hashes.drain(..) {
            self.bytes.extend_from_slice(&hash.to_le_bytes());
        }
        for end in self.block.ends.drain(..) {
            self.bytes.extend_from_slice(&end.to_le_bytes());
        }
        self.flush()?;
        self.block.begin = self.pages.offset();
        Ok(())
    }

    /// Makes way after every so many, and so never in a short run.
    fn step(&self, written_count: u64) {
        if written_count.is_multiple_of(STEP_COUNT as u64) {
            (self.make_way)();
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.pages.put(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    fn begin_section(&mut self) -> Result<()> {
        self.pages.pad()?;
        self.section_begin = self.pages.offset();
        Ok(())
    }

    fn end_section(&mut self, section: Section) -> Result<()> {
        self.footer.sections[section as usize] = self.section_begin..self.pages.offset();
        self.begin_section()
    }

    /// Puts bytes that were written in `bytes`, in place of what is there.
    fn read_back(&mut self, range: Range<u64>) -> Result<()> {
        self.bytes.resize((range.end - range.start) as usize, 0);
        self.pages.read_back(&mut self.bytes, range.start)
    }
}

const PIECE_SIZE: usize = 4 << 10;

/// Writes a filter while its hashes come in rising order.
struct FilterWriter {
    block_count: u64,
    /// The index of the block that is being filled.
    index: u64,
    block: [u8; filter::BLOCK_SIZE],
}

impl FilterWriter {
    fn new(hash_count: u64) -> Self {
        let block_count = filter::block_count(hash_count);
        Self { block_count, index: 0, block: [0; filter::BLOCK_SIZE] }
    }

    fn insert(&mut self, hash: u64, pages: &mut PageWriter) -> Result<()> {
        self.write_before(filter::block_of(hash, self.block_count), pages)?;
        filter::insert(&mut self.block, hash);
        Ok(())
    }

    fn finish(mut self, pages: &mut PageWriter) -> Result<()> {
        self.write_before(self.block_count, pages)
    }

    fn write_before(&mut self, index: u64, pages: &mut PageWriter) -> Result<()> {
        while self.index < index {
            pages.put(&self.block)?;
            self.block.fill(0);
            self.index += 1;
        }
        Ok(())
    }
}
