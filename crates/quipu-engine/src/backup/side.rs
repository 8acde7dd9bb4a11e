//! What is kept beside the log, on its way from one store to another.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use quipu_core::{Position, StorageError};

use crate::beside::{Access, Beside, BesideOptions};
use crate::format::manifest::Manifest;
use crate::io::Io;
use crate::layout::Layout;

/// All there is beside a log.
pub(super) fn export(beside: &Beside) -> Result<Bytes, StorageError> {
    Ok(wait_for(beside.export())?)
}

/// All there is beside the log of a store that is not open.
pub(super) fn export_from(
    io: &Arc<dyn Io>,
    directory: &Path,
    manifest: &Manifest,
) -> Result<Bytes, StorageError> {
    export(&open(io, directory, manifest, Access::ReadOnly))
}

/// Puts what was exported beside the log of a store in the making.
pub(super) fn import(
    io: &Arc<dyn Io>,
    directory: &Path,
    manifest: &Manifest,
    exported: &[u8],
) -> Result<(), StorageError> {
    let beside = open(io, directory, manifest, Access::Writable);
    Ok(wait_for(beside.import(exported))?)
}

fn open(io: &Arc<dyn Io>, directory: &Path, manifest: &Manifest, access: Access) -> Beside {
    let frontier = Position::new(manifest.floor.position);
    Beside::open(BesideOptions {
        io: Arc::clone(io),
        dir: Layout::new(directory).beside(),
        access,
        log: manifest.log,
        lives: manifest.lives.clone(),
        frontier: Arc::new(move || frontier),
    })
}

/// Blocks until a future is done.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => std::thread::park(),
        }
    }
}
