//! Orders and stock: events, models, commands.

use std::collections::BTreeMap;

use quipu::{
    Aggregate, Command, Ctx, DecisionModel, Event, EventSet, Events, Evolve, TagValue, Upcasters,
    events,
};
use serde::{Deserialize, Serialize};

#[derive(TagValue, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderId(pub(crate) String);

#[derive(TagValue, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ItemId(pub(crate) String);

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.stock-received")]
pub(crate) struct StockReceived {
    #[tag]
    pub(crate) item: ItemId,
    pub(crate) count: u32,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.order-created")]
pub(crate) struct OrderCreated {
    #[tag]
    pub(crate) order: OrderId,
    pub(crate) customer: String,
}

/// Its first version had no currency: all prices were in euros.
#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.item-added", version = 2)]
pub(crate) struct ItemAdded {
    #[tag]
    pub(crate) order: OrderId,
    #[tag]
    pub(crate) item: ItemId,
    pub(crate) cents: u64,
    pub(crate) currency: String,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.order-placed")]
pub(crate) struct OrderPlaced {
    #[tag]
    pub(crate) order: OrderId,
    pub(crate) cents: u64,
    pub(crate) currency: String,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.order-paid")]
pub(crate) struct OrderPaid {
    #[tag]
    pub(crate) order: OrderId,
    /// Nobody else's business: the outbox keeps it private.
    pub(crate) card: String,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.order-shipped")]
pub(crate) struct OrderShipped {
    #[tag]
    pub(crate) order: OrderId,
    pub(crate) parcel: String,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.order-cancelled")]
pub(crate) struct OrderCancelled {
    #[tag]
    pub(crate) order: OrderId,
    pub(crate) reason: String,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.item-released")]
pub(crate) struct ItemReleased {
    #[tag]
    pub(crate) order: OrderId,
    #[tag]
    pub(crate) item: ItemId,
}

/// How orders of earlier versions of the program are read.
pub(crate) fn upcasters() -> Upcasters {
    Upcasters::new().map("shop.item-added", 1, |mut data| {
        data["currency"] = "EUR".into();
        Ok(data)
    })
}

#[derive(EventSet)]
pub(crate) enum OrderEvent {
    Created(OrderCreated),
    Added(ItemAdded),
    Placed(OrderPlaced),
    Paid(OrderPaid),
    Shipped(OrderShipped),
    Cancelled(OrderCancelled),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    #[default]
    Unknown,
    Open,
    Placed,
    Paid,
    Shipped,
    Cancelled,
}

impl State {
    /// The name of the state, as the read model has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Open => "open",
            Self::Placed => "placed",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Aggregate, Clone, Debug, Serialize, Deserialize)]
#[aggregate(events = OrderEvent, snapshot(every = 100, version = 1))]
pub(crate) struct Order {
    #[key("order")]
    pub(crate) id: OrderId,
    pub(crate) state: State,
    pub(crate) items: Vec<ItemId>,
    /// What is to be paid, by currency.
    pub(crate) cents: BTreeMap<String, u64>,
}

impl Evolve for Order {
    fn evolve(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Created(_) => self.state = State::Open,
            OrderEvent::Added(added) => {
                self.items.push(added.item.clone());
                *self.cents.entry(added.currency.clone()).or_default() += added.cents;
            }
            OrderEvent::Placed(_) => self.state = State::Placed,
            OrderEvent::Paid(_) => self.state = State::Paid,
            OrderEvent::Shipped(_) => self.state = State::Shipped,
            OrderEvent::Cancelled(_) => self.state = State::Cancelled,
        }
    }
}

#[derive(EventSet)]
pub(crate) enum StockEvent {
    Received(StockReceived),
    Added(ItemAdded),
    Released(ItemReleased),
}

/// How many of an item nobody has ordered yet.
#[derive(DecisionModel, Clone, Debug)]
#[model(events = StockEvent)]
pub(crate) struct Stock {
    #[key]
    pub(crate) item: ItemId,
    pub(crate) free: u32,
}

impl Evolve for Stock {
    fn evolve(&mut self, event: &StockEvent) {
        match event {
            StockEvent::Received(received) => self.free += received.count,
            StockEvent::Added(_) => self.free = self.free.saturating_sub(1),
            StockEvent::Released(_) => self.free += 1,
        }
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the order is {found:?}, and would have to be {wanted:?}")]
    State { found: State, wanted: State },
    #[error("there is no {} left", .0.0)]
    SoldOut(ItemId),
    #[error("an order has one currency, and something in it")]
    NotPayable,
}

impl Order {
    fn check(&self, wanted: State) -> Result<(), Refusal> {
        let found = self.state;
        if found == wanted { Ok(()) } else { Err(Refusal::State { found, wanted }) }
    }
}

pub(crate) struct ReceiveStock {
    pub(crate) item: ItemId,
    pub(crate) count: u32,
}

impl Command for ReceiveStock {
    type Model = Stock;
    type Error = Refusal;

    fn model(&self) -> Stock {
        Stock::of(self.item.clone())
    }

    fn decide(&self, _stock: &Stock, _ctx: &Ctx) -> Result<Events, Refusal> {
        Ok(events![StockReceived { item: self.item.clone(), count: self.count }])
    }
}

pub(crate) struct CreateOrder {
    pub(crate) order: OrderId,
    pub(crate) customer: String,
}

impl Command for CreateOrder {
    type Model = Order;
    type Error = Refusal;

    fn model(&self) -> Order {
        Order::of(self.order.clone())
    }

    fn decide(&self, order: &Order, _ctx: &Ctx) -> Result<Events, Refusal> {
        order.check(State::Unknown)?;
        Ok(events![OrderCreated { order: self.order.clone(), customer: self.customer.clone() }])
    }
}

/// Rests on an order and on the stock of an item: the last one goes into one order.
pub(crate) struct AddItem {
    pub(crate) order: OrderId,
    pub(crate) item: ItemId,
    pub(crate) cents: u64,
    pub(crate) currency: &'static str,
}

impl Command for AddItem {
    type Model = (Order, Stock);
    type Error = Refusal;

    fn model(&self) -> (Order, Stock) {
        (Order::of(self.order.clone()), Stock::of(self.item.clone()))
    }

    fn decide(&self, (order, stock): &(Order, Stock), _ctx: &Ctx) -> Result<Events, Refusal> {
        order.check(State::Open)?;
        if stock.free == 0 {
            return Err(Refusal::SoldOut(self.item.clone()));
        }
        Ok(events![ItemAdded {
            order: self.order.clone(),
            item: self.item.clone(),
            cents: self.cents,
            currency: self.currency.to_owned(),
        }])
    }
}

pub(crate) struct PlaceOrder {
    pub(crate) order: OrderId,
}

impl Command for PlaceOrder {
    type Model = Order;
    type Error = Refusal;

    fn model(&self) -> Order {
        Order::of(self.order.clone())
    }

    fn decide(&self, order: &Order, _ctx: &Ctx) -> Result<Events, Refusal> {
        order.check(State::Open)?;
        let mut totals = order.cents.iter();
        let (Some((currency, cents)), None) = (totals.next(), totals.next()) else {
            return Err(Refusal::NotPayable);
        };
        let (order, currency) = (self.order.clone(), currency.clone());
        Ok(events![OrderPlaced { order, cents: *cents, currency }])
    }
}

pub(crate) struct PayOrder {
    pub(crate) order: OrderId,
    pub(crate) card: String,
}

impl Command for PayOrder {
    type Model = Order;
    type Error = Refusal;

    fn model(&self) -> Order {
        Order::of(self.order.clone())
    }

    fn decide(&self, order: &Order, _ctx: &Ctx) -> Result<Events, Refusal> {
        order.check(State::Placed)?;
        Ok(events![OrderPaid { order: self.order.clone(), card: self.card.clone() }])
    }
}

pub(crate) struct ShipOrder {
    pub(crate) order: OrderId,
}

impl Command for ShipOrder {
    type Model = Order;
    type Error = Refusal;

    fn model(&self) -> Order {
        Order::of(self.order.clone())
    }

    fn decide(&self, order: &Order, ctx: &Ctx) -> Result<Events, Refusal> {
        order.check(State::Paid)?;
        let parcel = ctx.new_id().to_string();
        Ok(events![OrderShipped { order: self.order.clone(), parcel }])
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct CancelOrder {
    pub(crate) order: OrderId,
    pub(crate) reason: &'static str,
}

impl Command for CancelOrder {
    type Model = Order;
    type Error = Refusal;

    fn model(&self) -> Order {
        Order::of(self.order.clone())
    }

    fn decide(&self, order: &Order, _ctx: &Ctx) -> Result<Events, Refusal> {
        order.check(State::Placed)?;
        let reason = self.reason.to_owned();
        let mut events = events![OrderCancelled { order: self.order.clone(), reason }];
        for item in &order.items {
            events.push(ItemReleased { order: self.order.clone(), item: item.clone() });
        }
        Ok(events)
    }
}
