//! The few HTTP answers that KurrentDB's clients and tools look for beside gRPC.

use axum::extract::Extension;
use axum::routing::get;
use axum::{Json, Router};
use quipu_core::Timestamp;
use quipu_kurrent::caller::Operations;
use serde_json::{Map, Value, json};

use super::{OwnCaller, address_of};
use crate::security::Access;
use crate::server::Peer;

/// The routes, as the permission table names them.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/info", get(info))
        .route("/ping", get(ping))
        .route("/gossip", get(gossip))
        .route("/stats", get(stats))
}

async fn info(Extension(access): Extension<Access>) -> Json<Value> {
    let is_open = access.service().authority().is_open();
    Json(json!({
        "dbVersion": quipu_kurrent::VERSION,
        "esVersion": quipu_kurrent::VERSION,
        "serverName": "quipu",
        "serverVersion": env!("CARGO_PKG_VERSION"),
        "state": "leader",
        "features": { "projections": true, "userManagement": true, "atomPub": false },
        "authentication": { "type": if is_open { "insecure" } else { "internal" }, "properties": {} },
    }))
}

async fn ping() -> Json<Value> {
    Json(json!({ "text": "Ping request successfully handled" }))
}

/// This server, alone and leading. Clients ask for every one of these: there are no ports for TCP,
/// and how much there is in the log is not told to whoever asks.
async fn gossip(peer: Option<Extension<Peer>>) -> Json<Value> {
    let address = address_of(peer.as_deref());
    let ip = address.ip().to_string();
    let instance = quipu_kurrent::gossip::INSTANCE.hyphenated().to_string();
    let member = json!({
        "instanceId": instance,
        "timeStamp": text_of(Timestamp::now()),
        "state": "Leader",
        "isAlive": true,
        "internalTcpIp": ip,
        "internalTcpPort": 0,
        "internalSecureTcpPort": 0,
        "externalTcpIp": ip,
        "externalTcpPort": 0,
        "externalSecureTcpPort": 0,
        "internalHttpEndPointIp": ip,
        "internalHttpEndPointPort": address.port(),
        "httpEndPointIp": ip,
        "httpEndPointPort": address.port(),
        "lastCommitPosition": -1,
        "writerCheckpoint": -1,
        "chaserCheckpoint": -1,
        "epochPosition": -1,
        "epochNumber": -1,
        "epochId": instance,
        "nodePriority": 0,
        "isReadOnlyReplica": false,
    });
    Json(
        json!({ "members": [member], "serverIp": address.ip().to_string(), "serverPort": address.port() }),
    )
}

fn text_of(moment: Timestamp) -> String {
    crate::time::to_text(moment)
}

async fn stats(
    Extension(access): Extension<Access>,
    peer: Option<Extension<Peer>>,
) -> Json<Map<String, Value>> {
    let caller = OwnCaller::new(access, peer.as_deref());
    let stats = caller.statistics().await;
    Json(stats.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
}
