//! All that a simulated disk is: files, names, a clock, chance, and what is to go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::time::Duration;

use quipu_core::Timestamp;

use super::super::SeededBug;
use super::chance::Chance;
use super::content::Content;
use super::fates::{CrashPolicy, Fates};
use super::names::{Names, Node};

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "tests name each of them")]
pub enum Fault {
    /// The device fails. A write may be done in part; a sync leaves sectors that reads show, that
    /// no later sync writes, and that are gone once the system forgets them.
    Device,
    /// The disk is full. As with [`Device`](Self::Device), what was begun may be done in part.
    Full,
    /// A part is written and no more. Calls that do not write fail like [`Device`](Self::Device).
    ShortWrite,
    /// The process has too many files open. Calls that open none fail the same way.
    TooManyFiles,
}

impl Fault {
    pub(super) fn error(self) -> Error {
        match self {
            // The numbers are the same on every Unix.
            Self::Device => Error::from_raw_os_error(5),
            Self::Full => Error::from_raw_os_error(28),
            Self::ShortWrite => ErrorKind::WriteZero.into(),
            Self::TooManyFiles => Error::from_raw_os_error(24),
        }
    }
}

/// Every call on a disk after its process has died fails with this inside.
#[derive(Debug)]
pub(super) struct Dead;

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated process is dead")
    }
}

impl std::error::Error for Dead {}

impl Dead {
    pub(super) fn error() -> Error {
        Error::other(Self)
    }
}

/// How a call is to go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// As it should.
    Go,
    /// The process dies in it, but what it asked for is done.
    Die,
    /// It fails.
    Fail(Fault),
}

impl Turn {
    /// For calls that do nothing when they fail.
    pub(super) fn go(self) -> Result<()> {
        match self {
            Self::Go | Self::Die => Ok(()),
            Self::Fail(fault) => Err(fault.error()),
        }
    }

    /// For when all is done.
    pub(super) fn end(self) -> Result<()> {
        match self {
            Self::Go => Ok(()),
            Self::Die => Err(Dead::error()),
            Self::Fail(fault) => Err(fault.error()),
        }
    }
}

/// Whether a call changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Changes,
    Reads,
}

/// A file and how many have it open.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenFile {
    pub(super) content: Content,
    pub(super) openers: usize,
}

/// All that a simulated disk is.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) names: Names,
    pub(super) files: BTreeMap<u64, OpenFile>,
    next_file: u64,
    pub(super) locks: BTreeSet<u64>,
    /// The bytes that files may take altogether.
    pub(super) capacity: Option<u64>,
    pub(super) chance: Chance,
    /// Apart from what decides over faults, so that ids do not depend on them.
    pub(super) ids: Chance,
    pub(super) clock: i64,
    pub(super) uptime: Duration,
    pub(super) clock_step: Duration,
    pub(super) bugs: BTreeSet<SeededBug>,
    pub(super) ignored_syncs: Vec<String>,
    pub(super) calls: u64,
    pub(super) counts_reads: bool,
    pub(super) faults: Vec<(u64, Fault)>,
    pub(super) crash_at: Option<u64>,
    pub(super) dead: bool,
    pub(super) trace: Option<Vec<String>>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let ids = Chance::new(chance.number());
        Self {
            names: Names::default(),
            files: BTreeMap::new(),
            next_file: 1,
            locks: BTreeSet::new(),
            capacity: None,
            chance,
            ids,
            // The beginning of 2026.
            clock: 1_767_225_600_000_000,
            uptime: Duration::ZERO,
            clock_step: Duration::from_micros(1),
            bugs: BTreeSet::new(),
            ignored_syncs: Vec::new(),
            calls: 0,
            counts_reads: false,
            faults: Vec::new(),
            crash_at: None,
            dead: false,
            trace: None,
        }
    }

    /// What is left to a process that has died.
    pub(super) fn dead() -> Self {
        Self { dead: true, ..Self::new(0) }
    }

    /// Begins a call: counts it and says how it is to go.
    pub(super) fn begin(&mut self, effect: Effect, what: impl FnOnce() -> String) -> Result<Turn> {
        if self.dead {
            return Err(Dead::error());
        }
        if effect == Effect::Reads && !self.counts_reads {
            return Ok(Turn::Go);
        }
        self.calls += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
        if self.crash_at.is_some_and(|at| at <= self.calls) {
            self.dead = true;
            return if self.chance.coin() { Ok(Turn::Die) } else { Err(Dead::error()) };
        }
        let fault = self.faults.iter().position(|(at, _)| *at == self.calls);
        Ok(fault.map_or(Turn::Go, |index| Turn::Fail(self.faults.swap_remove(index).1)))
    }

    pub(super) fn tick(&mut self) {
        self.advance(self.clock_step);
    }

    pub(super) fn advance(&mut self, duration: Duration) {
        self.clock = Timestamp::from_micros(self.clock).plus(duration).as_micros();
        self.uptime += duration;
    }

    pub(super) fn new_file(&mut self, path: &Path) -> Result<u64> {
        self.names.vacant(path)?;
        // A name takes space too.
        if self.free() == 0 {
            return Err(Fault::Full.error());
        }
        let number = self.next_file;
        self.next_file += 1;
        self.names.add(path, Node::File(number))?;
        self.files.insert(number, OpenFile::default());
        Ok(number)
    }

    pub(super) fn open_file(&mut self, number: u64) -> Result<()> {
        self.file(number)?.openers += 1;
        Ok(())
    }

    pub(super) fn close_file(&mut self, number: u64) {
        if let Some(file) = self.files.get_mut(&number) {
            file.openers = file.openers.saturating_sub(1);
        }
    }

    pub(super) fn file(&mut self, number: u64) -> Result<&mut OpenFile> {
        self.files.get_mut(&number).ok_or_else(Dead::error)
    }

    pub(super) fn allocated_size(&self) -> u64 {
        self.files.values().map(|file| file.content.allocated_size()).sum()
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |all| all.saturating_sub(self.allocated_size()))
    }

    /// Gives back the space of files that no name and no opener holds any more.
    pub(super) fn collect_garbage(&mut self) {
        let in_use = self.names.in_use();
        self.files.retain(|number, file| file.openers > 0 || in_use.contains(number));
    }

    pub(super) fn ignores_sync(&self, path: &Path) -> bool {
        let path = path.to_string_lossy();
        self.ignored_syncs.iter().any(|part| path.contains(part.as_str()))
    }

    pub(super) fn undecided(&self) -> usize {
        self.names.undecided()
            + self.files.values().map(|file| file.content.undecided()).sum::<usize>()
    }

    /// The power fails; what comes back is what the next process finds.
    pub(super) fn crash(&mut self, policy: CrashPolicy) {
        let mut fates = Fates::new(policy);
        self.names.crash(&mut fates);
        for file in self.files.values_mut() {
            file.content.crash(&mut fates);
        }
        self.restart();
    }

    /// The process is gone and with it all that was open, locked or planned.
    pub(super) fn restart(&mut self) {
        for file in self.files.values_mut() {
            file.openers = 0;
        }
        self.locks.clear();
        self.names.restart();
        self.collect_garbage();
        self.calls = 0;
        self.faults.clear();
        self.crash_at = None;
        self.dead = false;
        if let Some(trace) = &mut self.trace {
            trace.clear();
        }
    }
}
