//! Read models that are folds: one document for each value of a tag, kept as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::{fmt, slice};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::database::{Cell, Connection};
use super::{ApplyError, Generation, Projection};
use crate::event::EventSet;
use crate::recorded::{Erased, Recorded};
use crate::view::{Question, View, ViewError};

/// One row of a read model that needs no statements: a state that the events of one key fold into.
///
/// [`Documents`] is the projection that keeps it, as JSON, in a table of its own. Write a
/// [`Projection`] instead where rows are to be found by anything but their key.
///
/// ```
/// use quipu::projection::{Document, SqliteDocuments};
/// use quipu::{Event, Quipu, Recorded};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "door.opened")]
/// struct Opened { #[tag] door: String }
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Door { times_opened: u32 }
///
/// impl Document for Door {
///     type Event = Opened;
///     const NAME: &'static str = "doors";
///     const KEY: &'static str = "door";
///
///     fn apply(&mut self, _opened: &Recorded<Opened>) {
///         self.times_opened += 1;
///     }
/// }
///
/// # use quipu::{Aggregate, Command, Ctx, Events, Evolve, events};
/// # #[derive(Aggregate, Clone)]
/// # #[aggregate(events = Opened)]
/// # struct Hinge { #[key] door: String }
/// # impl Evolve for Hinge { fn evolve(&mut self, _: &Opened) {} }
/// # struct Open;
/// # impl Command for Open {
/// #     type Model = Hinge;
/// #     type Error = std::convert::Infallible;
/// #     fn model(&self) -> Hinge { Hinge::of("front".to_owned()) }
/// #     fn decide(&self, _: &Hinge, _: &Ctx) -> Result<Events, Self::Error> {
/// #         Ok(events![Opened { door: "front".into() }])
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
/// # let pool = options.connect("sqlite::memory:").await?;
/// # let app = Quipu::in_memory();
/// let doors = app.project(SqliteDocuments::<Door>::new()).into(pool).spawn().await?;
///
/// let done = app.execute(Open).await?;
/// app.wait_for::<SqliteDocuments<Door>>(done.position).await?;
///
/// let front = app.view::<SqliteDocuments<Door>>()?.get("front").await?;
/// assert_eq!(front.map(|door| door.times_opened), Some(1));
/// # doors.stop().await?;
/// # Ok(())
/// # }
/// ```
pub trait Document: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The events it folds.
    type Event: EventSet;
    /// The projection's name, and the table's: lower-case letters, digits and underscores, at most 40.
    const NAME: &'static str;
    /// Raise it when the struct or what [`apply`](Self::apply) does changes: the documents are built
    /// anew, beside those that serve.
    const VERSION: u32 = 1;
    /// The name of the tag whose value is the key: `account`. An event with several such tags changes
    /// each of their documents, one without changes none.
    const KEY: &'static str;

    /// Takes one event into the document, which is `Self::default()` before the first.
    fn apply(&mut self, event: &Recorded<Self::Event>);

    /// Takes an event into the document whose data was erased. By default it changes nothing.
    fn apply_erased(&mut self, event: &Recorded<Erased>) {
        let _ = event;
    }
}

/// The projection of a [`Document`], into a table with the columns `key` and `document`.
///
/// [`SqliteDocuments`] and [`PgDocuments`] are shorter to write.
///
/// A batch of events takes two or three statements, however many documents it changes. Where an event
/// has several keys and [`partitions`](super::ProjectInto::partitions) are asked for, order is kept for
/// the first of them only; no change is lost.
pub struct Documents<D, C> {
    of: PhantomData<fn() -> (D, C)>,
}

/// Documents in `SQLite`.
#[cfg(feature = "sqlite")]
pub type SqliteDocuments<D> = Documents<D, sqlx::SqliteConnection>;

/// Documents in `PostgreSQL`.
#[cfg(feature = "postgres")]
pub type PgDocuments<D> = Documents<D, sqlx::PgConnection>;

impl<D, C> Documents<D, C> {
    /// The projection.
    pub fn new() -> Self {
        Self { of: PhantomData }
    }
}

impl<D: Document, C: Connection> Documents<D, C> {
    /// Changes the documents of the events' keys: they are read once, and written once.
    async fn change<E: Sync>(
        conn: &mut C,
        own: &Generation,
        events: &[Recorded<E>],
        change: impl Fn(&mut D, &Recorded<E>) + Send,
    ) -> Result<(), ApplyError> {
        let keys: BTreeSet<&str> = events.iter().flat_map(Self::keys).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let table = own.table(D::NAME);
        let mut documents = Self::held(conn, &table, &keys).await?;
        for event in events {
            for key in Self::keys(event) {
                change(documents.entry(key.to_owned()).or_default(), event);
            }
        }
        let pairs = documents.iter().map(|(key, document)| Ok((key, to_text(document)?)));
        let pairs = serde_json::to_string(&pairs.collect::<Result<Vec<_>, ApplyError>>()?)?;
        let sql = format!(
            "INSERT INTO {table} {} ON CONFLICT (key) DO UPDATE SET document = excluded.document",
            C::EACH_PAIR
        );
        conn.run(sql, vec![pairs.into()]).await?;
        Ok(())
    }

    /// The values of the event's tags that name a document.
    fn keys<E>(event: &Recorded<E>) -> impl Iterator<Item = &str> {
        event.tags.iter().filter_map(|tag| tag.strip_prefix(D::KEY)?.strip_prefix(':'))
    }

    /// The documents of these keys, which nobody else changes before the transaction ends.
    async fn held(
        conn: &mut C,
        table: &str,
        keys: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, D>, ApplyError> {
        let texts = serde_json::to_string(keys)?;
        // In the order of keys, so that two transactions wait for each other one way round only.
        let select = format!(
            "SELECT key, document FROM {table} WHERE key IN ({}) ORDER BY key{}",
            C::EACH_TEXT,
            C::EXCLUSIVE
        );
        let mut rows = conn.rows(select.clone(), vec![texts.clone().into()]).await?;
        if rows.len() < keys.len() {
            // A row that is not there cannot be held.
            let initial = to_text(&D::default())?;
            let pairs: Vec<_> = keys.iter().map(|key| (key, &initial)).collect();
            let sql = format!("INSERT INTO {table} {} ON CONFLICT (key) DO NOTHING", C::EACH_PAIR);
            conn.run(sql, vec![serde_json::to_string(&pairs)?.into()]).await?;
            rows = conn.rows(select, vec![texts.into()]).await?;
        }
        let documents: Result<BTreeMap<_, _>, _> = rows.iter().map(|row| document(row)).collect();
        Ok(documents?)
    }
}

fn to_text<D: Document>(document: &D) -> Result<String, ApplyError> {
    Ok(serde_json::to_string(document)?)
}

impl<D: Document, C: Connection> Projection for Documents<D, C> {
    type Event = D::Event;
    type Conn = C;
    const NAME: &'static str = D::NAME;
    const VERSION: u32 = D::VERSION;

    async fn setup(&self, conn: &mut C, own: &Generation) -> Result<(), ApplyError> {
        let text =
            format!("CREATE TABLE {{{}}} (key TEXT PRIMARY KEY, document TEXT NOT NULL)", D::NAME);
        conn.run(own.sql(&text).0, Vec::new()).await?;
        Ok(())
    }

    async fn apply(
        &self,
        event: &Recorded<D::Event>,
        conn: &mut C,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        Self::change(conn, own, slice::from_ref(event), D::apply).await
    }

    async fn apply_batch(
        &self,
        events: &[Recorded<D::Event>],
        conn: &mut C,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        Self::change(conn, own, events, D::apply).await
    }

    async fn apply_erased(
        &self,
        event: &Recorded<Erased>,
        conn: &mut C,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        Self::change(conn, own, slice::from_ref(event), D::apply_erased).await
    }
}

impl<D: Document, C: Connection> View<Documents<D, C>> {
    /// The document of a key, if there is one.
    ///
    /// # Errors
    ///
    /// See [`ViewError`].
    pub async fn get(&self, key: &str) -> Result<Option<D>, ViewError> {
        self.ask(Get { key }).await
    }

    /// The documents with the first keys after this one, in the order that the database has for
    /// texts, at most so many. `""` is before all of them.
    ///
    /// # Errors
    ///
    /// See [`ViewError`].
    pub async fn page(&self, after: &str, limit: u32) -> Result<Vec<(String, D)>, ViewError> {
        self.ask(Page { after, limit }).await
    }
}

struct Get<'a> {
    key: &'a str,
}

impl<D: Document, C: Connection> Question<Documents<D, C>> for Get<'_> {
    type Answer = Option<D>;

    async fn ask(self, conn: &mut C, own: &Generation) -> Result<Option<D>, sqlx::Error> {
        let sql = format!("SELECT key, document FROM {} WHERE key = $1", own.table(D::NAME));
        let rows = conn.rows(sql, vec![self.key.into()]).await?;
        rows.first().map(|row| Ok(document(row)?.1)).transpose()
    }
}

struct Page<'a> {
    after: &'a str,
    limit: u32,
}

impl<D: Document, C: Connection> Question<Documents<D, C>> for Page<'_> {
    type Answer = Vec<(String, D)>;

    async fn ask(self, conn: &mut C, own: &Generation) -> Result<Vec<(String, D)>, sqlx::Error> {
        let table = own.table(D::NAME);
        let sql = format!("SELECT key, document FROM {table} WHERE key > $1 ORDER BY key LIMIT $2");
        let rows = conn.rows(sql, vec![self.after.into(), self.limit.into()]).await?;
        rows.iter().map(|row| document(row)).collect()
    }
}

/// The key and the document of a row.
fn document<D: Document>(row: &[Cell]) -> Result<(String, D), sqlx::Error> {
    let [Cell::Text(key), Cell::Text(text)] = row else {
        return Err(sqlx::Error::Decode("a document is a row of two texts".into()));
    };
    let document = serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok((key.clone(), document))
}

impl<D, C> Default for Documents<D, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Document, C> fmt::Debug for Documents<D, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").field("name", &D::NAME).finish()
    }
}
