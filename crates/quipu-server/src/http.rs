//! HTTP: JSON, server-sent events, health, metrics, and the page at `/`.

mod health;

use axum::Router;
use axum::extract::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use quipu_core::Position;

use crate::security::Access;

/// The routes of HTTP, as the permission table names them.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(page))
        .route("/page.js", get(script))
        .route("/metrics", get(metrics))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
}

async fn page() -> Html<&'static str> {
    Html(include_str!("http/page.html"))
}

async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("http/page.js"))
}

async fn metrics(Extension(access): Extension<Access>) -> impl IntoResponse {
    let service = access.service();
    // A store that cannot be read has no frontier; its other metrics are wanted all the more.
    let frontier = service.store().frontier().await.map_or(0, Position::get);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], service.metrics().text(frontier, service.engine()))
}
