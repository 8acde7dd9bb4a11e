//! Who works in the living shop: a projection and a process, so that there is something to look at,
//! to pause and to retry. What they do is made up; how they run is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quipu_core::{
    BoxFuture, ComponentKind, EventRef, EventStore, ParseQueryError, Position, RecordedEvent,
    SubscribeFrom,
};
use quipu_groups::{Backoff, HandleError, Handler, OnError, Origin, Runner, Running, Work};
use serde_json::Value;

/// How far back the mailer begins, in positions: what came earlier has been mailed.
const MAILED_BEFORE: u64 = 150;

/// The staff at work, until it is dropped.
#[derive(Debug)]
pub(super) struct Staff {
    _running: [Running; 2],
}

impl Staff {
    /// Lets everybody begin. `now` is where the log ends.
    pub(super) fn begin(
        store: &Arc<dyn EventStore>,
        now: Position,
    ) -> Result<Self, ParseQueryError> {
        let ledger = Runner::new(
            Arc::clone(store),
            ComponentKind::Projection,
            "sales",
            Arc::new(Ledger::default()),
        )
        .owner("the sample shop")
        .query("type:OrderPlaced,PaymentRefunded".parse()?);
        let patience =
            Backoff { first: Duration::from_millis(50), max: Duration::from_millis(200) };
        let since = Position::new(now.get().saturating_sub(MAILED_BEFORE));
        let mailer = Runner::new(
            Arc::clone(store),
            ComponentKind::Process,
            "tracking-mails",
            Arc::new(Mailer),
        )
        .owner("the sample shop")
        .query("type:ShipmentSent".parse()?)
        .from(SubscribeFrom::After(since))
        .on_error(OnError::retry(2).backoff(patience).then_park());
        Ok(Self { _running: [ledger.spawn(), mailer.spawn()] })
    }
}

/// Sums up what was sold.
#[derive(Default)]
struct Ledger {
    /// Cents by customer. Held for one work at a time.
    totals: Mutex<HashMap<u64, i64>>,
}

impl Handler for Ledger {
    fn handle<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async {
            let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
            for item in work.events.iter() {
                let data = data_of(&item.event);
                let cents = data["total_cents"].as_i64().unwrap_or(0);
                *totals.entry(data["customer"].as_u64().unwrap_or(0)).or_default() += cents;
            }
            Ok(())
        })
    }
}

/// Tells customers where their parcels are; for some parcels the carrier has to be asked twice.
struct Mailer;

impl Handler for Mailer {
    fn key(&self, event: EventRef<'_>) -> Option<Arc<str>> {
        Some(event.stream().into())
    }

    fn handle<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async {
            for (handled, item) in work.events.iter().enumerate() {
                let data = data_of(&item.event);
                let parcel = data["parcel"].as_str().unwrap_or_default();
                if work.origin == Origin::Log && parcel.ends_with(['3', '7']) {
                    let cause = format!("the carrier does not know parcel {parcel} yet");
                    return Err(HandleError::Failed { handled, source: cause.into() });
                }
            }
            Ok(())
        })
    }
}

fn data_of(event: &RecordedEvent) -> Value {
    let data = event.data.present();
    data.and_then(|data| serde_json::from_slice(data).ok()).unwrap_or_default()
}
