//! Members of groups that come with requests: they join, ask for events, answer, leave.
//!
//! A member is known by a name that nobody guesses, and stays in its group between requests for as
//! long as it is heard of. What was sent to one whose connection broke comes again when the group's
//! time for an event is over, as with a member that does not answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Extension, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use quipu_core::EventBatch;
use quipu_groups::group::{Answers, Dispatch, GroupEnd, GroupEvent, Joining, Membership, Nack};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{CountOut, GroupPath, body, readable};
use crate::http::openapi::DispatchedEvents;
use crate::http::problem::{Kind, Problem};
use crate::http::request::Params;
use crate::http::subscribe::take_slot;
use crate::http::to_json::{self, JSON};
use crate::security::Access;
use crate::server::Peer;
use crate::service::Service;
use crate::slots::Slot;

/// How long a member may say nothing before it is taken for gone.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// The longest that a request waits for events, in seconds.
const WAIT_S_MAX: u64 = 30;
/// The most events of one answer, unless the request says less.
const RECEIVE_COUNT_MAX: u64 = 1_000;
/// The most events that are with one member at a time.
const CAPACITY_MAX: u64 = 10_000;
/// The most bytes of a cause that are kept.
const CAUSE_SIZE_MAX: usize = 2_000;

/// An answer without events.
const EMPTY_PAGE: &[u8] = b"{\"events\":[]}";

/// The members that come with requests, by the names that they were given.
#[derive(Clone, Default)]
pub(crate) struct Members {
    /// Nothing is awaited while it is held. Each member has a slot of its principal's, which bounds
    /// it.
    seated: Arc<Mutex<HashMap<String, Arc<Member>>>>,
}

struct Member {
    group: String,
    principal: String,
    answers: Answers<GroupEvent>,
    /// Held by the request that waits for events.
    inbox: tokio::sync::Mutex<Inbox>,
    /// When it was last heard of.
    heard: Mutex<Instant>,
    /// Whether it has left: who waits for its events waits no longer.
    gone: watch::Sender<bool>,
    _slot: Slot,
}

struct Inbox {
    membership: Membership<GroupEvent>,
    /// What the group gave and no request has taken yet.
    ready: VecDeque<Dispatch<GroupEvent>>,
}

impl Members {
    /// Seats a member, until it leaves or is not heard of any more.
    fn seat(&self, member: Member, service: &Service) -> String {
        let name = Uuid::new_v4().simple().to_string();
        let member = Arc::new(member);
        self.lock().insert(name.clone(), Arc::clone(&member));
        let (members, own, service) = (self.clone(), name.clone(), service.clone());
        let mut gone = member.gone.subscribe();
        tokio::spawn(async move {
            while let Some(patience) = SILENCE_MAX.checked_sub(member.silence()) {
                tokio::select! {
                    () = tokio::time::sleep(patience) => {}
                    _ = gone.wait_for(|is_gone| *is_gone) => return,
                    () = service.stopping() => break,
                }
            }
            members.remove(&own);
        });
        name
    }

    /// The member of that name, if it is the caller's and in this group.
    fn find(&self, access: &Access, group: &str, name: &str) -> Result<Arc<Member>, Problem> {
        let found = self.lock().get(name).cloned();
        let is_own = |own: &Arc<Member>| own.group == group && own.principal == access.principal();
        let member = found
            .filter(is_own)
            .ok_or_else(|| Problem::new(Kind::MemberGone, "the group has no such member"))?;
        member.note();
        Ok(member)
    }

    fn remove(&self, name: &str) {
        let removed = self.lock().remove(name);
        if let Some(member) = removed {
            member.gone.send_replace(true);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Member>>> {
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn note(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// The inbox with at least one event in it, or `None` if none came in time. Requests that wait
    /// at the same time, for instance one whose client went unnoticed, take turns.
    async fn next_within(
        &self,
        wait: Duration,
    ) -> Result<Option<tokio::sync::MutexGuard<'_, Inbox>>, GroupEnd> {
        let filled = async {
            let mut inbox = self.inbox.lock().await;
            inbox.fill().await.map(|()| inbox)
        };
        tokio::time::timeout(wait, filled).await.ok().transpose()
    }
}

impl Inbox {
    /// Waits until there is an event.
    async fn fill(&mut self) -> Result<(), GroupEnd> {
        if self.ready.is_empty() {
            self.ready.extend(self.membership.next().await?);
        }
        Ok(())
    }

    /// Takes events until the page is full: one at least, however large, if there is one.
    fn take(&mut self, count_max: u64, size_max: usize) -> Vec<u8> {
        let mut page = EMPTY_PAGE.to_vec();
        page.truncate(EMPTY_PAGE.len() - b"]}".len());
        for count in 0..count_max {
            let is_full = count > 0 && page.len() >= size_max;
            let Some(next) = (!is_full).then(|| self.ready.pop_front()).flatten() else { break };
            if count > 0 {
                page.push(b',');
            }
            write_dispatch(&next, &mut page);
        }
        page.extend(b"]}");
        page
    }
}

fn write_dispatch(dispatch: &Dispatch<GroupEvent>, out: &mut Vec<u8>) {
    let head = serde_json::json!({
        "number": dispatch.number,
        "retry_count": dispatch.retry_count,
        "key": &*dispatch.item.key,
    });
    let mut head = head.to_string().into_bytes();
    let brace = head.pop();
    assert_eq!(brace, Some(b'}'), "an object ends with its brace");
    out.append(&mut head);
    out.extend(b",\"event\":");
    let event: EventBatch = [&*dispatch.item.event].into_iter().collect();
    event.iter().for_each(|event| to_json::write_event(event, out));
    out.push(b'}');
}

/// A member of a group, by the paths of requests.
pub(in crate::http) struct MemberPath {
    group: String,
    member: String,
}

impl<S: Send + Sync> FromRequestParts<S> for MemberPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((group, member)) = path.map_err(|error| {
            Problem::malformed("the path names no member").because(error.body_text())
        })?;
        Ok(Self { group, member })
    }
}

/// Who joins.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JoinGroup)]
pub(in crate::http) struct JoinIn {
    /// The most events that are with the member at a time, 1 to 10,000; 100, where it is left out.
    capacity: Option<u64>,
    /// What people call the member; at most 255 bytes.
    name: Option<String>,
}

/// A member that joined.
#[derive(Serialize, ToSchema)]
#[schema(as = JoinedGroup)]
pub(in crate::http) struct JoinedOut {
    /// What the member is known by. Whoever has it and its principal's credentials is the member.
    member: String,
    /// How long it may say nothing before it is taken for gone.
    silence_max_s: u64,
}

/// Joins a group. The member stays in it until it leaves, or sends no request for a minute.
#[utoipa::path(
    post, path = "/groups/{group}/members", tag = "groups", operation_id = "join_group",
    params(("group" = String, Path, description = "Its name, percent-encoded.")),
    request_body = JoinIn,
    responses(
        (status = 201, description = "The member is in the group.", body = JoinedOut),
        (status = 404, description = "There is no such group.", body = Problem,
            content_type = "application/problem+json"),
        (status = 429, description = "The caller has too many subscriptions, or the server too \
            many groups that run.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Another server runs the group.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn join(
    GroupPath(group): GroupPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address.to_string());
    let wanted = body::<JoinIn>(&access, request).await?;
    let capacity = wanted.capacity.unwrap_or(100);
    if !(1..=CAPACITY_MAX).contains(&capacity) {
        return Err(Problem::malformed("a member's capacity is 1 to 10,000"));
    }
    let name = wanted.name.unwrap_or_default();
    if name.len() > 255 {
        return Err(Problem::malformed("a member's name has at most 255 bytes"));
    }
    readable(&access, &group).await?;
    let service = access.service();
    let slot = take_slot(&access)?;
    let joining = Joining {
        name,
        principal: access.principal().to_owned(),
        peer: peer.unwrap_or_default(),
        ..Joining::new(usize::try_from(capacity).unwrap_or(usize::MAX))
    };
    let membership = service.groups().join(&group, joining).await?;
    let member = Member {
        group,
        principal: access.principal().to_owned(),
        answers: membership.answers(),
        inbox: tokio::sync::Mutex::new(Inbox { membership, ready: VecDeque::new() }),
        heard: Mutex::new(Instant::now()),
        gone: watch::Sender::new(false),
        _slot: slot,
    };
    let member = service.members().seat(member, service);
    let joined = JoinedOut { member, silence_max_s: SILENCE_MAX.as_secs() };
    Ok((StatusCode::CREATED, to_json::json(&joined)).into_response())
}

/// Gets the member's next events, and waits for them if it is asked to.
///
/// Answer each with its number. One that is not answered within the group's timeout comes again,
/// to whichever member.
#[utoipa::path(
    get, path = "/groups/{group}/members/{member}/events", tag = "groups",
    operation_id = "receive_events",
    params(
        ("group" = String, Path, description = "The group's name, percent-encoded."),
        ("member" = String, Path, description = "What the member is known by."),
        ("wait" = Option<u64>, Query,
            description = "How many seconds to wait for an event: 0 (the default) to 30."),
        ("limit" = Option<u64>, Query,
            description = "The most events: 1 to 1,000 (the default)."),
    ),
    responses(
        (status = 200, description = "The events; none if none came in time.",
            body = DispatchedEvents),
        (status = 404, description = "The group has no such member any more.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn receive(
    path: MemberPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::read(request.uri().query(), &["wait", "limit"])?;
    let wait = Duration::from_secs(params.number("wait")?.unwrap_or_default().min(WAIT_S_MAX));
    let limit = params.limit(RECEIVE_COUNT_MAX, RECEIVE_COUNT_MAX)?;
    let service = access.service();
    let member = service.members().find(&access, &path.group, &path.member)?;
    let mut gone = member.gone.subscribe();
    let filled = tokio::select! {
        filled = member.next_within(wait) => filled,
        _ = gone.wait_for(|is_gone| *is_gone) => Err(GroupEnd::Stopped),
    };
    let inbox = match filled {
        Ok(inbox) => inbox,
        Err(end) => return Err(ended(service, &path.member, &end)),
    };
    member.note();
    // The rules may have changed since it joined, and while it waited.
    readable(&access, &path.group).await?;
    let size_max = service.limits().page_size_max;
    let page = inbox.map_or_else(|| EMPTY_PAGE.to_vec(), |mut inbox| inbox.take(limit, size_max));
    Ok(([(CONTENT_TYPE, JSON)], page).into_response())
}

/// What became of events that the member got, by their numbers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = MemberAnswers)]
#[derive(Default)]
pub(in crate::http) struct AnswersIn {
    /// Those that were handled.
    ack: Vec<u64>,
    /// Those that were not, to be tried again, up to the group's limit.
    retry: Vec<u64>,
    /// Those that were not, to be parked.
    park: Vec<u64>,
    /// Those to be left out, on record.
    skip: Vec<u64>,
    /// Why events were not handled, for people.
    cause: String,
    /// Sets the most events that are with the member at a time, up to 10,000. 0 pauses it.
    capacity: Option<u64>,
}

/// Says what became of events. Numbers that are not with the member any more are passed over.
#[utoipa::path(
    post, path = "/groups/{group}/members/{member}/answers", tag = "groups",
    operation_id = "answer_events",
    params(
        ("group" = String, Path, description = "The group's name, percent-encoded."),
        ("member" = String, Path, description = "What the member is known by."),
    ),
    request_body = AnswersIn,
    responses(
        (status = 200, description = "How many of the events were with the member.",
            body = CountOut),
        (status = 404, description = "The group has no such member any more.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn answer(
    path: MemberPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let said = body::<AnswersIn>(&access, request).await?;
    let service = access.service();
    let member = service.members().find(&access, &path.group, &path.member)?;
    readable(&access, &path.group).await?;
    match tell(&member.answers, said).await {
        Ok(count) => Ok(to_json::json(&CountOut { count: count as u64 })),
        Err(end) => Err(ended(service, &path.member, &end)),
    }
}

/// Takes the place of a member whose group does not go on here, and says so.
fn ended(service: &Service, member: &str, end: &GroupEnd) -> Problem {
    service.members().remove(member);
    let kind = if service.is_stopping() { Kind::Closed } else { Kind::MemberGone };
    Problem::new(kind, end.to_string())
}

/// Tells a group what its member said. How many of the events were with it.
async fn tell(answers: &Answers<GroupEvent>, said: AnswersIn) -> Result<usize, GroupEnd> {
    if let Some(capacity) = said.capacity {
        let capacity = usize::try_from(capacity.min(CAPACITY_MAX)).unwrap_or(usize::MAX);
        answers.set_capacity(capacity).await?;
    }
    let mut count = answers.ack_counted(said.ack).await?;
    let end = said.cause.floor_char_boundary(CAUSE_SIZE_MAX);
    let cause = said.cause.get(..end).unwrap_or_default();
    for (numbers, nack) in
        [(said.retry, Nack::Retry), (said.park, Nack::Park), (said.skip, Nack::Skip)]
    {
        if !numbers.is_empty() {
            count += answers.nack_counted(numbers, nack, cause).await?;
        }
    }
    Ok(count)
}

/// Leaves the group: what is with the member goes to others at once.
#[utoipa::path(
    delete, path = "/groups/{group}/members/{member}", tag = "groups", operation_id = "leave_group",
    params(
        ("group" = String, Path, description = "The group's name, percent-encoded."),
        ("member" = String, Path, description = "What the member is known by."),
    ),
    responses(
        (status = 204, description = "It has left."),
        (status = 404, description = "The group has no such member any more.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn leave(
    path: MemberPath,
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<StatusCode, Problem> {
    Params::read(request.uri().query(), &[])?;
    let members = access.service().members();
    members.find(&access, &path.group, &path.member)?;
    members.remove(&path.member);
    Ok(StatusCode::NO_CONTENT)
}
