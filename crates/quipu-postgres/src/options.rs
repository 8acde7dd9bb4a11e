//! How to open a store: where the database is, and how much of it to use.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use quipu_core::Rights;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use crate::error::OpenError;
use crate::migrate::{self, Migrated};
use crate::store::PostgresStore;

/// Where a store is, and how to open it.
///
/// It is parsed from a URL as `psql` and other clients take it,
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`, and is printed without the
/// password. Two more parameters are ours: `schema`, where the store is (`quipu` unless told
/// otherwise), and `connections`, how many a node uses at most (16).
///
/// ```
/// use quipu_postgres::PostgresOptions;
///
/// let options: PostgresOptions = "postgres://ada:secret@db/shop?schema=orders".parse()?;
/// assert_eq!(options.to_string(), "postgres://ada@db:5432/shop?schema=orders");
/// # Ok::<(), quipu_postgres::ParseUrlError>(())
/// ```
#[derive(Clone)]
pub struct PostgresOptions {
    pub(crate) connect: PgConnectOptions,
    pub(crate) schema: String,
    pub(crate) connections: NonZeroU32,
    pub(crate) create: bool,
    pub(crate) name: Option<String>,
    pub(crate) rights: Rights,
    pub(crate) patience: Duration,
    pub(crate) answer_time: Duration,
}

impl PostgresOptions {
    /// The store in the schema `quipu` of a database.
    pub fn new(connect: PgConnectOptions) -> Self {
        Self {
            // Slow statements are for the database's own log to tell.
            connect: connect.disable_statement_logging().application_name("quipu"),
            schema: "quipu".to_owned(),
            connections: const { NonZeroU32::new(16).expect("16 is not 0") },
            create: false,
            name: None,
            rights: Rights::Application,
            patience: Duration::from_secs(10),
            answer_time: Duration::from_secs(30),
        }
    }

    /// The schema that the store is in.
    ///
    /// # Errors
    ///
    /// [`ParseUrlError::Schema`] if it is not 1 to 48 lower-case letters, digits and underscores that
    /// do not begin with a digit.
    pub fn schema(mut self, schema: &str) -> Result<Self, ParseUrlError> {
        let is_plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
        let is_valid = (1..=48).contains(&schema.len())
            && schema.chars().all(is_plain)
            && !schema.starts_with(|it: char| it.is_ascii_digit())
            && !schema.starts_with("pg_");
        if !is_valid {
            return Err(ParseUrlError::Schema { schema: schema.to_owned() });
        }
        schema.clone_into(&mut self.schema);
        Ok(self)
    }

    /// How many connections to the database are used at most. One more listens for wake-ups.
    #[must_use]
    pub fn connections(mut self, count: NonZeroU32) -> Self {
        self.connections = count;
        self
    }

    /// Whether to make the store where there is none. A store that is older than the program is
    /// never changed by opening it, see [`migrate`](Self::migrate).
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The name of a store that is made; `quipu` unless told otherwise.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// What the handle may write.
    #[must_use]
    pub fn rights(mut self, rights: Rights) -> Self {
        self.rights = rights;
        self
    }

    /// How long to wait for a connection, to a free one or to the database, before giving up.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long the database may take to answer a statement: a network that hangs never does. A read
    /// that got no answer in this time has failed, a page of it or what comes with it. An append is
    /// answered with [`OutcomeUnknown`](quipu_core::AppendError::OutcomeUnknown); one that waits for
    /// another's lock is given up after half of it, and nothing of it was done
    /// ([`Overloaded`](quipu_core::AppendError::Overloaded)). 30 seconds unless told otherwise.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_time = time;
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(self) -> Result<PostgresStore, OpenError> {
        PostgresStore::open(self).await
    }

    /// Makes the store, or brings it up to what this program needs, and tells what was done. Nodes
    /// that run an older program have to be stopped before, unless the changelog says otherwise.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn migrate(&self) -> Result<Migrated, OpenError> {
        migrate::migrate(self).await
    }

    /// What would be done by [`migrate`](Self::migrate).
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn look(&self) -> Result<Migrated, OpenError> {
        migrate::look(self).await
    }

    /// Where the database is, for people: without the password.
    pub(crate) fn target(&self) -> String {
        let database = self.connect.get_database().unwrap_or(self.connect.get_username());
        let place = match self.connect.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => self.connect.get_host().to_owned(),
        };
        let user = self.connect.get_username();
        format!("postgres://{user}@{place}:{}/{database}", self.connect.get_port())
    }
}

impl fmt::Display for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target())?;
        if self.schema == "quipu" { Ok(()) } else { write!(f, "?schema={}", self.schema) }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PostgresOptions {
    type Err = ParseUrlError;

    fn from_str(url: &str) -> Result<Self, ParseUrlError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(ParseUrlError::Scheme);
        }
        let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
        let mut theirs = Vec::new();
        let (mut schema, mut connections) = (None, None);
        for parameter in parameters.split('&').filter(|it| !it.is_empty()) {
            match parameter.split_once('=') {
                Some(("schema", value)) => schema = Some(value),
                Some(("connections", value)) => {
                    connections = Some(value.parse().map_err(|_| ParseUrlError::Connections)?);
                }
                _ => theirs.push(parameter),
            }
        }
        let url = if theirs.is_empty() {
            place.to_owned()
        } else {
            format!("{place}?{}", theirs.join("&"))
        };
        // The cause may repeat the URL, and so the password.
        let connect = PgConnectOptions::from_str(&url).map_err(|_| ParseUrlError::Url)?;
        let mut options = Self::new(connect);
        if let Some(connections) = connections {
            options = options.connections(connections);
        }
        match schema {
            Some(schema) => options.schema(schema),
            None => Ok(options),
        }
    }
}

/// Why a text does not say where a store is. The text is not repeated: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseUrlError {
    /// It does not begin with `postgres://`.
    #[error("the address of a database begins with postgres://")]
    Scheme,
    /// It is not `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or a parameter's value is wrong.
    /// Special characters in a password are written as `%` and two digits.
    #[error(
        "the address is not postgres://USER:PASSWORD@HOST:PORT/DATABASE with known parameters; \
         special characters in it are written as %XX"
    )]
    Url,
    /// A schema's name has lower-case letters, digits and underscores only.
    #[error(
        "\"{schema}\" cannot be the schema: it has 1 to 48 lower-case letters, digits and \
         underscores, and begins with neither a digit nor pg_"
    )]
    Schema {
        /// What was given.
        schema: String,
    },
    /// The number of connections is not a number above 0.
    #[error("connections= takes a number above 0")]
    Connections,
}
