//! The past: a total as it was yesterday, asked today.

use std::time::Duration;

use quipu::{Quipu, Timestamp};

use super::bulk::Bulk;
use super::scene::{Scene, ensure};
use super::till::{SaleRefunded, SaleRungUp, Till, TillId};
use crate::demo::money;
use crate::shop::Failure;

/// Sales of a day: more than it takes for a snapshot, which must not get into the past.
const SALES: u64 = 1_500;
const HOUR: Duration = Duration::from_hours(1);

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    let now = Timestamp::now();
    let (yesterday, midnight) = (now.minus(24 * HOUR), now.minus(12 * HOUR));
    let app = scene.open().await?;
    scene.say("Yesterday's sales are imported with the times at which they were recorded.");
    ring_up(&app, Bulk::recorded_at(yesterday)).await?;
    let known = app.load(Till::of(till())).await?;
    scene.say(format!("yesterday evening the till says   {}", money(known.cents, "EUR")));

    let mut today = Bulk::default();
    for cents in [1_234, 5_678] {
        today.add(&SaleRefunded { till: till(), cents })?;
    }
    ring_up(&app, today).await?;
    let current = app.load(Till::of(till())).await?;
    app.settle_snapshots().await;
    scene.say(format!("after today's sales and refunds   {}", money(current.cents, "EUR")));

    let by_time = app.load(Till::of(till())).as_of_time(midnight).await?;
    scene.say(format!("asked today: and yesterday?       {}", money(by_time.cents, "EUR")));
    let by_place = app.load(Till::of(till())).as_of(known.position()).await?;
    for (way, found) in [("by time", &by_time), ("by position", &by_place)] {
        ensure(found.state() == known.state(), || {
            format!("{way} it was {:?}, but what was known is {:?}", found.state(), known.state())
        })?;
    }
    ensure(current.cents != known.cents, || "nothing changed since yesterday".to_owned())?;
    let long_ago = app.load(Till::of(till())).as_of_time(yesterday.minus(HOUR)).await?;
    ensure(long_ago.state() == (0, 0), || format!("before all: {:?}", long_ago.state()))?;
    let (then, now) = (money(known.cents, "EUR"), money(current.cents, "EUR"));
    Ok(format!("{then} then, {now} now"))
}

fn till() -> TillId {
    TillId("1".to_owned())
}

/// A day's sales, behind what is in the bulk already.
async fn ring_up(app: &Quipu, mut bulk: Bulk) -> Result<(), Failure> {
    for number in 0..SALES {
        bulk.add(&SaleRungUp { till: till(), cents: 250 + number % 100 })?;
    }
    bulk.append(app).await
}
