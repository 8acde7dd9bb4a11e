//! What every request goes through before its handler: who asks, and whether they may.
//!
//! In this order: the request gets an id; its operation is looked up, and what is not in the table
//! is refused; a browser that was sent here by somebody else's page is refused; what the request
//! shows is checked; its right to the operation is checked. Then the handler gets
//! [`Access`](crate::security::Access).

mod browser;
mod refusal;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::Response;
use tracing::Instrument;

use super::peer::Peer;
use crate::security::{Access, Action, Proof, permission_of};
use crate::service::Service;
pub(crate) use refusal::Refusal;

/// The header that names a request, in both directions.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names one request, in logs and in what its client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id that the client gave, if it is fit for logs; another one otherwise.
    fn of(request: &Request) -> Self {
        const SIZE_MAX: usize = 64;
        let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
        let given = request.headers().get(REQUEST_ID).filter(|value| {
            let bytes = value.as_bytes();
            !bytes.is_empty() && bytes.len() <= SIZE_MAX && bytes.iter().all(is_fit)
        });
        Self(given.cloned().unwrap_or_else(|| {
            let id = uuid::Uuid::now_v7().simple().to_string();
            HeaderValue::from_str(&id).expect("it has digits and letters")
        }))
    }
}

/// Puts the gate before all routes.
pub(super) fn guard(router: Router, service: &Service) -> Router {
    router.layer(middleware::from_fn_with_state(service.clone(), pass))
}

async fn pass(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let permission = permission_of(&operation_of(&request));
    // The path of what the server does not have is the client's own text, and stays out of logs.
    let name = permission.map_or("unknown", |permission| permission.operation);
    let span = tracing::info_span!(
        "request",
        id = id.as_str(),
        operation = name,
        principal = tracing::field::Empty
    );
    let is_grpc = is_grpc(&request);
    let (answered_id, inner) = (id.0.clone(), span.clone());
    let mut response = async move {
        let admitted = match permission {
            Some(permission) => admit(&service, permission.action, &request),
            None => Err(Refusal::UnknownOperation),
        };
        match admitted {
            Ok(access) => {
                inner.record("principal", access.principal());
                request.extensions_mut().insert(access);
                request.extensions_mut().insert(id);
                next.run(request).await
            }
            Err(refusal) => {
                service.metrics().refused.inc();
                tracing::debug!(%refusal, "refused");
                if refusal == Refusal::WrongToken {
                    let peer = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
                    let wait = service.authority().refused(peer);
                    tokio::time::sleep(wait).await;
                }
                match refusal {
                    Refusal::UnknownOperation if !is_grpc => crate::http::unknown(&request),
                    refusal => refusal.to_response(is_grpc),
                }
            }
        }
    }
    .instrument(span)
    .await;
    response.headers_mut().insert(REQUEST_ID, answered_id);
    response
}

/// Lets a request through as somebody, or not.
fn admit(service: &Service, action: Action, request: &Request) -> Result<Access, Refusal> {
    let authority = service.authority();
    let peer = request.extensions().get::<Peer>();
    let shown = bearer(request);
    let certificate = peer.and_then(|peer| peer.certificate.clone());
    // A browser adds no token by itself; but an open server asks for none, and a certificate comes
    // with every request of the machine that has it.
    if shown.is_none() && (authority.is_open() || certificate.is_some()) {
        browser::check(request, peer)?;
    }
    let proof = match (shown, certificate) {
        (Some(token), _) => authority.authenticate(token),
        (None, Some(certificate)) => Some(Proof::Certificate(certificate)),
        (None, None) => Some(Proof::Nothing),
    };
    let proof = match proof {
        Some(proof) => proof,
        None if authority.is_open() || action == Action::Public => Proof::Nothing,
        None => return Err(Refusal::WrongToken),
    };
    let access = Access::new(service.clone(), proof);
    access.may(action)?;
    Ok(access)
}

/// The token that the request shows.
fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_grpc(request: &Request) -> bool {
    request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The operation as the permission table names it.
fn operation_of(request: &Request) -> String {
    let path = request.uri().path();
    if is_grpc(request) {
        return path.to_owned();
    }
    let route = request.extensions().get::<MatchedPath>().map_or(path, MatchedPath::as_str);
    // What answers GET answers HEAD, without the body.
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    format!("{method} {route}")
}
