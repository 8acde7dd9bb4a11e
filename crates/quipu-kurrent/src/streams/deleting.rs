//! Deletes: soft ones, and tombstones.

use quipu_core::{AppendError, Appended, Position, Query, QueryItem, ReadAll};

use crate::caller::Caller;
use crate::convert::{expectation, position};
use crate::failure::Failure;
use crate::proto::event_store::client::AllStreamPosition;
use crate::proto::event_store::client::streams as wire;

pub(super) async fn delete(
    caller: &dyn Caller,
    request: wire::DeleteReq,
) -> Result<AllStreamPosition, Failure> {
    let (stream, expected) = expectation(request.options.as_ref())?;
    place_of(caller, caller.reserved().delete(stream, expected).await)
}

pub(super) async fn tombstone(
    caller: &dyn Caller,
    request: wire::TombstoneReq,
) -> Result<AllStreamPosition, Failure> {
    let (stream, expected) = expectation(request.options.as_ref())?;
    place_of(caller, caller.reserved().tombstone(stream, expected).await)
}

/// Where the event is that records a delete.
fn place_of(
    caller: &dyn Caller,
    made: Result<Appended, AppendError>,
) -> Result<AllStreamPosition, Failure> {
    let appended = made.map_err(|error| Failure::of_append(caller, &error))?;
    Ok(position(appended.last.unwrap_or(Position::START)))
}

/// A query for the tombstone of a stream.
pub(super) fn tombstone_of(stream: &quipu_core::StreamName) -> ReadAll {
    let tombstone = quipu_core::EventType::new(quipu_core::TOMBSTONE_TYPE);
    let types = tombstone.into_iter().collect();
    let item = QueryItem { types, stream: Some(stream.clone()), ..QueryItem::default() };
    ReadAll::new(Query::from(item)).backward().limit(1)
}
