//! Why the gate lets a request not through, in the words of gRPC and of HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response as HttpResponse, StatusCode};
use axum::response::Response;
use serde_json::json;
use tonic::{Code, Status};

use crate::security::{Denied, LoginError};
use crate::server::RequestId;

/// Why a request is refused before its handler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The server has no such operation.
    #[error("there is no such operation")]
    UnknownOperation,
    /// The token proves nothing.
    #[error("the token is not valid: it is wrong, expired or revoked")]
    WrongToken,
    /// A login without a name and a password.
    #[error("this takes a name and a password, as HTTP Basic")]
    NoPassword,
    /// A login with a wrong one.
    #[error("the name or the password is wrong")]
    WrongPassword,
    /// Too many logins that failed, or too many at once.
    #[error("too many logins failed or are under way")]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// A login where none is needed.
    #[error("this server asks for no credentials")]
    Open,
    /// A browser was told that this machine is another host.
    #[error(
        "the host of this request is not this machine; an open server answers to localhost only"
    )]
    ForeignHost,
    /// A page of another site made a browser send this.
    #[error("this request comes from the page of another site")]
    ForeignOrigin,
    /// What the caller has shown does not suffice.
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Wrong => Self::WrongPassword,
            LoginError::TooMany { retry_after } => Self::TooMany { retry_after },
            LoginError::Open => Self::Open,
        }
    }
}

/// A refusal's gRPC code, HTTP status, and name for programs.
struct Kind {
    code: Code,
    status: StatusCode,
    name: &'static str,
}

impl Refusal {
    fn kind(&self) -> Kind {
        let kind = |code, status, name| Kind { code, status, name };
        let unauthenticated =
            kind(Code::Unauthenticated, StatusCode::UNAUTHORIZED, "access.unauthenticated");
        match self {
            Self::UnknownOperation => {
                kind(Code::Unimplemented, StatusCode::NOT_FOUND, "operation.unknown")
            }
            Self::WrongToken
            | Self::NoPassword
            | Self::WrongPassword
            | Self::Denied(Denied::Unauthenticated) => unauthenticated,
            Self::TooMany { .. } => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                kind(Code::ResourceExhausted, status, "access.too_many_logins")
            }
            Self::Open => kind(Code::FailedPrecondition, StatusCode::CONFLICT, "access.open"),
            Self::ForeignHost | Self::ForeignOrigin => {
                kind(Code::PermissionDenied, StatusCode::FORBIDDEN, "access.foreign")
            }
            Self::Denied(Denied::Forbidden { .. }) => {
                kind(Code::PermissionDenied, StatusCode::FORBIDDEN, "access.denied")
            }
        }
    }

    pub(crate) fn to_response(&self, is_grpc: bool) -> Response {
        if is_grpc {
            // A response that is over with its headers: gRPC reads the status there.
            Status::new(self.kind().code, self.to_string()).into_http::<Body>()
        } else {
            self.clone().into_response()
        }
    }

    /// The refusal as a problem, as RFC 9457 has it.
    pub(crate) fn into_response(self) -> Response {
        let Kind { status, name, .. } = self.kind();
        let title = status.canonical_reason().unwrap_or("refused");
        let detail = self.to_string();
        let problem = json!({
            "type": "about:blank",
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
            "code": name,
            "request_id": RequestId::current().as_ref().map(RequestId::as_str),
        });
        let mut response = HttpResponse::new(Body::from(problem.to_string()));
        *response.status_mut() = status;
        let mut add = |name: HeaderName, value: HeaderValue| {
            response.headers_mut().insert(name, value);
        };
        add(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            let is_login = matches!(self, Self::NoPassword | Self::WrongPassword);
            let scheme = if is_login { "Basic realm=\"quipu\"" } else { "Bearer" };
            add(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        if let Self::TooMany { retry_after } = self {
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            add(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
