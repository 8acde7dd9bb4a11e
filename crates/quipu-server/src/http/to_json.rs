//! From the store's answers to bodies.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, ETAG, LINK};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use quipu_core::{Appended, Batches, EventBatch, EventRef, ReadError, Revision};
use serde::Serialize;
use utoipa::ToSchema;

use crate::line;

pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";

/// The header of the place up to which a read of the log is settled.
pub(super) const FRONTIER: HeaderName = HeaderName::from_static("quipu-frontier");
/// The header of what a stream is like.
pub(super) const STATE: HeaderName = HeaderName::from_static("quipu-stream-state");

/// Where an append's events are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Appended)]
pub(super) struct AppendedOut {
    /// The position of the first event; null where there were no events.
    first: Option<u64>,
    /// The position of the last event; null where there were no events.
    last: Option<u64>,
    /// For each stream written to, in the order of first mention: its last event.
    streams: Vec<AppendedStreamOut>,
    /// Whether the events were in the log already, from an earlier attempt with the same ids.
    replayed: bool,
}

/// The last event that an append wrote to one stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AppendedStream)]
struct AppendedStreamOut {
    /// The stream.
    stream: String,
    /// The last event's place in the log.
    position: u64,
    /// The last event's place in the stream.
    revision: u64,
}

/// The answer to a change: 201 where it added events, 200 where they were there already.
pub(super) fn appended(appended: &Appended) -> Response {
    let is_new = appended.last.is_some() && !appended.replayed;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let streams = appended.streams.iter().map(|own| AppendedStreamOut {
        stream: own.stream.to_string(),
        position: own.position.get(),
        revision: own.revision.get(),
    });
    let body = AppendedOut {
        first: appended.first.map(quipu_core::Position::get),
        last: appended.last.map(quipu_core::Position::get),
        streams: streams.collect(),
        replayed: appended.replayed,
    };
    let mut response = (status, json(&body)).into_response();
    if let [only] = appended.streams.as_slice() {
        response.headers_mut().insert(ETAG, entity_tag(only.revision));
    }
    response
}

/// A value as a body.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    let body = serde_json::to_vec(value).expect("texts and numbers are JSON");
    ([(CONTENT_TYPE, JSON)], body).into_response()
}

/// A revision as an entity tag, as `If-Match` takes it back.
pub(super) fn entity_tag(revision: Revision) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).expect("a number in quotes is a header")
}

/// The header that names the next page.
pub(super) fn set_next_link(response: &mut Response, next: &str) {
    let link = format!("<{next}>; rel=\"next\"");
    let link = HeaderValue::from_str(&link).expect("what a link has is percent-encoded");
    response.headers_mut().insert(LINK, link);
}

/// How one event is written behind what is there.
pub(super) type Write = fn(EventRef<'_>, &mut Vec<u8>);

/// Writes an event as a JSON object.
pub(super) fn write_event(event: EventRef<'_>, out: &mut Vec<u8>) {
    line::to_json(event, out);
    let line_break = out.pop();
    assert_eq!(line_break, Some(b'\n'), "a JSON line ends with its line break");
}

/// Some events of a read, as the items of a JSON list.
pub(super) struct Page {
    /// The events with commas between them.
    pub(super) items: Vec<u8>,
    /// The place of the first event that the page has no room for.
    pub(super) next: Option<u64>,
}

/// How large a page may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSize {
    pub(super) count_max: u64,
    pub(super) size_max: usize,
}

/// Takes events until the page is full. It has at least one, however large, if there is one.
pub(super) async fn gather(
    mut batches: Box<dyn Batches>,
    page: PageSize,
    place: fn(EventRef<'_>) -> u64,
    write: Write,
) -> Result<Page, ReadError> {
    let mut items = Vec::new();
    let mut count = 0;
    while let Some(batch) = batches.next().await? {
        for event in batch.iter() {
            let is_full = count == page.count_max || items.len() >= page.size_max;
            if is_full {
                return Ok(Page { items, next: Some(place(event)) });
            }
            if count > 0 {
                items.push(b',');
            }
            write(event, &mut items);
            count += 1;
        }
    }
    Ok(Page { items, next: None })
}

/// All events of a read as JSON lines. The body asks the read for a batch when the connection has
/// taken the one before, so that a slow client costs one batch. A read that fails midway breaks the
/// body off: it has no proper end then.
pub(super) async fn lines(mut batches: Box<dyn Batches>) -> Result<Response, ReadError> {
    let first = batches.next().await?;
    let chunks = futures_lite::stream::try_unfold((first, batches), |(first, mut batches)| async {
        let batch = match first {
            Some(batch) => Some(batch),
            None => batches.next().await?,
        };
        Ok::<_, ReadError>(batch.map(|batch| (lines_of(&batch), (None, batches))))
    });
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(chunks)).into_response())
}

fn lines_of(batch: &EventBatch) -> Bytes {
    let mut out = Vec::new();
    for event in batch.iter() {
        line::to_json(event, &mut out);
    }
    out.into()
}
