//! The thread that has the side database.
//!
//! Reads see what was committed. Changes that wait at the same time are made one after the other
//! in one transaction, so that they share its syncs, and answered when it is durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::{io, mem};

use futures_channel::oneshot;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::io::{File, Io};

use super::Access;
use super::backend::{Backend, Failure, Health};
use super::copy::Copy;
use super::error::BesideError;
use super::tables::{CHECKPOINTS, LEASES, SNAPSHOTS, open_writable};

/// The database's file.
pub(crate) const FILE_NAME: &str = "side.redb";
/// The same while it is being made.
const NEW_FILE_NAME: &str = "side.redb.new";
/// How many changes share a transaction at most.
const GROUP_SIZE_MAX: usize = 256;
/// The memory that the database may keep pages in.
pub(super) const CACHE_SIZE: usize = 8 << 20;

/// Whether a change changed anything.
#[derive(Debug)]
pub(super) enum Change<T> {
    Made(T),
    None(T),
}

/// Sends work to the thread that has the database, and starts it with the first.
pub(super) struct SideStore {
    /// Guards the start and the end of the thread. Nothing is waited for under it.
    thread: Mutex<Keeping>,
}

enum Keeping {
    NotYet(Box<Keeper>),
    Running { jobs: mpsc::Sender<Job>, thread: JoinHandle<()> },
    Ended,
}

enum Job {
    Read(Box<dyn FnOnce(Result<Option<ReadTransaction>, BesideError>) + Send>),
    Write(Box<dyn WriteJob>),
    Run(Box<dyn FnOnce() + Send>),
}

impl SideStore {
    pub(super) fn new(io: Arc<dyn Io>, dir: PathBuf, access: Access) -> Self {
        let state = State::Unopened;
        let keeper = Keeper { io, dir, access, state, copy: None };
        Self { thread: Mutex::new(Keeping::NotYet(Box::new(keeper))) }
    }

    /// Reads what was committed last. There is no transaction if there is no database.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(Option<&ReadTransaction>) -> Result<T, BesideError> + Send + 'static,
    ) -> Result<T, BesideError> {
        let (sender, receiver) = oneshot::channel();
        let job = move |transaction: Result<Option<ReadTransaction>, BesideError>| {
            let answer = transaction.and_then(|transaction| guarded(|| read(transaction.as_ref())));
            // Who asked may have stopped waiting.
            drop(sender.send(answer));
        };
        self.send(Job::Read(Box::new(job)))?;
        receiver.await.map_err(|_| BesideError::Ended)?
    }

    /// Changes something. An error says that this change was not made, and nor were those that
    /// shared its transaction.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<Change<T>, BesideError> + Send + 'static,
    ) -> Result<T, BesideError> {
        let (sender, receiver) = oneshot::channel();
        self.send(Job::Write(Box::new(Pending { change: Some(change), made: None, sender })))?;
        receiver.await.map_err(|_| BesideError::Ended)?
    }

    /// Does something else that may take long, between reads and writes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BesideError> {
        let (sender, receiver) = oneshot::channel();
        self.send(Job::Run(Box::new(move || drop(sender.send(work())))))?;
        receiver.await.map_err(|_| BesideError::Ended)
    }

    fn send(&self, job: Job) -> Result<(), BesideError> {
        let mut keeping = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Keeping::NotYet(_) = &*keeping
            && let Keeping::NotYet(keeper) = mem::replace(&mut *keeping, Keeping::Ended)
        {
            *keeping = keeper.start()?;
        }
        match &*keeping {
            Keeping::Running { jobs, .. } => jobs.send(job).map_err(|_| BesideError::Ended),
            Keeping::NotYet(_) | Keeping::Ended => Err(BesideError::Ended),
        }
    }
}

impl Drop for SideStore {
    fn drop(&mut self) {
        let keeping = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Keeping::Running { jobs, thread } = mem::replace(keeping, Keeping::Ended) {
            drop(jobs);
            // The database must be closed when the store's lock is given back. A thread that
            // panicked has closed it too.
            drop(thread.join());
        }
    }
}

/// A change that waits, for its turn or for its transaction.
trait WriteJob: Send {
    /// Makes the change; answers whether there was anything to change.
    fn make(&mut self, transaction: &WriteTransaction) -> Result<bool, BesideError>;

    /// Answers, when it is known what became of the transaction.
    fn answer(self: Box<Self>, outcome: Result<(), BesideError>);
}

struct Pending<F, T> {
    change: Option<F>,
    made: Option<T>,
    sender: oneshot::Sender<Result<T, BesideError>>,
}

impl<F, T> WriteJob for Pending<F, T>
where
    F: FnOnce(&WriteTransaction) -> Result<Change<T>, BesideError> + Send,
    T: Send,
{
    fn make(&mut self, transaction: &WriteTransaction) -> Result<bool, BesideError> {
        let Some(change) = self.change.take() else { return Ok(false) };
        let (made, is_change) = match change(transaction)? {
            Change::Made(made) => (made, true),
            Change::None(made) => (made, false),
        };
        self.made = Some(made);
        Ok(is_change)
    }

    fn answer(self: Box<Self>, outcome: Result<(), BesideError>) {
        let Self { made, sender, .. } = *self;
        let answer = outcome.and_then(|()| made.ok_or(BesideError::Ended));
        // Who asked may have stopped waiting.
        drop(sender.send(answer));
    }
}

/// Has the database.
struct Keeper {
    io: Arc<dyn Io>,
    dir: PathBuf,
    access: Access,
    state: State,
    /// What a reader beside a writer read last.
    copy: Option<Copy>,
}

enum State {
    Unopened,
    Open { database: Database, health: Arc<Health> },
    Closed(BesideError),
}

impl Keeper {
    fn start(self) -> Result<Keeping, BesideError> {
        let (jobs, received) = mpsc::channel();
        let dir = self.dir.clone();
        let thread = thread::Builder::new()
            .name("quipu-beside".to_owned())
            .spawn(move || self.keep(&received))
            .map_err(BesideError::io("start a thread for", &dir))?;
        Ok(Keeping::Running { jobs, thread })
    }

    fn keep(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut changes = Vec::new();
            let waiting = jobs.try_iter().take(GROUP_SIZE_MAX - 1);
            for job in std::iter::once(first).chain(waiting) {
                match job {
                    Job::Read(read) => read(self.read()),
                    Job::Write(change) => changes.push(change),
                    Job::Run(work) => work(),
                }
            }
            if !changes.is_empty() {
                let outcome = self.write(&mut changes);
                for change in changes {
                    change.answer(outcome.clone());
                }
            }
        }
    }

    fn read(&mut self) -> Result<Option<ReadTransaction>, BesideError> {
        if self.access == Access::ReadOnly {
            let path = self.dir.join(FILE_NAME);
            self.copy = Copy::of(&*self.io, &path, self.copy.take())?;
            return self.copy.as_ref().map(Copy::begin_read).transpose();
        }
        if !self.open()? {
            return Ok(None);
        }
        let State::Open { database, .. } = &self.state else { return Err(BesideError::Ended) };
        database.begin_read().map(Some).map_err(BesideError::database)
    }

    fn write(&mut self, changes: &mut [Box<dyn WriteJob>]) -> Result<(), BesideError> {
        if self.access == Access::ReadOnly {
            return Err(BesideError::ReadOnly);
        }
        if !self.open()? {
            self.create()?;
        }
        let State::Open { database, health } = &self.state else {
            return Err(BesideError::Ended);
        };
        let outcome = guarded(|| transact(database, changes));
        if let Err(error) = &outcome {
            self.state = match health.failure() {
                // Nothing but this transaction was lost, and the database opens again with the
                // next use: redb itself does not go on after any failure.
                Some(Failure::Full) => State::Unopened,
                Some(Failure::Unknown) => State::Closed(error.clone()),
                None => return outcome,
            };
        }
        outcome
    }

    /// Opens the database, if there is one.
    fn open(&mut self) -> Result<bool, BesideError> {
        match &self.state {
            State::Open { .. } => return Ok(true),
            State::Closed(cause) => return Err(BesideError::Closed(Box::new(cause.clone()))),
            State::Unopened => {}
        }
        let path = self.dir.join(FILE_NAME);
        let file = match self.io.open_writable(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(BesideError::io("open", &path))?,
        };
        // A process that was killed may have left a name and bytes that are not durable yet;
        // what is built on them must not outlive them.
        let synced = self.io.sync_dir(&self.dir).and_then(|()| file.sync());
        if let Err(error) = synced.map_err(BesideError::io("sync", &path)) {
            self.state = State::Closed(error.clone());
            return Err(error);
        }
        // A sync that failed may have left bytes in memory that the disk does not hold.
        file.forget(0).map_err(BesideError::io("read", &path))?;
        // It had content before it had its name; redb would take it for one to begin with.
        if file.size().map_err(BesideError::io("read", &path))? == 0 {
            return Err(BesideError::corrupt("the side database (it is empty)"));
        }
        let (database, health) = open_database(file)?;
        self.state = State::Open { database, health };
        Ok(true)
    }

    /// Makes the database, under another name first: a crash must not leave half of one.
    fn create(&mut self) -> Result<(), BesideError> {
        self.io.create_dir(&self.dir).map_err(BesideError::io("create", &self.dir))?;
        let new = self.dir.join(NEW_FILE_NAME);
        match self.io.remove(&new) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(BesideError::io("remove", &new))?,
        }
        let file = self.io.create(&new).map_err(BesideError::io("create", &new))?;
        let (database, health) = open_database(file)?;
        // Its commit syncs the file, so that it is whole before it gets its name.
        guarded(|| create_tables(&database))?;
        let path = self.dir.join(FILE_NAME);
        self.io.rename(&new, &path).map_err(BesideError::io("rename", &new))?;
        if let Err(error) = self.io.sync_dir(&self.dir) {
            // The name may be there now and gone after a crash, with all that is kept until then.
            let error = BesideError::io("sync", &self.dir)(error);
            self.state = State::Closed(error.clone());
            return Err(error);
        }
        self.state = State::Open { database, health };
        Ok(())
    }
}

fn open_database(file: Arc<dyn File>) -> Result<(Database, Arc<Health>), BesideError> {
    let (backend, health) = Backend::new(file);
    let database = guarded(|| open_backend(backend))?;
    Ok((database, health))
}

pub(super) fn open_backend(backend: impl redb::StorageBackend) -> Result<Database, BesideError> {
    // A damaged page is found here, by its checksum; later redb would believe it.
    Builder::new()
        .set_cache_size(CACHE_SIZE)
        .set_check_integrity_on_open(true)
        .create_with_backend(backend)
        .map_err(BesideError::database)
}

fn create_tables(database: &Database) -> Result<(), BesideError> {
    let transaction = database.begin_write().map_err(BesideError::database)?;
    open_writable(&transaction, SNAPSHOTS)?;
    open_writable(&transaction, CHECKPOINTS)?;
    open_writable(&transaction, LEASES)?;
    transaction.commit().map_err(BesideError::database)
}

fn transact(database: &Database, changes: &mut [Box<dyn WriteJob>]) -> Result<(), BesideError> {
    // A write transaction is durable when its commit returns, unless it is told otherwise. One
    // sync is enough: redb checks the pages of the last commit against their checksums after a
    // crash, and falls back to the commit before.
    let transaction = database.begin_write().map_err(BesideError::database)?;
    let mut is_changed = false;
    for change in changes {
        is_changed |= change.make(&transaction)?;
    }
    if is_changed {
        transaction.commit().map_err(BesideError::database)
    } else {
        transaction.abort().map_err(BesideError::database)
    }
}

/// Turns a panic over damaged pages into an error: redb trusts what its checksums do not cover.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, BesideError>) -> Result<T, BesideError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(BesideError::corrupt("the side database")))
}

/// Whether there is a file to read at all.
pub(super) fn open_existing(
    io: &dyn Io,
    path: &Path,
) -> Result<Option<Arc<dyn File>>, BesideError> {
    match io.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BesideError::io("open", path)(error)),
    }
}
