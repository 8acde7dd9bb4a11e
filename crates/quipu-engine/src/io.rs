//! The only door to disk, clock and chance.
//!
//! The engine does all its input and output through [`Io`] and [`File`], so that tests can put a
//! disk behind them that tears, loses, reorders and refuses. [`SystemIo`] is the real one,
//! [`sim::SimDisk`] the other.

use std::fmt;
use std::io::Result;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quipu_core::Timestamp;

mod bug;
pub mod sim;
mod system;
#[cfg(test)]
mod tests;

pub use bug::SeededBug;
pub use system::{Reads, SystemIo};

/// A disk, a clock and a source of chance.
///
/// What is durable: the bytes of a file after [`File::sync`]; a file's name, its absence and its
/// new name after [`sync_dir`](Self::sync_dir) of the directory that holds it.
///
/// A process that dies loses nothing of this, and makes nothing of it durable either: what the next
/// one finds may still be gone after a power loss until it is synced by somebody.
pub trait Io: Send + Sync + fmt::Debug {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment; never goes back.
    fn uptime(&self) -> Duration;

    /// Fills `bytes` by chance.
    fn randomize(&self, bytes: &mut [u8]);

    /// Lets other threads go before the calling one from here on: what it does, nobody waits for.
    /// Where the system cannot do that for one thread, and in a simulation, nothing happens.
    fn lower_priority(&self) {}

    /// Makes a directory and those above it that are missing; an existing directory is fine. On
    /// `Ok` it survives a power loss, also where an earlier process made it, or one above it, and
    /// died before it was synced.
    fn create_dir(&self, path: &Path) -> Result<()>;

    /// Makes a new, empty file for reading and writing. `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Opens a file for reading only.
    fn open(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    fn open_writable(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Gives a file another name in one step, in place of the file that has it.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Readers that have it open keep it.
    fn remove(&self, path: &Path) -> Result<()>;

    /// The names in a directory, files and directories, in order.
    fn list(&self, path: &Path) -> Result<Vec<String>>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// Takes the exclusive lock on a file, made if it is missing. `WouldBlock` while another holds
    /// it. The lock ends when the answer is dropped, and with the process.
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>>;

    /// Whether a seeded bug is switched on: the real one has none. See [`SeededBug`].
    fn has_bug(&self, _bug: SeededBug) -> bool {
        false
    }
}

/// A file. Its methods may be called from several threads at once.
pub trait File: Send + Sync + fmt::Debug {
    /// Bytes in the file.
    fn size(&self) -> Result<u64>;

    /// Fills `buffer` from `offset` on. `UnexpectedEof` if the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;

    /// Writes all of `bytes` from `offset` on, and makes the file longer where it must.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Cuts the file or makes it longer with zeros.
    fn set_size(&self, size: u64) -> Result<()>;

    /// Makes the file's bytes, and the size it takes to read them, durable. An error is final: the
    /// system may have dropped what it could not write, and a second call may lie.
    fn sync(&self) -> Result<()>;

    /// The bytes of a range that nobody will write to or cut off while the answer or a clone of it
    /// lives. They are mapped where the system can, not copied. `UnexpectedEof` if the file ends
    /// before.
    fn bytes(&self, range: Range<u64>) -> Result<Bytes>;

    /// Lets go of the memory that a range takes in this process, where the file is mapped. The system
    /// keeps it, and gives it back to who reads it next.
    fn release(&self, _range: Range<u64>) {}

    /// Asks the system to forget what it keeps in memory of the file from `offset` on, and maybe of a
    /// little before, so that the next read comes from the disk. After a crash the memory may show
    /// what the disk does not hold.
    fn forget(&self, offset: u64) -> Result<()>;
}

/// A lock on a file, held while this lives.
pub trait Lock: Send + Sync + fmt::Debug {
    /// Replaces what the lock file says: who holds it, for people.
    fn describe(&self, holder: &str) -> Result<()>;
}
