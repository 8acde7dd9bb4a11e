//! Read models in `PostgreSQL`.

use quipu_core::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row, Transaction};

use super::database::{Backend, Cell, Connection, Relation};

impl Connection for PgConnection {
    type Pool = PgPool;
    type Held = PoolConnection<Postgres>;
    type Open = Transaction<'static, Postgres>;

    fn hold(pool: &Self::Pool) -> BoxFuture<'_, Result<Self::Held, sqlx::Error>> {
        Box::pin(pool.acquire())
    }

    fn begin(pool: &Self::Pool) -> BoxFuture<'_, Result<Self::Open, sqlx::Error>> {
        Box::pin(pool.begin())
    }

    fn commit(open: Self::Open) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(open.commit())
    }
}

impl Backend for PgConnection {
    const SHARED: &'static str = " FOR SHARE";
    const EXCLUSIVE: &'static str = " FOR UPDATE";
    const EACH_TEXT: &'static str = "SELECT jsonb_array_elements_text($1::jsonb)";
    const EACH_PAIR: &'static str =
        "SELECT pair ->> 0, pair ->> 1 FROM jsonb_array_elements($1::jsonb) AS pair";

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

    fn lock(&mut self, key: i64) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let sql = "SELECT 1 FROM pg_advisory_xact_lock($1)".to_owned();
            self.run(sql, vec![key.into()]).await.map(drop)
        })
    }

    fn relation<'a>(
        &'a mut self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Relation>, sqlx::Error>> {
        Box::pin(async move {
            let sql = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)".to_owned();
            let rows = self.rows(sql, vec![name.into()]).await?;
            let kind = rows.first().and_then(|row| row.first()).map(Cell::text);
            Ok(match kind {
                Some("r" | "p") => Some(Relation::Table),
                Some("v") => Some(Relation::View),
                _ => None,
            })
        })
    }

    fn is_outage_code(code: &str) -> bool {
        // Connections, transactions that were in each other's way, resources, operators, the system;
        // a lock that was not free; a server that became a standby.
        ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
            || matches!(code, "55P03" | "25006")
    }
}

fn bound(sql: String, cells: Vec<Cell>) -> sqlx::query::Query<'static, Postgres, PgArguments> {
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

fn cells_of(row: &PgRow) -> Result<Vec<Cell>, sqlx::Error> {
    let cell = |index| match row.try_get::<Option<i64>, _>(index) {
        Ok(number) => Ok(number.map_or(Cell::Nothing, Cell::Number)),
        Err(_) => row.try_get(index).map(Cell::Text),
    };
    (0..row.len()).map(cell).collect()
}
