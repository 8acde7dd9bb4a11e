//! Exchanging a password for a session's token.

use axum::extract::{Extension, Request};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::security::{Access, LoginError, NewSession, Secret};
use crate::server::{Peer, Refusal};

/// Answers a token that lasts twelve hours, for a name and a password in HTTP Basic.
///
/// The password is hashed slowly once, here; requests show the token.
pub(super) async fn begin(Extension(access): Extension<Access>, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
    let Some((user, password)) = basic(request.headers()) else {
        return Refusal::NoPassword.into_response();
    };
    let authority = access.service().authority();
    match authority.log_in(&user, password, peer).await {
        Ok(NewSession { token, expires_at }) => {
            let body = json!({
                "token": token.reveal(),
                "principal": user,
                "expires_at": expires_at.as_micros(),
            });
            ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => {
            access.service().metrics().refused.inc();
            match error {
                LoginError::Wrong => Refusal::WrongPassword.into_response(),
                LoginError::TooMany { retry_after } => {
                    Refusal::TooMany { retry_after }.into_response()
                }
                LoginError::Open => Refusal::Open.into_response(),
            }
        }
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, Secret)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
}
