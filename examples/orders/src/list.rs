//! The read model: a list of orders, in `SQLite`.

use std::path::Path;
use std::time::Duration;

use quipu::Recorded;
use quipu::projection::{ApplyError, Generation, Projection};
use quipu::view::Question;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow};
use sqlx::{FromRow, Row as _, SqliteConnection, SqlitePool};

use crate::order::{OrderEvent, State};

/// What the list says of an order in more than one currency, which has no one total and cannot be
/// placed.
pub(crate) const SEVERAL: &str = "several";

/// Keeps a row for each order: its customer, its state, and what it comes to.
pub(crate) struct OrderList;

/// Opens the database that the list is in, or makes it.
pub(crate) async fn open_database(file: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(5));
    SqlitePoolOptions::new().max_connections(4).connect_with(options).await
}

impl Projection for OrderList {
    type Event = OrderEvent;
    type Conn = SqliteConnection;
    const NAME: &'static str = "order_list";

    async fn setup(&self, conn: &mut Self::Conn, own: &Generation) -> Result<(), ApplyError> {
        let sql = own.sql(
            "CREATE TABLE {order_list} (order_id TEXT PRIMARY KEY, customer TEXT NOT NULL,
             state TEXT NOT NULL, cents INTEGER NOT NULL, currency TEXT NOT NULL)",
        );
        sqlx::query(sql).execute(conn).await?;
        Ok(())
    }

    async fn apply(
        &self,
        recorded: &Recorded<OrderEvent>,
        conn: &mut Self::Conn,
        own: &Generation,
    ) -> Result<(), ApplyError> {
        let (order, state) = match &recorded.event {
            OrderEvent::Created(created) => {
                let sql = own.stmt("INSERT INTO {order_list} VALUES (?1, ?2, ?3, 0, '')");
                let insert = sqlx::query(sql).bind(&created.order.0).bind(&created.customer);
                insert.bind(State::Open.as_str()).execute(conn).await?;
                return Ok(());
            }
            OrderEvent::Added(added) => {
                let sql = own.stmt(
                    "UPDATE {order_list} SET
                     cents = CASE WHEN currency IN ('', ?3) THEN cents + ?2 ELSE 0 END,
                     currency = CASE WHEN currency IN ('', ?3) THEN ?3 ELSE ?4 END
                     WHERE order_id = ?1",
                );
                let update = sqlx::query(sql).bind(&added.order.0).bind(added.cents.cast_signed());
                update.bind(&added.currency).bind(SEVERAL).execute(conn).await?;
                return Ok(());
            }
            OrderEvent::Placed(placed) => (&placed.order, State::Placed),
            OrderEvent::Paid(paid) => (&paid.order, State::Paid),
            OrderEvent::Shipped(shipped) => (&shipped.order, State::Shipped),
            OrderEvent::Cancelled(cancelled) => (&cancelled.order, State::Cancelled),
        };
        let sql = own.stmt("UPDATE {order_list} SET state = ?2 WHERE order_id = ?1");
        sqlx::query(sql).bind(&order.0).bind(state.as_str()).execute(conn).await?;
        Ok(())
    }
}

/// An order in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) order_id: String,
    pub(crate) customer: String,
    pub(crate) state: String,
    pub(crate) cents: i64,
    /// Empty while nothing is in the order.
    pub(crate) currency: String,
}

impl FromRow<'_, SqliteRow> for Row {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            order_id: row.try_get("order_id")?,
            customer: row.try_get("customer")?,
            state: row.try_get("state")?,
            cents: row.try_get("cents")?,
            currency: row.try_get("currency")?,
        })
    }
}

/// Which orders there are, by their ids.
pub(crate) struct AllOrders;

impl Question<OrderList> for AllOrders {
    type Answer = Vec<Row>;

    async fn ask(
        self,
        conn: &mut SqliteConnection,
        own: &Generation,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let sql = own.stmt("SELECT * FROM {order_list} ORDER BY order_id");
        sqlx::query_as(sql).fetch_all(conn).await
    }
}

/// Which orders are in this state, by their ids.
pub(crate) struct OrdersThatAre(pub(crate) State);

impl Question<OrderList> for OrdersThatAre {
    type Answer = Vec<Row>;

    async fn ask(
        self,
        conn: &mut SqliteConnection,
        own: &Generation,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let sql = own.stmt("SELECT * FROM {order_list} WHERE state = ?1 ORDER BY order_id");
        sqlx::query_as(sql).bind(self.0.as_str()).fetch_all(conn).await
    }
}
