//! An upcaster: events of an earlier version are read as today's, and stay as they are.

use quipu::core::RecordedEvent;
use quipu::{Event, Quipu};

use super::scene::{Scene, broken, ensure, read};
use crate::list::{AllOrders, OrderList, open_database};
use crate::order::{ItemAdded, Order, OrderId};
use crate::shop::{Failure, append_old_order};

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    scene.say(
        "In the program's first version prices had no currency, as all were in euros. Now each",
    );
    scene
        .say("price has one. Old events are not rewritten: they are completed when they are read.");
    let app = scene.open().await?;
    append_old_order(&app, "old").await?;
    let before = stored_item(&app).await?;
    let data = text(&before)?;
    scene.say(format!("stored: {data}"));
    ensure(!data.contains("currency"), || "the old event has a currency".to_owned())?;

    let order = app.load(Order::of(OrderId("old".to_owned()))).await?;
    let totals: Vec<_> = order.cents.iter().map(|(text, cents)| (text.as_str(), *cents)).collect();
    ensure(totals == [("EUR", 4_200)], || format!("the order's total is {totals:?}"))?;
    let pool = open_database(&scene.path("orders.db")).await?;
    let running = app.project(OrderList).into(pool.clone()).spawn().await?;
    app.wait_for::<OrderList>(app.store().frontier().await?).await?;
    let rows = app.view::<OrderList>()?.ask(AllOrders).await?;
    let listed: Vec<_> = rows.iter().map(|row| (row.currency.as_str(), row.cents)).collect();
    ensure(listed == [("EUR", 4_200)], || format!("the list says {listed:?}"))?;
    running.stop().await?;
    pool.close().await;
    scene.say("read:   42.00 EUR, by the order and by the list of orders");

    drop(app);
    let after = stored_item(&scene.open().await?).await?;
    ensure(before == after, || format!("what is stored was {before:?} and is {after:?}"))?;
    scene.say("The store is closed and opened: what is stored is the same, byte for byte.");
    Ok(format!("42.00 EUR read, {} stored bytes unchanged", data.len()))
}

/// The item, as it is in the log.
async fn stored_item(app: &Quipu) -> Result<RecordedEvent, Failure> {
    let query = format!("type:{}", ItemAdded::TYPE).parse()?;
    read(app, query).await?.pop().ok_or_else(|| broken("the old event is not there"))
}

fn text(event: &RecordedEvent) -> Result<String, Failure> {
    let data = event.data.present().ok_or_else(|| broken("the old event has no data"))?;
    Ok(String::from_utf8(data.to_vec())?)
}
