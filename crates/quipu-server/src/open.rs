//! Where a verb finds its store: in a directory, for reading beside whoever writes or for writing
//! alone, or behind a server.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures_lite::future::block_on;
use quipu_core::{EventStore, Rights, StorageError};
use quipu_engine::{Engine, OpenError, OpenOptions, Recovery};
use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_server::config::DatabaseUrl;
use quipu_wire::{Client, ClientIdentity, ClientOptions};

use crate::cli::RemoteArgs;
use crate::output::note;

/// A store that a verb works on. Cloning gives another handle to it.
#[derive(Clone)]
pub(crate) enum Store {
    /// A directory's.
    Here(Engine),
    /// A database's.
    Base(PostgresStore),
    /// A server's.
    There(Client),
}

impl Store {
    /// Ends the work on it in order.
    pub(crate) fn close(self) -> Result<(), StorageError> {
        match self {
            Self::Here(engine) => engine.close(),
            Self::Base(store) => {
                block_on(store.close());
                Ok(())
            }
            Self::There(_) => Ok(()),
        }
    }

    /// Whether appends that are begun in an order are made in it, although none waits for the one
    /// before. Requests to a server, and statements to a database, may overtake each other.
    pub(crate) fn keeps_order(&self) -> bool {
        matches!(self, Self::Here(_))
    }
}

impl Deref for Store {
    type Target = dyn EventStore;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Here(engine) => engine,
            Self::Base(store) => store,
            Self::There(client) => client,
        }
    }
}

/// Where a verb finds its store.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The directory that holds the log.
    pub(crate) data: PathBuf,
    /// The server to ask instead.
    pub(crate) remote: RemoteArgs,
}

impl Target {
    /// What a text names: a database, a server or a directory. How to show oneself to a server is as
    /// for this target.
    pub(crate) fn named(&self, text: &str) -> anyhow::Result<Self> {
        let mut remote = RemoteArgs { url: None, postgres: None, ..self.remote.clone() };
        let mut data = self.data.clone();
        if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            let database = DatabaseUrl::new(text);
            database.options()?;
            remote.postgres = Some(database);
        } else if text.starts_with("http://") || text.starts_with("https://") {
            remote.url = Some(text.to_owned());
        } else {
            data = PathBuf::from(text);
        }
        Ok(Self { data, remote })
    }

    /// The store, to read from it.
    pub(crate) fn for_reading(&self) -> anyhow::Result<Store> {
        self.open(for_reading, |options| options)
    }

    /// The store, to change it; it must exist.
    pub(crate) fn for_writing(&self) -> anyhow::Result<Store> {
        self.open(for_writing, |options| options)
    }

    /// As [`for_writing`](Self::for_writing), and makes the store where it is missing. A server gives
    /// system rights to administrators, an open one to whoever asks.
    pub(crate) fn for_writing_or_new(&self, rights: Rights) -> anyhow::Result<Store> {
        let base = |options: PostgresOptions| options.create(true).rights(rights);
        self.open_with(rights, |data| for_writing_or_new(data, rights), base)
    }

    /// The server, where the verb works on one.
    pub(crate) fn server(&self) -> anyhow::Result<Option<Client>> {
        self.server_with(Rights::Application)
    }

    fn server_with(&self, rights: Rights) -> anyhow::Result<Option<Client>> {
        let Some(url) = &self.remote.url else { return Ok(None) };
        let options = ClientOptions { rights, ..options(&self.remote)? };
        let client = block_on(Client::connect(url, options));
        Ok(Some(client.with_context(|| format!("could not connect to {url}"))?))
    }

    fn open(
        &self,
        here: impl FnOnce(&Path) -> Result<Engine, OpenError>,
        base: impl FnOnce(PostgresOptions) -> PostgresOptions,
    ) -> anyhow::Result<Store> {
        self.open_with(Rights::Application, here, base)
    }

    fn open_with(
        &self,
        rights: Rights,
        here: impl FnOnce(&Path) -> Result<Engine, OpenError>,
        base: impl FnOnce(PostgresOptions) -> PostgresOptions,
    ) -> anyhow::Result<Store> {
        if let Some(database) = &self.remote.postgres {
            return Ok(Store::Base(block_on(base(database.options()?).open())?));
        }
        match self.server_with(rights)? {
            Some(client) => Ok(Store::There(client)),
            None => Ok(Store::Here(here(&self.data)?)),
        }
    }
}

/// What a client of a server is told.
fn options(remote: &RemoteArgs) -> anyhow::Result<ClientOptions> {
    let token = match &remote.token_file {
        Some(path) => Some(read(path)?.trim().to_owned()),
        // Not a flag: those are seen by everybody on the machine.
        None => std::env::var("QUIPU_TOKEN").ok().filter(|token| !token.is_empty()),
    };
    let identity = match (&remote.cert, &remote.key) {
        (Some(certificate), Some(key)) => {
            Some(ClientIdentity { certificate: read(certificate)?, key: read(key)? })
        }
        _ => None,
    };
    let ca = remote.ca.as_deref().map(read).transpose()?;
    Ok(ClientOptions { token, ca, identity, ..ClientOptions::default() })
}

fn read(path: impl AsRef<Path>) -> anyhow::Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}

/// Opens the store for reading. Works beside a process that writes to it.
pub(crate) fn for_reading(directory: &Path) -> Result<Engine, OpenError> {
    OpenOptions::new().read_only(true).open(directory)
}

/// Opens the store for writing; it must exist, and nobody else may write to it meanwhile.
pub(crate) fn for_writing(directory: &Path) -> Result<Engine, OpenError> {
    OpenOptions::new().open(directory).inspect(tell)
}

/// As [`for_writing`], and makes the store where it is missing.
pub(crate) fn for_writing_or_new(directory: &Path, rights: Rights) -> Result<Engine, OpenError> {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned());
    OpenOptions::new()
        .create(true)
        .name(name.as_deref().unwrap_or("quipu"))
        .rights(rights)
        .open(directory)
        .inspect(tell)
}

/// Says what opening had to mend.
fn tell(engine: &Engine) {
    let Recovery { torn_size, lost_run_count, .. } = *engine.recovery();
    if torn_size > 0 {
        note(&format!(
            "note: a crash had cut off a batch that was never acknowledged; its {torn_size} bytes \
             are kept aside"
        ));
    }
    if lost_run_count > 0 {
        note(&format!(
            "note: {lost_run_count} runs of the index were damaged or missing and are built again"
        ));
    }
}
