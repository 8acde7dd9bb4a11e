//! The contract suite, on the machine's disk with threads, and on a simulated one without.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quipu_core::contract::Harness;
use quipu_core::{EventStore, Rights, Timestamp};
use quipu_engine::io::sim::SimDisk;
use quipu_engine::io::{File, Io, Lock, SeededBug, SystemIo};
use quipu_engine::{Engine, OpenOptions, ScavengeOptions, restore};

mod on_disk {
    quipu_core::contract_tests!(super::OnDisk::new);
}

mod simulated {
    quipu_core::contract_tests!(super::Simulated::new);
}

fn options(io: Arc<dyn Io>) -> OpenOptions {
    // Small segments and runs, so that the cases meet every kind of file.
    OpenOptions::new().create(true).segment_size(64 << 10).run_count(32).io(io)
}

/// All that may go goes, whatever is gained by it.
fn scavenge(engine: &Engine) {
    let options = ScavengeOptions::new().threshold_percent(0);
    engine.scavenge_with(options, &mut |_| {}).unwrap();
}

/// A store in a directory, with a clock that can be moved.
struct OnDisk {
    engine: Mutex<Option<Engine>>,
    io: Arc<MovableClock>,
    /// The directory of the log's present life; the lives are numbered.
    life: AtomicU64,
    directory: tempfile::TempDir,
}

impl OnDisk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let io =
            Arc::new(MovableClock { system: SystemIo::new(), ahead_micros: AtomicI64::new(0) });
        let engine = options(io.clone()).open(directory.path().join("1")).unwrap();
        Self { engine: Mutex::new(Some(engine)), io, life: AtomicU64::new(1), directory }
    }

    fn path(&self, life: u64) -> PathBuf {
        self.directory.path().join(life.to_string())
    }

    fn engine(&self) -> Engine {
        self.engine.lock().unwrap().clone().unwrap()
    }
}

impl Harness for OnDisk {
    fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.engine())
    }

    fn system(&self) -> Arc<dyn EventStore> {
        Arc::new(self.engine().with_rights(Rights::System))
    }

    fn advance_clock(&self, by: Duration) -> bool {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.io.ahead_micros.fetch_add(micros, Ordering::SeqCst);
        true
    }

    fn set_clock_back(&self, by: Duration) -> bool {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.io.ahead_micros.fetch_sub(micros, Ordering::SeqCst);
        true
    }

    fn reopen(&self) -> bool {
        let mut engine = self.engine.lock().unwrap();
        engine.take().unwrap().close().unwrap();
        let path = self.path(self.life.load(Ordering::SeqCst));
        *engine = Some(options(self.io.clone()).open(path).unwrap());
        true
    }

    fn scavenge(&self) -> bool {
        scavenge(&self.engine());
        true
    }

    fn begin_life(&self) -> bool {
        let mut engine = self.engine.lock().unwrap();
        let next = self.life.load(Ordering::SeqCst) + 1;
        let backup = self.directory.path().join(format!("backup-{next}"));
        let old = engine.take().unwrap();
        old.backup(&backup, &mut |_| {}).unwrap();
        old.close().unwrap();
        restore(&backup, self.path(next), &mut |_| {}).unwrap();
        self.life.store(next, Ordering::SeqCst);
        *engine = Some(options(self.io.clone()).open(self.path(next)).unwrap());
        true
    }
}

/// A store on a simulated disk that does everything in the calling thread.
struct Simulated {
    engine: Mutex<Option<Engine>>,
    disk: SimDisk,
}

impl Simulated {
    fn new() -> Self {
        let disk = SimDisk::new(7);
        Self { engine: Mutex::new(Some(Self::open(&disk))), disk }
    }

    fn open(disk: &SimDisk) -> Engine {
        options(Arc::new(disk.clone())).inline(true).open("/store").unwrap()
    }

    fn engine(&self) -> Engine {
        self.engine.lock().unwrap().clone().unwrap()
    }
}

impl Harness for Simulated {
    fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.engine())
    }

    fn system(&self) -> Arc<dyn EventStore> {
        Arc::new(self.engine().with_rights(Rights::System))
    }

    fn advance_clock(&self, by: Duration) -> bool {
        self.disk.advance(by);
        true
    }

    fn reopen(&self) -> bool {
        let mut engine = self.engine.lock().unwrap();
        engine.take().unwrap().close().unwrap();
        *engine = Some(Self::open(&self.disk));
        true
    }

    fn scavenge(&self) -> bool {
        scavenge(&self.engine());
        true
    }
}

/// The machine, with a wall clock that tests move.
#[derive(Debug)]
struct MovableClock {
    system: SystemIo,
    ahead_micros: AtomicI64,
}

impl Io for MovableClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_micros.load(Ordering::SeqCst);
        Timestamp::from_micros(self.system.now().as_micros() + ahead)
    }

    fn uptime(&self) -> Duration {
        self.system.uptime()
    }

    fn randomize(&self, bytes: &mut [u8]) {
        self.system.randomize(bytes);
    }

    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        self.system.create_dir(path)
    }

    fn create(&self, path: &Path) -> std::io::Result<Arc<dyn File>> {
        self.system.create(path)
    }

    fn open(&self, path: &Path) -> std::io::Result<Arc<dyn File>> {
        self.system.open(path)
    }

    fn open_writable(&self, path: &Path) -> std::io::Result<Arc<dyn File>> {
        self.system.open_writable(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.system.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.system.remove(path)
    }

    fn list(&self, path: &Path) -> std::io::Result<Vec<String>> {
        self.system.list(path)
    }

    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        self.system.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> std::io::Result<Box<dyn Lock>> {
        self.system.lock(path)
    }

    fn has_bug(&self, bug: SeededBug) -> bool {
        self.system.has_bug(bug)
    }
}
