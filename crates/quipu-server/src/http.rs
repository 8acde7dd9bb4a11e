//! HTTP: JSON, server-sent events, health, metrics, and the page at `/`.

mod health;
mod session;

use axum::Router;
use axum::extract::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};

use crate::security::Access;

/// The routes of HTTP, as the permission table names them.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/session", post(session::begin))
}

async fn page() -> Html<&'static str> {
    Html(include_str!("http/page.html"))
}

async fn metrics(Extension(access): Extension<Access>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], access.service().metrics().text())
}
