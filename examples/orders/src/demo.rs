//! The short demo: the life of three orders.

use std::path::Path;

use quipu::Quipu;

use crate::list::{AllOrders, OrderList, OrdersThatAre};
use crate::order::{ItemId, Order, OrderId, PayOrder, ReceiveStock, ShipOrder, State, Stock};
use crate::payment::PAYMENT_TIME;
use crate::shop::{Failure, Shop, WallClock, append_old_order, outbox_file};

pub(crate) async fn run() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let app = example_store::open(directory.path()).await?;
    run_in(app, directory.path()).await
}

/// Runs it over a store, with its outbox and its read model in files of this directory.
pub(crate) async fn run_in(app: Quipu, directory: &Path) -> Result<(), Failure> {
    println!("A shop in the log {}", app.store().identity().log);
    let clock = WallClock::default();
    let mut shop = Shop::run(app.with_clock(clock.as_clock()), directory).await?;

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

    println!("\nThe list of orders, a read model in SQLite:");
    shop.settle().await?;
    let list = shop.app.view::<OrderList>()?;
    for row in list.ask(AllOrders).await? {
        let total = money(row.cents.cast_unsigned(), &row.currency);
        println!("  {:<3} {:<4} {:<10} {total}", row.order_id, row.customer, row.state);
    }
    let cancelled = list.ask(OrdersThatAre(State::Cancelled)).await?;
    println!("  {} of them is cancelled", cancelled.len());

    let outbox = outbox_file(directory);
    println!("\nWhat was published, of {}:", outbox.display());
    shop.close().await?;
    for line in std::fs::read_to_string(&outbox)?.lines() {
        let cloud_event: serde_json::Value = serde_json::from_str(line)?;
        println!("  {} {}", cloud_event["type"].as_str().unwrap_or("?"), cloud_event["data"]);
    }
    println!("\nThe tour checks what is promised: cargo run --release -p orders -- tour");
    Ok(())
}

async fn show(shop: &Shop, order: &str) -> Result<(), Failure> {
    let order = shop.app.load(Order::of(OrderId(order.to_owned()))).await?;
    let totals: Vec<String> =
        order.cents.iter().map(|(currency, cents)| money(*cents, currency)).collect();
    println!("  order {} is {}, {}", order.id.0, order.state.as_str(), totals.join(" and "));
    Ok(())
}

/// An amount as people write it.
pub(crate) fn money(cents: u64, currency: &str) -> String {
    format!("{}.{:02} {currency}", cents / 100, cents % 100)
}
