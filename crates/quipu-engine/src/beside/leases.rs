//! Leases as rows: `name -> format, epoch, expires at, ttl, is released, owner`; without the ttl in the
//! first format.
//!
//! A row is never removed: it remembers the epoch.

use std::time::Duration;

use quipu_core::{BoxFuture, Lease, LeaseError, Leases, Timestamp};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::encoding::{Decoder, Encoder, seal, unseal};
use super::error::BesideError;
use super::side_store::Change;
use super::tables::{LEASES, open, open_writable};
use super::{Beside, is_name};

const FORMATS: [u8; 2] = [1, 2];

/// A lease as it was last given, for how long, and whether it was given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) lease: Lease,
    pub(super) ttl: Duration,
    pub(super) is_released: bool,
}

/// A decision over the lease of one name: the row to write, if any, and the answer.
type Decision<T> = Result<(Given, T), LeaseError>;

impl Leases for Beside {
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
            let io = self.context.io.clone();
            let owner = owner.to_owned();
            let decide =
                move |name: &str, given: Option<Given>| acquire(name, owner, given, io.now(), ttl);
            self.decide_lease(name, decide).await
        })
    }

    fn renew<'a>(
        &'a self,
        lease: &'a Lease,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Lease, LeaseError>> {
        Box::pin(async move {
            let io = self.context.io.clone();
            let epoch = lease.epoch;
            let decide = move |name: &str, given: Option<Given>| {
                let mut given = own(name, epoch, given)?;
                given.lease.expires_at = io.now().plus(ttl);
                given.ttl = ttl;
                Ok((given.clone(), given.lease))
            };
            self.decide_lease(&lease.name, decide).await
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<(), LeaseError>> {
        Box::pin(async move {
            let io = self.context.io.clone();
            let epoch = lease.epoch;
            let decide = move |name: &str, given: Option<Given>| {
                let mut given = own(name, epoch, given)?;
                given.is_released = true;
                given.lease.expires_at = given.lease.expires_at.min(io.now());
                Ok((given, ()))
            };
            self.decide_lease(&lease.name, decide).await
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>, LeaseError>> {
        Box::pin(async move {
            if !is_name(name) {
                return Err(LeaseError::InvalidName);
            }
            let name = name.to_owned();
            let given = self.side.read(move |transaction| get(transaction, &name)).await?;
            Ok(given.map(|given| given.lease))
        })
    }
}

impl Beside {
    async fn decide_lease<T: Send + 'static>(
        &self,
        name: &str,
        decide: impl FnOnce(&str, Option<Given>) -> Decision<T> + Send + 'static,
    ) -> Result<T, LeaseError> {
        if !self.context.is_writable() {
            return Err(LeaseError::ReadOnly);
        }
        let name = name.to_owned();
        let change = move |transaction: &WriteTransaction| change(transaction, &name, decide);
        self.side.write(change).await?
    }
}

fn change<T>(
    transaction: &WriteTransaction,
    name: &str,
    decide: impl FnOnce(&str, Option<Given>) -> Decision<T>,
) -> Result<Change<Result<T, LeaseError>>, BesideError> {
    let mut table = open_writable(transaction, LEASES)?;
    let row = table.get(name).map_err(BesideError::database)?;
    // A damaged row concerns its holders, not those that share the transaction.
    let given = match row.map(|row| decode(name, row.value())).transpose() {
        Ok(given) => given,
        Err(error) => return Ok(Change::None(Err(error.into()))),
    };
    match decide(name, given) {
        Ok((given, answer)) => {
            let row = encode(&given);
            table.insert(name, row.as_slice()).map_err(BesideError::database)?;
            Ok(Change::Made(Ok(answer)))
        }
        Err(error) => Ok(Change::None(Err(error))),
    }
}

fn acquire(
    name: &str,
    owner: String,
    given: Option<Given>,
    now: Timestamp,
    ttl: Duration,
) -> Decision<Lease> {
    let mut epoch = 1;
    if let Some(Given { lease, ttl, is_released }) = given {
        if !is_released && !lease.is_over(ttl, now) {
            let Lease { name, owner, expires_at, .. } = lease;
            return Err(LeaseError::Held { name, owner, expires_at });
        }
        epoch = lease.epoch.saturating_add(1);
    }
    let lease = Lease { name: name.to_owned(), owner, epoch, expires_at: now.plus(ttl) };
    Ok((Given { lease: lease.clone(), ttl, is_released: false }, lease))
}

/// The lease, if it is still that of the caller.
fn own(name: &str, epoch: u64, given: Option<Given>) -> Result<Given, LeaseError> {
    given
        .filter(|given| given.lease.epoch == epoch && !given.is_released)
        .ok_or_else(|| LeaseError::Lost { name: name.to_owned(), epoch })
}

fn get(transaction: Option<&ReadTransaction>, name: &str) -> Result<Option<Given>, BesideError> {
    let Some(table) = open(transaction, LEASES)? else { return Ok(None) };
    let row = table.get(name).map_err(BesideError::database)?;
    row.map(|row| decode(name, row.value())).transpose()
}

pub(super) fn encode(given: &Given) -> Vec<u8> {
    let Given { lease, ttl, is_released } = given;
    let body = Encoder::default()
        .u8(FORMATS[1])
        .u64(lease.epoch)
        .i64(lease.expires_at.as_micros())
        .u64(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX))
        .u8(u8::from(*is_released))
        .text(&lease.owner)
        .finish();
    seal(&[b"lease", lease.name.as_bytes()], &body)
}

pub(super) fn decode(name: &str, row: &[u8]) -> Result<Given, BesideError> {
    unseal(&[b"lease", name.as_bytes()], row)
        .and_then(|body| decode_body(name, body))
        .ok_or_else(|| BesideError::corrupt(format!("the lease \"{name}\"")))
}

fn decode_body(name: &str, body: &[u8]) -> Option<Given> {
    let mut body = Decoder::new(body);
    let format = body.u8()?;
    if !FORMATS.contains(&format) {
        return None;
    }
    let epoch = body.u64()?;
    let expires_at = Timestamp::from_micros(body.i64()?);
    // Of one that does not say, it is not known that a clock was set back.
    let ttl = if format == FORMATS[0] { Duration::MAX } else { Duration::from_micros(body.u64()?) };
    let is_released = match body.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let owner = body.text()?.to_owned();
    let lease = Lease { name: name.to_owned(), owner, epoch, expires_at };
    body.is_empty().then_some(Given { lease, ttl, is_released })
}

impl From<BesideError> for LeaseError {
    fn from(error: BesideError) -> Self {
        match error {
            BesideError::ReadOnly => Self::ReadOnly,
            other => Self::Storage(other.into()),
        }
    }
}
