//! The machine: what it is, whether it is at rest, and a place on its disk.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::{Error, Result};

/// What a figure was made on.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
}

impl Machine {
    /// The machine that this runs on, and the file system that holds `dir`.
    pub(crate) fn here(dir: &Path) -> Self {
        let line = |path: &str, key: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split(':').nth(1).unwrap_or("unknown").trim().to_owned()
        };
        let memory = line("/proc/meminfo", "MemTotal");
        let memory_kib: u64 = memory.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            processor: line("/proc/cpuinfo", "model name"),
            memory_gib: memory_kib.div_ceil(1 << 20),
            kernel: kernel.trim().to_owned(),
            file_system: file_system(dir),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores ({}), {} GiB, Linux {}, {}",
            self.cores, self.processor, self.memory_gib, self.kernel, self.file_system
        )
    }
}

/// The kind of file system that holds a directory, such as `ext4`.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kinds = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        dir.starts_with(point).then(|| (point.len(), after.split(' ').next().unwrap_or_default()))
    });
    kinds.max_by_key(|(depth, _)| *depth).map_or("unknown", |(_, kind)| kind).to_owned()
}

/// A directory of our own beside the program, that is on the disk to be measured. It is removed at
/// the end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory, below `base` or beside the program. Memory is not a disk: refused.
    pub(crate) fn new(base: Option<&Path>) -> Result<Self> {
        let program = std::env::current_exe()?;
        let beside = program.parent().ok_or("the program is in no directory")?;
        let base = base.unwrap_or(beside);
        let kind = file_system(base);
        if matches!(&*kind, "tmpfs" | "ramfs") {
            let reason = format!("{} is in memory ({kind}): syncs cost nothing", base.display());
            return Err(Error::from(reason));
        }
        remove_abandoned(base);
        let moment = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
        let path = base.join(format!("quipu-bench-{}-{moment}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind costs space and nothing else; there is nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what runs left that were killed: gigabytes, after a large one.
fn remove_abandoned(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("quipu-bench-"));
        let process = process.and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            // As above: what stays costs space and nothing else.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Bytes in the files below a directory, without the zeros at their ends: what is filled ahead of
/// use is not yet spent on any event.
pub(crate) fn used_size(dir: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        size += if path.is_dir() { used_size(&path)? } else { size_without_zeros(&path)? };
    }
    Ok(size)
}

fn size_without_zeros(path: &Path) -> Result<u64> {
    let mut file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0; 1 << 20];
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Waits until this process does nothing, so that what one store puts off is not paid by the next.
/// Answers how long that took; a process that never rests is not waited for longer than a minute.
pub(crate) fn settle() -> Duration {
    const LOOK: Duration = Duration::from_millis(100);
    let began = Instant::now();
    let mut quiet = 0;
    let mut before = activity();
    while quiet < 2 && began.elapsed() < Duration::from_mins(1) {
        thread::sleep(LOOK);
        let now = activity();
        let is_quiet = now.0 - before.0 <= 1 && now.1 - before.1 < 64 << 10;
        quiet = if is_quiet { quiet + 1 } else { 0 };
        before = now;
    }
    began.elapsed().saturating_sub(2 * LOOK)
}

/// What the machine's processors do beside us. Figures of a machine that does other work are
/// figures of that work too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    idle: u64,
    total: u64,
    own: u64,
}

impl Load {
    /// The load so far.
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split(' ').filter_map(|word| word.parse().ok()).collect();
        // The fourth and fifth are time without work, the ninth and tenth are counted elsewhere.
        let idle = ticks.iter().skip(3).take(2).sum();
        let total = ticks.iter().take(8).sum();
        Self { idle, total, own: own_ticks().iter().sum() }
    }

    /// The share of the processors' time since then that went to others, in percent.
    pub(crate) fn others_since(self) -> f64 {
        let now = Self::now();
        let total = now.total.saturating_sub(self.total);
        let own = now.own.saturating_sub(self.own);
        let busy = total.saturating_sub(now.idle.saturating_sub(self.idle));
        100.0 * busy.saturating_sub(own) as f64 / total.max(1) as f64
    }
}

/// Ticks of processor time of this process, as user and as system, and of its ended children.
fn own_ticks() -> [u64; 4] {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses, with whatever is in it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let tick = |index: usize| fields.get(index).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    [tick(12), tick(13), tick(14), tick(15)]
}

/// Ticks of processor time, and bytes sent to the disk.
fn activity() -> (u64, u64) {
    let [user, system, ..] = own_ticks();
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    (user + system, written.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_the_end_of_a_file_are_not_used() {
        let scratch = Scratch::new(None).unwrap();
        let mut bytes = vec![7; 10];
        bytes.resize(3 << 20, 0);
        fs::write(scratch.path().join("a"), &bytes).unwrap();
        fs::write(scratch.path().join("b"), [0; 5]).unwrap();

        assert_eq!(used_size(scratch.path()).unwrap(), 10);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_by_the_next() {
        let base = Scratch::new(None).unwrap();
        // No process has this id: it is beyond the largest that Linux gives.
        let abandoned = base.path().join("quipu-bench-4294967295-1");
        let other = base.path().join("quipu-bench-notes");
        fs::create_dir(&abandoned).unwrap();
        fs::create_dir(&other).unwrap();

        let scratch = Scratch::new(Some(base.path())).unwrap();

        assert!(scratch.path().is_dir() && other.is_dir());
        assert!(!abandoned.exists());
    }

    #[test]
    fn the_load_of_others_is_a_share() {
        let since = Load { idle: 0, total: 0, own: 0 };

        let share = since.others_since();

        assert!((0.0..=100.0).contains(&share), "{share}");
    }

    #[test]
    fn a_scratch_directory_is_gone_at_the_end() {
        let scratch = Scratch::new(None).unwrap();
        let path = scratch.path().to_path_buf();
        assert!(path.is_dir());

        drop(scratch);

        assert!(!path.exists());
    }
}
