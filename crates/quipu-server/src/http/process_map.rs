//! Process maps: what follows what, the cases behind it, and exports for process mining.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use quipu_core::Position;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::problem::{Kind, Problem};
use super::request::{self, Params};
use super::to_json::{self, JSON};
use crate::derived::{Derived, Progress, Scan};
use crate::process_map::{
    CaseBy, ExportError, Occurrence, ProcessMap, Wanted, export, find_occurrences,
};
use crate::security::Access;
use crate::time;

const EVENT_STREAM: &str = "text/event-stream";
/// How many of the most frequent paths a map tells.
const PATH_COUNT: usize = 50;
/// How often progress is told at most.
const TELL_INTERVAL: Duration = Duration::from_millis(200);
const CASES_DEFAULT: u64 = 50;
const CASES_MAX: u64 = 200;

/// Which type of event follows which.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessMap)]
struct MapOut {
    /// The place in the log up to which it counts.
    position: u64,
    /// How many events it was made of, those that belong to no case included.
    event_count: u64,
    /// How many cases there are.
    case_count: u64,
    /// How many events the map had no room for: 0 where it is complete. A map has at most a million
    /// cases and 500 types.
    left_out_count: u64,
    /// The types of events, the most frequent first.
    types: Vec<TypeOut>,
    /// What follows what directly in a case, the most frequent first.
    edges: Vec<EdgeOut>,
    /// The sequences of types that most cases have gone through so far: the first 50.
    paths: Vec<PathOut>,
    /// How many different sequences there are.
    path_count: u64,
}

/// A type of event in a process map.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessType)]
struct TypeOut {
    r#type: String,
    /// How often it happened in a case.
    count: u64,
    /// How many cases begin with it.
    start_count: u64,
    /// How many cases it is the last event of, so far.
    end_count: u64,
}

/// One type that follows another directly in a case.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessEdge)]
struct EdgeOut {
    from: String,
    to: String,
    /// How often.
    count: u64,
    /// The median of the time between the two, in microseconds, to one per cent.
    median_us: u64,
    /// Nine of ten take no longer, in microseconds, to one per cent.
    p90_us: u64,
}

/// A sequence of types that cases have gone through.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessPath)]
struct PathOut {
    types: Vec<String>,
    /// How many cases.
    count: u64,
}

impl MapOut {
    fn of(map: &ProcessMap) -> Self {
        Self {
            position: map.position().get(),
            event_count: map.event_count(),
            case_count: map.case_count(),
            left_out_count: map.left_out_count(),
            types: map
                .types()
                .into_iter()
                .map(|own| TypeOut {
                    r#type: own.name.to_string(),
                    count: own.count,
                    start_count: own.start_count,
                    end_count: own.end_count,
                })
                .collect(),
            edges: map
                .edges()
                .into_iter()
                .map(|own| EdgeOut {
                    from: own.from.to_owned(),
                    to: own.to.to_owned(),
                    count: own.count,
                    median_us: own.median_us,
                    p90_us: own.p90_us,
                })
                .collect(),
            paths: map
                .paths(PATH_COUNT)
                .into_iter()
                .map(|(types, count)| PathOut {
                    types: types.into_iter().map(str::to_owned).collect(),
                    count,
                })
                .collect(),
            path_count: map.path_count(),
        }
    }
}

/// Says which type of event follows which, how often, and after how long.
///
/// The map of a query is kept and goes on from where it was when it is asked for again; as of an
/// earlier moment it is made anew. Either takes one reading of the events at most. As
/// `text/event-stream` the answer tells its `progress` (`position` of `through`) and ends with the
/// `map`, or with `failed` and a problem; ending the request ends the work.
#[utoipa::path(
    get, path = "/process-map", tag = "process map", operation_id = "process_map",
    params(
        ("query" = Option<Vec<String>>, Query, description = "As in GET /events. None: every event."),
        ("case" = Option<String>, Query,
            description = "What belongs together: stream (the default), or tag:KEY for everything \
                with the same tag of a key, such as tag:order for order:1, order:2."),
        ("as_of" = Option<String>, Query,
            description = "The moment to look at: a position, an RFC 3339 time, or a date."),
    ),
    responses(
        (status = 200, description = "The map, or progress and the map.",
            content((MapOut = "application/json"), (String = "text/event-stream"))),
        (status = 400, description = "A query or a parameter is not valid.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn map(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::read(request.uri().query(), &["query", "case", "as_of"])?;
    let format = request::accepted(request.headers(), &[JSON, EVENT_STREAM])?;
    let (query, by, as_of) = (params.query()?, case(&params)?, params.as_of()?);
    let map = if as_of.is_none() {
        let maps = access.service().process_maps();
        maps.get((query.clone(), by.clone()), || ProcessMap::new(by))
    } else {
        // An earlier moment's is made anew, and not kept.
        Arc::new(Mutex::new(ProcessMap::new(by)))
    };
    let scan = Scan::begin(access.store(), query, map, as_of).await?;
    // The first step before the head of the answer: a refusal is one then.
    let mut progress = scan.step().await?;
    if format == EVENT_STREAM {
        let told = Telling { scan, progress: Some(progress) };
        let chunks = futures_lite::stream::unfold(told, Telling::next);
        let headers = [(CONTENT_TYPE, EVENT_STREAM), (CACHE_CONTROL, "no-store")];
        return Ok((headers, Body::from_stream(chunks)).into_response());
    }
    while !progress.is_done {
        progress = scan.step().await?;
    }
    let out = scan.look(MapOut::of).await;
    Ok(to_json::json(&out))
}

fn case(params: &Params) -> Result<CaseBy, Problem> {
    Ok(params.parse("case", str::parse)?.unwrap_or_default())
}

/// A scan that tells how far it has come.
struct Telling {
    scan: Scan<ProcessMap>,
    progress: Option<Progress>,
}

impl Telling {
    /// The next bytes, when the connection has taken those before.
    async fn next(self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let Self { scan, progress } = self;
        let progress = progress?;
        if progress.is_done {
            let map = scan.look(MapOut::of).await;
            return Some((Ok(sent("map", &map)), Self { scan, progress: None }));
        }
        let (position, through) = (progress.position.get(), progress.through.get());
        let text = sent("progress", &json!({"position": position, "through": through}));
        match Self::work(&scan, progress).await {
            Ok(progress) => Some((Ok(text), Self { scan, progress: Some(progress) })),
            Err(problem) => Some((Ok(sent("failed", &problem)), Self { scan, progress: None })),
        }
    }

    async fn work(scan: &Scan<ProcessMap>, mut progress: Progress) -> Result<Progress, Problem> {
        let begun = Instant::now();
        while !progress.is_done && begun.elapsed() < TELL_INTERVAL {
            progress = scan.step().await?;
        }
        Ok(progress)
    }
}

fn sent<T: Serialize>(kind: &str, value: &T) -> Bytes {
    let data = serde_json::to_string(value).expect("texts and numbers are JSON");
    format!("event: {kind}\ndata: {data}\n\n").into()
}

/// Cases in which one type followed another.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessCases)]
struct CasesOut {
    /// The newest first. A case in which it happened more than once is there as often.
    cases: Vec<CaseOut>,
    /// The path of the next page, if there may be more.
    next: Option<String>,
}

/// One type following another in a case.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessCase)]
struct CaseOut {
    /// The stream, or the tag.
    case: String,
    /// The position of the earlier event.
    from: u64,
    /// The position of the later event.
    to: u64,
    /// When the later event was recorded.
    time: String,
    /// The time between the two, in microseconds.
    wait_us: u64,
}

impl From<Occurrence> for CaseOut {
    fn from(own: Occurrence) -> Self {
        Self {
            case: own.case,
            from: own.from.get(),
            to: own.to.get(),
            time: time::to_text(own.at),
            wait_us: own.wait_us,
        }
    }
}

/// Finds the cases behind an edge of a process map, the newest first.
///
/// At most 1,000 events of the type `to` are looked at for one answer, so that a page of a rare edge
/// may be short, or empty, and have a next one all the same.
#[utoipa::path(
    get, path = "/process-map/cases", tag = "process map", operation_id = "process_map_cases",
    params(
        ("query" = Option<Vec<String>>, Query, description = "As the map's."),
        ("case" = Option<String>, Query, description = "As the map's."),
        ("from" = String, Query, description = "The type of the earlier event."),
        ("to" = String, Query, description = "The type of the later event."),
        ("before" = Option<u64>, Query, description = "Only later events before this position."),
        ("limit" = Option<u64>, Query,
            description = "The most cases of a page: 50 unless asked for, at most 200."),
    ),
    responses(
        (status = 200, description = "A page.", body = CasesOut),
        (status = 400, description = "A query or a parameter is not valid.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn cases(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let known = ["query", "case", "from", "to", "before", "limit"];
    let params = Params::read(request.uri().query(), &known)?;
    let event_type = |name| {
        let missing = || Problem::malformed(format!("the parameter {name} is missing"));
        params.parse(name, crate::text::event_type)?.ok_or_else(missing)
    };
    let wanted = Wanted {
        query: params.query()?,
        by: case(&params)?,
        from: event_type("from")?,
        to: event_type("to")?,
        before: params.number("before")?.map(Position::new),
        limit: params.limit(CASES_DEFAULT, CASES_MAX)? as usize,
    };
    let (found, next) = find_occurrences(&*access.store(), &wanted).await?;
    let next = next.map(|at| params.link("/process-map/cases", "before", &at.to_string()));
    Ok(to_json::json(&CasesOut { cases: found.into_iter().map(CaseOut::from).collect(), next }))
}

/// Exports the events of a query for process mining: types, times, places, ids and tags.
///
/// As OCEL 2.0 (JSON), streams and tags are the objects; as XES, each case is a trace. An export has
/// at most a million cases or objects. An answer that breaks off has no proper end.
#[utoipa::path(
    get, path = "/process-map/export", tag = "process map", operation_id = "export_process",
    params(
        ("format" = String, Query, description = "ocel or xes."),
        ("query" = Option<Vec<String>>, Query, description = "As the map's."),
        ("case" = Option<String>, Query, description = "As the map's; of no concern to OCEL."),
        ("as_of" = Option<String>, Query, description = "As the map's."),
    ),
    responses(
        (status = 200, description = "The export.",
            content((Object = "application/json"), (String = "application/xml"))),
        (status = 400, description = "A query or a parameter is not valid.", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "It has more than a million cases.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn export_events(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::read(request.uri().query(), &["format", "query", "case", "as_of"])?;
    let format: crate::process_map::Format = params
        .parse("format", str::parse)?
        .ok_or_else(|| Problem::malformed("the parameter format is missing: ocel or xes"))?;
    let (query, by, as_of) = (params.query()?, case(&params)?, params.as_of()?);
    let pieces = export(format, access.store(), query, by, as_of).await;
    let pieces = pieces.map_err(|error| match error {
        ExportError::Read(error) => error.into(),
        ExportError::TooMany => {
            Problem::new(Kind::TooLarge, error.to_string()).hint("narrow the query")
        }
    })?;
    let name = format!("attachment; filename=\"events.{}\"", format.extension());
    let headers = [(CONTENT_TYPE, format.content_type()), (CONTENT_DISPOSITION, name.as_str())];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
