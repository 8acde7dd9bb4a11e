//! Leases, by the database's clock: nodes need not agree on the time.

use std::time::Duration;

use quipu_core::{BoxFuture, Lease, LeaseError, Leases, Timestamp};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::{is_name, micros, text};
use crate::error::DatabaseError;
use crate::rows::{i64_of, u64_of};
use crate::store::PostgresStore;

fn failed(error: DatabaseError) -> LeaseError {
    LeaseError::Storage(error.into())
}

fn lost(lease: &Lease) -> LeaseError {
    LeaseError::Lost { name: lease.name.clone(), epoch: lease.epoch }
}

/// A lease, from its columns `owner`, `epoch`, `expires_at`.
fn from_row(name: &str, row: &PgRow) -> Result<Lease, sqlx::Error> {
    Ok(Lease {
        name: name.to_owned(),
        owner: row.try_get(0)?,
        epoch: u64_of(row.try_get(1)?),
        expires_at: Timestamp::from_micros(row.try_get(2)?),
    })
}

impl Leases for PostgresStore {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(LeaseError::InvalidName);
            }
            loop {
                let statement = &self.shared.sql.acquire_lease;
                let row = sqlx::query(statement.text()).bind(name).bind(text(owner));
                let row = self.shared.fetch_optional(row.bind(micros(ttl))).await;
                let row = row.map_err(|cause| failed(statement.failed(cause)))?;
                if let Some(row) = row {
                    let lease = from_row(name, &row);
                    return lease.map_err(|cause| failed(statement.failed(cause)));
                }
                // It was held a moment ago, and may be gone by now.
                if let Some(Lease { name, owner, expires_at, .. }) = Leases::get(self, name).await?
                {
                    return Err(LeaseError::Held { name, owner, expires_at });
                }
            }
        })
    }

    fn renew<'a>(
        &'a self,
        lease: &'a Lease,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            let statement = &self.shared.sql.renew_lease;
            let row = sqlx::query(statement.text()).bind(&lease.name).bind(i64_of(lease.epoch));
            let row = self.shared.fetch_optional(row.bind(micros(ttl))).await;
            let row = row.map_err(|cause| failed(statement.failed(cause)))?;
            let row = row.ok_or_else(|| lost(lease))?;
            from_row(&lease.name, &row).map_err(|cause| failed(statement.failed(cause)))
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(async move {
            let statement = &self.shared.sql.release_lease;
            let done = sqlx::query(statement.text()).bind(&lease.name).bind(i64_of(lease.epoch));
            let done = self.shared.execute(done).await;
            let done = done.map_err(|cause| failed(statement.failed(cause)))?;
            if done == 1 { Ok(()) } else { Err(lost(lease)) }
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>, LeaseError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(LeaseError::InvalidName);
            }
            let statement = &self.shared.sql.get_lease;
            let row = sqlx::query(statement.text()).bind(name);
            let row = self.shared.fetch_optional(row).await;
            let row = row.map_err(|cause| failed(statement.failed(cause)))?;
            let lease = row.map(|row| from_row(name, &row)).transpose();
            lease.map_err(|cause| failed(statement.failed(cause)))
        })
    }
}
