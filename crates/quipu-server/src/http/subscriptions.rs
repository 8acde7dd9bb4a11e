//! The subscriptions that are open.

use std::cmp::Reverse;

use axum::extract::{Extension, Request};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::request::Params;
use super::to_json;
use crate::security::Access;
use crate::subscribers::Subscriber;
use crate::time;

const COUNT_DEFAULT: u64 = 100;
const COUNT_MAX: u64 = 1_000;

/// Subscriptions that are open.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionList)]
pub(super) struct SubscriptionsOut {
    /// Where the log ends.
    frontier: u64,
    /// How many are open, listed here or not.
    count: u64,
    /// The slowest first.
    subscriptions: Vec<SubscriptionOut>,
}

/// A subscription that a client has open.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
struct SubscriptionOut {
    /// Who has it.
    principal: String,
    /// What it follows: the events that match any of these. An empty text matches every event.
    queries: Vec<String>,
    /// When it was opened.
    opened_at: String,
    /// catching-up, or live: it has come to the end of the log.
    state: &'static str,
    /// The last position that it was told of; 0 before that.
    position: u64,
    /// How many positions lie between that and the end of the log. Null where it follows one stream:
    /// what others append is nothing it waits for.
    lag: Option<u64>,
    /// How many events it was given.
    event_count: u64,
}

impl SubscriptionOut {
    fn of(own: &Subscriber, frontier: u64) -> Self {
        Self {
            principal: own.principal.to_string(),
            queries: own.queries.clone(),
            opened_at: time::to_text(own.opened_at),
            state: if own.is_live() { "live" } else { "catching-up" },
            position: own.position(),
            lag: own.is_of_log.then(|| frontier.saturating_sub(own.position())),
            event_count: own.event_count(),
        }
    }
}

/// Lists the subscriptions that clients have open, of whatever protocol, the slowest first. What runs
/// in the server itself is among the components.
#[utoipa::path(
    get, path = "/subscriptions", tag = "server", operation_id = "list_subscriptions",
    params(
        ("limit" = Option<u64>, Query, description = "The most: 100 unless asked for, at most 1,000."),
    ),
    responses((status = 200, description = "The subscriptions.", body = SubscriptionsOut)),
)]
pub(super) async fn list(
    Extension(access): Extension<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::read(request.uri().query(), &["limit"])?;
    let count_max = params.limit(COUNT_DEFAULT, COUNT_MAX)? as usize;
    let frontier = access.store().frontier().await?.get();
    let open = access.service().subscribers().list();
    let mut subscriptions: Vec<_> =
        open.iter().map(|own| SubscriptionOut::of(own, frontier)).collect();
    subscriptions.sort_by_key(|own| Reverse(own.lag));
    subscriptions.truncate(count_max);
    Ok(to_json::json(&SubscriptionsOut { frontier, count: open.len() as u64, subscriptions }))
}
