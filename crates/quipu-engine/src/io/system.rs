//! The machine's own disk, clock and chance.
//!
//! The one module of Quipu with `unsafe` in it, for files mapped into memory.

use std::cell::RefCell;
use std::fs::{self, File as StdFile, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Read, Result, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};
use quipu_core::Timestamp;

use super::{File, Io, Lock};

/// The machine's own disk, clock and chance. Any Unix; Linux is what it is tested on.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIo {
    reads: Reads,
}

/// How much threads that nobody waits for stand back: each gets a third of the time that another
/// does while there is not enough for both. Less would make the writer wait for them in the end.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// How [`File::bytes`] reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the system offers these two")]
pub enum Reads {
    /// Files are mapped into memory and nothing is copied. A medium that fails under a mapping
    /// ends the process.
    #[default]
    Mapped,
    /// Bytes are copied. A medium that fails is an error.
    Copied,
}

impl SystemIo {
    /// The machine, with files mapped into memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same machine with another way to read.
    #[must_use]
    pub fn with_reads(self, reads: Reads) -> Self {
        Self { reads }
    }

    fn file(self, file: StdFile) -> Arc<dyn File> {
        Arc::new(SystemFile { file, reads: self.reads, mapping: Mutex::new(None) })
    }
}

impl Io for SystemIo {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    fn randomize(&self, bytes: &mut [u8]) {
        /// Bytes that the system is asked for at a time. To ask it for each append took a twelfth of
        /// the writer's processor time where appends are small and many.
        const SIZE: usize = 4 << 10;
        thread_local! {
            static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        // Ids and salts that are not random would be wrong for ever, so there is no other way on.
        let fill = |bytes: &mut [u8]| {
            getrandom::fill(bytes).expect("a running Unix system always has random bytes to give");
        };
        if bytes.len() > SIZE {
            return fill(bytes);
        }
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < bytes.len() {
                spare.resize(SIZE, 0);
                fill(spare);
            }
            // None of them is given twice.
            let rest = spare.len() - bytes.len();
            bytes.copy_from_slice(&spare[rest..]);
            spare.truncate(rest);
        });
    }

    fn lower_priority(&self) {
        // Elsewhere the whole process would get the lower priority. A refusal costs time only.
        #[cfg(target_os = "linux")]
        let _stays = rustix::process::nice(NICENESS);
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        let parent = parent(path);
        if !path.is_dir() {
            // Also where it is there already: see below.
            if let Some(parent) = parent.as_deref() {
                self.create_dir(parent)?;
            }
            match fs::create_dir(path) {
                // Another process may have been faster.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
                other => other?,
            }
        }
        // A directory that is already there may be one that a process made and then died, before
        // this sync: it would be gone after a power loss, with all that is in it.
        let Some(parent) = parent else { return Ok(()) };
        match self.sync_dir(&parent) {
            // Then it is not ours, and neither is what it holds: somebody else made the directory.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(self.file(file))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        Ok(self.file(refuse_directory(StdFile::open(path)?)?))
    }

    fn open_writable(&self, path: &Path) -> Result<Arc<dyn File>> {
        Ok(self.file(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        StdFile::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        // Not truncated: what it says is the present holder's until the lock is ours.
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(SystemLock { file })),
            Err(TryLockError::WouldBlock) => Err(would_block(file)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The directory that holds `path`, or `None` for a root.
fn parent(path: &Path) -> Option<PathBuf> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_path_buf),
    }
}

/// Unix opens a directory for reading like a file, and fails only when it is read.
fn refuse_directory(file: StdFile) -> Result<StdFile> {
    if file.metadata()?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    Ok(file)
}

/// The error that says who holds a lock, as far as the lock file tells.
fn would_block(file: StdFile) -> Error {
    let mut holder = String::new();
    let told = file.take(1 << 10).read_to_string(&mut holder).is_ok();
    let holder = holder.trim();
    if !told || holder.is_empty() {
        return ErrorKind::WouldBlock.into();
    }
    Error::new(ErrorKind::WouldBlock, format!("held by {holder}"))
}

/// An open file.
#[derive(Debug)]
struct SystemFile {
    file: StdFile,
    reads: Reads,
    /// The file as it was when last mapped. Guards nothing but the swap for a larger one; nothing
    /// is read or written under it.
    mapping: Mutex<Option<Arc<MmapRaw>>>,
}

impl SystemFile {
    /// A mapping of at least `end` bytes. `end` is not 0.
    fn mapping(&self, end: usize) -> Result<Arc<MmapRaw>> {
        let mut mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mapping) = mapping.as_ref()
            && mapping.len() >= end
        {
            return Ok(Arc::clone(mapping));
        }
        // All of the file as it is and not a byte more: reading a page that the file does not have
        // would kill the process. Files grow in large steps, so this happens seldom; mappings that
        // went before live for as long as bytes of theirs do.
        let size = usize::try_from(self.file.metadata()?.len()).map_err(Error::other)?;
        if size < end {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let larger = Arc::new(MmapOptions::new().len(size).map_raw_read_only(&self.file)?);
        *mapping = Some(Arc::clone(&larger));
        Ok(larger)
    }

    fn unmap(&self) {
        *self.mapping.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl File for SystemFile {
    fn size(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_size(&self, size: u64) -> Result<()> {
        // The mapping may be longer than the file will be.
        self.unmap();
        self.file.set_len(size)
    }

    fn sync(&self) -> Result<()> {
        // Data and size, not the times. Where drives lie to `fsync`, std asks harder.
        self.file.sync_data()
    }

    fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        let size = range.end.checked_sub(range.start).ok_or(ErrorKind::InvalidInput)?;
        let size = usize::try_from(size).map_err(Error::other)?;
        if size == 0 {
            return if range.end > self.size()? {
                Err(ErrorKind::UnexpectedEof.into())
            } else {
                Ok(Bytes::new())
            };
        }
        match self.reads {
            Reads::Mapped => {
                let start = usize::try_from(range.start).map_err(Error::other)?;
                let mapping = self.mapping(start + size)?;
                Ok(Bytes::from_owner(MappedRange { mapping, start, size }))
            }
            Reads::Copied => {
                // A range beyond the end must not make us ask for the memory first.
                if range.end > self.size()? {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                let mut buffer = vec![0; size];
                self.read_at(&mut buffer, range.start)?;
                Ok(buffer.into())
            }
        }
    }

    #[expect(unsafe_code, reason = "advice that changes anonymous memory is given the same way")]
    fn release(&self, range: Range<u64>) {
        let mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(mapping) = mapping else { return };
        let [start, end] = [range.start, range.end]
            .map(|at| usize::try_from(at).unwrap_or(usize::MAX).min(mapping.len()));
        if start < end {
            // SAFETY: the mapping is of a file and for reading only, so that its pages hold nothing
            // that the file does not: who reads one again gets the same bytes.
            let _taken_until_needed_elsewhere = unsafe {
                mapping.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start)
            };
        }
    }

    fn forget(&self, offset: u64) -> Result<()> {
        // Mapped pages are not forgotten.
        self.unmap();
        forget(&self.file, offset)
    }
}

#[cfg(not(any(target_vendor = "apple", target_os = "openbsd")))]
fn forget(file: &StdFile, offset: u64) -> Result<()> {
    /// A page that is not asked for as a whole is kept. No system has larger ones.
    const PAGE_SIZE_MAX: u64 = 64 << 10;
    let begin = offset - offset % PAGE_SIZE_MAX;
    rustix::fs::fadvise(file, begin, None, rustix::fs::Advice::DontNeed)?;
    // Who asks reads it next: all at once is faster than a page after the other.
    rustix::fs::fadvise(file, begin, None, rustix::fs::Advice::WillNeed)?;
    Ok(())
}

/// These systems have no such call; reads then come from memory, as they would have anyway.
#[cfg(any(target_vendor = "apple", target_os = "openbsd"))]
fn forget(_file: &StdFile, _offset: u64) -> Result<()> {
    Ok(())
}

/// A part of a mapping that nobody writes to.
struct MappedRange {
    mapping: Arc<MmapRaw>,
    start: usize,
    size: usize,
}

impl AsRef<[u8]> for MappedRange {
    #[expect(unsafe_code, reason = "the bytes of a mapping are reached by pointer only")]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `SystemFile::mapping` gave a mapping of at least `start + size` bytes, which
        // lives as long as `self`. `File::bytes` is asked only for ranges that nobody writes to or
        // cuts off while the answer lives, so the slice does not change under its reader; the rest
        // of the mapping, which may change, is not part of the slice.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr().add(self.start), self.size) }
    }
}

/// A lock that is held.
#[derive(Debug)]
struct SystemLock {
    file: StdFile,
}

impl Lock for SystemLock {
    fn describe(&self, holder: &str) -> Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(holder.as_bytes())
    }
}
