//! What is kept beside the log, on the simulated disk and on a real one.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_lite::future::block_on;
use quipu_core::{Checkpoint, Incarnation, SwapCheckpoint};

use super::*;
use crate::io::sim::SimDisk;

mod crashes;
mod registry;
mod rows;
mod sharing;

const DIR: &str = "/store/beside";

/// A store's side, with a frontier that tests move.
struct Side {
    beside: Beside,
    frontier: Arc<AtomicU64>,
}

fn log() -> LogId {
    LogId::from_uuid(uuid::Uuid::from_u128(7))
}

fn open(io: &(impl Io + Clone + 'static)) -> Side {
    open_as(io, Access::Writable, Lives::first(log()))
}

fn open_as(io: &(impl Io + Clone + 'static), access: Access, lives: Lives) -> Side {
    open_in(io, Path::new(DIR), access, lives)
}

fn open_in(io: &(impl Io + Clone + 'static), dir: &Path, access: Access, lives: Lives) -> Side {
    let frontier = Arc::new(AtomicU64::new(1_000));
    let asked = Arc::clone(&frontier);
    let beside = Beside::open(BesideOptions {
        io: Arc::new(io.clone()),
        dir: dir.to_owned(),
        access,
        log: log(),
        lives,
        frontier: Arc::new(move || Position::new(asked.load(Ordering::SeqCst))),
    });
    Side { beside, frontier }
}

fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint { position: Position::new(position), log: log(), incarnation: Incarnation::FIRST }
}

fn swap(name: &str, epoch: u64, old: Option<u64>, new: u64) -> SwapCheckpoint {
    let old = old.map(Position::new);
    SwapCheckpoint { name: name.to_owned(), epoch, old, new: checkpoint(new) }
}

impl Side {
    fn swap(&self, swap: SwapCheckpoint) -> Result<(), quipu_core::CheckpointError> {
        block_on(self.beside.checkpoints().swap(swap))
    }

    fn checkpoint(&self, name: &str) -> Option<u64> {
        let found = block_on(self.beside.checkpoints().get(name)).unwrap();
        found.map(|checkpoint| checkpoint.position.get())
    }

    fn acquire(&self, name: &str) -> Result<quipu_core::Lease, quipu_core::LeaseError> {
        block_on(self.beside.leases().acquire(name, "a test", Duration::from_secs(10)))
    }
}
