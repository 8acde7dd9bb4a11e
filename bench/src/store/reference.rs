//! The reference: the naive segment log.
//!
//! One file, filled with zeros 64 MiB ahead, inline. An append is one write and one `fdatasync`;
//! the index is a hash map in memory from streams to the offsets of their events. It has no types,
//! no tags, no conditions and one segment: it shows the room there is.
//!
//! A frame: size u32, CRC32C u32 of what follows, position u64, revision u32, stream size u8, type
//! size u8, stream, type, data.
#![expect(unsafe_code, reason = "mapping a file is unsafe; readers stay below what was written")]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasherDefault, Hasher};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use memmap2::{Mmap, MmapOptions};

use super::{Error, Grouped, Guard, Result, Store, Tally};
use crate::workload::Event;

const FILL_SIZE: u64 = 64 << 20;
const HEADER_SIZE: usize = 22;
/// Address space for readers, far beyond any run. Only what was written is looked at.
const MAP_SIZE: usize = 64 << 30;

/// The naive log.
pub(super) struct Reference {
    map: Mmap,
    log: Mutex<Log>,
}

struct Log {
    file: File,
    /// Where the next frame goes.
    end: u64,
    /// Where the zeros end.
    filled: u64,
    count: u64,
    streams: HashMap<u64, Vec<u32>, BuildHasherDefault<Hashed>>,
    /// Where each event's frame begins, by position.
    offsets: Vec<u64>,
    buffer: Vec<u8>,
}

impl Reference {
    /// Opens the log: reads and checks all frames, and builds the index.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("log");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        // The file's name must survive too.
        File::open(dir)?.sync_all()?;
        let filled = file.metadata()?.len();
        // SAFETY: nobody but this process writes the file, it is never cut, and readers stay below
        // the end of what was written and synced.
        let map = unsafe { MmapOptions::new().len(MAP_SIZE).map(&file)? };
        let mut log = Log {
            file,
            end: 0,
            filled,
            count: 0,
            streams: HashMap::default(),
            offsets: Vec::new(),
            buffer: Vec::new(),
        };
        while let Some(frame) = Frame::read(&map[..filled as usize], log.end) {
            if frame.position != log.count + 1 {
                break;
            }
            let end = log.end + frame.size as u64;
            log.index(frame.stream, log.end);
            log.end = end;
        }
        Ok(Self { map, log: Mutex::new(log) })
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("nothing panics while it holds the lock")
    }

    fn append_all<'a>(&self, events: impl Iterator<Item = &'a Event> + Clone) -> Result<u64> {
        let mut log = self.log();
        log.buffer.clear();
        let mut offsets = Vec::new();
        let mut ahead: HashMap<&str, u32> = HashMap::new();
        for (added, event) in events.clone().enumerate() {
            let known = log.streams.get(&hash(&event.stream)).map_or(0, Vec::len) as u32;
            let next = ahead.entry(&event.stream).or_insert(known);
            if *next != event.revision {
                return Err(Error::from(format!("{} is at {next}", event.stream)));
            }
            *next += 1;
            offsets.push(log.end + log.buffer.len() as u64);
            let position = log.count + added as u64 + 1;
            Frame::write(&mut log.buffer, event, position);
        }
        log.fill()?;
        log.file.write_all_at(&log.buffer, log.end)?;
        log.file.sync_data()?;
        for (event, offset) in events.zip(offsets) {
            log.index(&event.stream, offset);
        }
        log.end += log.buffer.len() as u64;
        Ok(log.count)
    }
}

impl Store for Reference {
    fn append(&self, events: &[Event]) -> Result<u64> {
        self.append_all(events.iter())
    }

    fn has_guards(&self) -> bool {
        false
    }

    fn append_guarded(&self, _: &Event, _: &Guard) -> Result<u64> {
        Err(Error::from("the reference has no conditions"))
    }

    fn check_all(&self, _: &[Guard]) -> Result<()> {
        Err(Error::from("the reference has no conditions"))
    }

    fn grouped(&self) -> Option<&dyn Grouped> {
        Some(self)
    }

    fn last(&self) -> Result<u64> {
        Ok(self.log().count)
    }

    fn scan(&self) -> Result<Tally> {
        let end = self.log().end;
        let mut tally = Tally::default();
        let mut offset = 0;
        while offset < end {
            let frame = Frame::read(&self.map, offset).ok_or("a frame is damaged")?;
            tally.add(frame.event_type, frame.data);
            offset += frame.size as u64;
        }
        Ok(tally)
    }

    fn read_stream(&self, stream: &str) -> Result<Tally> {
        let offsets: Vec<u64> = {
            let log = self.log();
            let positions = log.streams.get(&hash(stream)).map_or(&[][..], Vec::as_slice);
            positions.iter().map(|position| log.offsets[*position as usize - 1]).collect()
        };
        let mut tally = Tally::default();
        for offset in offsets {
            let frame = Frame::read(&self.map, offset).ok_or("a frame is damaged")?;
            if frame.stream == stream {
                tally.add(frame.event_type, frame.data);
            }
        }
        Ok(tally)
    }
}

impl Grouped for Reference {
    fn append_group(&self, group: &[&Event]) -> Result<()> {
        self.append_all(group.iter().copied()).map(|_| ())
    }
}

impl Log {
    fn index(&mut self, stream: &str, offset: u64) {
        self.count += 1;
        self.streams.entry(hash(stream)).or_default().push(self.count as u32);
        self.offsets.push(offset);
    }

    /// Makes sure that the buffer goes where zeros are: an overwrite costs no change of the file
    /// system's own records, so its sync is one flush.
    fn fill(&mut self) -> Result<()> {
        let zeros =
            vec![0; if self.end + self.buffer.len() as u64 > self.filled { 1 << 20 } else { 0 }];
        while self.end + self.buffer.len() as u64 > self.filled {
            let target = self.filled + FILL_SIZE;
            while self.filled < target {
                self.file.write_all_at(&zeros, self.filled)?;
                self.filled += zeros.len() as u64;
            }
            self.file.sync_all()?;
        }
        Ok(())
    }
}

struct Frame<'a> {
    size: usize,
    position: u64,
    stream: &'a str,
    event_type: &'a str,
    data: &'a [u8],
}

impl<'a> Frame<'a> {
    fn write(buffer: &mut Vec<u8>, event: &Event, position: u64) {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; 8]);
        buffer.extend_from_slice(&position.to_le_bytes());
        buffer.extend_from_slice(&event.revision.to_le_bytes());
        buffer.push(event.stream.len() as u8);
        buffer.push(event.event_type.len() as u8);
        buffer.extend_from_slice(event.stream.as_bytes());
        buffer.extend_from_slice(event.event_type.as_bytes());
        buffer.extend_from_slice(&event.data);
        let size = (buffer.len() - start) as u32;
        let crc = crc32c::crc32c(&buffer[start + 8..]);
        buffer[start..start + 4].copy_from_slice(&size.to_le_bytes());
        buffer[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// The frame at an offset, if it is whole.
    fn read(bytes: &'a [u8], offset: u64) -> Option<Self> {
        let rest = bytes.get(offset as usize..)?;
        let number = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let size = number(0)? as usize;
        if size < HEADER_SIZE {
            return None;
        }
        let body = rest.get(8..size)?;
        if crc32c::crc32c(body) != number(4)? {
            return None;
        }
        let position = u64::from_le_bytes(body.get(..8)?.try_into().ok()?);
        let (stream_size, type_size) = (usize::from(*body.get(12)?), usize::from(*body.get(13)?));
        let (stream, rest) = body.get(14..)?.split_at_checked(stream_size)?;
        let (event_type, data) = rest.split_at_checked(type_size)?;
        let stream = std::str::from_utf8(stream).ok()?;
        let event_type = std::str::from_utf8(event_type).ok()?;
        Some(Self { size, position, stream, event_type, data })
    }
}

/// Keys are hashes: nothing to do.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Eight bytes at a time, multiplied and folded.
fn hash(text: &str) -> u64 {
    let mut hash = text.len() as u64 ^ 0x9e37_79b9_7f4a_7c15;
    for part in text.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::machine::Scratch;
    use crate::workload::{Feed, Workload};

    #[test]
    fn a_torn_frame_at_the_end_is_not_there_after_reopening() {
        let scratch = Scratch::new(None).unwrap();
        let mut feed = Feed::after(&Arc::new(Workload::new(1_000)), 0);
        let store = Reference::open(scratch.path()).unwrap();
        store.append(&feed.take(10, 10)).unwrap();
        let end = store.log().end;
        let torn = feed.take(1, 1);
        store.append(&torn).unwrap();

        store.log().file.write_all_at(&[0; 50], end + 100).unwrap();
        drop(store);
        let store = Reference::open(scratch.path()).unwrap();

        assert_eq!(store.last().unwrap(), 10);
        assert_eq!(store.append(&torn).unwrap(), 11);
    }
}
