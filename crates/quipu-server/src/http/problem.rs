//! Problems: every answer that is not what was asked for, as RFC 9457 describes them.
//!
//! [`Kind`] is the one table of what can go wrong: its name, status, title, and what to do. A
//! [`Problem`] is one of them with its details, and the fields of the error as members of their own.

use std::collections::BTreeMap;
use std::error::Error;

use axum::extract::Path;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::failure;
use crate::security::Denied;
use crate::server::RequestId;

/// The content type of a problem.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MalformedRequest,
    MalformedJson,
    MalformedQuery,
    InvalidAppend,
    MomentInFuture,
    BeyondEnd,
    Unauthenticated,
    Forbidden,
    ReadOnly,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    Conflict,
    PreconditionFailed,
    Tombstoned,
    TooLarge,
    UnsupportedMediaType,
    TooManySubscriptions,
    TooManyRequests,
    GroupExists,
    GroupContended,
    GroupFull,
    GroupFailed,
    GroupElsewhere,
    TooManyGroups,
    MemberGone,
    Overloaded,
    Closed,
    DiskFull,
    OutcomeUnknown,
    StorageFailed,
}

/// What the table says of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The last part of the problem's `type`.
    pub(super) name: &'static str,
    pub(super) status: u16,
    pub(super) title: &'static str,
    /// Whether the very same request can succeed when it is sent again.
    pub(super) retryable: bool,
    pub(super) hint: &'static str,
}

const fn row(name: &'static str, status: u16, title: &'static str, hint: &'static str) -> Row {
    Row { name, status, title, retryable: false, hint }
}

const fn retry(name: &'static str, status: u16, title: &'static str, hint: &'static str) -> Row {
    Row { name, status, title, retryable: true, hint }
}

impl Kind {
    /// All kinds, in the order of their status.
    pub(super) const ALL: [Self; 31] = [
        Self::MalformedRequest,
        Self::MalformedJson,
        Self::MalformedQuery,
        Self::InvalidAppend,
        Self::MomentInFuture,
        Self::BeyondEnd,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::ReadOnly,
        Self::NotFound,
        Self::MemberGone,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::Conflict,
        Self::GroupExists,
        Self::GroupContended,
        Self::GroupFull,
        Self::Tombstoned,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::TooManySubscriptions,
        Self::TooManyRequests,
        Self::TooManyGroups,
        Self::OutcomeUnknown,
        Self::StorageFailed,
        Self::GroupFailed,
        Self::GroupElsewhere,
        Self::Overloaded,
        Self::Closed,
        Self::DiskFull,
    ];

    #[rustfmt::skip]
    pub(super) const fn row(self) -> Row {
        match self {
            Self::MalformedRequest => row("malformed-request", 400, "The request is not well formed",
                "send what /docs describes"),
            Self::MalformedJson => row("malformed-json", 400, "The body is not the JSON that is asked for",
                "mend the body at the line and column given"),
            Self::MalformedQuery => row("malformed-query", 400, "The text is not a query",
                "a query is blank-separated terms: type:A,B tag:order:1 stream:order-1 category:order"),
            Self::InvalidAppend => row("invalid-append", 400, "The append is not valid, whatever the log holds",
                "change the append: it will never succeed as it is"),
            Self::MomentInFuture => retry("moment-in-future", 400, "The moment asked for has not come yet",
                "ask for an earlier position or time, or wait"),
            Self::BeyondEnd => row("beyond-end", 400, "The place to go on after is beyond the end of the log",
                "the place is of another log, or of a life of this log that a restore ended: begin again"),
            Self::Unauthenticated => row("unauthenticated", 401, "The request needs valid credentials",
                "send a valid token: Authorization: Bearer TOKEN"),
            Self::Forbidden => row("forbidden", 403, "The caller may not do this",
                "ask an administrator for a rule that allows it"),
            Self::ReadOnly => row("read-only", 403, "The store is open for reading only",
                "send changes to the server that writes"),
            Self::NotFound => row("not-found", 404, "There is nothing at this path",
                "/docs lists the paths; a / in the name of a stream is written as %2F"),
            Self::MethodNotAllowed => row("method-not-allowed", 405, "The path does not have this method",
                "use one of the methods in the Allow header"),
            Self::NotAcceptable => row("not-acceptable", 406, "The answer has none of the formats accepted",
                "accept one of the formats listed"),
            Self::Conflict => row("conflict", 409, "A demand of the append does not hold",
                "read again, decide again, then append again"),
            Self::Tombstoned => row("tombstoned", 410, "The stream is tombstoned: it is over for good",
                "use another stream"),
            Self::PreconditionFailed => row("precondition-failed", 412, "The stream is not as the header demands",
                "read again, decide again, then append again"),
            Self::TooLarge => row("too-large", 413, "The request is larger than the server allows",
                "send less at once, or keep the large part elsewhere and refer to it"),
            Self::UnsupportedMediaType => row("unsupported-media-type", 415, "The body has a format that is not read here",
                "set Content-Type to one of the formats listed"),
            Self::TooManySubscriptions => retry("too-many-subscriptions", 429, "The caller has too many subscriptions",
                "end one, then subscribe again"),
            Self::TooManyRequests => retry("too-many-requests", 429, "Too many requests wait for the component",
                "see whether the component runs: it takes them when it does"),
            Self::GroupExists => row("group-exists", 409, "There is a group of this name already",
                "change it with PATCH, or use another name"),
            Self::GroupContended => retry("group-contended", 409, "Somebody else changed the group at the same time",
                "look at the group again, then send the request again"),
            Self::GroupFull => retry("group-full", 409, "The group has as many members as it may have",
                "join when one has left, or raise member_count_max"),
            Self::GroupFailed => retry("group-failed", 500, "The group cannot go on",
                "its last_error says why; mend that, then join again"),
            Self::GroupElsewhere => retry("group-elsewhere", 503, "Another server runs the group",
                "send the request to the owner named, or here again later"),
            Self::TooManyGroups => retry("too-many-groups", 429, "Too many groups run on this server",
                "join when the members of others have left"),
            Self::MemberGone => row("member-gone", 404, "The member is not in the group any more",
                "join again: what was with the member comes again"),
            Self::OutcomeUnknown => retry("outcome-unknown", 500, "It is not known whether the append was made",
                "send the same events with the same ids again: nothing is appended twice"),
            Self::StorageFailed => row("storage-failed", 500, "The store failed",
                "the server's log says why"),
            Self::Overloaded => retry("overloaded", 503, "The store has too many appends under way",
                "send the same request again after the time in Retry-After"),
            Self::Closed => retry("closed", 503, "The store is closed",
                "send the same request again when the server is back"),
            Self::DiskFull => retry("disk-full", 507, "The disk is full",
                "free some space on the server, then send the same request again"),
        }
    }
}

/// A failure as the answer to its request.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Problem(Box<Fields>);

impl utoipa::PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        <Fields as utoipa::PartialSchema>::schema()
    }
}

impl ToSchema for Problem {}

/// What went wrong with a request (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
struct Fields {
    /// What kind of problem it is, stable: `/problems/conflict`, for instance.
    #[serde(rename = "type")]
    #[schema(example = "/problems/conflict")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What happened this time.
    detail: String,
    /// Why it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cause: Option<String>,
    /// What to do about it.
    hint: String,
    /// Whether the very same request can succeed when it is sent again.
    retryable: bool,
    /// What names the request in the server's log: `X-Request-Id`, which the client may choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// The fields of the error as data: `violations`, `line`, `column`, `position`, `stream`.
    #[serde(flatten)]
    data: BTreeMap<&'static str, Value>,
    #[serde(skip)]
    #[schema(ignore)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of this kind, with what happened this time.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let row = kind.row();
        let mut headers = Vec::new();
        if kind == Kind::Unauthenticated {
            headers.push((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"quipu\"")));
        }
        if matches!(row.status, 429 | 503) {
            headers.push((RETRY_AFTER, HeaderValue::from_static("1")));
        }
        Self(Box::new(Fields {
            kind: format!("/problems/{}", row.name),
            title: row.title,
            status: row.status,
            detail: detail.into(),
            cause: None,
            hint: row.hint.to_owned(),
            retryable: row.retryable,
            request_id: None,
            data: BTreeMap::new(),
            headers,
        }))
    }

    /// A request that is not well formed.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Kind::MalformedRequest, detail)
    }

    /// The same problem with this reason.
    #[must_use]
    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The same problem with all the sources of `error` as its reason.
    #[must_use]
    pub(super) fn because_of(self, error: &dyn Error) -> Self {
        let mut causes: Vec<String> = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // A transparent wrapper says what its source says.
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            source = cause.source();
        }
        if causes.is_empty() { self } else { self.because(causes.join(": ")) }
    }

    /// The same problem with other advice.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = hint.into();
        self
    }

    /// The same problem with one more member.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.data.insert(name, value.into());
        self
    }

    /// The same problem with one more header.
    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The same problem as the answer to a precondition in a header: 412 in place of 409.
    #[must_use]
    pub(super) fn of_header(mut self) -> Self {
        if self.0.status == Kind::Conflict.row().status {
            let row = Kind::PreconditionFailed.row();
            self.0.kind = format!("/problems/{}", row.name);
            self.0.title = row.title;
            self.0.status = row.status;
            row.hint.clone_into(&mut self.0.hint);
        }
        self
    }

    /// What happened this time, with its reason.
    pub(super) fn to_text(&self) -> String {
        match &self.0.cause {
            Some(cause) => format!("{}: {cause}", self.0.detail),
            None => self.0.detail.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        self.0.request_id = RequestId::current().map(|id| id.as_str().to_owned());
        let body = serde_json::to_vec(&self).expect("texts and numbers are JSON");
        let status = StatusCode::from_u16(self.0.status).expect("the table has statuses only");
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        response.headers_mut().extend(self.0.headers);
        response
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        failure::of_denied(&denied)
    }
}

/// Says what a problem's type means.
#[utoipa::path(
    get, path = "/problems/{name}", tag = "server", operation_id = "explain_problem",
    params(("name" = String, Path, description = "The last part of a problem's `type`.")),
    responses(
        (status = 200, description = "What it means, and what to do.", content_type = "text/plain"),
        (status = 404, description = "There is no such problem.", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn explain(Path(name): Path<String>) -> Result<String, Problem> {
    let rows = Kind::ALL.map(Kind::row);
    let Some(row) = rows.iter().find(|row| row.name == name) else {
        return Err(Problem::new(Kind::NotFound, "there is no problem of this name"));
    };
    let again = if row.retryable { "can" } else { "does not" };
    Ok(format!(
        "{}\n\nStatus: {}\nWhat to do: {}\nThe very same request {again} succeed when it is sent \
         again.\n",
        row.title, row.status, row.hint
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_row_of_its_own() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.row().name).collect();
        names.sort_unstable();
        names.dedup();

        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn every_kind_is_a_problem_with_its_status_title_and_hint() {
        for kind in Kind::ALL {
            let row = kind.row();
            let value = serde_json::to_value(Problem::new(kind, "it happened")).unwrap();

            assert!((400..600).contains(&row.status), "{kind:?}");
            assert_eq!(value["type"], format!("/problems/{}", row.name));
            assert_eq!(value["status"], row.status);
            assert_eq!(value["title"], row.title);
            assert_eq!(value["hint"], row.hint);
            assert_eq!(value["retryable"], row.retryable);
            assert_eq!(value["detail"], "it happened");
            assert_eq!(Problem::new(kind, "").into_response().status(), row.status);
        }
    }

    #[test]
    fn who_may_come_again_soon_is_told_when() {
        for kind in Kind::ALL {
            let response = Problem::new(kind, "").into_response();

            let is_told = response.headers().contains_key(RETRY_AFTER);
            assert_eq!(is_told, matches!(kind.row().status, 429 | 503), "{kind:?}");
        }
    }

    #[test]
    fn a_demand_in_a_header_fails_as_a_precondition_and_nothing_else_does() {
        let status = |kind| Problem::new(kind, "").of_header().into_response().status();

        assert_eq!(status(Kind::Conflict), 412);
        assert_eq!(status(Kind::DiskFull), 507);
    }
}
