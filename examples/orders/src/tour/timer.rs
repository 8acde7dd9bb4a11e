//! A timer: an order that nobody pays is cancelled, and its item is free again.

use std::time::Duration;

use quipu::Quipu;

use super::scene::{Scene, decoded, ensure};
use crate::order::{ItemId, Order, OrderCancelled, OrderId, PayOrder, ReceiveStock, State, Stock};
use crate::payment::PAYMENT_TIME;
use crate::shop::{Failure, Shop, WallClock};

const MINUTE: Duration = Duration::from_mins(1);

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    let minutes = PAYMENT_TIME.as_secs() / 60;
    scene.say(format!(
        "Two orders are placed, one is paid. After {minutes} minutes (the shop's clock is"
    ));
    scene.say(
        "put forward) the other one is cancelled and its item is in stock again. A second start",
    );
    scene.say("of the program does not cancel it once more.");
    let clock = WallClock::default();
    let app = scene.open().await?.with_clock(clock.as_clock());
    let mut shop = Shop::run(app, scene.directory()).await?;
    let item = || ItemId("quipu".to_owned());
    shop.app.execute(ReceiveStock { item: item(), count: 2 }).await?;
    for order in ["paid", "unpaid"] {
        shop.order(order, "quipu").await?;
    }
    let pay = PayOrder { order: OrderId("paid".to_owned()), card: "4111".to_owned() };
    shop.app.execute(pay).await?;
    shop.settle().await?;

    clock.put_forward(PAYMENT_TIME.saturating_sub(MINUTE));
    shop.settle().await?;
    let found = states(&shop.app).await?;
    ensure(found == [State::Paid, State::Placed], || format!("a minute too early: {found:?}"))?;
    clock.put_forward(MINUTE);
    shop.settle().await?;
    let found = states(&shop.app).await?;
    ensure(found == [State::Paid, State::Cancelled], || format!("in the end: {found:?}"))?;
    let free = shop.app.load(Stock::of(item())).await?.free;
    ensure(free == 1, || format!("{free} in stock, not 1"))?;
    let app = shop.app.clone();
    shop.close().await?;
    let count = decoded::<OrderCancelled>(&app).await?.len();
    ensure(count == 1, || format!("{count} cancellations are in the log"))?;

    let mut shop = Shop::run(app, scene.directory()).await?;
    clock.put_forward(PAYMENT_TIME);
    shop.settle().await?;
    let count = decoded::<OrderCancelled>(&shop.app).await?.len();
    shop.close().await?;
    ensure(count == 1, || format!("{count} cancellations after a second start"))?;
    Ok(format!("{count} of 2 orders cancelled, after {minutes} minutes"))
}

async fn states(app: &Quipu) -> Result<[State; 2], Failure> {
    let paid = app.load(Order::of(OrderId("paid".to_owned()))).await?;
    let unpaid = app.load(Order::of(OrderId("unpaid".to_owned()))).await?;
    Ok([paid.state, unpaid.state])
}
