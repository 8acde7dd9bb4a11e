//! Reads: of a stream and of the log, as pages or as JSON lines without end of page.

use axum::extract::{Extension, Request};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, ETAG, VARY};
use axum::response::{IntoResponse, Response};
use quipu_core::{EventRef, Position, ReadAll, ReadStream, Revision, StreamState};

use super::cloud_event;
use super::failure::state_to_word;
use super::problem::{Kind, Problem};
use super::request::{self, Params, StreamPath, encode};
use super::to_json::{self, FRONTIER, JSON, NDJSON, Page, PageSize, STATE};
use crate::security::Access;

/// The formats that a read can be answered in, best first.
const FORMATS: [&str; 3] = [JSON, NDJSON, cloud_event::BATCH];
/// How many events a page has where nothing is said.
const PAGE_COUNT_DEFAULT: u64 = 100;
/// The most events of a page.
pub(super) const PAGE_COUNT_MAX: u64 = 1_000;

/// Reads one stream.
///
/// A stream that has never had an event is no error: it is `absent` and its page is empty. A
/// soft-deleted one is `deleted` and its page is empty. The entity tag is the revision of the last
/// event: send it back in If-Match to append only if nothing came between.
///
/// As `application/x-ndjson` the answer is all that was asked for, without pages.
#[utoipa::path(
    get, path = "/streams/{stream}", tag = "read", operation_id = "read_stream",
    params(
        ("stream" = String, Path, description = "The stream, percent-encoded: a / is %2F."),
        ("from" = Option<u64>, Query, description = "The first revision wanted, inclusive."),
        ("limit" = Option<u64>, Query,
            description = "The most events of a page: 100 unless asked for, at most 1,000."),
        ("direction" = Option<String>, Query, description = "forward (the default) or backward."),
        ("as_of" = Option<String>, Query,
            description = "The moment to read at: a position, an RFC 3339 time, or a date."),
    ),
    responses(
        (status = 200, description = "A page, or all events as JSON lines.",
            content(
                (super::openapi::StreamPage = "application/json"),
                (String = "application/x-ndjson"),
                (Vec<super::openapi::CloudEvent> = "application/cloudevents-batch+json"),
            ),
            headers(
                ("ETag" = String, description = "The last event's revision."),
                ("Link" = String, description = "The next page, with rel=\"next\"."),
                ("Quipu-Stream-State" = String,
                    description = "What the stream is like: absent, live, deleted."),
            )),
        (status = 400, description = "A parameter is not valid.", body = Problem,
            content_type = "application/problem+json"),
        (status = 410, description = "The stream is tombstoned.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn stream(
    StreamPath(stream): StreamPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let known = ["from", "limit", "direction", "as_of"];
    let params = Params::read(request.uri().query(), &known)?;
    let format = request::accepted(request.headers(), &FORMATS)?;
    let page = page_size(&params, &access)?;
    let read = ReadStream {
        stream: stream.clone(),
        from: params.number("from")?.map(Revision::new),
        direction: params.direction()?,
        limit: store_limit(format, &params, page)?,
        as_of: params.as_of()?,
    };
    let found = access.store().read_stream(read).await?;
    if let StreamState::Tombstoned { last } = found.state {
        let detail = format!("the stream \"{stream}\" is tombstoned");
        return Err(Problem::new(Kind::Tombstoned, detail)
            .with("stream", stream.as_str())
            .with("revision", last.get()));
    }
    let last = found.state.last();
    let path = format!("/streams/{}", encode(stream.as_str()));
    let mut response = if format == NDJSON {
        to_json::lines(found.batches).await?
    } else {
        let place = |event: EventRef<'_>| event.revision().get();
        let gathered = to_json::gather(found.batches, page, place, writer(format)).await?;
        let name = serde_json::to_string(stream.as_str()).expect("a text is JSON");
        let state = state_to_word(found.state);
        let last = last.map_or("null".to_owned(), |revision| revision.to_string());
        let head =
            format!("{{\"stream\":{name},\"state\":\"{state}\",\"last\":{last},\"events\":[");
        respond(format, &head, &gathered, &params, &path)
    };
    let headers = response.headers_mut();
    headers.insert(STATE, HeaderValue::from_static(state_to_word(found.state)));
    if let StreamState::Live { last } = found.state {
        headers.insert(ETAG, to_json::entity_tag(last));
    }
    Ok(response)
}

/// Reads the events of the log that match any of the queries, in the order of the log.
///
/// The answer's `frontier` is the place to demand in `fail_if.after`, and to subscribe after:
/// nothing can later appear at or below it.
///
/// As `application/x-ndjson` the answer is all that was asked for, without pages, and the frontier
/// is in the header Quipu-Frontier.
#[utoipa::path(
    get, path = "/events", tag = "read", operation_id = "read_events",
    params(
        ("query" = Option<Vec<String>>, Query,
            description = "Blank-separated terms that must all hold: `type:A,B tag:order:1 \
                stream:order-1 category:order`. Several: any of them. None: every event."),
        ("from" = Option<u64>, Query, description = "The first position wanted, inclusive."),
        ("limit" = Option<u64>, Query,
            description = "The most events of a page: 100 unless asked for, at most 1,000."),
        ("direction" = Option<String>, Query, description = "forward (the default) or backward."),
        ("as_of" = Option<String>, Query,
            description = "The moment to read at: a position, an RFC 3339 time, or a date."),
    ),
    responses(
        (status = 200, description = "A page, or all events as JSON lines.",
            content(
                (super::openapi::LogPage = "application/json"),
                (String = "application/x-ndjson"),
                (Vec<super::openapi::CloudEvent> = "application/cloudevents-batch+json"),
            ),
            headers(
                ("Link" = String, description = "The next page, with rel=\"next\"."),
                ("Quipu-Frontier" = u64, description = "The place up to which it is settled."),
            )),
        (status = 400, description = "A query or a parameter is not valid.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn events(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let known = ["query", "from", "limit", "direction", "as_of"];
    let params = Params::read(request.uri().query(), &known)?;
    let format = request::accepted(request.headers(), &FORMATS)?;
    let page = page_size(&params, &access)?;
    let read = ReadAll {
        query: params.query()?,
        from: params.number("from")?.map(Position::new),
        direction: params.direction()?,
        limit: store_limit(format, &params, page)?,
        as_of: params.as_of()?,
    };
    let found = access.store().read_all(read).await?;
    let mut response = if format == NDJSON {
        to_json::lines(found.batches).await?
    } else {
        let place = |event: EventRef<'_>| event.position().get();
        let gathered = to_json::gather(found.batches, page, place, writer(format)).await?;
        let head = format!("{{\"frontier\":{},\"events\":[", found.frontier);
        respond(format, &head, &gathered, &params, "/events")
    };
    response.headers_mut().insert(FRONTIER, HeaderValue::from(found.frontier.get()));
    Ok(response)
}

fn page_size(params: &Params, access: &Access) -> Result<PageSize, Problem> {
    Ok(PageSize {
        count_max: params.limit(PAGE_COUNT_DEFAULT, PAGE_COUNT_MAX)?,
        size_max: access.service().limits().page_size_max,
    })
}

/// How many events the store is asked for: one more than a page has, to know where the next begins;
/// for lines what the client says.
fn store_limit(format: &str, params: &Params, page: PageSize) -> Result<Option<u64>, Problem> {
    if format == NDJSON { params.number("limit") } else { Ok(Some(page.count_max + 1)) }
}

fn writer(format: &str) -> to_json::Write {
    if format == cloud_event::BATCH { cloud_event::to_json } else { to_json::write_event }
}

/// A page as the answer: an object around the events, or the list of cloud events alone.
fn respond(format: &'static str, head: &str, page: &Page, params: &Params, path: &str) -> Response {
    let next = page.next.map(|place| params.link(path, "from", &place.to_string()));
    let mut body = Vec::with_capacity(page.items.len() + head.len() + 64);
    if format == cloud_event::BATCH {
        body.push(b'[');
        body.extend(&page.items);
        body.push(b']');
    } else {
        body.extend(head.as_bytes());
        body.extend(&page.items);
        body.extend(b"],\"next\":");
        serde_json::to_writer(&mut body, &next).expect("a text is JSON");
        body.push(b'}');
    }
    let mut response = ([(CONTENT_TYPE, format), (VARY, "Accept")], body).into_response();
    if let Some(next) = next {
        to_json::set_next_link(&mut response, &next);
    }
    response
}
