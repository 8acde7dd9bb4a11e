use quipu_core::{
    BoxFuture, ComponentKey, ComponentKind, ComponentRequest, ComponentState, ComponentStatus,
    PARKED_ITEMS_MAX, ParkedItem, Position, REQUESTS_MAX, Registry, RegistryError, Timestamp,
};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::{is_name, text};
use crate::error::{DatabaseError, corrupt};
use crate::rows::{i64_of, position_of, u64_of};
use crate::sql::Sql;
use crate::store::{PostgresStore, hung};

fn failed(error: DatabaseError) -> RegistryError {
    RegistryError::Storage(error.into())
}

fn check_key(key: &ComponentKey) -> Result<(), RegistryError> {
    let is_valid = is_name(&key.name) && !key.name.chars().any(char::is_control);
    if is_valid { Ok(()) } else { Err(RegistryError::InvalidName) }
}

impl Registry for PostgresStore {
    fn report(&self, mut status: ComponentStatus) -> BoxFuture<'_, Result<(), RegistryError>> {
        Box::pin(async move {
            check_key(&status.key)?;
            status.parked.truncate(PARKED_ITEMS_MAX);
            let statement = &self.shared.sql.report_component;
            let ComponentKey { kind, name, version } = &status.key;
            let report = sqlx::query(statement.text())
                .bind(kind.as_str())
                .bind(name)
                .bind(i64::from(*version))
                .bind(text(&status.owner))
                .bind(i64_of(status.epoch))
                .bind(status.state.as_str())
                .bind(i64_of(status.position.get()))
                .bind(i64_of(status.lag))
                .bind(status.last_error.as_deref().map(text))
                .bind(i64_of(status.parked_count))
                .bind(parked_to_bytes(&status.parked))
                .bind(status.reported_at.as_micros());
            let done = self.shared.execute(report).await;
            if done.map_err(|cause| failed(statement.failed(cause)))? == 1 {
                return Ok(());
            }
            let statement = &self.shared.sql.component_epoch;
            let of_epoch = |cause| failed(statement.failed(cause));
            let row = sqlx::query(statement.text()).bind(kind.as_str()).bind(name);
            let row = self.shared.fetch_optional(row.bind(i64::from(*version))).await;
            let current = row.map_err(of_epoch)?.map(|row| row.try_get(0)).transpose();
            let current = current.map_err(of_epoch)?.map_or(0, u64_of);
            Err(RegistryError::StaleEpoch { epoch: status.epoch, current })
        })
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<ComponentStatus>, RegistryError>> {
        Box::pin(async move {
            let statement = &self.shared.sql.list_components;
            let rows = self.shared.fetch(sqlx::query(statement.text())).await;
            let rows = rows.map_err(|cause| failed(statement.failed(cause)))?;
            let mut all = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>();
            if let Ok(all) = &mut all {
                all.sort_by(|left, right| left.key.cmp(&right.key));
            }
            all.map_err(|cause| RegistryError::Storage(corrupt(cause)))
        })
    }

    fn remove<'a>(&'a self, key: &'a ComponentKey) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            let statement = &self.shared.sql.remove_component;
            let removed = sqlx::query(statement.text()).bind(key.kind.as_str()).bind(&key.name);
            let removed = self.shared.execute(removed.bind(i64::from(key.version))).await;
            removed.map_err(|cause| failed(statement.failed(cause)))?;
            Ok(())
        })
    }

    fn request<'a>(
        &'a self,
        key: &'a ComponentKey,
        request: ComponentRequest,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            let sql = &self.shared.sql;
            let of_lock = |cause| failed(sql.lock_component.failed(cause));
            let mut connection = self.shared.pool.acquire().await.map_err(of_lock)?;
            let adding = add_request(sql, &mut connection, key, request);
            match self.shared.in_time(adding).await {
                Some(added) => added,
                None => Err(of_lock(hung(connection))),
            }
        })
    }

    fn take_requests<'a>(
        &'a self,
        key: &'a ComponentKey,
    ) -> BoxFuture<'a, Result<Vec<ComponentRequest>, RegistryError>> {
        Box::pin(async move {
            let statement = &self.shared.sql.take_requests;
            let rows = sqlx::query(statement.text()).bind(key.kind.as_str()).bind(&key.name);
            let rows = self.shared.fetch(rows.bind(i64::from(key.version))).await;
            let rows = rows.map_err(|cause| failed(statement.failed(cause)))?;
            let read = |row: &PgRow| {
                let position: Option<i64> = row.try_get(1)?;
                let position = position.map(|it| Position::new(it.cast_unsigned()));
                request_from_row(row.try_get(0)?, position)
            };
            let requests = rows.iter().map(read).collect::<Result<Vec<_>, sqlx::Error>>();
            requests.map_err(|cause| RegistryError::Storage(corrupt(cause)))
        })
    }
}

async fn add_request(
    sql: &Sql,
    connection: &mut PgConnection,
    key: &ComponentKey,
    request: ComponentRequest,
) -> Result<(), RegistryError> {
    let statement = &sql.lock_component;
    let of_lock = |cause| failed(statement.failed(cause));
    let mut transaction = connection.begin().await.map_err(of_lock)?;
    let (kind, version) = (key.kind.as_str(), i64::from(key.version));
    let count = sqlx::query_scalar(statement.text()).bind(kind).bind(&key.name);
    let count = count.bind(version).fetch_optional(&mut *transaction).await;
    let count: Option<i64> = count.map_err(of_lock)?;
    let Some(count) = count else {
        return Err(RegistryError::Unknown { key: key.clone() });
    };
    if u64_of(count) >= REQUESTS_MAX as u64 {
        return Err(RegistryError::TooManyRequests);
    }
    let (name, position) = request_to_row(request);
    let statement = &sql.add_request;
    let added = sqlx::query(statement.text()).bind(kind).bind(&key.name).bind(version);
    let added = added.bind(name).bind(position.map(|it| it.get().cast_signed()));
    let added = added.execute(&mut *transaction).await;
    added.map_err(|cause| failed(statement.failed(cause)))?;
    transaction.commit().await.map_err(|cause| failed(statement.failed(cause)))
}

fn from_row(row: &PgRow) -> Result<ComponentStatus, sqlx::Error> {
    let kind = ComponentKind::from_name(row.try_get(0)?).ok_or_else(|| unknown("kind"))?;
    let version = u32::try_from(row.try_get::<i64, _>(2)?).map_err(|_| unknown("version"))?;
    Ok(ComponentStatus {
        key: ComponentKey { kind, name: row.try_get(1)?, version },
        owner: row.try_get(3)?,
        epoch: u64_of(row.try_get(4)?),
        state: ComponentState::from_name(row.try_get(5)?).ok_or_else(|| unknown("state"))?,
        position: position_of(row.try_get(6)?),
        lag: u64_of(row.try_get(7)?),
        last_error: row.try_get(8)?,
        parked_count: u64_of(row.try_get(9)?),
        parked: parked_from_bytes(row.try_get(10)?).ok_or_else(|| unknown("list of parked"))?,
        reported_at: Timestamp::from_micros(row.try_get(11)?),
    })
}

/// A row of a newer program, or damage.
fn unknown(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("the registry has a {what} that this program does not know").into())
}

fn parked_to_bytes(parked: &[ParkedItem]) -> Vec<u8> {
    let items = parked.iter().map(|it| json!([it.position.get(), it.key, it.cause]));
    Value::Array(items.collect()).to_string().into_bytes()
}

fn parked_from_bytes(bytes: &[u8]) -> Option<Vec<ParkedItem>> {
    let items: Vec<(u64, String, String)> = serde_json::from_slice(bytes).ok()?;
    let item =
        |(position, key, cause)| ParkedItem { position: Position::new(position), key, cause };
    Some(items.into_iter().map(item).collect())
}

fn request_to_row(request: ComponentRequest) -> (&'static str, Option<Position>) {
    match request {
        ComponentRequest::Pause => ("pause", None),
        ComponentRequest::Resume => ("resume", None),
        ComponentRequest::Retry(position) => ("retry", position),
        ComponentRequest::Drop(position) => ("drop", position),
        ComponentRequest::Promote => ("promote", None),
        ComponentRequest::ReplayFrom(position) => ("replay-from", Some(position)),
    }
}

fn request_from_row(
    name: &str,
    position: Option<Position>,
) -> Result<ComponentRequest, sqlx::Error> {
    match (name, position) {
        ("pause", _) => Ok(ComponentRequest::Pause),
        ("resume", _) => Ok(ComponentRequest::Resume),
        ("retry", position) => Ok(ComponentRequest::Retry(position)),
        ("drop", position) => Ok(ComponentRequest::Drop(position)),
        ("promote", _) => Ok(ComponentRequest::Promote),
        ("replay-from", Some(position)) => Ok(ComponentRequest::ReplayFrom(position)),
        _ => Err(unknown("request")),
    }
}
