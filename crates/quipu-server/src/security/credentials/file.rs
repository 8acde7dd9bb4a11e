//! Reading and writing the credentials file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Credentials;

/// Why the credentials file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// There is no such file.
    #[error("there is no credentials file {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write the file. Take those rights away.
    #[error(
        "the credentials file {} may be used by others (mode {mode:04o}): run `chmod 600 {}`",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is not what `quipu token` and `quipu user` write.
    #[error("the credentials file {} is not valid: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong. It quotes nothing secret.
        reason: String,
    },
    /// The system refused something.
    #[error("could not {what} the credentials file {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CredentialsError {
    move |source| CredentialsError::Io { what, path: path.to_owned(), source }
}

/// What tells whether a file was replaced or written to since it was read. Also those of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    mode: u32,
}

impl Stamp {
    /// The file's stamp; `None` where there is no file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self::from_metadata(&metadata))
    }

    fn from_metadata(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            mode: metadata.mode(),
        }
    }
}

/// More than the file of ten thousand principals has.
const FILE_SIZE_MAX: u64 = 16 << 20;

impl Credentials {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// See [`CredentialsError`]: one that others may read is refused.
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        Self::load_stamped(path).map(|(credentials, _)| credentials)
    }

    pub(crate) fn load_stamped(path: &Path) -> Result<(Self, Stamp), CredentialsError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CredentialsError::Missing { path: path.to_owned() });
            }
            opened => opened.map_err(io_error("open", path))?,
        };
        // The open file is asked, not the path: that one may be another file by now.
        let metadata = file.metadata().map_err(io_error("look at", path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::Exposed { path: path.to_owned(), mode });
        }
        let malformed = |reason| CredentialsError::Malformed { path: path.to_owned(), reason };
        let mut text = String::new();
        file.take(FILE_SIZE_MAX).read_to_string(&mut text).map_err(io_error("read", path))?;
        let credentials: Self = serde_json::from_str(&text).map_err(|error| {
            // The parser's own message may quote what it found there.
            malformed(format!("line {}, column {}", error.line(), error.column()))
        })?;
        credentials.check().map_err(malformed)?;
        Ok((credentials, Stamp::from_metadata(&metadata)))
    }

    /// Writes the file, readable for its owner alone. On `Ok` it is durable.
    ///
    /// # Errors
    ///
    /// [`CredentialsError::Io`]; the file is as it was.
    pub fn save(&self, path: &Path) -> Result<(), CredentialsError> {
        let directory = directory_of(path);
        let text = serde_json::to_vec_pretty(self).expect("it has texts and numbers only");
        // Temporary files are readable for their owner alone from the first moment.
        let mut new = tempfile::Builder::new()
            .prefix(".quipu-auth-")
            .tempfile_in(directory)
            .map_err(io_error("write", path))?;
        let written = new.write_all(&text).and_then(|()| new.write_all(b"\n"));
        written.and_then(|()| new.as_file().sync_all()).map_err(io_error("write", path))?;
        new.persist(path).map_err(|error| io_error("replace", path)(error.error))?;
        // Sync the directory too: a new name is not durable until its parent is.
        File::open(directory).and_then(|own| own.sync_all()).map_err(io_error("sync", path))
    }

    /// Changes the file; makes it where it is missing. Two changes at once happen one after the
    /// other.
    ///
    /// # Errors
    ///
    /// What `change` says, or a [`CredentialsError`]; the file is as it was.
    pub fn edit<T, E: From<CredentialsError>>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = lock(path)?;
        let mut credentials = match Self::load(path) {
            Err(CredentialsError::Missing { .. }) => Self::default(),
            loaded => loaded?,
        };
        let answer = change(&mut credentials)?;
        credentials.save(path)?;
        Ok(answer)
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Locks the directory that the file is in: the file itself is replaced by each change.
fn lock(path: &Path) -> Result<File, CredentialsError> {
    let directory =
        File::open(directory_of(path)).map_err(io_error("find the directory of", path))?;
    directory.lock().map_err(io_error("lock", path))?;
    Ok(directory)
}
