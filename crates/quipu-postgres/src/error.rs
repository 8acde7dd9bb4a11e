//! What can go wrong between the contract and the database.

use std::io;
use std::time::Duration;

use quipu_core::{AppendError, CheckpointError, ReadError, StorageError, SubscribeError};

/// A statement that failed, by its name in `sql`.
#[derive(Debug, thiserror::Error)]
#[error("the database failed at the statement \"{statement}\"")]
pub struct DatabaseError {
    statement: &'static str,
    #[source]
    cause: sqlx::Error,
}

impl DatabaseError {
    pub(crate) fn new(statement: &'static str, cause: sqlx::Error) -> Self {
        Self { statement, cause }
    }

    /// The name of the statement.
    pub fn statement(&self) -> &'static str {
        self.statement
    }

    /// What the database, or the way to it, answered.
    pub fn cause(&self) -> &sqlx::Error {
        &self.cause
    }

    pub(crate) fn into_cause(self) -> sqlx::Error {
        self.cause
    }

    fn code(&self) -> Option<String> {
        self.cause.as_database_error()?.code().map(std::borrow::Cow::into_owned)
    }

    /// Whether no answer came in time, see [`late`].
    fn is_late(&self) -> bool {
        match &self.cause {
            sqlx::Error::Io(cause) => {
                cause.kind() == io::ErrorKind::TimedOut && cause.raw_os_error().is_none()
            }
            _ => false,
        }
    }

    /// What the failure asks for.
    pub(crate) fn kind(&self) -> Failure {
        let code = self.code();
        match (&self.cause, code.as_deref()) {
            // Another transaction was in the way, and this one is undone.
            (_, Some("40001" | "40P01")) => Failure::InTheWay,
            (_, Some("QP002" | "25006")) => Failure::OtherLife,
            (_, Some("53100")) => Failure::DiskFull,
            (_, Some("55P03")) => Failure::Locked,
            // Too many connections, a start that takes its time.
            (_, Some("53300" | "57P03")) | (sqlx::Error::PoolTimedOut, _) => Failure::Busy,
            (sqlx::Error::PoolClosed, _) => Failure::Closed,
            // The session was ended, maybe in the middle of a commit.
            (_, Some("57P01" | "57P02" | "08006" | "08003" | "08000")) => Failure::Cut,
            (sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed, _) => {
                Failure::Cut
            }
            _ => Failure::Other,
        }
    }
}

/// The failure of a statement that the database did not answer in time.
pub(crate) fn late() -> sqlx::Error {
    let text = "the database did not answer in time";
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// Whether a statement that changes nothing is to be run again: on another connection, where this one
/// broke. A server that was started again leaves a pool full of broken ones.
#[derive(Default)]
pub(crate) struct Again {
    count: u32,
}

impl Again {
    const COUNT_MAX: u32 = 40;

    /// Waits a little and answers true if it is.
    pub(crate) async fn helps(&mut self, error: &DatabaseError) -> bool {
        self.count += 1;
        // Who has waited for as long as is allowed does not begin again.
        let is_over = error.is_late() || self.count > Self::COUNT_MAX;
        if error.kind() != Failure::Cut || is_over {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2) * self.count).await;
        true
    }
}

/// What a failure asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// To try again: nothing was done.
    InTheWay,
    /// To look which life of the log it is, then to try again: nothing was done.
    OtherLife,
    /// To wait for space: nothing was done.
    DiskFull,
    /// To wait for who holds a lock: nothing was done.
    Locked,
    /// To wait: nothing was done.
    Busy,
    /// Nothing: the store is closed.
    Closed,
    /// To find out what was done.
    Cut,
    /// To be told: nothing was done.
    Other,
}

impl From<DatabaseError> for StorageError {
    fn from(error: DatabaseError) -> Self {
        Self::new(error)
    }
}

pub(crate) fn read_error(error: DatabaseError) -> ReadError {
    match error.kind() {
        Failure::Closed => ReadError::Closed,
        _ => ReadError::Storage(error.into()),
    }
}

pub(crate) fn subscribe_error(error: ReadError) -> SubscribeError {
    match error {
        ReadError::Closed => SubscribeError::Closed,
        ReadError::Storage(cause) => SubscribeError::Storage(cause),
        other => SubscribeError::Storage(StorageError::new(other)),
    }
}

/// What an append answers where nothing was done.
pub(crate) fn append_error(error: DatabaseError) -> AppendError {
    match error.kind() {
        Failure::DiskFull => AppendError::DiskFull,
        Failure::Locked | Failure::Busy => AppendError::Overloaded,
        Failure::Closed => AppendError::Closed,
        _ => AppendError::Storage(error.into()),
    }
}

pub(crate) fn checkpoint_error(error: DatabaseError) -> CheckpointError {
    CheckpointError::Storage(error.into())
}

/// A row that the database cannot have from us.
pub(crate) fn corrupt(what: impl std::fmt::Display) -> StorageError {
    StorageError::new(io::Error::new(io::ErrorKind::InvalidData, what.to_string()))
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The database is not there, refuses the user or the password, or lacks the database that was
    /// named. The cause says which.
    #[error("could not connect to {target}")]
    Connect {
        /// Where it was looked for, without the password.
        target: String,
        /// What came back.
        #[source]
        cause: sqlx::Error,
    },
    /// The schema has tables, and none of them are ours. Name another schema.
    #[error("the schema \"{schema}\" belongs to another program: it has {tables}")]
    OtherProgram {
        /// The schema.
        schema: String,
        /// Some of what is in it.
        tables: String,
    },
    /// There is no store in the schema, and none was to be made. Run `quipu migrate`.
    #[error("there is no store in the schema \"{schema}\"")]
    Missing {
        /// The schema.
        schema: String,
    },
    /// The store is older than this program. Run `quipu migrate`.
    #[error("the schema \"{schema}\" is at migration {found}, this program needs {needed}")]
    Older {
        /// The schema.
        schema: String,
        /// The last migration that it has.
        found: i32,
        /// The last one that this program knows.
        needed: i32,
    },
    /// The store is newer than this program. Use a newer program.
    #[error(
        "the schema \"{schema}\" is at migration {found}, this program knows them up to {known}"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// The last migration that it has.
        found: i32,
        /// The last one that this program knows.
        known: i32,
    },
    /// The server is a standby, and a store needs the primary.
    #[error("{target} is a standby: a store needs the primary")]
    Standby {
        /// The server.
        target: String,
    },
    /// The server is too old, or its database has an encoding other than UTF-8.
    #[error("{0}")]
    Unfit(String),
    /// A statement failed: for missing rights, the cause says on what.
    #[error("could not open the store")]
    Database(#[source] DatabaseError),
}

impl OpenError {
    /// Whether trying again may help: the database is starting, down, or full of connections.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { cause, .. } => is_transient(cause),
            Self::Standby { .. } => true,
            Self::Database(error) => matches!(
                error.kind(),
                Failure::Locked
                    | Failure::Busy
                    | Failure::Cut
                    | Failure::InTheWay
                    | Failure::OtherLife
            ),
            _ => false,
        }
    }
}

fn is_transient(cause: &sqlx::Error) -> bool {
    match cause {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("53300" | "57P03" | "57P01" | "57P02"))
        }
        _ => false,
    }
}
