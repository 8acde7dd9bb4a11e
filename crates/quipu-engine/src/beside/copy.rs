//! Reading the side database beside the process that writes it.
//!
//! The writer never overwrites pages of the commit that the file's header names, until it writes
//! the next header. So a copy is of one commit if the header was the same before and after it was
//! made; what the copy holds of a commit that is being written, redb finds by checksums and drops,
//! as it does after a crash.

use std::io::ErrorKind;
use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend};

use crate::io::{File, Io};

use super::error::BesideError;
use super::side_store::{guarded, open_backend, open_existing};

/// The bytes at the front of the file that change with every commit.
const HEADER_SIZE: usize = 320;
/// How often a copy is begun again because the writer was faster.
const ATTEMPTS_MAX: usize = 8;
/// The largest database that is copied.
const SIZE_MAX: u64 = 64 << 20;

/// A copy in memory, good for as long as the file's header stays the same.
pub(super) struct Copy {
    header: [u8; HEADER_SIZE],
    database: Database,
}

impl Copy {
    /// A copy of the database as it is; the one from before if nothing has changed since.
    pub(super) fn of(
        io: &dyn Io,
        path: &Path,
        before: Option<Self>,
    ) -> Result<Option<Self>, BesideError> {
        let Some(file) = open_existing(io, path)? else { return Ok(None) };
        if let Some(before) = before
            && header(&*file, path)? == before.header
        {
            return Ok(Some(before));
        }
        let mut failure = BesideError::Busy;
        for _ in 0..ATTEMPTS_MAX {
            match Self::attempt(&*file, path) {
                Ok(Some(copy)) => return Ok(Some(copy)),
                Ok(None) => {}
                // It may be damaged, or copied while it was written to.
                Err(error @ BesideError::Corrupt { .. }) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    fn attempt(file: &dyn File, path: &Path) -> Result<Option<Self>, BesideError> {
        let failed = |error| BesideError::io("read", path)(error);
        let header_before = header(file, path)?;
        let size = file.size().map_err(failed)?;
        if size > SIZE_MAX {
            return Err(BesideError::TooLarge { size });
        }
        let mut bytes = vec![0; usize::try_from(size).expect("the size is below the limit")];
        match file.read_at(&mut bytes, 0) {
            // It was cut in between.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(failed)?,
        }
        if header(file, path)? != header_before {
            return Ok(None);
        }
        let database = guarded(|| {
            let memory = InMemoryBackend::new();
            memory.set_len(size).map_err(failed)?;
            memory.write(0, &bytes).map_err(failed)?;
            open_backend(memory)
        })?;
        Ok(Some(Self { header: header_before, database }))
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, BesideError> {
        self.database.begin_read().map_err(BesideError::database)
    }
}

fn header(file: &dyn File, path: &Path) -> Result<[u8; HEADER_SIZE], BesideError> {
    let mut header = [0; HEADER_SIZE];
    match file.read_at(&mut header, 0) {
        // It had one before it had its name.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(BesideError::corrupt("the side database (it has no header)"))
        }
        other => other.map(|()| header).map_err(BesideError::io("read", path)),
    }
}
