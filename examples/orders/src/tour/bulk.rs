//! Events by the thousand, or of another day: appended as an import does, without a command each.

use quipu::core::{Append, NewEvent};
use quipu::{Event, Quipu, StreamName, Timestamp};

use crate::order::{
    ItemAdded, ItemId, OrderCancelled, OrderCreated, OrderId, OrderPaid, OrderPlaced, OrderShipped,
};
use crate::shop::Failure;

/// How many events go into one append.
const APPEND_COUNT: usize = 5_000;

/// Events that are about to be appended.
#[derive(Default)]
pub(super) struct Bulk {
    events: Vec<(StreamName, NewEvent)>,
    recorded_at: Option<Timestamp>,
}

impl Bulk {
    /// Events that another system recorded at this time: the store keeps it.
    pub(super) fn recorded_at(time: Timestamp) -> Self {
        Self { events: Vec::new(), recorded_at: Some(time) }
    }

    pub(super) fn add<E: Event>(&mut self, event: &E) -> Result<(), Failure> {
        let mut new = NewEvent::json(E::TYPE, serde_json::to_vec(event)?)?;
        new = new.with_metadata(format!(r#"{{"$schemaVersion":{}}}"#, E::VERSION));
        new.tags = event.tags()?;
        new.recorded_at = self.recorded_at;
        self.events.push((event.stream()?, new));
        Ok(())
    }

    /// Adds the whole life of an order; how it ends goes by its number.
    pub(super) fn add_order(&mut self, number: usize) -> Result<(), Failure> {
        let order = OrderId(format!("{number:05}"));
        let customer = format!("customer {}", number % 7);
        self.add(&OrderCreated { order: order.clone(), customer })?;
        let prices: Vec<u64> = (0..=number % 3).map(|at| 500 + (number + at) as u64).collect();
        for cents in &prices {
            let (item, currency) = (ItemId(format!("{cents}")), "EUR".to_owned());
            self.add(&ItemAdded { order: order.clone(), item, cents: *cents, currency })?;
        }
        if number.is_multiple_of(5) {
            return Ok(());
        }
        let (cents, currency) = (prices.iter().sum(), "EUR".to_owned());
        self.add(&OrderPlaced { order: order.clone(), cents, currency })?;
        if number % 5 == 1 {
            return self.add(&OrderCancelled { order, reason: "not wanted".to_owned() });
        }
        self.add(&OrderPaid { order: order.clone(), card: "4111".to_owned() })?;
        self.add(&OrderShipped { order, parcel: format!("parcel {number}") })
    }

    pub(super) fn count(&self) -> usize {
        self.events.len()
    }

    /// Appends them, some thousand at a time.
    pub(super) async fn append(self, app: &Quipu) -> Result<(), Failure> {
        for events in self.events.chunks(APPEND_COUNT) {
            let append = Append { events: events.to_vec(), ..Append::new() };
            app.store().append(append).await?;
        }
        Ok(())
    }
}
