//! The query side: reading a read model through the definition that builds it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use quipu_groups::KeepError;
use sqlx::AssertSqlSafe;

use crate::projection::{Connection, Generation, Known, Projection, Stage};

/// A read model, to be read.
///
/// What is read are the tables of the version that this program knows, and only while it serves, or
/// did until a short time ago: a program never reads tables of another shape.
pub struct View<P: Projection> {
    known: Arc<Known<P>>,
}

/// Something that a read model can be asked: the typed form of a statement.
///
/// ```
/// use quipu::projection::{ApplyError, Generation, Projection};
/// use quipu::view::Question;
/// # use quipu::{Event, Recorded};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "door.opened")]
/// # struct Opened { #[tag] door: String }
/// # struct Doors;
/// # impl Projection for Doors {
/// #     type Event = Opened;
/// #     type Conn = sqlx::SqliteConnection;
/// #     const NAME: &'static str = "doors";
/// #     async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
/// #         sqlx::query(own.sql("CREATE TABLE {doors} (door TEXT)")).execute(conn).await?;
/// #         Ok(())
/// #     }
/// #     async fn apply(&self, _: &Recorded<Opened>, _: &mut Self::Conn, _: &Generation)
/// #         -> Result<(), ApplyError> { Ok(()) }
/// # }
///
/// struct TimesOpened<'a> { door: &'a str }
///
/// impl Question<Doors> for TimesOpened<'_> {
///     type Answer = Option<i64>;
///
///     async fn ask(
///         self,
///         conn: &mut sqlx::SqliteConnection,
///         own: &Generation,
///     ) -> Result<Option<i64>, sqlx::Error> {
///         let sql = own.stmt("SELECT opened FROM {doors} WHERE door = ?1");
///         sqlx::query_scalar(sql).bind(self.door).fetch_optional(conn).await
///     }
/// }
/// # fn is_question(_: impl Question<Doors>) {}
/// # is_question(TimesOpened { door: "front" });
/// ```
///
/// and then `app.view::<Doors>()?.ask(TimesOpened { door: "front" }).await?`.
pub trait Question<P: Projection>: Send {
    /// What is answered.
    type Answer: Send;

    /// Reads the answer.
    fn ask(
        self,
        conn: &mut P::Conn,
        generation: &Generation,
    ) -> impl Future<Output = Result<Self::Answer, sqlx::Error>> + Send;
}

impl<P: Projection> View<P> {
    pub(crate) fn new(known: Arc<Known<P>>) -> Self {
        Self { known }
    }

    /// Asks the read model something.
    ///
    /// # Errors
    ///
    /// See [`ViewError`].
    pub async fn ask<Q: Question<P>>(&self, question: Q) -> Result<Q::Answer, ViewError> {
        let mut reading = self.open().await?;
        let generation = &self.known.model.generation;
        question.ask(&mut reading.conn, generation).await.map_err(ViewError::Database)
    }

    /// Takes a connection to read with, until it is dropped.
    ///
    /// # Errors
    ///
    /// See [`ViewError`].
    pub async fn open(&self) -> Result<Reading<P>, ViewError> {
        let conn = self.known.model.open_to_read().await?;
        Ok(Reading { known: Arc::clone(&self.known), conn })
    }
}

/// A connection to a read model, to run statements of one's own.
pub struct Reading<P: Projection> {
    known: Arc<Known<P>>,
    conn: <P::Conn as Connection>::Held,
}

impl<P: Projection> Reading<P> {
    /// The connection.
    pub fn conn(&mut self) -> &mut P::Conn {
        &mut self.conn
    }

    /// Which tables are read.
    pub fn generation(&self) -> &Generation {
        &self.known.model.generation
    }

    /// A statement with the names of the tables that are read. See [`Generation::sql`].
    pub fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        self.generation().sql(text)
    }
}

impl<P: Projection> fmt::Debug for View<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("model", &self.known.model).finish()
    }
}

impl<P: Projection> fmt::Debug for Reading<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("model", &self.known.model).finish_non_exhaustive()
    }
}

/// Why a read model cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The application was not told of the projection: run it here, or
    /// [`view`](crate::projection::ProjectInto::view) it.
    #[error("the projection \"{projection}\" is not known here: run it, or view it")]
    Unknown {
        /// The projection's name.
        projection: &'static str,
    },
    /// It does not serve: it is still being built, or was retired some time ago.
    #[error("version {version} of the projection \"{projection}\" does not serve, it is {stage}")]
    NotServing {
        /// The projection's name.
        projection: &'static str,
        /// The version that this program knows.
        version: u32,
        /// What it is: `not begun`, `building` or `dropped`.
        stage: &'static str,
    },
    /// What is kept beside the read model could not be read.
    #[error("the read model could not be asked")]
    Unavailable(#[source] KeepError),
    /// The database did not answer a statement.
    #[error("the read model's database did not answer")]
    Database(#[source] sqlx::Error),
}

impl ViewError {
    pub(crate) fn not_serving<P: Projection>(stage: Option<Stage>) -> Self {
        let stage = stage.map_or("not begun", Stage::as_str);
        Self::NotServing { projection: P::NAME, version: P::VERSION, stage }
    }
}
