//! Consumer groups: what they are, how they are, what they parked; their members in `members`.

mod config;
pub(super) mod members;

use std::sync::Arc;

use axum::extract::{Extension, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use quipu_core::Position;
use quipu_groups::group::{GroupConfig, GroupInfo, GroupStatus, MemberInfo, Which};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::append::require_json;
use super::components::ParkedOut;
use super::from_json;
use super::problem::Problem;
use super::request::{self, Params};
use super::to_json;
use crate::config::Limits;
use crate::security::Access;
use config::{GroupIn, GroupOut, SettingsIn};
pub(crate) use members::Members;

/// A group or an answer takes few bytes: the numbers of 10,000 events, or 100 queries.
const BODY_SIZE_MAX: usize = 1 << 20;

/// The group that the path names, percent-encoded.
pub(super) struct GroupPath(String);

impl<S: Send + Sync> FromRequestParts<S> for GroupPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|error| {
            Problem::malformed("the name of the group cannot be read").because(error.body_text())
        })
    }
}

/// Groups, in the order of their names.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupList)]
pub(super) struct GroupsOut {
    /// Each as it is set.
    groups: Vec<GroupOut>,
}

/// How a group is.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupStatus)]
pub(super) struct StatusOut {
    /// What it is.
    config: GroupOut,
    /// Everything at or before this position is settled, and stays so after a crash.
    checkpoint: u64,
    /// How many positions lie between the checkpoint and the end of the log.
    lag: u64,
    /// How many events are parked.
    parked_count: u64,
    /// How it runs; null while nobody is in it.
    running: Option<RunOut>,
}

/// How a group runs.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupRun)]
struct RunOut {
    /// catching-up, live, paused, stopped or retrying.
    state: &'static str,
    /// The epoch of the lease under which it runs.
    epoch: u64,
    /// Everything at or before this position is settled.
    position: u64,
    /// How many events are with members.
    in_flight: u64,
    /// How many could go to a member at once.
    ready: u64,
    /// How many wait to be tried again.
    waiting: u64,
    /// How many wait for an earlier one of their key.
    blocked: u64,
    /// How many were settled since the group began to run.
    settled: u64,
    /// How many were settled in the last second.
    settled_last_second: u64,
    /// What went wrong last.
    last_error: Option<String>,
    /// The members, oldest first.
    members: Vec<MemberOut>,
}

/// A member of a group.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupMember)]
struct MemberOut {
    /// What people call it.
    name: String,
    /// Who it is.
    principal: String,
    /// The most events that are with it at a time.
    capacity: u64,
    /// How many are.
    in_flight: u64,
    /// How many were ever handed to it.
    total: u64,
    /// How many were handed to it in the last second.
    last_second: u64,
}

/// The events that a group parked.
#[derive(Serialize, ToSchema)]
#[schema(as = ParkedEvents)]
pub(super) struct ParkedListOut {
    /// In the order of the log.
    parked: Vec<ParkedOut>,
}

/// How many events something was done to.
#[derive(Serialize, ToSchema)]
#[schema(as = EventCount)]
pub(super) struct CountOut {
    /// How many.
    count: u64,
}

impl From<GroupStatus> for StatusOut {
    fn from(status: GroupStatus) -> Self {
        Self {
            config: GroupOut::from(&*status.config),
            checkpoint: status.checkpoint.get(),
            lag: status.lag,
            parked_count: status.parked_count,
            running: status.running.map(RunOut::from),
        }
    }
}

impl From<GroupInfo> for RunOut {
    fn from(info: GroupInfo) -> Self {
        Self {
            state: info.state.as_str(),
            epoch: info.epoch,
            position: info.position.get(),
            in_flight: info.counts.in_flight as u64,
            ready: info.counts.ready as u64,
            waiting: info.counts.waiting as u64,
            blocked: info.counts.blocked as u64,
            settled: info.settled_total,
            settled_last_second: info.settled_last_second,
            last_error: info.last_error,
            members: info.members.into_iter().map(MemberOut::from).collect(),
        }
    }
}

impl From<MemberInfo> for MemberOut {
    fn from(member: MemberInfo) -> Self {
        Self {
            name: member.name,
            principal: member.principal,
            capacity: member.capacity as u64,
            in_flight: member.in_flight as u64,
            total: member.total,
            last_second: member.last_second,
        }
    }
}

/// Fails unless the caller may read all that a group is about.
async fn readable(access: &Access, name: &str) -> Result<Arc<GroupConfig>, Problem> {
    let config = access.service().groups().config(name).await?;
    access.may_query(&config.query)?;
    Ok(config)
}

/// Reads a body that is one JSON object.
async fn body<T: DeserializeOwned>(access: &Access, request: Request) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    Params::read(parts.uri.query(), &[])?;
    require_json(&parts.headers)?;
    let own = access.service().limits();
    let limits =
        Limits { request_size_max: BODY_SIZE_MAX.min(own.request_size_max), ..(*own).clone() };
    let body = request::read_body(&parts.headers, body, &limits).await?;
    from_json::parse(&body)
}

/// Lists the groups whose events the caller may read.
#[utoipa::path(
    get, path = "/groups", tag = "groups", operation_id = "list_groups",
    responses((status = 200, description = "The groups.", body = GroupsOut)),
)]
pub(super) async fn list(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &[])?;
    let groups = access.service().groups().list().await?;
    let readable = groups.iter().filter(|config| access.may_query(&config.query).is_ok());
    let groups = readable.map(|config| GroupOut::from(&**config)).collect();
    Ok(to_json::json(&GroupsOut { groups }))
}

/// Creates a group.
#[utoipa::path(
    post, path = "/groups/{group}", tag = "groups", operation_id = "create_group",
    params(("group" = String, Path, description = "Its name, percent-encoded: 1 to 200 bytes.")),
    request_body = GroupIn,
    responses(
        (status = 201, description = "The group as it is set.", body = GroupOut),
        (status = 400, description = "A group cannot be like that.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "There is a group of this name already.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(
    GroupPath(name): GroupPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let wanted = body::<GroupIn>(&access, request).await?;
    let (mut config, is_from_end) = wanted.parse(&name)?;
    access.may_query(&config.query)?;
    if is_from_end {
        config.after = access.store().frontier().await?;
    }
    let out = GroupOut::from(&config);
    access.service().groups().create(config).await?;
    Ok((StatusCode::CREATED, to_json::json(&out)).into_response())
}

/// Says what a group is and how it is.
#[utoipa::path(
    get, path = "/groups/{group}", tag = "groups", operation_id = "group",
    params(("group" = String, Path, description = "Its name, percent-encoded.")),
    responses(
        (status = 200, description = "The group.", body = StatusOut),
        (status = 404, description = "There is no such group.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn one(
    GroupPath(name): GroupPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &[])?;
    readable(&access, &name).await?;
    let status = access.service().groups().status(&name).await?;
    Ok(to_json::json(&StatusOut::from(status)))
}

/// Changes a group's settings. What is left out stays as it is. The members have to join again.
#[utoipa::path(
    patch, path = "/groups/{group}", tag = "groups", operation_id = "update_group",
    params(("group" = String, Path, description = "Its name, percent-encoded.")),
    request_body = SettingsIn,
    responses(
        (status = 200, description = "The group as it is set now.", body = GroupOut),
        (status = 400, description = "A group cannot be like that.", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "There is no such group.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn update(
    GroupPath(name): GroupPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let settings = body::<SettingsIn>(&access, request).await?;
    let config = readable(&access, &name).await?;
    let config = settings.apply(&config)?;
    let out = GroupOut::from(&config);
    access.service().groups().update(config).await?;
    Ok(to_json::json(&out))
}

/// Deletes a group, its checkpoint and what it parked.
#[utoipa::path(
    delete, path = "/groups/{group}", tag = "groups", operation_id = "delete_group",
    params(("group" = String, Path, description = "Its name, percent-encoded.")),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 404, description = "There is no such group.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete(
    GroupPath(name): GroupPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Params::read(request.uri().query(), &[])?;
    readable(&access, &name).await?;
    access.service().groups().delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the events that a group parked.
#[utoipa::path(
    get, path = "/groups/{group}/parked", tag = "groups", operation_id = "list_parked",
    params(("group" = String, Path, description = "Its name, percent-encoded.")),
    responses(
        (status = 200, description = "The events.", body = ParkedListOut),
        (status = 404, description = "There is no such group.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn parked(
    GroupPath(name): GroupPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &[])?;
    readable(&access, &name).await?;
    let parked = access.service().groups().parked(&name).await?;
    let parked = parked.into_iter().map(ParkedOut::from).collect();
    Ok(to_json::json(&ParkedListOut { parked }))
}

/// Tries parked events again, before anything else of their keys.
#[utoipa::path(
    post, path = "/groups/{group}/parked/replay", tag = "groups", operation_id = "replay_parked",
    params(
        ("group" = String, Path, description = "Its name, percent-encoded."),
        ("position" = Option<u64>, Query, description = "The event; in a group in order with the \
            others of its key. None: all."),
    ),
    responses(
        (status = 200, description = "How many are tried again.", body = CountOut),
        (status = 404, description = "There is no such group.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn replay(
    GroupPath(name): GroupPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let position = Params::read(request.uri().query(), &["position"])?.number("position")?;
    readable(&access, &name).await?;
    let which = position.map_or(Which::All, |position| Which::At(Position::new(position)));
    let count = access.service().groups().replay(&name, which).await?;
    Ok(to_json::json(&CountOut { count: count as u64 }))
}

/// Forgets parked events.
#[utoipa::path(
    delete, path = "/groups/{group}/parked", tag = "groups", operation_id = "drop_parked",
    params(
        ("group" = String, Path, description = "Its name, percent-encoded."),
        ("position" = Option<u64>, Query, description = "The event. None: all."),
    ),
    responses(
        (status = 200, description = "How many are forgotten.", body = CountOut),
        (status = 404, description = "There is no such group.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn drop_parked(
    GroupPath(name): GroupPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let position = Params::read(request.uri().query(), &["position"])?.number("position")?;
    readable(&access, &name).await?;
    let which = position.map(Position::new);
    let count = access.service().groups().drop_parked(&name, which).await?;
    Ok(to_json::json(&CountOut { count: count as u64 }))
}
