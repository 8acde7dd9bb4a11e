//! Whether the server is there, and whether it can be used.

use axum::extract::Extension;
use axum::http::StatusCode;

use crate::security::Access;

/// Answers as long as the process does.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// Answers 200 if the store can be read, and says what is wrong otherwise.
pub(super) async fn ready(Extension(access): Extension<Access>) -> (StatusCode, String) {
    match access.service().store().frontier().await {
        Ok(_) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {error}\n")),
    }
}
