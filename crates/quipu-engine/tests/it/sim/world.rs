//! One store through all its lives, and what it must be like.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_lite::future::block_on;
use quipu_core::{
    AppendError, Change, EventStore, MemoryStore, Query, ReadAll, Timestamp, collect,
};
use quipu_engine::io::sim::{CrashPolicy, SimDisk};
use quipu_engine::io::{Io, SeededBug};
use quipu_engine::{DiskError, Engine, OpenError, OpenOptions, ScavengeError, ScavengeOptions};

use super::view::View;
use super::workload::Step;

const DIRECTORY: &str = "/store";

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every change was answered as the model answers it.
    Done,
    /// Something was refused because the disk is full.
    Full,
    /// Something failed or was refused because something had failed before.
    Failed,
}

/// A store and its model.
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) engine: Option<Engine>,
    /// Told of every change that the engine acknowledged, and of those with an unknown outcome
    /// once opening has shown that they were made.
    pub(crate) model: MemoryStore,
    clock: Arc<AtomicI64>,
    /// Changes whose outcome is not known.
    pending: Vec<Change>,
    /// Changes whose outcome was not known until the store was opened again.
    settled: Vec<Change>,
    /// The last position that anybody was shown, here or through the watermark file.
    shown: u64,
    /// Whether some segments may be scavenged and others not, which the model cannot be.
    is_half_scavenged: bool,
    /// Whether an outcome was unknown: from then on the engine must refuse all changes.
    has_failed: bool,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<SeededBug>) -> Self {
        let disk = SimDisk::new(seed);
        // Time passes when the test says so: the store and its model must read one clock.
        disk.set_clock_step(Duration::ZERO);
        if let Some(bug) = bug {
            disk.seed_bug(bug);
        }
        let clock = Arc::new(AtomicI64::new(disk.now().as_micros()));
        let own = Arc::clone(&clock);
        let model = MemoryStore::with_clock(Arc::new(move || {
            Timestamp::from_micros(own.load(Ordering::SeqCst))
        }));
        Self {
            disk,
            engine: None,
            model,
            clock,
            pending: Vec::new(),
            settled: Vec::new(),
            shown: 0,
            is_half_scavenged: false,
            has_failed: false,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.load(Ordering::SeqCst))
    }

    /// Lets time pass for the store and its model.
    pub(crate) fn wait(&self, micros: i64) {
        self.clock.fetch_add(micros, Ordering::SeqCst);
        self.disk.set_now(self.now());
    }

    pub(crate) fn last(&self) -> u64 {
        block_on(self.model.frontier()).unwrap().get()
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the store is open")
    }

    /// Opens the store, and finds out what became of the changes whose outcome was unknown.
    pub(crate) fn open(&mut self) -> Result<(), OpenError> {
        self.engine = None;
        let engine = self.options().open(DIRECTORY)?;
        self.has_failed = false;
        let found = *engine.recovery();
        let frontier = block_on(engine.frontier()).unwrap().get();
        assert_eq!(found.event_count, frontier, "recovery counts what is there");
        assert_eq!(found.lost_run_count, 0, "a crash loses no run of the index");
        assert!(frontier >= self.shown, "{} was shown and is lost, {frontier} is left", self.shown);
        self.engine = Some(engine);
        self.settle(frontier);
        if self.is_half_scavenged {
            // It may fail again, which is found out when the store is next asked for something.
            self.scavenge();
        }
        Ok(())
    }

    /// Opens the store if it opens, whatever it then holds.
    pub(crate) fn open_damaged(&self) -> Option<Engine> {
        self.options().open(DIRECTORY).ok()
    }

    fn options(&self) -> OpenOptions {
        OpenOptions::new()
            .create(true)
            .inline(true)
            .segment_size(16 << 10)
            .run_count(16)
            .io(Arc::new(self.disk.clone()))
    }

    /// Tells the model of the pending changes that were made: whole ones, in order.
    fn settle(&mut self, frontier: u64) {
        for change in std::mem::take(&mut self.pending) {
            if self.last() < frontier {
                // An answer other than events changes nothing in either store.
                drop(block_on(self.model.change(change.clone())));
            }
            self.settled.push(change);
        }
        assert_eq!(
            frontier,
            self.last(),
            "acknowledged events are there, and no part of an append"
        );
        self.shown = frontier;
    }

    /// Tries what had no known outcome again, with the same ids: the answer must be the model's,
    /// who knows whether it was made.
    pub(crate) fn retry(&mut self) -> Outcome {
        let again = std::mem::take(&mut self.settled);
        if again.is_empty() { Outcome::Done } else { self.change(again) }
    }

    /// Makes changes, as one group, and holds the answers against the model's.
    pub(crate) fn change(&mut self, changes: Vec<Change>) -> Outcome {
        let engine = self.engine.clone().expect("the store is open");
        let mut outcome = Outcome::Done;
        let answers = block_on(engine.change_together(changes.clone()));
        let had_failed = self.has_failed;
        for (change, answer) in changes.into_iter().zip(answers) {
            match answer {
                Err(AppendError::OutcomeUnknown(_)) => {
                    assert!(!had_failed, "a store that failed takes no changes");
                    self.has_failed = true;
                    self.pending.push(change);
                    outcome = Outcome::Failed;
                }
                Err(AppendError::Closed | AppendError::Storage(_)) => outcome = Outcome::Failed,
                Err(AppendError::DiskFull) if outcome != Outcome::Failed => outcome = Outcome::Full,
                Err(AppendError::DiskFull) => {}
                answer => {
                    let invalid = matches!(answer, Err(AppendError::Invalid(_)));
                    assert!(invalid || !self.has_failed, "{answer:?} after a failure");
                    let should = block_on(self.model.change(change.clone()));
                    assert_eq!(format!("{answer:?}"), format!("{should:?}"), "to {change:?}");
                }
            }
        }
        outcome
    }

    /// Scavenges the store and its model.
    fn scavenge(&mut self) -> Outcome {
        let options = ScavengeOptions::new().threshold_percent(0);
        let result = self.engine().scavenge_with(options, &mut |_| {});
        self.is_half_scavenged = result.is_err();
        match result {
            Ok(_) => {
                self.model.scavenge();
                Outcome::Done
            }
            Err(ScavengeError::DiskFull) => Outcome::Full,
            Err(_) => Outcome::Failed,
        }
    }

    pub(crate) fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Change(changes) => self.change(changes),
            Step::Scavenge(changes) => match self.change(changes) {
                Outcome::Done => self.scavenge(),
                outcome => outcome,
            },
            Step::Wait(micros) => {
                // Pending changes were decided at the time it was then.
                if self.pending.is_empty() {
                    self.wait(micros);
                }
                Outcome::Done
            }
            Step::Look => {
                if !self.disk.is_crashed() {
                    self.look();
                }
                Outcome::Done
            }
            Step::Reopen => {
                let closed = self.engine().close();
                let opened = self.open();
                match opened {
                    Ok(()) if closed.is_ok() => {
                        let torn = self.engine().recovery().torn_size;
                        assert_eq!(torn, 0, "nothing is torn in a store that was closed");
                        Outcome::Done
                    }
                    Ok(()) => Outcome::Failed,
                    Err(error) => {
                        assert_not_corrupt(&error);
                        Outcome::Failed
                    }
                }
            }
        }
    }

    /// Holds everything that the store shows against the model.
    pub(crate) fn look(&self) {
        let scan = block_on(self.model.read_all(ReadAll::new(Query::all()))).unwrap();
        let known = block_on(collect(scan.batches)).unwrap();
        let should = View::of(&self.model, &known).unwrap();
        let found = View::of(self.engine(), &known)
            .unwrap_or_else(|error| panic!("reads go on: {error}, {:?}", source_of(&error)));
        found.compare(&should);
    }

    /// The power fails.
    pub(crate) fn crash(&mut self, policy: CrashPolicy) {
        self.remember_shown();
        self.disk = self.disk.crash(policy);
        self.engine = None;
    }

    /// The process is killed.
    pub(crate) fn die(&mut self) {
        self.remember_shown();
        self.disk = self.disk.process_death();
        self.engine = None;
    }

    /// What was shown must survive.
    fn remember_shown(&mut self) {
        if let Some(engine) = &self.engine {
            self.shown = self.shown.max(block_on(engine.frontier()).unwrap().get());
        }
        // The file that readers in other processes follow begins with a position.
        let told = self.disk.contents(&Path::new(DIRECTORY).join("watermark"));
        if let Some(position) = told.as_ref().and_then(|bytes| bytes.first_chunk()) {
            self.shown = self.shown.max(u64::from_le_bytes(*position));
        }
    }

    /// After a crash: the store opens, shows what it must, and goes on.
    pub(crate) fn recover(&mut self) {
        self.open().unwrap_or_else(|error| panic!("the store opens: {error}: {error:?}"));
        self.look();
        assert_eq!(self.retry(), Outcome::Done, "what was unknown can be tried again");
    }
}

/// A failed call is no damage, and must not be taken for it.
pub(crate) fn assert_not_corrupt(error: &OpenError) {
    assert!(!matches!(error, OpenError::Disk(DiskError::Corrupt(_))), "{error:?}");
    assert!(!matches!(error, OpenError::NotAStore { .. } | OpenError::NewerFormat { .. }));
}

fn source_of(error: &dyn std::error::Error) -> Option<String> {
    error.source().map(|source| format!("{source:?}"))
}
