//! What is kept beside the log, on its way from one store to another.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use quipu_core::{Position, StorageError};

use super::copy::CHUNK_SIZE;
use crate::beside::{Access, Beside, BesideError, BesideOptions, FILE_NAME};
use crate::error::DiskError;
use crate::format::manifest::Manifest;
use crate::io::Io;
use crate::layout::Layout;

/// All there is beside a log.
pub(super) fn export(beside: &Beside) -> Result<Bytes, StorageError> {
    Ok(wait_for(beside.export())?)
}

/// Carries all there is beside the log of a store that nobody writes to over to a store in the
/// making.
pub(super) fn carry(
    io: &Arc<dyn Io>,
    from: (&Path, &Manifest),
    to: (&Path, &Manifest),
) -> Result<(), StorageError> {
    let beside = open(io, from.0, from.1, Access::ReadOnly);
    match wait_for(beside.export()) {
        Ok(exported) => import(io, to.0, to.1, &exported),
        // Too large to be looked at in memory. Nobody writes to it, so its bytes are of one commit.
        Err(BesideError::TooLarge { .. }) => Ok(copy_file(&**io, from.0, to.0)?),
        Err(error) => Err(error.into()),
    }
}

fn copy_file(io: &dyn Io, from: &Path, to: &Path) -> Result<(), DiskError> {
    let source = Layout::new(from).beside().join(FILE_NAME);
    let directory = Layout::new(to).beside();
    let dest = directory.join(FILE_NAME);
    let file = io.open(&source).map_err(DiskError::io("open", &source))?;
    let size = file.size().map_err(DiskError::io("read", &source))?;
    io.create_dir(&directory).map_err(DiskError::io("create", &directory))?;
    let copy = io.create(&dest).map_err(DiskError::io("create", &dest))?;
    let mut chunk = vec![0; CHUNK_SIZE];
    let mut offset = 0;
    while offset < size {
        let count = usize::try_from(size - offset).unwrap_or(usize::MAX).min(CHUNK_SIZE);
        let bytes = &mut chunk[..count];
        file.read_at(bytes, offset).map_err(DiskError::io("read", &source))?;
        copy.write_at(bytes, offset).map_err(DiskError::io("write", &dest))?;
        offset += count as u64;
    }
    copy.sync().map_err(DiskError::io("sync", &dest))?;
    io.sync_dir(&directory).map_err(DiskError::io("sync", &directory))
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
