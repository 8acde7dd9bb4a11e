//! Read models in `SQLite`.

use quipu_core::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, SqlitePool, Transaction};

use super::database::{Backend, Cell, Connection, Relation};

impl Connection for SqliteConnection {
    type Pool = SqlitePool;
    type Held = PoolConnection<Sqlite>;
    type Open = Transaction<'static, Sqlite>;

    fn hold(pool: &Self::Pool) -> BoxFuture<'_, Result<Self::Held, sqlx::Error>> {
        Box::pin(pool.acquire())
    }

    fn begin(pool: &Self::Pool) -> BoxFuture<'_, Result<Self::Open, sqlx::Error>> {
        // With the right to write from the start: one that reads first and then finds another
        // transaction in its way would have to be undone.
        Box::pin(pool.begin_with("BEGIN IMMEDIATE"))
    }

    fn commit(open: Self::Open) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(open.commit())
    }
}

impl Backend for SqliteConnection {
    // A transaction that may write has the database to itself.
    const SHARED: &'static str = "";
    const EXCLUSIVE: &'static str = "";
    const EACH_TEXT: &'static str = "SELECT value FROM json_each($1)";
    // The condition tells the conflict clause that follows from that of a join.
    const EACH_PAIR: &'static str =
        "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each($1)
         WHERE true";

    fn run(&mut self, sql: String, cells: Vec<Cell>) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        Box::pin(async move {
            let done = bound(sql, cells).execute(self).await?;
            Ok(done.rows_affected())
        })
    }

    fn rows(
        &mut self,
        sql: String,
        cells: Vec<Cell>,
    ) -> BoxFuture<'_, Result<Vec<Vec<Cell>>, sqlx::Error>> {
        Box::pin(async move {
            let rows = bound(sql, cells).fetch_all(self).await?;
            rows.iter().map(cells_of).collect()
        })
    }

    fn lock(&mut self, _key: i64) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async { Ok(()) })
    }

    fn relation<'a>(
        &'a mut self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Relation>, sqlx::Error>> {
        Box::pin(async move {
            let sql = "SELECT type FROM sqlite_master WHERE name = $1".to_owned();
            let rows = self.rows(sql, vec![name.into()]).await?;
            let kind = rows.first().and_then(|row| row.first()).map(Cell::text);
            Ok(match kind {
                Some("table") => Some(Relation::Table),
                Some("view") => Some(Relation::View),
                _ => None,
            })
        })
    }

    fn is_outage_code(code: &str) -> bool {
        // The lower byte is the kind: perm, busy, locked, out of memory, read-only, i/o, corrupt, full,
        // cannot open, protocol, not a database.
        let kind = code.parse::<u32>().unwrap_or_default() & 0xff;
        matches!(kind, 3 | 5 | 6 | 7 | 8 | 10 | 11 | 13 | 14 | 15 | 26)
    }
}

fn bound(sql: String, cells: Vec<Cell>) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for cell in cells {
        query = match cell {
            Cell::Number(number) => query.bind(number),
            Cell::Text(text) => query.bind(text),
            Cell::Nothing => query.bind(None::<i64>),
        };
    }
    query
}

fn cells_of(row: &SqliteRow) -> Result<Vec<Cell>, sqlx::Error> {
    let cell = |index| match row.try_get::<Option<i64>, _>(index) {
        Ok(number) => Ok(number.map_or(Cell::Nothing, Cell::Number)),
        Err(_) => row.try_get(index).map(Cell::Text),
    };
    (0..row.len()).map(cell).collect()
}
