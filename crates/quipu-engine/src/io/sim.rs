//! A disk for tests: it tears, loses, reorders and refuses, always the same for the same seed.
//!
//! It keeps every file twice: as the disk has it and as reads show it. What was written and not
//! synced is lost, kept or torn in a [`crash`](SimDisk::crash), each sector, size and name on its
//! own, within what file systems promise:
//!
//! - A file's bytes and size are durable after a sync of the file, and not before.
//! - A name is durable after a sync of its directory. Until then changes of names may be lost, and
//!   of two changes to different names the later one may be kept and the earlier one lost. A
//!   rename is kept whole or lost whole.
//! - A sync that fails writes some sectors and gives the others up: reads go on to show them, no
//!   later sync writes them. Of a failed sync of a directory the same is true for as long as the
//!   process lives.
//! - A process that dies loses nothing, and makes nothing durable.
//!
//! ```
//! use std::path::Path;
//!
//! use quipu_engine::io::Io;
//! use quipu_engine::io::sim::{CrashPolicy, SimDisk};
//!
//! let disk = SimDisk::new(1);
//! disk.create_dir(Path::new("/store"))?;
//! let file = disk.create(Path::new("/store/a"))?;
//! disk.sync_dir(Path::new("/store"))?;
//! file.write_at(b"synced", 0)?;
//! file.sync()?;
//! file.write_at(b"not", 0)?;
//!
//! let found = disk.crash(CrashPolicy::LoseAll);
//!
//! assert_eq!(found.contents(Path::new("/store/a")).unwrap(), b"synced");
//! assert!(SimDisk::is_dead(&file.sync().unwrap_err()), "its process is gone");
//! # Ok::<(), std::io::Error>(())
//! ```

use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quipu_core::Timestamp;

use super::{File, Io, Lock, SeededBug};

mod chance;
mod content;
mod fates;
mod names;
mod sectors;
mod state;
#[cfg(test)]
mod tests;

pub use chance::Chance;
pub use fates::CrashPolicy;
pub use state::Fault;

use fates::Fates;
use names::{Node, parent};
use state::{Dead, Effect, State, Turn};

/// A disk in memory, with a clock and chance. A clone is the same disk, seen by the same process.
///
/// Calls that change the disk are counted, from 1 on, and from 1 again after a crash; the n-th can
/// be made to fail, or to be the one in which the process dies.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk. All that chance decides on it depends on the seed.
    pub fn new(seed: u64) -> Self {
        Self::with(State::new(seed))
    }

    fn with(state: State) -> Self {
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing below panics halfway through a change; a test that did panic should say why
        // itself.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as it is found after a power loss. Whoever has this one open finds it dead.
    #[must_use]
    pub fn crash(&self, policy: CrashPolicy) -> Self {
        let mut state = std::mem::replace(&mut *self.state(), State::dead());
        state.crash(policy);
        Self::with(state)
    }

    /// The disk as the next process finds it after this one was killed: with all that was
    /// written, synced or not. Whoever has this one open finds it dead.
    #[must_use]
    pub fn process_death(&self) -> Self {
        let mut state = std::mem::replace(&mut *self.state(), State::dead());
        state.restart();
        Self::with(state)
    }

    /// Another disk that is like this one and goes its own way from here. Files that are open stay
    /// with this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        for file in state.files.values_mut() {
            file.openers = 0;
        }
        state.locks.clear();
        Self::with(state)
    }

    /// How many sectors, sizes and names a crash would decide on. See [`CrashPolicy::Exactly`].
    pub fn undecided(&self) -> usize {
        self.state().undecided()
    }

    /// How many calls were counted.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Counts calls that only read, too.
    pub fn count_reads(&self) {
        self.state().counts_reads = true;
    }

    /// Lets the process die in the n-th call. Whether that call is carried out is left to chance;
    /// it and every later one fail.
    pub fn crash_at(&self, call: u64) {
        self.state().crash_at = Some(call);
    }

    /// Lets the n-th call fail, once.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().faults.push((call, fault));
    }

    /// Whether the process has died.
    pub fn is_crashed(&self) -> bool {
        self.state().dead
    }

    /// Whether an error says that the process has died.
    pub fn is_dead(error: &Error) -> bool {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Dead>()).is_some()
    }

    /// Leaves so many bytes free; `None` for as many as anybody wants. Space is taken by sectors
    /// that are written to for the first time, and comes back when files are cut, or when they are
    /// removed, their directory synced, and they are open nowhere.
    pub fn set_free_space(&self, bytes: Option<u64>) {
        let mut state = self.state();
        state.capacity = bytes.map(|bytes| state.allocated_size().saturating_add(bytes));
    }

    /// The bytes that the files take.
    pub fn used_space(&self) -> u64 {
        self.state().allocated_size()
    }

    /// Flips a bit, 0 to 7, of a byte of a file, in memory and on the disk.
    ///
    /// # Panics
    ///
    /// If there is no such byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u32) {
        self.damage(path, offset, |byte| byte ^ (1 << bit));
    }

    /// Replaces bytes of a file with others, in memory and on the disk, as a misdirected write
    /// does.
    ///
    /// # Panics
    ///
    /// If there are no such bytes.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            self.damage(path, offset + index as u64, |_| *byte);
        }
    }

    fn damage(&self, path: &Path, offset: u64, change: impl Fn(u8) -> u8) {
        let mut state = self.state();
        let number = state.names.file(path).expect("tests damage files that are there");
        let content = &mut state.file(number).expect("a name leads to a file").content;
        let name = path.display();
        assert!(content.slice(offset..offset + 1).is_ok(), "{name} has no byte {offset}");
        content.damage(offset as usize, change);
    }

    /// What reads show of a file; `None` if there is none.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let mut state = self.state();
        let number = state.names.file(path).ok()?;
        Some(state.file(number).ok()?.content.bytes().to_vec())
    }

    /// What the disk holds of a file that processes see; `None` if there is none.
    pub fn durable_contents(&self, path: &Path) -> Option<Vec<u8>> {
        let mut state = self.state();
        let number = state.names.file(path).ok()?;
        Some(state.file(number).ok()?.content.durable_bytes().to_vec())
    }

    /// The paths of all files, in order.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().names.files().map(|(path, _)| path.to_path_buf()).collect()
    }

    /// Sets the wall clock.
    pub fn set_now(&self, now: Timestamp) {
        self.state().clock = now.as_micros();
    }

    /// Lets time pass, on the wall clock and on the other one.
    pub fn advance(&self, duration: Duration) {
        self.state().advance(duration);
    }

    /// How much time passes whenever somebody looks at a clock; a microsecond unless set.
    pub fn set_clock_step(&self, step: Duration) {
        self.state().clock_step = step;
    }

    /// Switches a bug on.
    pub fn seed_bug(&self, bug: SeededBug) {
        self.state().bugs.insert(bug);
    }

    /// Makes syncs of files and directories whose path contains `part` do nothing, as drives do
    /// that lie.
    pub fn ignore_syncs(&self, part: &str) {
        self.state().ignored_syncs.push(part.to_owned());
    }

    /// Begins to write down the calls that are counted, for people who look into a failure.
    pub fn record_calls(&self) {
        self.state().trace = Some(Vec::new());
    }

    /// The calls that were written down since the last crash.
    pub fn recorded_calls(&self) -> Vec<String> {
        self.state().trace.clone().unwrap_or_default()
    }

    fn open_as(&self, path: &Path, access: Access) -> Result<Arc<dyn File>> {
        let mut state = self.state();
        let turn = state.begin(Effect::Reads, || format!("open {}", path.display()))?;
        turn.go()?;
        let number = state.names.file(path)?;
        turn.end()?;
        self.handle(&mut state, number, path, access)
    }

    fn handle(
        &self,
        state: &mut State,
        number: u64,
        path: &Path,
        access: Access,
    ) -> Result<Arc<dyn File>> {
        state.open_file(number)?;
        Ok(Arc::new(SimFile { disk: self.clone(), number, path: path.to_path_buf(), access }))
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

impl Io for SimDisk {
    fn now(&self) -> Timestamp {
        let mut state = self.state();
        state.tick();
        Timestamp::from_micros(state.clock)
    }

    fn uptime(&self) -> Duration {
        let mut state = self.state();
        state.tick();
        state.uptime
    }

    fn randomize(&self, bytes: &mut [u8]) {
        self.state().ids.fill(bytes);
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        let above = parent(path);
        // As the system's: a directory that is there may be one that a dead process did not sync.
        let is_missing = self.state().names.get(path).is_none();
        if is_missing && above.parent().is_some() {
            self.create_dir(above)?;
        }
        let mut state = self.state();
        let turn = state.begin(Effect::Changes, || format!("create_dir {}", path.display()))?;
        turn.go()?;
        match state.names.add(path, Node::Directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                state.names.directory(path)?;
            }
            other => other?,
        }
        turn.end()?;
        drop(state);
        self.sync_dir(above)
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        let mut state = self.state();
        let turn = state.begin(Effect::Changes, || format!("create {}", path.display()))?;
        turn.go()?;
        let number = state.new_file(path)?;
        turn.end()?;
        self.handle(&mut state, number, path, Access::Writable)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.open_as(path, Access::ReadOnly)
    }

    fn open_writable(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.open_as(path, Access::Writable)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.state();
        let turn = state
            .begin(Effect::Changes, || format!("rename {} to {}", from.display(), to.display()))?;
        turn.go()?;
        state.names.rename(from, to)?;
        turn.end()
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        let turn = state.begin(Effect::Changes, || format!("remove {}", path.display()))?;
        turn.go()?;
        state.names.remove(path)?;
        turn.end()
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let mut state = self.state();
        state.begin(Effect::Reads, || format!("list {}", path.display()))?.end()?;
        state.names.list(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        let turn = state.begin(Effect::Changes, || format!("sync_dir {}", path.display()))?;
        state.names.directory(path)?;
        if state.bugs.contains(&SeededBug::SkipDirectorySync) || state.ignores_sync(path) {
            return turn.end();
        }
        if let Turn::Fail(_) = turn {
            let mut fates = Fates::new(CrashPolicy::Random(state.chance.number()));
            state.names.fail_sync(path, &mut fates);
        } else {
            state.names.sync(path);
            state.collect_garbage();
        }
        turn.end()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let mut state = self.state();
        let turn = state.begin(Effect::Changes, || format!("lock {}", path.display()))?;
        turn.go()?;
        let number = match state.names.file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => state.new_file(path)?,
            other => other?,
        };
        turn.end()?;
        if !state.locks.insert(number) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let file = self.handle(&mut state, number, path, Access::Writable)?;
        Ok(Box::new(SimLock { disk: self.clone(), number, file }))
    }

    fn has_bug(&self, bug: SeededBug) -> bool {
        self.state().bugs.contains(&bug)
    }
}

/// What a handle may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadOnly,
    Writable,
}

/// An open file.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    number: u64,
    path: PathBuf,
    access: Access,
}

impl SimFile {
    fn check_writable(&self) -> Result<()> {
        match self.access {
            Access::Writable => Ok(()),
            Access::ReadOnly => Err(ErrorKind::PermissionDenied.into()),
        }
    }
}

impl File for SimFile {
    fn size(&self) -> Result<u64> {
        let mut state = self.disk.state();
        state.begin(Effect::Reads, || format!("size {}", self.path.display()))?.end()?;
        Ok(state.file(self.number)?.content.bytes().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let mut state = self.disk.state();
        state.begin(Effect::Reads, || format!("read {}", self.path.display()))?.end()?;
        let end = offset.checked_add(buffer.len() as u64).ok_or(ErrorKind::InvalidInput)?;
        let content = &state.file(self.number)?.content;
        // Reading nothing is fine anywhere, as it is for the system.
        if !buffer.is_empty() {
            buffer.copy_from_slice(content.slice(offset..end)?);
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut state = self.disk.state();
        let turn = state.begin(Effect::Changes, || {
            format!("write {} {} bytes at {offset}", self.path.display(), bytes.len())
        })?;
        self.check_writable()?;
        let free = state.free();
        let planned = match turn {
            Turn::Fail(_) => state.chance.below(bytes.len() + 1),
            Turn::Go | Turn::Die => bytes.len(),
        };
        let content = &mut state.file(self.number)?.content;
        let offset = usize::try_from(offset).map_err(Error::other)?;
        let fitting = content.fitting(offset, planned, free);
        content.write(&bytes[..fitting], offset);
        turn.end()?;
        if fitting < bytes.len() { Err(Fault::Full.error()) } else { Ok(()) }
    }

    fn set_size(&self, size: u64) -> Result<()> {
        let mut state = self.disk.state();
        let turn = state
            .begin(Effect::Changes, || format!("set_size {} to {size}", self.path.display()))?;
        turn.go()?;
        self.check_writable()?;
        let size = usize::try_from(size).map_err(Error::other)?;
        state.file(self.number)?.content.set_size(size);
        turn.end()
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.state();
        let turn = state.begin(Effect::Changes, || format!("sync {}", self.path.display()))?;
        if state.ignores_sync(&self.path) {
            return turn.end();
        }
        let mut fates = Fates::new(CrashPolicy::Random(state.chance.number()));
        let content = &mut state.file(self.number)?.content;
        match turn {
            Turn::Fail(_) => content.fail_sync(&mut fates),
            Turn::Go | Turn::Die => content.sync(),
        }
        turn.end()
    }

    fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        let mut state = self.disk.state();
        state.begin(Effect::Reads, || format!("bytes {}", self.path.display()))?.end()?;
        Ok(Bytes::copy_from_slice(state.file(self.number)?.content.slice(range)?))
    }

    fn forget(&self, offset: u64) -> Result<()> {
        let mut state = self.disk.state();
        let turn = state.begin(Effect::Changes, || format!("forget {}", self.path.display()))?;
        turn.go()?;
        state.file(self.number)?.content.forget(offset);
        turn.end()
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.state().close_file(self.number);
    }
}

/// A lock that is held.
#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    number: u64,
    file: Arc<dyn File>,
}

impl Lock for SimLock {
    fn describe(&self, holder: &str) -> Result<()> {
        self.file.set_size(0)?;
        self.file.write_at(holder.as_bytes(), 0)
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.number);
    }
}
