//! What the world hears of orders.

use quipu::sinks::CloudEvent;
use quipu::{EventSet, Recorded};
use serde_json::json;

use crate::order::{OrderCancelled, OrderPaid, OrderPlaced, OrderShipped};

#[derive(EventSet)]
pub(crate) enum PublicEvent {
    Placed(OrderPlaced),
    Paid(OrderPaid),
    Shipped(OrderShipped),
    Cancelled(OrderCancelled),
}

/// The cloud event of an event: less than what happened, in words that do not change with it.
#[expect(clippy::unnecessary_wraps, reason = "a mapping may keep events private, with None")]
pub(crate) fn public(recorded: &Recorded<PublicEvent>) -> Option<CloudEvent> {
    let (name, data) = match &recorded.event {
        PublicEvent::Placed(OrderPlaced { order, cents, currency }) => {
            ("placed", json!({ "order": order, "cents": cents, "currency": currency }))
        }
        PublicEvent::Paid(OrderPaid { order, .. }) => ("paid", json!({ "order": order })),
        PublicEvent::Shipped(OrderShipped { order, parcel }) => {
            ("shipped", json!({ "order": order, "parcel": parcel }))
        }
        PublicEvent::Cancelled(OrderCancelled { order, reason }) => {
            ("cancelled", json!({ "order": order, "reason": reason }))
        }
    };
    let cloud_event = CloudEvent::new(&format!("com.example.shop.order-{name}.v1"));
    Some(cloud_event.with_json(data.to_string()))
}
