//! What the shop promises.

use quipu::testing::{given, given_stored, process, project};
use quipu::{Event, Quipu, events};
use quipu_testing::served::Served;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::list::{AllOrders, OrderList, OrdersThatAre};
use crate::order::{
    AddItem, CancelOrder, ItemAdded, ItemId, ItemReleased, Order, OrderCancelled, OrderCreated,
    OrderId, OrderPaid, OrderPlaced, OrderShipped, PayOrder, PlaceOrder, ReceiveStock, Refusal,
    State, Stock, StockReceived, upcasters,
};
use crate::payment::{PAYMENT_TIME, Payment};
use crate::shop::{Shop, WallClock, append_old_order, outbox_file};

fn order(text: &str) -> OrderId {
    OrderId(text.to_owned())
}

fn quipu() -> ItemId {
    ItemId("quipu".to_owned())
}

fn created(text: &str) -> OrderCreated {
    OrderCreated { order: order(text), customer: "ana".into() }
}

fn added(text: &str, currency: &str) -> ItemAdded {
    ItemAdded { order: order(text), item: quipu(), cents: 5, currency: currency.into() }
}

fn placed(text: &str) -> OrderPlaced {
    OrderPlaced { order: order(text), cents: 5, currency: "EUR".into() }
}

fn add(text: &str) -> AddItem {
    AddItem { order: order(text), item: quipu(), cents: 5, currency: "EUR" }
}

#[test]
fn the_last_item_goes_into_one_order() {
    let one = StockReceived { item: quipu(), count: 1 };

    given(events![one.clone(), created("1"), created("2"), added("1", "EUR")])
        .when(add("2"))
        .then_rejected(&Refusal::SoldOut(quipu()));
    let released = ItemReleased { order: order("1"), item: quipu() };
    given(events![one, created("1"), created("2"), added("1", "EUR"), released])
        .when(add("2"))
        .then(events![added("2", "EUR")]);
}

#[test]
fn an_order_is_placed_in_one_currency() {
    let place = || PlaceOrder { order: order("1") };

    given(events![created("1"), added("1", "EUR")]).when(place()).then(events![placed("1")]);
    given(events![created("1"), added("1", "EUR"), added("1", "USD")])
        .when(place())
        .then_rejected(&Refusal::NotPayable);
    given(events![created("1")]).when(place()).then_rejected(&Refusal::NotPayable);
}

#[test]
fn cancelling_gives_the_items_back() {
    let cancel = || CancelOrder { order: order("1"), reason: "no" };
    let history = || events![created("1"), added("1", "EUR"), placed("1")];
    let paid = OrderPaid { order: order("1"), card: "4111".into() };

    given(history()).when(cancel()).then(events![
        OrderCancelled { order: order("1"), reason: "no".into() },
        ItemReleased { order: order("1"), item: quipu() },
    ]);
    given(history().and(paid))
        .when(cancel())
        .then_rejected(&Refusal::State { found: State::Paid, wanted: State::Placed });
}

#[test]
fn prices_of_the_first_version_are_in_euros() {
    let old = json!({ "order": "1", "item": "quipu", "cents": 5 });

    given_stored(upcasters(), [("shop.item-added", 1, old)])
        .then_state(Order::of(order("1")), |order| order.cents["EUR"] == 5);
}

#[test]
fn an_order_that_is_not_paid_in_time_is_cancelled() {
    let cancel = CancelOrder { order: order("1"), reason: "not paid in time" };

    process::<Payment>()
        .given(events![placed("1")])
        .then_waits("due", PAYMENT_TIME)
        .advance(PAYMENT_TIME)
        .then_executes("cancel", &cancel)
        .then_nothing();
}

#[test]
fn an_order_that_is_paid_in_time_is_not() {
    process::<Payment>()
        .given(events![placed("1"), OrderPaid { order: order("1"), card: "4111".into() }])
        .then_completed("1")
        .advance(PAYMENT_TIME)
        .then_nothing();
}

/// An item as the program's first version stored it.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "shop.item-added")]
struct FirstItemAdded {
    #[tag]
    order: OrderId,
    #[tag]
    item: ItemId,
    cents: u64,
}

/// Every event the list reads, an item of the first version among them, with a crash at each step.
#[tokio::test]
async fn the_list_has_every_order_once_wherever_it_crashes() {
    let old = FirstItemAdded { order: order("1"), item: quipu(), cents: 7 };
    let paid = |text| OrderPaid { order: order(text), card: "4111".into() };
    let shipped = OrderShipped { order: order("2"), parcel: "p".into() };
    let cancelled = OrderCancelled { order: order("3"), reason: "no".into() };

    project(OrderList)
        .sqlite_memory()
        .upcasters(upcasters())
        .given(events![created("1"), old, added("1", "EUR"), created("2"), added("2", "USD")])
        .given(events![placed("2"), paid("2"), shipped, created("3"), placed("3"), cancelled])
        .given(events![created("4"), added("4", "EUR"), added("4", "USD"), added("4", "EUR")])
        .crash_after_each()
        .then_rows(
            "SELECT order_id, customer, state, cents, currency FROM {order_list} ORDER BY 1",
            json!([
                { "order_id": "1", "customer": "ana", "state": "open", "cents": 12,
                  "currency": "EUR" },
                { "order_id": "2", "customer": "ana", "state": "shipped", "cents": 5,
                  "currency": "USD" },
                { "order_id": "3", "customer": "ana", "state": "cancelled", "cents": 0,
                  "currency": "" },
                { "order_id": "4", "customer": "ana", "state": "open", "cents": 0,
                  "currency": "several" },
            ]),
        )
        .await;
}

#[tokio::test]
async fn a_shop_does_all_of_it_and_publishes_no_card() {
    let directory = tempfile::tempdir().unwrap();
    let clock = WallClock::default();
    let app = Quipu::open(directory.path().join("orders.quipu")).await.unwrap();
    let mut shop = Shop::run(app.with_clock(clock.as_clock()), directory.path()).await.unwrap();

    shop.app.execute(ReceiveStock { item: quipu(), count: 2 }).await.unwrap();
    shop.order("1", "quipu").await.unwrap();
    shop.order("2", "quipu").await.unwrap();
    append_old_order(&shop.app, "0").await.unwrap();
    let pay = PayOrder { order: order("1"), card: "4111".into() };
    shop.app.execute(pay).await.unwrap();
    shop.settle().await.unwrap();
    clock.put_forward(PAYMENT_TIME);
    shop.settle().await.unwrap();

    let state = async |text: &str| shop.app.load(Order::of(order(text))).await.unwrap().state;
    assert_eq!((state("1").await, state("2").await), (State::Paid, State::Cancelled));
    assert_eq!(shop.app.load(Stock::of(quipu())).await.unwrap().free, 1);
    let old = shop.app.load(Order::of(order("0"))).await.unwrap();
    assert_eq!(old.cents["EUR"], 4_200);
    let list = shop.app.view::<OrderList>().unwrap();
    let all = list.ask(AllOrders).await.unwrap();
    let states: Vec<&str> = all.iter().map(|row| &*row.state).collect();
    assert_eq!(states, ["open", "paid", "cancelled"]);
    let paid = list.ask(OrdersThatAre(State::Paid)).await.unwrap();
    assert_eq!(paid, all[1..2]);
    shop.close().await.unwrap();
    let public = std::fs::read_to_string(outbox_file(directory.path())).unwrap();
    assert_eq!(public.lines().count(), 4, "two placed, one paid, one cancelled: {public}");
    assert!(!public.contains("4111"), "{public}");
}

#[tokio::test]
async fn all_of_it_works_on_a_store_that_is_served() {
    let Some(served) = Served::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let app = Quipu::open_url(served.url()).await.unwrap();

    crate::demo::run_in(app, directory.path()).await.unwrap();
}
