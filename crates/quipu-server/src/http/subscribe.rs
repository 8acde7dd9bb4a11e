//! Subscriptions as server-sent events.
//!
//! Each event of the log is one `event: event` whose id is the place to go on after: the position,
//! or the revision in a stream. A browser sends the last id back by itself when it comes again.
//! `checkpoint` has an id too; `caught-up` and `fell-behind` have none.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use quipu_core::{
    Delivery, EventBatch, EventRef, Position, Query, QueryItem, Revision, Subscribe, SubscribeFrom,
    Subscription,
};

use super::problem::{Kind, Problem};
use super::request::{Params, StreamPath};
use super::to_json;
use crate::security::Access;
use crate::slots::Slot;

/// How often a subscription without events says that it is there, so that nobody between takes the
/// connection for dead.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes again, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// Follows one stream as server-sent events.
///
/// The ids are revisions. The stream need not exist yet.
#[utoipa::path(
    get, path = "/streams/{stream}/subscribe", tag = "subscribe", operation_id = "subscribe_stream",
    params(
        ("stream" = String, Path, description = "The stream, percent-encoded: a / is %2F."),
        ("after" = Option<u64>, Query, description = "Begin after this revision."),
        ("from" = Option<String>, Query,
            description = "start (the default): with the first event; end: with what comes next."),
        ("Last-Event-ID" = Option<String>, Header,
            description = "Go on after this id, whatever the parameters say."),
    ),
    responses(
        (status = 200, description = "event, caught-up, fell-behind; without end.",
            body = String, content_type = "text/event-stream"),
        (status = 410, description = "The stream is tombstoned and nothing of it is left to send.",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn stream(
    StreamPath(stream): StreamPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::read(request.uri().query(), &["after", "from"])?;
    let from = beginning(&params, request.headers(), Revision::new)?;
    let subscribe = Subscribe::Stream { stream, from };
    open(access, subscribe, Shown::All, |event| event.revision().get()).await
}

/// Follows the events of the log that match any of the queries, as server-sent events.
///
/// The ids are positions. A checkpoint says that everything up to it was sent or is not wanted.
/// The store's and the framework's own events, whose stream or type begins with $, come only when
/// asked for: by `system`, or by a query that names their stream or category. (GET /events has them
/// all: what is decided rests on it.)
#[utoipa::path(
    get, path = "/subscribe", tag = "subscribe", operation_id = "subscribe",
    params(
        ("query" = Option<Vec<String>>, Query,
            description = "As in GET /events. None: every event."),
        ("system" = Option<bool>, Query,
            description = "Whether reserved events come too, whose stream or type begins with $: \
                false (the default) or true."),
        ("after" = Option<u64>, Query, description = "Begin after this position."),
        ("from" = Option<String>, Query,
            description = "start (the default): with the first event; end: with what comes next."),
        ("Last-Event-ID" = Option<String>, Header,
            description = "Go on after this id, whatever the parameters say."),
    ),
    responses(
        (status = 200, description = "event, checkpoint, caught-up, fell-behind; without end.",
            body = String, content_type = "text/event-stream"),
        (status = 400, description = "A query is not valid, or the place is beyond the end.",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn log(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::read(request.uri().query(), &["query", "system", "after", "from"])?;
    let from = beginning(&params, request.headers(), Position::new)?;
    let query = params.query()?;
    let shown = if params.flag("system")? { Shown::All } else { Shown::named_in(&query) };
    open(access, Subscribe::All { query, from }, shown, |event| event.position().get()).await
}

/// Where to begin. What a client saw last counts more than what its URL says: a browser that comes
/// again sends both.
fn beginning<P>(
    params: &Params,
    headers: &HeaderMap,
    place: fn(u64) -> P,
) -> Result<SubscribeFrom<P>, Problem> {
    let after = params.number("after")?;
    let from = params.one("from")?;
    let begin = match (after, from) {
        (Some(_), Some(_)) => {
            return Err(Problem::malformed("a subscription has from or after, not both"));
        }
        (Some(after), None) => SubscribeFrom::After(place(after)),
        (None, None | Some("start")) => SubscribeFrom::Start,
        (None, Some("end")) => SubscribeFrom::End,
        (None, Some(other)) => {
            let detail = format!("from is start or end, not {other:?}");
            return Err(Problem::malformed(detail).with("parameter", "from"));
        }
    };
    let Some(last) = headers.get("last-event-id") else { return Ok(begin) };
    match last.to_str().ok().and_then(|text| text.trim().parse().ok()) {
        Some(number) => Ok(SubscribeFrom::After(place(number))),
        None => Err(Problem::malformed("Last-Event-ID is not an id that was sent here")),
    }
}

/// Which events are sent of those that are delivered.
enum Shown {
    All,
    /// Reserved ones only where one of these items, which name their stream or category, matches.
    Unreserved(Vec<QueryItem>),
}

impl Shown {
    fn named_in(query: &Query) -> Self {
        let is_reserved = |name: &str| name.starts_with('$');
        let names = |item: &&QueryItem| {
            item.stream.as_ref().is_some_and(|stream| is_reserved(stream.as_str()))
                || item.category.as_deref().is_some_and(is_reserved)
        };
        Self::Unreserved(query.items.iter().filter(names).cloned().collect())
    }

    fn has(&self, event: EventRef<'_>) -> bool {
        let Self::Unreserved(named) = self else { return true };
        let is_reserved = event.stream().starts_with('$') || event.event_type().starts_with('$');
        !is_reserved || named.iter().any(|item| item.matches(event))
    }
}

/// A place for one more subscription of the caller's, or for one more of their members of groups.
pub(super) fn take_slot(access: &Access) -> Result<Slot, Problem> {
    access.service().subscription_slot(access.principal()).ok_or_else(|| {
        let count_max = access.service().limits().subscription_count_max;
        let detail = format!("{} has {count_max} subscriptions already", access.principal());
        Problem::new(Kind::TooManySubscriptions, detail).with("count_max", count_max)
    })
}

async fn open(
    access: Access,
    subscribe: Subscribe,
    shown: Shown,
    place: fn(EventRef<'_>) -> u64,
) -> Result<Response, Problem> {
    let slot = take_slot(&access)?;
    let mut subscription = access.store().subscribe(subscribe).await?;
    // The first delivery comes at once, be it that the end is reached. Waiting for it makes a
    // problem of what would otherwise end the answer right after its head, and let a browser come
    // again and again.
    let first = subscription.next().await?;
    let feed = Feed {
        subscription,
        access,
        shown,
        place,
        first: Some(first),
        is_over: false,
        _slot: slot,
    };
    let chunks = futures_lite::stream::unfold(feed, Feed::next);
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// What is being sent to one subscriber.
struct Feed {
    subscription: Box<dyn Subscription>,
    access: Access,
    shown: Shown,
    place: fn(EventRef<'_>) -> u64,
    first: Option<Delivery>,
    is_over: bool,
    _slot: Slot,
}

impl Feed {
    /// The next bytes, when the connection has taken those before.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.is_over {
            return None;
        }
        let mut text = match self.first.take() {
            Some(first) => {
                let mut text = format!("retry: {RETRY_MS}\n\n").into_bytes();
                self.write(&first, &mut text);
                text
            }
            None => self.wait().await,
        };
        if let Err(denied) = self.access.still_holds() {
            text = self.end(&denied.to_string());
        }
        Some((Ok(text.into()), self))
    }

    async fn wait(&mut self) -> Vec<u8> {
        let service = self.access.service().clone();
        tokio::select! {
            biased;
            () = service.stopping() => self.end("the server stops"),
            delivery = self.subscription.next() => match delivery {
                Ok(delivery) => {
                    let mut text = Vec::new();
                    self.write(&delivery, &mut text);
                    text
                }
                Err(error) => self.end(&Problem::from(error).to_text()),
            },
            () = tokio::time::sleep(ALIVE_INTERVAL) => b": still here\n\n".to_vec(),
        }
    }

    /// The last thing that is sent. A comment, since it is no event of the log.
    fn end(&mut self, reason: &str) -> Vec<u8> {
        self.is_over = true;
        let reason = reason.replace(['\r', '\n'], " ");
        format!(": ended: {reason}; go on after the last id\n\n").into_bytes()
    }

    fn write(&self, delivery: &Delivery, out: &mut Vec<u8>) {
        match delivery {
            Delivery::Events(batch) => self.write_events(batch, out),
            Delivery::Checkpoint(position) => write_checkpoint(position.get(), out),
            Delivery::CaughtUp => out.extend(b"event: caught-up\ndata: {}\n\n"),
            Delivery::FellBehind => out.extend(b"event: fell-behind\ndata: {}\n\n"),
        }
    }

    fn write_events(&self, batch: &EventBatch, out: &mut Vec<u8>) {
        let mut head = String::new();
        let is_shown = |event: &EventRef<'_>| self.shown.has(*event);
        for event in batch.iter().filter(is_shown) {
            head.clear();
            write!(head, "id: {}\nevent: event\ndata: ", (self.place)(event))
                .expect("writing to a text does not fail");
            out.extend(head.as_bytes());
            to_json::write_event(event, out);
            out.extend(b"\n\n");
        }
        // Whoever comes again is not to look at them once more.
        if let Some(last) = batch.last().filter(|last| !is_shown(last)) {
            write_checkpoint(last.position().get(), out);
        }
    }
}

fn write_checkpoint(position: u64, out: &mut Vec<u8>) {
    let text = format!("id: {position}\nevent: checkpoint\ndata: {{\"position\":{position}}}\n\n");
    out.extend(text.as_bytes());
}
