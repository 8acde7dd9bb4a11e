//! Exchanging a password for a session's token.

use axum::Json;
use axum::extract::{Extension, Request};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::security::{Access, NewSession};
use crate::server::{Peer, Refusal, basic};

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
            Refusal::from(error).into_response()
        }
    }
}
