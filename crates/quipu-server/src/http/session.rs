//! Sessions: exchanging a password for a token, and who somebody is with what they show.

use axum::Json;
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::problem::Problem;
use super::request::Params;
use super::to_json;
use crate::security::{Access, Action, NewSession};
use crate::server::{Peer, Refusal, basic};
use crate::time;

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

/// Ends the session whose token the request shows. Any other token stays what it is.
pub(super) async fn end(Extension(access): Extension<Access>) -> StatusCode {
    access.log_out();
    StatusCode::NO_CONTENT
}

/// Who asks, and what they may do.
#[derive(Serialize, ToSchema)]
#[schema(as = Caller)]
pub(super) struct WhoOut {
    /// Their name; anonymous where nothing valid was shown.
    principal: String,
    /// Whether the server asks nobody for credentials.
    open: bool,
    /// What they may do to something at least: read, append, delete, metadata, consume, operate,
    /// administer. Rules may limit each to parts of the log.
    actions: Vec<&'static str>,
    /// When what they showed ends by itself.
    expires_at: Option<String>,
}

/// Says who asks, and what they may do.
#[utoipa::path(
    get, path = "/whoami", tag = "server", operation_id = "who_am_i",
    responses((status = 200, description = "Who it is.", body = WhoOut)),
)]
pub(super) async fn who(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &[])?;
    let may = |action: &Action| access.may(*action).is_ok();
    let expires_at = access.standing().ok().and_then(|own| own.expires_at);
    Ok(to_json::json(&WhoOut {
        principal: access.principal().to_owned(),
        open: access.service().authority().is_open(),
        actions: Action::GRANTED.into_iter().filter(may).map(Action::as_str).collect(),
        expires_at: expires_at.map(time::to_text),
    }))
}
