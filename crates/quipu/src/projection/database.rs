//! The databases that read models are in, as far as their keeping needs them.
//!
//! Statements are written once, with `$1` for what is bound; each database runs them.

use std::error::Error;
use std::ops::DerefMut;

use quipu_core::BoxFuture;

/// A connection to a database that read models can be in: `sqlx::SqliteConnection` and
/// `sqlx::PgConnection`, by the crate's features.
pub trait Connection: Backend {
    /// Where connections come from: `sqlx::SqlitePool`, `sqlx::PgPool`.
    type Pool: Clone + Send + Sync + 'static;
    /// A connection of the pool, until it is dropped.
    type Held: DerefMut<Target = Self> + Send + 'static;
    /// A transaction on a connection of the pool.
    type Open: DerefMut<Target = Self> + Send + 'static;

    /// Takes a connection.
    #[doc(hidden)]
    fn hold(pool: &Self::Pool) -> BoxFuture<'_, Result<Self::Held, sqlx::Error>>;

    /// Begins a transaction that may write. Dropping it undoes what was done in it.
    #[doc(hidden)]
    fn begin(pool: &Self::Pool) -> BoxFuture<'_, Result<Self::Open, sqlx::Error>>;

    /// Makes durable what was done.
    #[doc(hidden)]
    fn commit(open: Self::Open) -> BoxFuture<'static, Result<(), sqlx::Error>>;
}

/// How a database runs statements. Not to be implemented elsewhere.
#[doc(hidden)]
pub trait Backend: Send + Sized + 'static {
    /// What to add to a `SELECT` so that what it read cannot change before the transaction ends.
    const SHARED: &'static str;
    /// What to add so that nobody else can read it so either.
    const EXCLUSIVE: &'static str;
    /// Selects the texts of a JSON array that is bound as `$1`.
    const EACH_TEXT: &'static str;
    /// Selects both texts of each pair in a JSON array of pairs that is bound as `$1`.
    const EACH_PAIR: &'static str;

    /// Runs a statement. Answers how many rows it changed.
    fn run(&mut self, sql: String, cells: Vec<Cell>) -> BoxFuture<'_, Result<u64, sqlx::Error>>;

    /// Runs a statement that answers rows.
    fn rows(
        &mut self,
        sql: String,
        cells: Vec<Cell>,
    ) -> BoxFuture<'_, Result<Vec<Vec<Cell>>, sqlx::Error>>;

    /// Waits until no other transaction holds the same lock, and holds it until this one ends.
    fn lock(&mut self, key: i64) -> BoxFuture<'_, Result<(), sqlx::Error>>;

    /// What there is of that name.
    fn relation<'a>(
        &'a mut self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Relation>, sqlx::Error>>;

    /// Whether an error with this code says nothing about the statement, but that the database cannot
    /// work right now.
    fn is_outage_code(code: &str) -> bool;
}

/// A value in a row or for a statement.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every database knows each of them")]
pub enum Cell {
    Number(i64),
    Text(String),
    Nothing,
}

/// What a name stands for.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "nothing else is made or dropped")]
pub enum Relation {
    Table,
    View,
}

impl Cell {
    pub(super) fn number(&self) -> i64 {
        if let Self::Number(number) = self { *number } else { 0 }
    }

    pub(super) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }
}

impl From<u64> for Cell {
    /// Databases count up to 2^63 - 1, which no log reaches.
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Cell {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Whether an error says that the database is not there or cannot work right now.
pub(super) fn is_outage<C: Backend>(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| C::is_outage_code(&code)),
        _ => false,
    }
}

/// Whether one of an error's causes says so.
pub(super) fn is_outage_inside<C: Backend>(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<sqlx::Error>().is_some_and(is_outage::<C>) {
            return true;
        }
        cause = error.source();
    }
    false
}
