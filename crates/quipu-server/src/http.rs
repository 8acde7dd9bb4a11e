//! HTTP: JSON, server-sent events, health, metrics, and the files of the page at `/`.
//!
//! ```text
//! append     POST: events, and what must hold for them
//! read       GET: pages of events, or all as JSON lines
//! subscribe  GET: server-sent events
//! subscriptions  those that are open
//! streams    lists, info, metadata, deletes; where the log is
//! categories what the log consists of
//! vocabulary types and tags, page by page
//! process_map what follows what, and exports
//! components what runs on the log, and what it is asked to do
//! groups     consumer groups and their members
//! from_json  bodies to appends          to_json  answers to bodies
//! problem    every failure, by RFC 9457; failure: which error is which
//! session    logging in and out; who somebody is
//! openapi    the description that /openapi.json and /docs show
//! ```

mod append;
mod categories;
mod cloud_event;
mod components;
mod failure;
mod from_json;
mod groups;
mod health;
mod openapi;
mod problem;
mod process_map;
mod read;
mod request;
mod session;
mod streams;
mod subscribe;
mod subscriptions;
mod to_json;
mod vocabulary;

use std::sync::OnceLock;

use axum::Router;
use axum::extract::{Extension, MatchedPath, Request};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use quipu_core::Position;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::security::{Access, PERMISSIONS};
use crate::ui;
pub(crate) use groups::Members;
pub(crate) use problem::{Kind, Problem};

/// The routes of HTTP, as the permission table names them.
pub(crate) fn routes() -> Router {
    // The same in every server of the process, and made once.
    static DESCRIPTION: OnceLock<String> = OnceLock::new();
    let (router, api) = documented().split_for_parts();
    let description = DESCRIPTION.get_or_init(|| openapi::to_text(api));
    router
        .route("/", get(ui::page))
        .route("/ui/{file}", get(ui::file))
        .route("/metrics", get(metrics))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/openapi.json", get(async || openapi::respond(description)))
        .route("/docs", get(openapi::page))
        .route("/session", post(session::begin).delete(session::end))
        .merge(crate::kurrent::routes())
}

fn documented() -> OpenApiRouter {
    OpenApiRouter::with_openapi(openapi::Api::openapi())
        .routes(routes!(read::stream, append::to_stream, streams::delete))
        .routes(routes!(append::whole))
        .routes(routes!(read::events))
        .routes(routes!(subscribe::stream))
        .routes(routes!(subscribe::log))
        .routes(routes!(streams::list))
        .routes(routes!(streams::info))
        .routes(routes!(streams::metadata, streams::set_metadata))
        .routes(routes!(streams::frontier))
        .routes(routes!(streams::position))
        .routes(routes!(categories::list))
        .routes(routes!(vocabulary::types))
        .routes(routes!(vocabulary::tags))
        .routes(routes!(vocabulary::tag_keys))
        .routes(routes!(components::list))
        .routes(routes!(components::one, components::remove))
        .routes(routes!(components::request))
        .routes(routes!(groups::list))
        .routes(routes!(groups::create, groups::one, groups::update, groups::delete))
        .routes(routes!(groups::parked, groups::drop_parked))
        .routes(routes!(groups::replay))
        .routes(routes!(groups::members::join))
        .routes(routes!(groups::members::receive))
        .routes(routes!(groups::members::answer))
        .routes(routes!(groups::members::leave))
        .routes(routes!(subscriptions::list))
        .routes(routes!(session::who))
        .routes(routes!(process_map::map))
        .routes(routes!(process_map::cases))
        .routes(routes!(process_map::export_events))
        .routes(routes!(problem::explain))
}

/// The answer to a request that no operation is for: 405 if its path has other methods, else 404.
pub(crate) fn unknown(request: &Request) -> Response {
    let path = request.uri().path();
    let route = request.extensions().get::<MatchedPath>().map_or(path, MatchedPath::as_str);
    let methods = PERMISSIONS.iter().filter_map(|own| own.operation.split_once(' '));
    let allowed: Vec<&str> =
        methods.filter(|(_, own)| *own == route).map(|(method, _)| method).collect();
    if allowed.is_empty() {
        return Problem::new(Kind::NotFound, format!("there is nothing at {path}")).into_response();
    }
    let detail = format!("{path} does not have the method {}", name_of(request.method()));
    let header = HeaderValue::from_str(&allowed.join(", ")).expect("methods are a header");
    let problem = Problem::new(Kind::MethodNotAllowed, detail).with("allowed", allowed);
    problem.header(ALLOW, header).into_response()
}

fn name_of(method: &Method) -> String {
    method.as_str().chars().take(32).collect()
}

async fn metrics(Extension(access): Extension<Access>) -> impl IntoResponse {
    let service = access.service();
    // A store that cannot be read has no frontier; its other metrics are wanted all the more.
    let frontier = service.store().frontier().await.map_or(0, Position::get);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut groups = service.groups().running_here().await;
    groups.extend(service.kurrent().subscriptions().running_here().await);
    ([(CONTENT_TYPE, kind)], service.metrics().text(frontier, service.engine(), &groups))
}
