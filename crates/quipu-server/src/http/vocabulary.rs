//! The names that events have: types, tags, and the keys of tags.

use std::time::{Duration, Instant};

use axum::extract::{Extension, Request};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::request::Params;
use super::to_json;
use crate::derived::{Derived, Scan};
use crate::security::Access;
use crate::vocabulary::{Names, Vocabulary};

const COUNT_DEFAULT: u64 = 100;
const COUNT_MAX: u64 = 1_000;
/// How long one request gathers at most, but for one step.
const GATHER_MAX: Duration = Duration::from_millis(200);

/// Names of one kind in the events of a query, in the order of their bytes.
#[derive(Serialize, ToSchema)]
#[schema(as = NameList)]
pub(super) struct NamesOut {
    /// The names of events up to this position are gathered, but for those that had no room.
    position: u64,
    /// Where the log ends. Where `position` is before it, ask again: each request goes on gathering
    /// for some 0.2 s.
    frontier: u64,
    /// Some of the names gathered so far.
    names: Vec<NameOut>,
    /// How often a name came for which there was no room: 0 where the names are complete. There is room
    /// for 10,000 types, 10,000 keys of tags, and 200,000 tags, 20,000 of each key.
    left_out_count: u64,
    /// The next page, if there is one.
    next: Option<String>,
}

/// A name that events have.
#[derive(Serialize, ToSchema)]
#[schema(as = Name)]
pub(super) struct NameOut {
    name: String,
    /// How many events have it.
    event_count: u64,
    /// Of the key of a tag, how many tags with it were gathered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tag_count: Option<u64>,
}

/// Lists the types of events, each with the number of its events.
///
/// Names are gathered once in the life of a server and go on from there; they are the log's, so that a
/// caller must be allowed to read all that the query may match. The store's own events, whose stream
/// or type begins with $, are left out.
#[utoipa::path(
    get, path = "/types", tag = "streams", operation_id = "list_types",
    params(
        ("query" = Option<Vec<String>>, Query, description = "As in GET /events. None: every event."),
        ("prefix" = Option<String>, Query, description = "Only names that begin with this."),
        ("after" = Option<String>, Query, description = "Only names after this one."),
        ("limit" = Option<u64>, Query,
            description = "The most names of a page: 100 unless asked for, at most 1,000."),
    ),
    responses((status = 200, description = "A page.", body = NamesOut)),
)]
pub(super) async fn types(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    list(&access, request.uri().query(), "/types", |all, page| {
        page.of(all.types(), |own| (own.event_count, None))
    })
    .await
}

/// Lists the tags of events, each with the number of its events, as types are listed.
#[utoipa::path(
    get, path = "/tags", tag = "streams", operation_id = "list_tags",
    params(
        ("query" = Option<Vec<String>>, Query, description = "As in GET /events. None: every event."),
        ("prefix" = Option<String>, Query,
            description = "Only tags that begin with this, such as order: for those with that key."),
        ("after" = Option<String>, Query, description = "Only names after this one."),
        ("limit" = Option<u64>, Query,
            description = "The most names of a page: 100 unless asked for, at most 1,000."),
    ),
    responses((status = 200, description = "A page.", body = NamesOut)),
)]
pub(super) async fn tags(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    list(&access, request.uri().query(), "/tags", |all, page| {
        page.of(all.tags(), |own| (own.event_count, None))
    })
    .await
}

/// Lists the keys of tags, the part before the first colon, each with the number of its events and of
/// its tags, as types are listed.
#[utoipa::path(
    get, path = "/tag-keys", tag = "streams", operation_id = "list_tag_keys",
    params(
        ("query" = Option<Vec<String>>, Query, description = "As in GET /events. None: every event."),
        ("prefix" = Option<String>, Query, description = "Only keys that begin with this."),
        ("after" = Option<String>, Query, description = "Only names after this one."),
        ("limit" = Option<u64>, Query,
            description = "The most names of a page: 100 unless asked for, at most 1,000."),
    ),
    responses((status = 200, description = "A page.", body = NamesOut)),
)]
pub(super) async fn tag_keys(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    list(&access, request.uri().query(), "/tag-keys", |all, page| {
        page.of(all.keys(), |own| (own.event_count, Some(own.tag_count)))
    })
    .await
}

/// Which names are wanted.
struct Page<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    count_max: usize,
}

/// The names of a page, and what else is to be said of them.
struct Found {
    names: Vec<NameOut>,
    has_more: bool,
    left_out_count: u64,
    position: u64,
}

impl Page<'_> {
    fn of<C: Copy + Default>(
        &self,
        all: &Names<C>,
        counts: impl Fn(C) -> (u64, Option<u64>),
    ) -> Found {
        let named = |(name, own): (&str, C)| {
            let (event_count, tag_count) = counts(own);
            NameOut { name: name.to_owned(), event_count, tag_count }
        };
        let mut page = all.page(self.prefix, self.after);
        let names: Vec<NameOut> = page.by_ref().take(self.count_max).map(named).collect();
        let has_more = page.next().is_some();
        Found { names, has_more, left_out_count: all.left_out_count(), position: 0 }
    }
}

async fn list(
    access: &Access,
    asked: Option<&str>,
    path: &str,
    look: impl FnOnce(&Vocabulary, &Page<'_>) -> Found,
) -> Result<Response, Problem> {
    let params = Params::read(asked, &["query", "prefix", "after", "limit"])?;
    let page = Page {
        prefix: params.one("prefix")?.unwrap_or_default(),
        after: params.one("after")?,
        count_max: params.limit(COUNT_DEFAULT, COUNT_MAX)? as usize,
    };
    let query = params.query()?;
    let gathered = access.service().vocabularies().get(query.clone(), Vocabulary::default);
    let scan = Scan::begin(access.store(), query, gathered, None).await?;
    let begun = Instant::now();
    let mut progress = scan.step().await?;
    while !progress.is_done && begun.elapsed() < GATHER_MAX {
        progress = scan.step().await?;
    }
    let found = scan.look(|all| Found { position: all.position().get(), ..look(all, &page) }).await;
    let last = found.names.last().filter(|_| found.has_more);
    let next = last.map(|own| params.link(path, "after", &own.name));
    let mut response = to_json::json(&NamesOut {
        position: found.position,
        frontier: progress.through.get().max(found.position),
        names: found.names,
        left_out_count: found.left_out_count,
        next: next.clone(),
    });
    if let Some(next) = next {
        to_json::set_next_link(&mut response, &next);
    }
    Ok(response)
}
