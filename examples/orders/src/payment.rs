//! The process that waits for payments.

use std::time::Duration;

use quipu::{Effects, EventSet, Input, Process, Route};
use serde::{Deserialize, Serialize};

use crate::order::{CancelOrder, OrderId, OrderPaid, OrderPlaced};

/// How long an order waits for its payment.
pub(crate) const PAYMENT_TIME: Duration = Duration::from_mins(15);

#[derive(EventSet)]
pub(crate) enum PaymentEvent {
    Placed(OrderPlaced),
    Paid(OrderPaid),
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Deadline {
    PaymentDue,
}

/// Cancels an order that is not paid in time.
#[derive(Default)]
pub(crate) struct Payment {
    order: OrderId,
    is_paid: bool,
}

impl Process for Payment {
    type Event = PaymentEvent;
    type Timer = Deadline;
    const NAME: &'static str = "payment";

    fn route(event: &PaymentEvent) -> Route {
        match event {
            PaymentEvent::Placed(placed) => Route::start(&placed.order),
            PaymentEvent::Paid(paid) => Route::continue_with(&paid.order),
        }
    }

    fn evolve(&mut self, input: &Input<'_, PaymentEvent, Deadline>) {
        if let Input::Event(recorded) = input {
            match &recorded.event {
                PaymentEvent::Placed(placed) => self.order = placed.order.clone(),
                PaymentEvent::Paid(_) => self.is_paid = true,
            }
        }
    }

    fn react(&self, input: &Input<'_, PaymentEvent, Deadline>, effects: &mut Effects<Deadline>) {
        match input {
            Input::Event(_) if self.is_paid => {
                effects.complete();
            }
            Input::Event(_) => {
                effects.schedule("due", PAYMENT_TIME, Deadline::PaymentDue);
            }
            Input::Timer(Deadline::PaymentDue) => {
                let reason = "not paid in time";
                effects.execute("cancel", CancelOrder { order: self.order.clone(), reason });
            }
            // It was paid at the last moment: then all is well, and the payment completes it.
            Input::Rejected { .. } => {}
        }
    }
}
