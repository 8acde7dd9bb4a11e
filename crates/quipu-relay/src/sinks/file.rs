//! Lines of JSON in a file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use quipu_core::BoxFuture;

use super::lines;
use crate::sink::{Batch, Sink, SinkError};

/// Appends each cloud event to a file as a line of JSON, synced before it is acknowledged.
///
/// A line that a crash tore is cut off when the file is opened; its cloud event comes again. The
/// file is locked while it is open, so that two relays never write to one.
#[derive(Debug)]
pub struct FileSink {
    /// Held from the first byte of a batch to its sync, so that batches do not mix.
    file: Arc<Mutex<Lines>>,
}

#[derive(Debug)]
struct Lines {
    file: File,
    /// Bytes that are complete lines and synced. What lies behind is cut off before it is written
    /// to again: an attempt failed there.
    size: u64,
}

/// How much is read at a time to find the last line's end.
const STEP: u64 = 64 << 10;

impl FileSink {
    /// Opens the file at `path`, or creates it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] while another process or sink has it open, and every other
    /// error of the file system.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        let size = end_of_last_line(&mut file)?;
        file.set_len(size)?;
        // What another life of the relay acknowledged is durable, what it wrote may not be.
        file.sync_all()?;
        sync_directory(path)?;
        Ok(Self { file: Arc::new(Mutex::new(Lines { file, size })) })
    }
}

/// A new file's name is not durable until its directory is.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// How many bytes the complete lines have.
fn end_of_last_line(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut buffer = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        buffer.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut buffer)?;
        if let Some(index) = buffer.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + index as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl Lines {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.metadata()?.len() != self.size {
            self.file.set_len(self.size)?;
        }
        self.file.seek(SeekFrom::Start(self.size))?;
        self.file.write_all(lines)?;
        // After a failed sync nothing is known of what was written: it is cut off and written
        // again.
        self.file.sync_data()?;
        self.size += lines.len() as u64;
        Ok(())
    }
}

impl Sink for FileSink {
    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let (lines, file) = (lines(batch), Arc::clone(&self.file));
            let written = tokio::task::spawn_blocking(move || {
                file.lock().unwrap_or_else(PoisonError::into_inner).append(&lines)
            });
            let unavailable =
                |source| SinkError::Unavailable { published: 0, retry_after: None, source };
            match written.await {
                Ok(written) => written.map_err(|error| unavailable(error.into())),
                Err(error) => Err(unavailable(error.into())),
            }
        })
    }
}
