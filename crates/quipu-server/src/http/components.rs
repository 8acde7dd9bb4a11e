//! What runs on the log: projections, processes, relays and groups, as they report in the registry,
//! and what they are asked to do.

use axum::extract::{Extension, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use quipu_core::{
    ComponentKey, ComponentKind, ComponentRequest, ComponentStatus, ParkedItem, Position,
    RegistryError,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::append::require_json;
use super::from_json;
use super::problem::Problem;
use super::request::{self, Params};
use super::to_json;
use crate::config::Limits;
use crate::security::Access;
use crate::time;

/// A request for a component is a few words.
const BODY_SIZE_MAX: usize = 4 << 10;

/// The component that the path names.
pub(super) struct ComponentPath(ComponentKey);

impl<S: Send + Sync> FromRequestParts<S> for ComponentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String, u32)>::from_request_parts(parts, state).await;
        let Path((kind, name, version)) = path.map_err(|error| {
            Problem::malformed("the path names no component")
                .because(error.body_text())
                .hint("a component's path is /components/KIND/NAME/VERSION")
        })?;
        let kind = ComponentKind::from_name(&kind).ok_or_else(|| {
            Problem::malformed("the path names no kind of component")
                .hint("a kind is projection, process, relay or group")
                .with("kind", kind)
        })?;
        Ok(Self(ComponentKey { kind, name, version }))
    }
}

/// Components, in the order of kind, name and version.
#[derive(Serialize, ToSchema)]
#[schema(as = ComponentList)]
pub(super) struct ComponentsOut {
    /// Each as it reported last, without what is parked.
    components: Vec<ComponentOut>,
}

/// A component, as it reported last.
#[derive(Serialize, ToSchema)]
#[schema(as = Component)]
pub(super) struct ComponentOut {
    /// projection, process, relay or group.
    kind: &'static str,
    /// Its name.
    name: String,
    /// Its version: two versions run side by side.
    version: u32,
    /// Who runs it, for people.
    owner: String,
    /// The epoch of the lease under which it runs; 0 where there is none.
    epoch: u64,
    /// catching-up, live, paused, stopped or retrying.
    state: &'static str,
    /// The last event it handled.
    position: u64,
    /// How many positions lie between it and the frontier.
    lag: u64,
    /// What went wrong last.
    last_error: Option<String>,
    /// How many events are parked.
    parked_count: u64,
    /// The first 1,000 of them. Not in lists of components.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parked: Option<Vec<ParkedOut>>,
    /// When it reported.
    reported_at: String,
}

/// An event that a component set aside.
#[derive(Serialize, ToSchema)]
#[schema(as = ParkedEvent)]
pub(super) struct ParkedOut {
    /// The event.
    position: u64,
    /// The key whose later events wait behind it.
    key: String,
    /// Why.
    cause: String,
}

impl From<ParkedItem> for ParkedOut {
    fn from(item: ParkedItem) -> Self {
        Self { position: item.position.get(), key: item.key, cause: item.cause }
    }
}

impl ComponentOut {
    fn without_parked(status: ComponentStatus) -> Self {
        Self {
            kind: status.key.kind.as_str(),
            name: status.key.name,
            version: status.key.version,
            owner: status.owner,
            epoch: status.epoch,
            state: status.state.as_str(),
            position: status.position.get(),
            lag: status.lag,
            last_error: status.last_error,
            parked_count: status.parked_count,
            parked: None,
            reported_at: time::to_text(status.reported_at),
        }
    }

    fn with_parked(mut status: ComponentStatus) -> Self {
        let parked = std::mem::take(&mut status.parked).into_iter().map(ParkedOut::from);
        let parked = Some(parked.collect());
        Self { parked, ..Self::without_parked(status) }
    }
}

/// Lists the components that have reported.
#[utoipa::path(
    get, path = "/components", tag = "components", operation_id = "list_components",
    responses((status = 200, description = "The components.", body = ComponentsOut)),
)]
pub(super) async fn list(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &[])?;
    let components = access.store().registry().components().await?;
    let components = components.into_iter().map(ComponentOut::without_parked).collect();
    Ok(to_json::json(&ComponentsOut { components }))
}

/// Says how a component is, and what it has parked.
#[utoipa::path(
    get, path = "/components/{kind}/{name}/{version}", tag = "components",
    operation_id = "component",
    params(
        ("kind" = String, Path, description = "projection, process, relay or group."),
        ("name" = String, Path, description = "Its name, percent-encoded."),
        ("version" = u32, Path, description = "Its version."),
    ),
    responses(
        (status = 200, description = "The component.", body = ComponentOut),
        (status = 404, description = "No such component has reported.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn one(
    ComponentPath(key): ComponentPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &[])?;
    let found = access.store().registry().components().await?;
    match found.into_iter().find(|status| status.key == key) {
        Some(status) => Ok(to_json::json(&ComponentOut::with_parked(status))),
        None => Err(RegistryError::Unknown { key }.into()),
    }
}

/// Forgets a component and the requests that wait for it. One that still runs reports again.
#[utoipa::path(
    delete, path = "/components/{kind}/{name}/{version}", tag = "components",
    operation_id = "remove_component",
    params(
        ("kind" = String, Path, description = "projection, process, relay or group."),
        ("name" = String, Path, description = "Its name, percent-encoded."),
        ("version" = u32, Path, description = "Its version."),
    ),
    responses((status = 204, description = "It is forgotten.")),
)]
pub(super) async fn remove(
    ComponentPath(key): ComponentPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Params::read(request.uri().query(), &[])?;
    access.store().registry().remove(&key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a component is asked to do.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ComponentRequest)]
pub(super) struct RequestIn {
    /// pause, resume, retry, drop, promote or replay.
    request: String,
    /// The parked event to retry or to drop, all of them where it is left out; the place behind
    /// which to begin again.
    position: Option<u64>,
}

impl RequestIn {
    fn parse(self) -> Result<ComponentRequest, Problem> {
        let position = self.position.map(Position::new);
        match (self.request.as_str(), position) {
            ("pause", None) => Ok(ComponentRequest::Pause),
            ("resume", None) => Ok(ComponentRequest::Resume),
            ("promote", None) => Ok(ComponentRequest::Promote),
            ("retry", position) => Ok(ComponentRequest::Retry(position)),
            ("drop", position) => Ok(ComponentRequest::Drop(position)),
            ("replay", Some(position)) => Ok(ComponentRequest::ReplayFrom(position)),
            ("replay", None) => Err(Problem::malformed("a replay needs a position")
                .hint("send the position behind which to begin: 0 is the beginning of the log")),
            ("pause" | "resume" | "promote", Some(_)) => {
                Err(Problem::malformed(format!("{} has no position", self.request)))
            }
            _ => Err(Problem::malformed("the request is not one that components know")
                .hint("it is pause, resume, retry, drop, promote or replay")
                .with("request", self.request)),
        }
    }
}

/// Asks a component to do something. It does so when it next looks for requests, within a second
/// if it runs.
#[utoipa::path(
    post, path = "/components/{kind}/{name}/{version}/requests", tag = "components",
    operation_id = "ask_component",
    params(
        ("kind" = String, Path, description = "projection, process, relay or group."),
        ("name" = String, Path, description = "Its name, percent-encoded."),
        ("version" = u32, Path, description = "Its version."),
    ),
    request_body = RequestIn,
    responses(
        (status = 202, description = "The request waits for the component."),
        (status = 400, description = "The request cannot be read.", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "No such component has reported.", body = Problem,
            content_type = "application/problem+json"),
        (status = 429, description = "1,000 requests wait already.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn request(
    ComponentPath(key): ComponentPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Params::read(parts.uri.query(), &[])?;
    require_json(&parts.headers)?;
    let own = access.service().limits();
    let limits =
        Limits { request_size_max: BODY_SIZE_MAX.min(own.request_size_max), ..(*own).clone() };
    let body = request::read_body(&parts.headers, body, &limits).await?;
    let wanted = from_json::parse::<RequestIn>(&body)?.parse()?;
    access.store().registry().request(&key, wanted).await?;
    Ok((StatusCode::ACCEPTED, to_json::json(&serde_json::json!({}))).into_response())
}
