//! A till: an aggregate with very many events.

use quipu::{Aggregate, Event, EventSet, Evolve, TagValue};
use serde::{Deserialize, Serialize};

#[derive(TagValue, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TillId(pub(super) String);

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.sale-rung-up")]
pub(super) struct SaleRungUp {
    #[tag]
    pub(super) till: TillId,
    pub(super) cents: u64,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "shop.sale-refunded")]
pub(super) struct SaleRefunded {
    #[tag]
    pub(super) till: TillId,
    pub(super) cents: u64,
}

#[derive(EventSet)]
pub(super) enum TillEvent {
    RungUp(SaleRungUp),
    Refunded(SaleRefunded),
}

#[derive(Aggregate, Clone, Debug, Serialize, Deserialize)]
#[aggregate(events = TillEvent, snapshot(every = 1000, version = 1))]
pub(super) struct Till {
    #[key("till")]
    pub(super) id: TillId,
    pub(super) sale_count: u64,
    pub(super) cents: u64,
    /// How many events were applied to get here. No snapshot holds it, so after loading it tells how
    /// many events were replayed.
    #[serde(skip)]
    pub(super) replayed_count: u64,
}

impl Evolve for Till {
    fn evolve(&mut self, event: &TillEvent) {
        self.replayed_count += 1;
        match event {
            TillEvent::RungUp(sale) => {
                self.sale_count += 1;
                self.cents += sale.cents;
            }
            TillEvent::Refunded(sale) => {
                self.sale_count = self.sale_count.saturating_sub(1);
                self.cents = self.cents.saturating_sub(sale.cents);
            }
        }
    }
}

impl Till {
    /// What the till says, however it was loaded.
    pub(super) fn state(&self) -> (u64, u64) {
        (self.sale_count, self.cents)
    }
}
