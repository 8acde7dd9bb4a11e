//! What every request goes through before its handler: who asks, and whether they may.
//!
//! In this order: the request gets an id; its operation is looked up, and what is not in the table
//! is refused; a browser that was sent here by somebody else's page is refused; what the request
//! shows is checked; its right to the operation is checked. Then the handler gets
//! [`Access`](crate::security::Access).

mod browser;
mod refusal;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use axum::middleware::{self, Next};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tracing::Instrument;

use super::peer::Peer;
use super::record::Record;
use super::request_id::{REQUEST_ID, RequestId};
use crate::security::{
    Access, Action, PERMISSIONS, Permission, Proof, Secret, operation_number, wanted,
};
use crate::service::Service;
pub(crate) use refusal::Refusal;

/// The target of the span that each request is worked for in.
pub const REQUEST_LOG: &str = "quipu::request";

/// Puts the gate before all routes.
pub(super) fn guard(router: Router, service: &Service) -> Router {
    let pass = async |State(service): State<Service>, request: Request, next: Next| {
        pass(service, request, |request| next.run(request)).await
    };
    router.layer(middleware::from_fn_with_state(service.clone(), pass))
}

/// Has a request answered by `next`, if it gets that far.
pub(super) async fn pass<F>(
    service: Service,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let id = RequestId::of(&request);
    let operation = operation_number(&operation_of(&request));
    // The path of what the server does not have is the client's own text, and stays out of logs.
    let name = operation.map_or("unknown", |number| PERMISSIONS[number].operation);
    let span = tracing::info_span!(
        target: REQUEST_LOG,
        "request",
        id = id.as_str(),
        operation = name,
        principal = tracing::field::Empty
    );
    let is_grpc = is_grpc(&request);
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
    let record = Record::begin(&service, operation, peer, span.clone(), id.clone());
    let answer = answer(service, operation, request, next);
    let mut response = id.clone().scope(answer).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id.header());
    record.answered(response, is_grpc)
}

/// The handler's answer, or why the request does not get to it.
async fn answer<F>(
    service: Service,
    operation: Option<usize>,
    mut request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let admitted = match operation {
        Some(number) => {
            let shows = Shows::of(&request, &service);
            let wants_system_rights = is_grpc(&request) && wants_system_rights(&request);
            admit(&service, PERMISSIONS[number], shows, wants_system_rights).await
        }
        None => Err(Refusal::UnknownOperation),
    };
    let refusal = match admitted {
        Ok(access) => {
            tracing::Span::current().record("principal", access.principal());
            request.extensions_mut().insert(access);
            return next(request).await;
        }
        Err(refusal) => refusal,
    };
    service.metrics().refused.inc();
    tracing::debug!(%refusal, "refused");
    if refusal == Refusal::WrongToken {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
        let wait = service.authority().refused(peer);
        tokio::time::sleep(wait).await;
    }
    let is_grpc = is_grpc(&request);
    match refusal {
        Refusal::UnknownOperation if !is_grpc => crate::http::unknown(&request),
        refusal => refusal.to_response(is_grpc),
    }
}

/// What the operations of KurrentDB's clients begin with. They know no tokens, and show a name and a
/// password with every request.
const KURRENT: [&str; 2] = ["/event_store.client.", "/kurrentdb.protocol."];

/// What a request shows to prove who sends it.
enum Shows {
    Token(String),
    Password { user: String, password: Secret, peer: Option<IpAddr> },
    Certificate(Arc<[String]>),
    Nothing,
}

impl Shows {
    fn of(request: &Request, service: &Service) -> Result<Self, Refusal> {
        let is_open = service.authority().is_open();
        let peer = request.extensions().get::<Peer>();
        let certificate = peer.and_then(|peer| peer.certificate.clone());
        if let Some(token) = bearer(request) {
            return Ok(Self::Token(token.to_owned()));
        }
        // An open server looks at no passwords: clients send what they were told once.
        let takes_passwords =
            !is_open && KURRENT.iter().any(|own| request.uri().path().starts_with(own));
        let password = basic(request.headers()).filter(|_| takes_passwords);
        // A browser adds no token by itself; but an open server asks for none, a certificate comes
        // with every request of the machine that has it, and a browser may keep a password.
        if is_open || certificate.is_some() || password.is_some() {
            browser::check(request, peer)?;
        }
        Ok(match (password, certificate) {
            (Some((user, password)), _) => {
                Self::Password { user, password, peer: peer.map(|peer| peer.address.ip()) }
            }
            (None, Some(certificate)) => Self::Certificate(certificate),
            (None, None) => Self::Nothing,
        })
    }

    async fn proof(self, service: &Service) -> Result<Option<Proof>, Refusal> {
        let authority = service.authority();
        Ok(match self {
            Self::Token(token) => authority.authenticate(&token),
            Self::Password { user, password, peer } => {
                authority.log_in_again(&user, password, peer).await?
            }
            Self::Certificate(names) => Some(Proof::Certificate(names)),
            Self::Nothing => Some(Proof::Nothing),
        })
    }
}

/// Lets a request through as somebody, or not.
async fn admit(
    service: &Service,
    permission: Permission,
    shows: Result<Shows, Refusal>,
    wants_system_rights: bool,
) -> Result<Access, Refusal> {
    let authority = service.authority();
    let action = wanted(permission, authority.is_open());
    let proof = match shows?.proof(service).await? {
        Some(proof) => proof,
        None if authority.is_open() || action == Action::Public => Proof::Nothing,
        None => return Err(Refusal::WrongToken),
    };
    let access = Access::new(service.clone(), proof);
    let own = access.may(action);
    if permission.or.iter().all(|action| access.may(*action).is_err()) {
        own?;
    }
    Ok(if wants_system_rights { access.with_system_rights()? } else { access })
}

/// Whether a request of our own protocol is to be made with system rights.
fn wants_system_rights(request: &Request) -> bool {
    let wanted = request.headers().get(quipu_wire::RIGHTS);
    wanted.is_some_and(|rights| rights.as_bytes() == quipu_wire::SYSTEM_RIGHTS.as_bytes())
}

/// The name and the password that a request shows, as HTTP Basic.
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, Secret)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
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
fn operation_of(request: &Request) -> Cow<'_, str> {
    let path = request.uri().path();
    if is_grpc(request) {
        return Cow::Borrowed(path);
    }
    let route = request.extensions().get::<MatchedPath>().map_or(path, MatchedPath::as_str);
    // What answers GET answers HEAD, without the body.
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    Cow::Owned(format!("{method} {route}"))
}
