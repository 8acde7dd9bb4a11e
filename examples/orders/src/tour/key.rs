//! An idempotency key: a command that is sent again is done once.

use quipu::ExecuteError;

use super::scene::{Scene, decoded, ensure};
use crate::order::{
    AddItem, CreateOrder, ItemId, OrderId, OrderPaid, PayOrder, PlaceOrder, ReceiveStock,
};
use crate::shop::Failure;

const KEY: &str = "payment 4711";

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    scene
        .say("A customer pays, gets no answer, pays again with the same idempotency key, and once");
    scene.say("more after the shop was closed and opened.");
    let order = || OrderId("1".to_owned());
    let item = || ItemId("quipu".to_owned());
    let pay = || PayOrder { order: order(), card: "4111".to_owned() };
    let app = scene.open().await?;
    app.execute(ReceiveStock { item: item(), count: 1 }).await?;
    app.execute(CreateOrder { order: order(), customer: "ana".to_owned() }).await?;
    let add = AddItem { order: order(), item: item(), cents: 12_000, currency: "EUR" };
    app.execute(add).await?;
    app.execute(PlaceOrder { order: order() }).await?;

    let first = app.execute(pay()).idempotency_key(KEY).await?;
    let second = app.execute(pay()).idempotency_key(KEY).await?;
    drop(app);
    let app = scene.open().await?;
    let third = app.execute(pay()).idempotency_key(KEY).await?;
    for (number, again) in [(2, &second), (3, &third)] {
        ensure(again.replayed && again.position == first.position, || {
            format!("sending {number} was not recognised: {again:?}")
        })?;
    }
    let count = decoded::<OrderPaid>(&app).await?.len();
    ensure(count == 1, || format!("{count} payments are in the log"))?;
    let without = app.execute(pay()).await;
    ensure(matches!(without, Err(ExecuteError::Rejected(_))), || {
        format!("without the key a second payment got {without:?}")
    })?;
    scene.say(format!("All three got the same answer, position {}.", first.position));
    Ok(format!("3 sendings, {count} event"))
}
