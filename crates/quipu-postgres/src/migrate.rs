//! The schema: made, brought up to date, and looked at before anything is done with it.
//!
//! Migrations are numbered and only ever added to. One transaction applies all that are missing, so
//! that a schema is at one of them or at none.

use quipu_core::LogId;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::error::{DatabaseError, OpenError};
use crate::options::PostgresOptions;
use crate::sql::{Sql, in_schema};

/// A numbered change of the schema.
struct Migration {
    number: i32,
    name: &'static str,
    text: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "log", text: include_str!("../migrations/0001_log.sql") },
    Migration { number: 2, name: "outbox", text: include_str!("../migrations/0002_outbox.sql") },
    Migration { number: 3, name: "leases", text: include_str!("../migrations/0003_leases.sql") },
    Migration {
        number: 4,
        name: "conditions",
        text: include_str!("../migrations/0004_conditions.sql"),
    },
];

/// The last migration that this program knows.
const NEWEST: i32 = MIGRATIONS[MIGRATIONS.len() - 1].number;

/// The oldest server that will do.
const SERVER_VERSION_MIN: i32 = 130_000;

/// What migrating did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it is there to be read")]
pub struct Migrated {
    /// Where the store is, without the password.
    pub target: String,
    /// The schema.
    pub schema: String,
    /// The migration that the schema was at; 0 where there was no store.
    pub from: i32,
    /// The migration that this program needs.
    pub to: i32,
    /// The names of the migrations between them.
    pub applied: Vec<String>,
}

pub(crate) async fn migrate(options: &PostgresOptions) -> Result<Migrated, OpenError> {
    let sql = Sql::new(&options.schema);
    let mut connection = connect(options).await?;
    let found = look_at(&sql, options, &mut connection).await?.unwrap_or(0);
    let migrated = report(options, found);
    if found < NEWEST {
        apply(&sql, options, &mut connection).await.map_err(OpenError::Database)?;
    }
    connection.close().await.ok();
    Ok(migrated)
}

pub(crate) async fn look(options: &PostgresOptions) -> Result<Migrated, OpenError> {
    let sql = Sql::new(&options.schema);
    let mut connection = connect(options).await?;
    let found = look_at(&sql, options, &mut connection).await?.unwrap_or(0);
    Ok(report(options, found))
}

fn report(options: &PostgresOptions, from: i32) -> Migrated {
    let missing = MIGRATIONS.iter().filter(|migration| migration.number > from);
    Migrated {
        target: options.target(),
        schema: options.schema.clone(),
        from,
        to: NEWEST,
        applied: missing.map(|migration| migration.name.to_owned()).collect(),
    }
}

pub(crate) async fn connect(options: &PostgresOptions) -> Result<PgConnection, OpenError> {
    let connecting = PgConnection::connect_with(&options.connect);
    let connected = match tokio::time::timeout(options.patience, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    };
    connected.map_err(|cause| OpenError::Connect { target: options.target(), cause })
}

/// Makes sure that the schema is what this program needs; makes it where there is none and that is
/// wanted.
pub(crate) async fn check(
    sql: &Sql,
    options: &PostgresOptions,
    connection: &mut PgConnection,
) -> Result<(), OpenError> {
    let schema = options.schema.clone();
    match look_at(sql, options, connection).await? {
        Some(found) if found == NEWEST => Ok(()),
        Some(found) => Err(OpenError::Older { schema, found, needed: NEWEST }),
        None if options.create => {
            apply(sql, options, connection).await.map_err(OpenError::Database)
        }
        None => Err(OpenError::Missing { schema }),
    }
}

/// The migration that the schema is at; none where there is nothing yet.
async fn look_at(
    sql: &Sql,
    options: &PostgresOptions,
    connection: &mut PgConnection,
) -> Result<Option<i32>, OpenError> {
    let failed = |cause| OpenError::Database(sql.look_at_schema.failed(cause));
    let looked = sqlx::query(sql.look_at_schema.text()).bind(&sql.schema);
    let row = looked.fetch_one(&mut *connection).await.map_err(failed)?;
    let version: i32 = row.try_get(5).map_err(failed)?;
    if version < SERVER_VERSION_MIN {
        let (major, needed) = (version / 10_000, SERVER_VERSION_MIN / 10_000);
        let what = format!("the server is PostgreSQL {major}, a store needs {needed} or newer");
        return Err(OpenError::Unfit(what));
    }
    if row.try_get(3).map_err(failed)? {
        return Err(OpenError::Standby { target: options.target() });
    }
    let encoding: String = row.try_get(4).map_err(failed)?;
    if encoding != "UTF8" {
        let what = format!("the database has the encoding {encoding}, a store needs UTF8");
        return Err(OpenError::Unfit(what));
    }
    let tables: String = row.try_get(2).map_err(failed)?;
    let is_ours: bool = row.try_get(1).map_err(failed)?;
    if !is_ours {
        let schema = sql.schema.clone();
        return if tables.is_empty() {
            Ok(None)
        } else {
            Err(OpenError::OtherProgram { schema, tables })
        };
    }
    let applied = list(sql, connection).await.map_err(|error| match error.cause() {
        sqlx::Error::ColumnNotFound(_) => {
            OpenError::OtherProgram { schema: sql.schema.clone(), tables: tables.clone() }
        }
        sqlx::Error::Database(cause) if cause.code().as_deref() == Some("42703") => {
            OpenError::OtherProgram { schema: sql.schema.clone(), tables: tables.clone() }
        }
        _ => OpenError::Database(error),
    })?;
    let Some((found, _)) = applied.last() else { return Ok(None) };
    if *found > NEWEST {
        let schema = sql.schema.clone();
        return Err(OpenError::Newer { schema, found: *found, known: NEWEST });
    }
    Ok(Some(*found))
}

async fn list(
    sql: &Sql,
    connection: &mut PgConnection,
) -> Result<Vec<(i32, String)>, DatabaseError> {
    let applied = sqlx::query_as(sql.list_migrations.text()).fetch_all(connection).await;
    applied.map_err(|cause| sql.list_migrations.failed(cause))
}

/// Applies what is missing, all of it or nothing. Of several nodes one does it.
async fn apply(
    sql: &Sql,
    options: &PostgresOptions,
    connection: &mut PgConnection,
) -> Result<(), DatabaseError> {
    let failed = |cause| sql.create_schema.failed(cause);
    let mut transaction = connection.begin().await.map_err(failed)?;
    let locked = sqlx::query(sql.lock_migrations.text()).bind(&sql.schema);
    let locked = locked.execute(&mut *transaction).await;
    locked.map_err(|cause| sql.lock_migrations.failed(cause))?;
    // Making a schema takes rights even where it is there: whoever made it for us gave it to us.
    let exists = sqlx::query(sql.look_at_schema.text()).bind(&sql.schema);
    let exists = exists.fetch_one(&mut *transaction).await.and_then(|row| row.try_get(0));
    if !exists.map_err(|cause| sql.look_at_schema.failed(cause))? {
        let made = sqlx::query(sql.create_schema.text()).execute(&mut *transaction).await;
        made.map_err(failed)?;
    }
    let made = sqlx::query(sql.create_migrations.text()).execute(&mut *transaction).await;
    made.map_err(|cause| sql.create_migrations.failed(cause))?;
    let applied = list(sql, &mut transaction).await?;
    for migration in MIGRATIONS {
        if applied.iter().any(|(number, _)| *number == migration.number) {
            continue;
        }
        let text = AssertSqlSafe(in_schema(migration.text, &sql.schema));
        let done = sqlx::raw_sql(text).execute(&mut *transaction).await;
        done.map_err(|cause| DatabaseError::new(migration.name, cause))?;
        let recorded = sqlx::query(sql.record_migration.text()).bind(migration.number);
        let recorded = recorded.bind(migration.name).execute(&mut *transaction).await;
        recorded.map_err(|cause| sql.record_migration.failed(cause))?;
    }
    let name = options.name.as_deref().unwrap_or("quipu");
    let made = sqlx::query(sql.create_store.text()).bind(LogId::generate().as_uuid()).bind(name);
    made.execute(&mut *transaction).await.map_err(|cause| sql.create_store.failed(cause))?;
    transaction.commit().await.map_err(failed)
}
