//! A shop: `cargo run -p orders` takes orders from their creation to their parcel, cancels one that
//! nobody pays, reads one of an earlier version of the program, and publishes what others may know.

#![expect(clippy::print_stdout, reason = "the example shows what it does")]

mod order;
mod payment;
mod public;
mod shop;
#[cfg(test)]
mod tests;

use std::error::Error;

use order::{ItemId, Order, OrderId, PayOrder, ReceiveStock, ShipOrder, Stock};
use payment::PAYMENT_TIME;
use quipu::Quipu;
use shop::{Shop, WallClock, append_old_order};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let outbox = directory.path().join("public.jsonl");
    let clock = WallClock::default();
    let app = Quipu::open(directory.path().join("orders.quipu")).await?;
    let mut shop = Shop::run(app.with_clock(clock.as_clock()), &outbox)?;
    println!("A shop in {}", directory.path().display());

    println!("\nAn order is created, filled, placed, paid and shipped");
    let receive = ReceiveStock { item: ItemId("quipu".into()), count: 2 };
    shop.app.execute(receive).actor("clerk").await?;
    shop.order("1", "quipu").await?;
    let card = "4111 1111 1111 1111".to_owned();
    shop.app.execute(PayOrder { order: OrderId("1".into()), card }).actor("ana").await?;
    shop.app.execute(ShipOrder { order: OrderId("1".into()) }).actor("clerk").await?;
    show(&shop, "1").await?;

    println!("\nAnother one takes the last item, and nobody pays it");
    shop.order("2", "quipu").await?;
    let stock = || shop.app.load(Stock::of(ItemId("quipu".into())));
    println!("  in stock: {}", stock().await?.free);
    shop.settle().await?;
    println!("  the clock goes on by {} minutes", PAYMENT_TIME.as_secs() / 60);
    clock.put_forward(PAYMENT_TIME);
    shop.settle().await?;
    show(&shop, "2").await?;
    println!("  in stock: {}", shop.app.load(Stock::of(ItemId("quipu".into()))).await?.free);

    println!("\nAn order of the program's first version had no currency");
    append_old_order(&shop.app, "0").await?;
    show(&shop, "0").await?;

    println!("\nWhat was published, of {}:", outbox.display());
    shop.settle().await?;
    shop.close().await?;
    for line in std::fs::read_to_string(&outbox)?.lines() {
        let cloud_event: serde_json::Value = serde_json::from_str(line)?;
        println!("  {} {}", cloud_event["type"].as_str().unwrap_or("?"), cloud_event["data"]);
    }
    Ok(())
}

async fn show(shop: &Shop, order: &str) -> Result<(), Box<dyn Error>> {
    let order = shop.app.load(Order::of(OrderId(order.to_owned()))).await?;
    let totals: Vec<String> = order
        .cents
        .iter()
        .map(|(currency, cents)| format!("{}.{:02} {currency}", cents / 100, cents % 100))
        .collect();
    println!("  order {} is {:?}, {}", order.id.0, order.state, totals.join(" and "));
    Ok(())
}
