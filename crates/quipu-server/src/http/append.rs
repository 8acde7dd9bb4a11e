//! Appends: to one stream, or whole ones with all that they demand.

use axum::extract::{Extension, Request};
use axum::http::HeaderMap;
use axum::response::Response;
use quipu_core::{Append, NewEvent, StreamName};

use super::problem::Problem;
use super::request::{self, Demand, Params, StreamPath};
use super::to_json::{self, AppendedOut, JSON, NDJSON};
use super::{cloud_event, from_json};
use crate::security::Access;

/// The formats of events that an append to a stream reads.
const FORMATS: [&str; 4] = [JSON, NDJSON, cloud_event::ONE, cloud_event::BATCH];

/// Appends events to one stream: all of them, or none.
///
/// Send the ids of the events to be able to retry: what is in the stream already is answered with
/// its places and `replayed`. `position`, `revision` and `time` of an event are passed over, so that
/// what was read can be sent again.
#[utoipa::path(
    post, path = "/streams/{stream}", tag = "append", operation_id = "append_to_stream",
    params(
        ("stream" = String, Path, description = "The stream, percent-encoded: a / is %2F."),
        ("expect" = Option<String>, Query,
            description = "What the stream must be like: any (the default), none, exists, deleted, \
                tombstoned, or the revision of its last event."),
        ("If-Match" = Option<String>, Header,
            description = "In place of expect: a revision in quotation marks, or * for exists."),
        ("If-None-Match" = Option<String>, Header, description = "In place of expect: * for none."),
    ),
    request_body(
        description = "One event, or a list of them.",
        content(
            (super::openapi::NewEvent = "application/json"),
            (String = "application/x-ndjson"),
            (super::openapi::CloudEvent = "application/cloudevents+json"),
            (Vec<super::openapi::CloudEvent> = "application/cloudevents-batch+json"),
        ),
    ),
    responses(
        (status = 201, description = "The events are durable.", body = AppendedOut,
            headers(("ETag" = String, description = "The last event's revision."))),
        (status = 200, description = "They were there already, or there were none.",
            body = AppendedOut),
        (status = 400, description = "The events or the demand cannot be read.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The stream is not as `expect` says.", body = Problem,
            content_type = "application/problem+json"),
        (status = 410, description = "The stream is tombstoned.", body = Problem,
            content_type = "application/problem+json"),
        (status = 412, description = "The stream is not as the header says.", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "The body or an event is too large.", body = Problem,
            content_type = "application/problem+json"),
        (status = 415, description = "The body's format is not read here.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn to_stream(
    StreamPath(stream): StreamPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::read(parts.uri.query(), &["expect"])?;
    let demand = Demand::read(&params, &parts.headers)?;
    let format = request::content_type(&parts.headers);
    if !FORMATS.contains(&format.as_str()) {
        return Err(request::unsupported(&format, &FORMATS));
    }
    let limits = access.service().limits();
    let body = request::read_body(&parts.headers, body, &limits).await?;
    let events = events_of(&format, &body, &stream)?;
    let append = Append::to_stream(stream, demand.expected, events);
    let appended = access.store().append(append).await;
    let appended = appended.map_err(|error| demand.refuse(error.into()))?;
    Ok(to_json::appended(&appended))
}

fn events_of(format: &str, body: &[u8], stream: &StreamName) -> Result<Vec<NewEvent>, Problem> {
    let is_cloud = matches!(format, cloud_event::ONE | cloud_event::BATCH);
    let parts = if format == NDJSON {
        from_json::parts_of_lines(body)?
    } else {
        from_json::parts_of_json(body)?
    };
    let events = parts.iter().map(|part| {
        if is_cloud {
            cloud_event::from_json(part.text).map_err(|error| part.refuse(body, error))
        } else {
            from_json::event_for(body, part, stream)
        }
    });
    events.collect()
}

/// Appends events to one or many streams, if all that is demanded holds: all of them, or none.
///
/// `expect` says what streams must be like, `fail_if` what must not have happened in the log. With
/// no events it only checks.
#[utoipa::path(
    post, path = "/append", tag = "append", operation_id = "append",
    request_body = super::openapi::Append,
    responses(
        (status = 201, description = "The events are durable.", body = AppendedOut),
        (status = 200, description = "They were there already, or there were none.",
            body = AppendedOut),
        (status = 400, description = "The body cannot be read.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "A demand does not hold.", body = Problem,
            content_type = "application/problem+json"),
        (status = 410, description = "A stream is tombstoned.", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "The body or an event is too large.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn whole(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::read(parts.uri.query(), &[])?;
    require_json(&parts.headers)?;
    let limits = access.service().limits();
    let body = request::read_body(&parts.headers, body, &limits).await?;
    let append = from_json::append_of(&body)?;
    let appended = access.store().append(append).await?;
    Ok(to_json::appended(&appended))
}

/// Refuses a body that is not JSON.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let format = request::content_type(headers);
    if format == JSON { Ok(()) } else { Err(request::unsupported(&format, &[JSON])) }
}
