//! What is known of streams and of the log, and what ends or describes a stream.

use axum::extract::{Extension, Request};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::response::{IntoResponse, Response};
use quipu_core::{
    Change, Direction, EventBatch, EventRef, ListStreams, ReadStream, StreamMetadata, StreamName,
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::append::require_json;
use super::failure::state_to_word;
use super::problem::Problem;
use super::request::{self, Demand, Params, StreamPath};
use super::to_json::{self, AppendedOut, JSON};
use crate::security::Access;
use crate::time;

/// How many names a page of streams has where nothing is said.
const LIST_COUNT_DEFAULT: u64 = 100;
/// The most names of a page.
const LIST_COUNT_MAX: u64 = 1_000;

/// Streams, in the order of the bytes of their names.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamList)]
pub(super) struct StreamsOut {
    /// Their names.
    streams: Vec<String>,
    /// The next page, if there is one.
    next: Option<String>,
}

/// Lists streams that ever had an event: reserved, deleted and tombstoned ones too.
#[utoipa::path(
    get, path = "/streams", tag = "streams", operation_id = "list_streams",
    params(
        ("prefix" = Option<String>, Query, description = "Only names that begin with this."),
        ("category" = Option<String>, Query,
            description = "Only streams of this category: the part before the first hyphen."),
        ("after" = Option<String>, Query, description = "Only names after this one."),
        ("limit" = Option<u64>, Query,
            description = "The most names of a page: 100 unless asked for, at most 1,000."),
    ),
    responses(
        (status = 200, description = "A page.", body = StreamsOut,
            headers(("Link" = String, description = "The next page, with rel=\"next\"."))),
        (status = 400, description = "A parameter is not valid.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let known = ["prefix", "category", "after", "limit"];
    let params = Params::read(request.uri().query(), &known)?;
    let count_max = params.limit(LIST_COUNT_DEFAULT, LIST_COUNT_MAX)? as usize;
    let list = ListStreams {
        prefix: params.one("prefix")?.unwrap_or_default().to_owned(),
        category: params.one("category")?.map(str::to_owned),
        after: params
            .parse("after", |text| StreamName::new(text).map_err(|error| error.to_string()))?,
        limit: count_max + 1,
    };
    let mut found = access.store().list_streams(list).await?;
    let has_more = found.len() > count_max;
    found.truncate(count_max);
    let last = found.last().filter(|_| has_more);
    let next = last.map(|name| params.link("/streams", "after", name.as_str()));
    let streams = found.iter().map(ToString::to_string).collect();
    let mut response = to_json::json(&StreamsOut { streams, next: next.clone() });
    if let Some(next) = next {
        to_json::set_next_link(&mut response, &next);
    }
    Ok(response)
}

/// What is known of one stream.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamInfo)]
pub(super) struct InfoOut {
    /// The stream.
    stream: String,
    /// What it is like: absent, live, deleted, tombstoned.
    state: &'static str,
    /// The revision of the last event it ever got.
    last: Option<u64>,
    /// The first revision that a read shows.
    first: Option<u64>,
    /// How many events a read shows.
    count: u64,
    /// Bytes of data and metadata in the events that a read shows.
    size: u64,
    /// Its metadata.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// The revision of its metadata.
    metadata_revision: Option<u64>,
}

/// Says what is known of a stream, whether or not it exists. Takes as long as reading it.
#[utoipa::path(
    get, path = "/streams/{stream}/info", tag = "streams", operation_id = "stream_info",
    params(("stream" = String, Path, description = "The stream, percent-encoded: a / is %2F.")),
    responses((status = 200, description = "What is known.", body = InfoOut)),
)]
pub(super) async fn info(
    StreamPath(stream): StreamPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &[])?;
    let info = access.store().stream_info(stream).await?;
    let number = quipu_core::Revision::get;
    Ok(to_json::json(&InfoOut {
        stream: info.stream.to_string(),
        state: state_to_word(info.state),
        last: info.state.last().map(number),
        first: info.first.map(number),
        count: info.count,
        size: info.size,
        metadata: info.metadata.object().clone(),
        metadata_revision: info.metadata_revision.map(number),
    }))
}

/// Reads a stream's metadata: an empty object where it has none.
#[utoipa::path(
    get, path = "/streams/{stream}/metadata", tag = "streams", operation_id = "read_metadata",
    params(("stream" = String, Path, description = "The stream, percent-encoded: a / is %2F.")),
    responses((status = 200, description = "The metadata, byte for byte.",
        body = Object, content_type = "application/json",
        headers(("ETag" = String, description = "The revision of the metadata.")))),
)]
pub(super) async fn metadata(
    StreamPath(stream): StreamPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &[])?;
    let beside = StreamName::new(format!("$${stream}"));
    let beside = beside.map_err(|error| {
        Problem::malformed("the stream's name is too long for metadata").because(error.to_string())
    })?;
    let read = ReadStream {
        stream: beside,
        from: None,
        direction: Direction::Backward,
        limit: Some(1),
        as_of: None,
    };
    let mut found = access.store().read_stream(read).await?;
    let batch = found.batches.next().await?;
    let latest = batch.as_ref().and_then(EventBatch::first);
    // What is malformed counts as none.
    let is_metadata =
        |event: &EventRef<'_>| StreamMetadata::parse_strictly(event.data_bytes()).is_some();
    let Some(event) = latest.filter(is_metadata) else {
        return Ok(([(CONTENT_TYPE, JSON)], "{}").into_response());
    };
    let mut response = ([(CONTENT_TYPE, JSON)], event.data_bytes().to_vec()).into_response();
    response.headers_mut().insert(ETAG, to_json::entity_tag(event.revision()));
    Ok(response)
}

/// Replaces a stream's metadata. What is demanded is demanded of the metadata's revision.
#[utoipa::path(
    put, path = "/streams/{stream}/metadata", tag = "streams", operation_id = "set_metadata",
    params(
        ("stream" = String, Path, description = "The stream, percent-encoded: a / is %2F."),
        ("expect" = Option<String>, Query,
            description = "any (the default), none, exists, or the revision of the metadata."),
        ("id" = Option<String>, Query,
            description = "A UUID that makes a retry the same change."),
        ("If-Match" = Option<String>, Header,
            description = "In place of expect: a revision in quotation marks, or * for exists."),
        ("If-None-Match" = Option<String>, Header, description = "In place of expect: * for none."),
    ),
    request_body(content = Object, description = "A JSON object; `$maxCount`, `$maxAge` in \
        seconds and `$tb` say which events reads show.", content_type = "application/json"),
    responses(
        (status = 201, description = "The metadata is durable.", body = AppendedOut),
        (status = 200, description = "It was there already.", body = AppendedOut),
        (status = 400, description = "It is not valid metadata.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The metadata is not as `expect` says.", body = Problem,
            content_type = "application/problem+json"),
        (status = 412, description = "The metadata is not as the header says.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn set_metadata(
    StreamPath(stream): StreamPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::read(parts.uri.query(), &["expect", "id"])?;
    let demand = Demand::read(&params, &parts.headers)?;
    let id = params.event_id()?;
    require_json(&parts.headers)?;
    let limits = access.service().limits();
    let metadata = request::read_body(&parts.headers, body, &limits).await?;
    // The store checks what it means; this says where the text is not JSON.
    super::from_json::parse::<serde::de::IgnoredAny>(&metadata)?;
    let expected = demand.expected;
    change(&access, demand, Change::SetMetadata { stream, expected, id, metadata }).await
}

/// Soft-deletes a stream: reads show nothing until an append revives it. With `hard=true` it is
/// tombstoned: over, for good.
#[utoipa::path(
    delete, path = "/streams/{stream}", tag = "streams", operation_id = "delete_stream",
    params(
        ("stream" = String, Path, description = "The stream, percent-encoded: a / is %2F."),
        ("hard" = Option<bool>, Query, description = "Whether to tombstone it."),
        ("expect" = Option<String>, Query,
            description = "What the stream must be like, as in an append."),
        ("id" = Option<String>, Query,
            description = "A UUID that makes a retry the same change."),
        ("If-Match" = Option<String>, Header,
            description = "In place of expect: a revision in quotation marks, or * for exists."),
        ("If-None-Match" = Option<String>, Header, description = "In place of expect: * for none."),
    ),
    responses(
        (status = 201, description = "The deletion is durable.", body = AppendedOut),
        (status = 200, description = "It was there already.", body = AppendedOut),
        (status = 409, description = "The stream is not as `expect` says, or never existed.",
            body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The stream is tombstoned already.", body = Problem,
            content_type = "application/problem+json"),
        (status = 412, description = "The stream is not as the header says.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete(
    StreamPath(stream): StreamPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::read(request.uri().query(), &["hard", "expect", "id"])?;
    let demand = Demand::read(&params, request.headers())?;
    let (expected, id) = (demand.expected, params.event_id()?);
    let is_hard = params.parse("hard", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    })?;
    let wanted = if is_hard.unwrap_or_default() {
        Change::Tombstone { stream, expected, id }
    } else {
        Change::Delete { stream, expected, id }
    };
    change(&access, demand, wanted).await
}

async fn change(access: &Access, demand: Demand, change: Change) -> Result<Response, Problem> {
    let appended = access.store().change(change).await;
    let appended = appended.map_err(|error| demand.refuse(error.into()))?;
    Ok(to_json::appended(&appended))
}

/// Where the log is, and which log it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Frontier)]
pub(super) struct FrontierOut {
    /// Nothing can later appear at or below this position.
    frontier: u64,
    /// The log's id.
    log: String,
    /// Which life of the log this is: one more with every restore or failover.
    incarnation: u64,
    /// The log's name.
    name: String,
}

/// Says where the log is.
#[utoipa::path(
    get, path = "/frontier", tag = "read", operation_id = "frontier",
    responses((status = 200, description = "The frontier.", body = FrontierOut)),
)]
pub(super) async fn frontier(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &[])?;
    let store = access.store();
    let frontier = store.frontier().await?.get();
    let identity = store.identity();
    Ok(to_json::json(&FrontierOut {
        frontier,
        log: identity.log.to_string(),
        incarnation: identity.incarnation.get(),
        name: identity.name,
    }))
}

/// A place in the log.
#[derive(Serialize, ToSchema)]
#[schema(as = Position)]
pub(super) struct PositionOut {
    /// The position.
    position: u64,
}

/// Says where the log was at a time: the place before the first event recorded after it.
#[utoipa::path(
    get, path = "/position", tag = "read", operation_id = "position_at",
    params(("at" = String, Query, description = "An RFC 3339 time.")),
    responses(
        (status = 200, description = "The place.", body = PositionOut),
        (status = 400, description = "It is no time, or one to come.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn position(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::read(request.uri().query(), &["at"])?;
    let Some(at) = params.parse("at", time::parse)? else {
        return Err(Problem::malformed("the parameter at is missing").with("parameter", "at"));
    };
    let position = access.store().position_at(at).await?.get();
    Ok(to_json::json(&PositionOut { position }))
}
