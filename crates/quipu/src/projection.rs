//! Projections: read models that follow the log, each event in them exactly once.
//!
//! A [`Projection`] says which events it reads, which tables it fills, and what each event changes in
//! them. Everything else is seen to. Where a row is a fold of the events of one key, a
//! [`Document`] does without tables and statements.
//!
//! - **Exactly once.** What an event changes and the checkpoint that says so are one transaction of
//!   the read model's own database. After a crash nothing is missing and nothing is there twice.
//! - **One at a time.** Of several instances one runs, under a lease. The epoch of the lease is checked
//!   in each transaction, so that one that was replaced cannot change anything.
//! - **Order.** Events of one stream, or of one tag ([`by_tag`](ProjectInto::by_tag)), come in the
//!   order of the log; partitions run side by side.
//! - **Errors.** An event that cannot be applied is tried again and then stops its partition, unless
//!   [`on_error`](ProjectInto::on_error) says otherwise. A database that is down is waited for.
//! - **Versions.** A new [`VERSION`](Projection::VERSION) is built in tables of its own beside the one
//!   that serves, and then [promoted](RunningProjection::promote).
//!
//! What is kept beside the tables of a projection, in the same database:
//!
//! | table | of each version of each projection |
//! |---|---|
//! | `quipu_generations` | its state, the epoch of its runner, and the log that it follows |
//! | `quipu_places` | how far each range of slices has come |
//! | `quipu_parked` | events that were set aside, with the cause |
//! | `quipu_left_out` | events that were skipped or dropped: when, by which epoch, why |
//! | `quipu_relations` | its tables, so that they can be retired |
//!
//! Side effects do not belong into a projection: it may be built again at any time.

mod books;
mod build;
mod database;
mod documents;
mod generation;
mod handler;
mod keeping;
mod lifecycle;
#[cfg(feature = "postgres")]
mod postgres;
mod running;
#[cfg(feature = "sqlite")]
mod sqlite;
mod wait;

use std::error::Error;
use std::future::Future;

use crate::event::EventSet;
use crate::recorded::{Erased, Recorded};

pub use build::{Project, ProjectError, ProjectInto};
pub use database::Connection;
#[doc(hidden)]
pub use database::{Backend, Cell, Relation};
#[cfg(feature = "postgres")]
pub use documents::PgDocuments;
#[cfg(feature = "sqlite")]
pub use documents::SqliteDocuments;
pub use documents::{Document, Documents};
pub use generation::Generation;
pub use running::{Progress, RunningProjection};
pub use wait::{WaitError, WaitFor};

#[cfg(feature = "sqlite")]
pub(crate) use handler::Step;
pub(crate) use lifecycle::Stage;
pub(crate) use running::Known;

/// Why an event could not be applied: any error, `?` makes it one.
///
/// Where a [`sqlx::Error`] among its causes says that the database is not there or is too busy, the
/// event is not at fault, and it is tried again for as long as it takes.
pub type ApplyError = Box<dyn Error + Send + Sync>;

/// What builds a read model: which events it reads, its tables, and what each event changes in them.
///
/// ```
/// use quipu::projection::{ApplyError, Generation, Projection};
/// use quipu::{Event, Quipu, Recorded};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "door.opened")]
/// struct Opened { #[tag] door: String }
///
/// struct Doors;
///
/// impl Projection for Doors {
///     type Event = Opened;
///     type Conn = sqlx::SqliteConnection;
///     const NAME: &'static str = "doors";
///
///     async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
///         let sql = own.sql("CREATE TABLE {doors} (door TEXT PRIMARY KEY, opened INTEGER)");
///         sqlx::query(sql).execute(conn).await?;
///         Ok(())
///     }
///
///     async fn apply(
///         &self,
///         opened: &Recorded<Opened>,
///         conn: &mut Self::Conn,
///         own: &Generation,
///     ) -> Result<(), ApplyError> {
///         let sql = own.stmt(
///             "INSERT INTO {doors} VALUES (?1, 1) ON CONFLICT DO UPDATE SET opened = opened + 1",
///         );
///         sqlx::query(sql).bind(&opened.event.door).execute(conn).await?;
///         Ok(())
///     }
/// }
///
/// # use quipu::{Aggregate, Command, Ctx, Events, Evolve, events};
/// # #[derive(Aggregate, Clone)]
/// # #[aggregate(events = Opened)]
/// # struct Door { #[key] door: String }
/// # impl Evolve for Door { fn evolve(&mut self, _: &Opened) {} }
/// # struct Open;
/// # impl Command for Open {
/// #     type Model = Door;
/// #     type Error = std::convert::Infallible;
/// #     fn model(&self) -> Door { Door::of("front".to_owned()) }
/// #     fn decide(&self, _: &Door, _: &Ctx) -> Result<Events, Self::Error> {
/// #         Ok(events![Opened { door: "front".into() }])
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
/// let pool = options.connect("sqlite::memory:").await?;
/// let app = Quipu::in_memory();
/// let doors = app.project(Doors).into(pool).spawn().await?;
///
/// let done = app.execute(Open).await?;
/// app.wait_for::<Doors>(done.position).await?;
///
/// let mut reading = app.view::<Doors>()?.open().await?;
/// let sql = reading.sql("SELECT opened FROM {doors} WHERE door = 'front'");
/// let opened: i64 = sqlx::query_scalar(sql).fetch_one(reading.conn()).await?;
/// assert_eq!(opened, 1);
/// # drop(reading);
/// doors.stop().await?;
/// # Ok(())
/// # }
/// ```
pub trait Projection: Send + Sync + 'static {
    /// The events it reads.
    type Event: EventSet;
    /// What it writes through: `sqlx::SqliteConnection` or `sqlx::PgConnection`.
    type Conn: Connection;
    /// Its name: lower-case letters, digits and underscores, at most 40.
    const NAME: &'static str;
    /// Raise it when the tables or what is in them change: a new version is built anew beside the one
    /// that serves.
    const VERSION: u32 = 1;

    /// Makes the tables. Their names are in braces, `{account_list}`, and become those of this version.
    /// Called once, in a transaction, before the first event.
    fn setup(
        &self,
        conn: &mut Self::Conn,
        generation: &Generation,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Applies one event. It may be called again for the same event, but only after what it did was
    /// undone: do everything through `conn`, in whose transaction the checkpoint moves too, and neither
    /// commit it nor roll it back.
    fn apply(
        &self,
        event: &Recorded<Self::Event>,
        conn: &mut Self::Conn,
        generation: &Generation,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Applies several events, in the order of the log: one after the other, unless this is written.
    ///
    /// Write it where statements for many rows at once are worth it: a statement for each event costs
    /// some tens of microseconds. It must do what [`apply`](Self::apply) does for each of them. Where
    /// it fails all of it is undone, and the runner finds the event at fault by giving them one by
    /// one; so errors need not say which it was. At most a [`batch`](ProjectInto::batch) comes at a
    /// time.
    fn apply_batch(
        &self,
        events: &[Recorded<Self::Event>],
        conn: &mut Self::Conn,
        generation: &Generation,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send {
        async move {
            for event in events {
                self.apply(event, &mut *conn, generation).await?;
            }
            Ok(())
        }
    }

    /// Applies an event whose data was erased. By default it changes nothing.
    fn apply_erased(
        &self,
        event: &Recorded<Erased>,
        conn: &mut Self::Conn,
        generation: &Generation,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send {
        let _ = (event, conn, generation);
        async { Ok(()) }
    }
}
