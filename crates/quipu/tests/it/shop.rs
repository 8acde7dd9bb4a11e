//! The domain of the process tests: orders that wait for their payment.

use std::time::Duration;

use quipu::{
    Command, Ctx, DecisionModel, Effects, Event, EventSet, Events, Evolve, Input, Process, Route,
    events,
};
use serde::{Deserialize, Serialize};

macro_rules! order_events {
    ($($name:ident = $ty:literal),*) => {
        $(#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[event(type = $ty)]
        pub(crate) struct $name {
            #[tag]
            pub(crate) order: String,
        })*
    };
}

order_events!(
    Placed = "shop.order-placed",
    Paid = "shop.order-paid",
    Reserved = "shop.stock-reserved",
    Released = "shop.stock-released",
    Reminded = "shop.customer-reminded",
    Cancelled = "shop.order-cancelled"
);

#[derive(EventSet)]
pub(crate) enum OrderEvent {
    Placed(Placed),
    Paid(Paid),
    Reserved(Reserved),
    Released(Released),
    Reminded(Reminded),
    Cancelled(Cancelled),
}

/// What happened to an order, in order.
#[derive(DecisionModel, Clone, Debug)]
#[model(events = OrderEvent)]
pub(crate) struct Order {
    #[key]
    pub(crate) order: String,
    pub(crate) facts: Vec<&'static str>,
}

impl Evolve for Order {
    fn evolve(&mut self, event: &OrderEvent) {
        self.facts.push(match event {
            OrderEvent::Placed(_) => "placed",
            OrderEvent::Paid(_) => "paid",
            OrderEvent::Reserved(_) => "reserved",
            OrderEvent::Released(_) => "released",
            OrderEvent::Reminded(_) => "reminded",
            OrderEvent::Cancelled(_) => "cancelled",
        });
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("order {order} cannot be {wanted}")]
pub(crate) struct Refused {
    order: String,
    wanted: &'static str,
}

macro_rules! order_commands {
    ($($name:ident => $event:ident unless $refused:expr),*) => {
        $(#[derive(Clone, Debug, PartialEq)]
        pub(crate) struct $name(pub(crate) String);

        impl Command for $name {
            type Model = Order;
            type Error = Refused;

            fn model(&self) -> Order {
                Order::of(self.0.clone())
            }

            fn decide(&self, order: &Order, _ctx: &Ctx) -> Result<Events, Refused> {
                let is_refused: fn(&Order) -> bool = $refused;
                if is_refused(order) {
                    return Err(Refused { order: self.0.clone(), wanted: stringify!($event) });
                }
                Ok(events![$event { order: self.0.clone() }])
            }
        })*
    };
}

// None of them looks whether it has been done: that it happens once is the framework's to see to.
order_commands!(
    Place => Placed unless |_| false,
    Pay => Paid unless |order| order.facts.contains(&"cancelled"),
    // What is paid comes from a stock of its own.
    Reserve => Reserved unless |order| {
        order.order.starts_with("sold-out") && !order.facts.contains(&"paid")
    },
    Release => Released unless |_| false,
    Remind => Reminded unless |_| false,
    Cancel => Cancelled unless |order| order.facts.contains(&"paid")
);

#[derive(EventSet)]
pub(crate) enum PaymentInput {
    Placed(Placed),
    Paid(Paid),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Deadline {
    Remind,
    Due,
}

/// Reserves stock, reminds after ten minutes, cancels after fifteen, and undoes the reservation.
#[derive(Default)]
pub(crate) struct Payment {
    order: String,
    is_paid: bool,
}

impl Process for Payment {
    type Event = PaymentInput;
    type Timer = Deadline;
    const NAME: &'static str = "payment";

    fn route(event: &PaymentInput) -> Route {
        match event {
            PaymentInput::Placed(placed) => Route::start(&placed.order),
            PaymentInput::Paid(paid) => Route::continue_with(&paid.order),
        }
    }

    fn evolve(&mut self, input: &Input<'_, PaymentInput, Deadline>) {
        if let Input::Event(recorded) = input {
            match &recorded.event {
                PaymentInput::Placed(placed) => self.order.clone_from(&placed.order),
                PaymentInput::Paid(_) => self.is_paid = true,
            }
        }
    }

    fn react(&self, input: &Input<'_, PaymentInput, Deadline>, effects: &mut Effects<Deadline>) {
        match input {
            Input::Event(_) if self.is_paid => {
                effects.cancel("remind").cancel("due").complete();
            }
            Input::Event(_) => {
                effects
                    .execute("reserve", Reserve(self.order.clone()))
                    .schedule("remind", Duration::from_mins(10), Deadline::Remind)
                    .schedule("due", Duration::from_mins(15), Deadline::Due);
            }
            Input::Timer(Deadline::Remind) => {
                effects.execute("remind", Remind(self.order.clone()));
            }
            Input::Timer(Deadline::Due) | Input::Rejected { step: "reserve", .. } => {
                effects.execute("cancel", Cancel(self.order.clone())).compensate().complete();
            }
            Input::Rejected { .. } => {}
        }
    }

    fn undo(&self, step: &str, effects: &mut Effects<Deadline>) {
        if step == "reserve" {
            effects.execute("release", Release(self.order.clone()));
        }
    }
}
