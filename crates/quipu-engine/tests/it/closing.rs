//! Closing a store that is busy.

use std::io::Result;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::{block_on, poll_once};
use quipu_core::{
    Append, AppendError, Appended, EventStore, ExpectedRevision, NewEvent, StreamName, Timestamp,
};
use quipu_engine::io::{File, Io, Lock, SystemIo};
use quipu_engine::{Engine, OpenOptions};

fn append(engine: &Engine, size: usize) -> std::result::Result<Appended, AppendError> {
    let stream = StreamName::new("order-1").unwrap();
    let event = NewEvent::json("OrderPlaced", "x".repeat(size)).unwrap();
    block_on(engine.append(Append::to_stream(stream, ExpectedRevision::Any, [event])))
}

/// Whether changes are refused, for who must not wait for one.
fn refuses_changes(engine: &Engine) -> bool {
    let checked = block_on(poll_once(engine.append(Append::new())));
    matches!(checked, Some(Err(AppendError::Closed)))
}

/// The writer used to wait for space from a thread that had been told to stop before it: closing
/// then never ended.
#[test]
fn a_store_closes_while_an_append_waits_for_space() {
    let directory = tempfile::tempdir().unwrap();
    let io = Arc::new(SlowFiller::default());
    let options = OpenOptions::new().create(true).io(io.clone());
    let engine = options.open(directory.path()).unwrap();
    append(&engine, 10).unwrap();

    // The filler is in the middle of a step, and what it fills is not enough for the next append.
    let release = io.hold_filler();
    append(&engine, 100_000).unwrap();
    let waiting = {
        let engine = engine.clone();
        std::thread::spawn(move || append(&engine, 8 << 20))
    };
    io.wait_until_filler_is_held();
    io.wait_until_writer_decides(3);
    let (done, closed) = mpsc::channel();
    let closing = engine.clone();
    std::thread::spawn(move || done.send(closing.close()).unwrap());
    while !refuses_changes(&engine) {
        std::thread::yield_now();
    }
    release.send(()).unwrap();

    let result = closed.recv_timeout(Duration::from_secs(30));
    result.expect("the store closes").unwrap();
    let answer = waiting.join().unwrap();
    assert!(matches!(answer, Ok(_) | Err(AppendError::Closed)), "{answer:?}");
}

/// The machine, with a thread that fills ahead that can be held in the middle of a step.
#[derive(Debug, Default)]
struct SlowFiller {
    system: SystemIo,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    /// How often the writer has looked at the clock: once for each change, when it decides it.
    decisions: AtomicU64,
    is_held: AtomicBool,
    released: Mutex<Option<mpsc::Receiver<()>>>,
}

impl SlowFiller {
    fn hold_filler(&self) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel();
        *self.gate.released.lock().unwrap() = Some(released);
        release
    }

    fn wait_until_filler_is_held(&self) {
        while !self.gate.is_held.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    fn wait_until_writer_decides(&self, count: u64) {
        while self.gate.decisions.load(Ordering::Acquire) < count {
            std::thread::yield_now();
        }
    }

    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(SlowFile { file, gate: Arc::clone(&self.gate) })
    }
}

impl Io for SlowFiller {
    fn now(&self) -> Timestamp {
        if std::thread::current().name() == Some("quipu-writer") {
            self.gate.decisions.fetch_add(1, Ordering::Release);
        }
        self.system.now()
    }

    fn uptime(&self) -> Duration {
        self.system.uptime()
    }

    fn randomize(&self, bytes: &mut [u8]) {
        self.system.randomize(bytes);
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.system.create_dir(path)
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.system.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.system.open(path)
    }

    fn open_writable(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.system.open_writable(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.system.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.system.remove(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.system.list(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.system.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        self.system.lock(path)
    }
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl File for SlowFile {
    fn size(&self) -> Result<u64> {
        self.file.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.file.set_size(size)
    }

    fn sync(&self) -> Result<()> {
        if std::thread::current().name() == Some("quipu-filler")
            && let Some(released) = self.gate.released.lock().unwrap().take()
        {
            self.gate.is_held.store(true, Ordering::Release);
            released.recv().unwrap();
        }
        self.file.sync()
    }

    fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        self.file.bytes(range)
    }

    fn release(&self, range: Range<u64>) {
        self.file.release(range);
    }

    fn forget(&self, offset: u64) -> Result<()> {
        self.file.forget(offset)
    }
}
