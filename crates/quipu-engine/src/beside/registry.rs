//! The registry: a directory of small files.
//!
//! ```text
//! registry/
//!   <component>.status               how the component is
//!   <component>.<number>-<chance>.request   what it is asked to do, in the order of the numbers
//!   tmp-<microseconds>-<chance>      a file that is being written
//! ```
//!
//! `<component>` is a hash of kind, version and name: names are any text, and no text becomes a
//! path. Each file is written under a temporary name and renamed, so that nobody reads half of
//! one.
//!
//! Requests are synced. Statuses are not: each is replaced within seconds by the component that it
//! is of. After a power loss a status may be missing or damaged, which is the same; its component
//! counts as not having reported until it does.

use std::fmt::Write as _;
use std::io::{ErrorKind, Result as IoResult};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    BoxFuture, ComponentKey, ComponentRequest, ComponentStatus, PARKED_ITEMS_MAX, REQUESTS_MAX,
    Registry, RegistryError, Timestamp,
};
use sha2::{Digest, Sha256};

use crate::io::Io;

use super::error::BesideError;
use super::{Beside, is_name};

mod encoding;

use encoding::{decode_request, decode_status, encode_request, encode_status};

const STATUS: &str = ".status";
const REQUEST: &str = ".request";
const TEMPORARY: &str = "tmp-";
/// When a temporary file is nobody's any more.
const TEMPORARY_AGE_MAX: Duration = Duration::from_hours(1);

impl Registry for Beside {
    fn report(&self, mut status: ComponentStatus) -> BoxFuture<'_, Result<(), RegistryError>> {
        Box::pin(async move {
            check_key(&status.key)?;
            self.check_owner()?;
            status.parked.truncate(PARKED_ITEMS_MAX);
            let files = self.registry.clone();
            self.side.run(move || files.report(&status)).await?
        })
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<ComponentStatus>, RegistryError>> {
        Box::pin(async move {
            let files = self.registry.clone();
            self.side.run(move || files.components()).await?
        })
    }

    fn remove<'a>(&'a self, key: &'a ComponentKey) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            self.check_owner()?;
            let (files, key) = (self.registry.clone(), key.clone());
            self.side.run(move || files.remove(&key)).await?
        })
    }

    fn request<'a>(
        &'a self,
        key: &'a ComponentKey,
        request: ComponentRequest,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            let (files, key) = (self.registry.clone(), key.clone());
            self.side.run(move || files.request(&key, request)).await?
        })
    }

    fn take_requests<'a>(
        &'a self,
        key: &'a ComponentKey,
    ) -> BoxFuture<'a, Result<Vec<ComponentRequest>, RegistryError>> {
        Box::pin(async move {
            self.check_owner()?;
            let (files, key) = (self.registry.clone(), key.clone());
            self.side.run(move || files.take_requests(&key)).await?
        })
    }
}

impl Beside {
    fn check_owner(&self) -> Result<(), RegistryError> {
        if self.context.is_writable() { Ok(()) } else { Err(RegistryError::ReadOnly) }
    }
}

fn check_key(key: &ComponentKey) -> Result<(), RegistryError> {
    let is_valid = is_name(&key.name) && !key.name.chars().any(char::is_control);
    if is_valid { Ok(()) } else { Err(RegistryError::InvalidName) }
}

/// Whether a file has to be on the disk when the answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    Synced,
    Unsynced,
}

/// The registry's directory. What it does takes as long as the disk takes.
#[derive(Clone)]
pub(super) struct RegistryFiles {
    io: Arc<dyn Io>,
    dir: PathBuf,
}

impl RegistryFiles {
    pub(super) fn new(io: Arc<dyn Io>, dir: PathBuf) -> Self {
        Self { io, dir }
    }

    fn report(&self, status: &ComponentStatus) -> Result<(), RegistryError> {
        let name = status_name(&status.key);
        let (epoch, known) = (status.epoch, self.status(&name)?);
        if let Some(current) = known.as_ref().map(|known| known.epoch)
            && epoch < current
        {
            return Err(RegistryError::StaleEpoch { epoch, current });
        }
        if known.is_none() {
            // The first report of a component is seldom enough to tidy up with.
            self.io.create_dir(&self.dir).map_err(BesideError::io("create", &self.dir))?;
            self.remove_temporary()?;
        }
        self.replace(&name, &encode_status(status), Durability::Unsynced)
    }

    fn components(&self) -> Result<Vec<ComponentStatus>, RegistryError> {
        let mut components = Vec::new();
        for name in self.names()?.iter().filter(|name| name.ends_with(STATUS)) {
            components.extend(self.status(name)?);
        }
        components.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(components)
    }

    fn remove(&self, key: &ComponentKey) -> Result<(), RegistryError> {
        let requests = self.requests(key)?;
        // The status first: nobody can leave a request for what has no status.
        for name in std::iter::once(&status_name(key)).chain(&requests) {
            self.remove_file(name)?;
        }
        if requests.is_empty() { Ok(()) } else { self.sync_names() }
    }

    fn request(&self, key: &ComponentKey, request: ComponentRequest) -> Result<(), RegistryError> {
        if self.status(&status_name(key))?.is_none() {
            return Err(RegistryError::Unknown { key: key.clone() });
        }
        let waiting = self.requests(key)?;
        if waiting.len() >= REQUESTS_MAX {
            return Err(RegistryError::TooManyRequests);
        }
        // Two that ask at the same time may get the same number; then chance puts one first.
        let prefix = component_name(key) + ".";
        let last = waiting
            .last()
            .and_then(|name| name.strip_prefix(&prefix)?.split('-').next()?.parse::<u64>().ok());
        let number = last.map_or(1, |last| last.saturating_add(1));
        let name = format!("{prefix}{number:020}-{:016x}{REQUEST}", self.chance());
        self.replace(&name, &encode_request(key, request), Durability::Synced)
    }

    fn take_requests(&self, key: &ComponentKey) -> Result<Vec<ComponentRequest>, RegistryError> {
        let mut taken = Vec::new();
        let names = self.requests(key)?;
        for name in &names {
            let bytes = self.read(name)?;
            let request = bytes.as_ref().and_then(|bytes| decode_request(key, bytes));
            if request.is_none() && bytes.is_some() && !taken.is_empty() {
                // What was taken is answered before the damaged one is reported, next time.
                break;
            }
            // Of several that take at the same time, the one whose removal succeeds has it.
            let is_own = self.remove_file(name)?;
            match request {
                Some(request) if is_own => taken.push(request),
                None if is_own && bytes.is_some() => {
                    let what = format!("a request for \"{}\"", key.name);
                    return Err(BesideError::corrupt(what).into());
                }
                _ => {}
            }
        }
        if !names.is_empty() {
            // A crash must not bring back what is about to be carried out.
            self.sync_names()?;
        }
        Ok(taken)
    }

    /// A status that is there, whole, and in its place.
    fn status(&self, name: &str) -> Result<Option<ComponentStatus>, RegistryError> {
        let status = self.read(name)?.and_then(|bytes| decode_status(&bytes));
        Ok(status.filter(|status| status_name(&status.key) == name))
    }

    /// The files of the requests that wait for a component, oldest first.
    fn requests(&self, key: &ComponentKey) -> Result<Vec<String>, RegistryError> {
        let prefix = component_name(key) + ".";
        let mut names = self.names()?;
        names.retain(|name| name.starts_with(&prefix) && name.ends_with(REQUEST));
        Ok(names)
    }

    /// Removes what processes left behind that died while they wrote it.
    fn remove_temporary(&self) -> Result<(), RegistryError> {
        let now = self.io.now();
        for name in self.names()? {
            let begun = name
                .strip_prefix(TEMPORARY)
                .and_then(|rest| rest.split('-').next()?.parse().ok())
                .map(Timestamp::from_micros);
            if begun.is_some_and(|begun| begun.plus(TEMPORARY_AGE_MAX) < now) {
                self.remove_file(&name)?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, RegistryError> {
        match self.io.list(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => Ok(other.map_err(BesideError::io("list", &self.dir))?),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let path = self.dir.join(name);
        let read = || -> IoResult<Vec<u8>> {
            let file = self.io.open(&path)?;
            let size = usize::try_from(file.size()?).map_err(std::io::Error::other)?;
            let mut bytes = vec![0; size];
            file.read_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        match read() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => Ok(Some(other.map_err(BesideError::io("read", &path))?)),
        }
    }

    /// Answers whether the file was there.
    fn remove_file(&self, name: &str) -> Result<bool, RegistryError> {
        let path = self.dir.join(name);
        match self.io.remove(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(BesideError::io("remove", &path)(error).into()),
        }
    }

    fn sync_names(&self) -> Result<(), RegistryError> {
        Ok(self.io.sync_dir(&self.dir).map_err(BesideError::io("sync", &self.dir))?)
    }

    fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), RegistryError> {
        let micros = self.io.now().as_micros().max(0);
        let temporary = self.dir.join(format!("{TEMPORARY}{micros:020}-{:016x}", self.chance()));
        let path = self.dir.join(name);
        let write = || -> IoResult<()> {
            let file = self.io.create(&temporary)?;
            file.write_at(bytes, 0)?;
            if durability == Durability::Synced {
                file.sync()?;
            }
            self.io.rename(&temporary, &path)?;
            // Without this, a crash could take back a request that was answered.
            if durability == Durability::Synced { self.io.sync_dir(&self.dir) } else { Ok(()) }
        };
        if let Err(error) = write() {
            // It is of no use, but it is in nobody's way either; the first error is the one to tell.
            drop(self.io.remove(&temporary));
            return Err(BesideError::io("write", &path)(error).into());
        }
        Ok(())
    }

    fn chance(&self) -> u64 {
        let mut bytes = [0; 8];
        self.io.randomize(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

fn status_name(key: &ComponentKey) -> String {
    component_name(key) + STATUS
}

/// What stands for a component in file names.
fn component_name(key: &ComponentKey) -> String {
    let mut hash = Sha256::new();
    hash.update(key.kind.as_str());
    hash.update([0]);
    hash.update(key.version.to_le_bytes());
    hash.update(&key.name);
    hash.finalize().iter().take(16).fold(String::new(), |mut name, byte| {
        write!(name, "{byte:02x}").expect("a string takes all that is written to it");
        name
    })
}

impl From<BesideError> for RegistryError {
    fn from(error: BesideError) -> Self {
        match error {
            BesideError::ReadOnly => Self::ReadOnly,
            other => Self::Storage(other.into()),
        }
    }
}
