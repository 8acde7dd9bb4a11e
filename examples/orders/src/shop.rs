//! The shop: its log, and what runs beside it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quipu::core::{Append, NewEvent};
use quipu::projection::RunningProjection;
use quipu::sinks::FileSink;
use quipu::{Clock, Quipu, Running, RunningProcess, StreamName, Timestamp};
use serde_json::json;

use crate::list::{OrderList, open_database};
use crate::order::{AddItem, CreateOrder, ItemId, OrderId, PlaceOrder, upcasters};
use crate::payment::Payment;
use crate::public::public;

/// What went wrong, in whichever part of the shop.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// The application and the components that it runs.
pub(crate) struct Shop {
    pub(crate) app: Quipu,
    pub(crate) payments: RunningProcess,
    pub(crate) outbox: Running,
    pub(crate) list: RunningProjection<OrderList>,
}

impl Shop {
    /// Runs the shop over an application's store, with its outbox and its read model in files of
    /// this directory.
    pub(crate) async fn run(app: Quipu, directory: &Path) -> Result<Self, Failure> {
        let app = app.with_upcasters(upcasters())?;
        let payments = app.process::<Payment>().tick(Duration::from_millis(10)).spawn();
        let sink = Arc::new(FileSink::open(outbox_file(directory))?);
        let outbox = app.relay("public-orders", public).to(sink).spawn();
        let database = open_database(&directory.join("orders.db")).await?;
        let list = app.project(OrderList).into(database).spawn().await?;
        Ok(Self { app, payments, outbox, list })
    }

    /// Creates an order of one item and places it.
    pub(crate) async fn order(&self, order: &str, item: &str) -> Result<(), Failure> {
        let order = OrderId(order.to_owned());
        let customer = "ana".to_owned();
        self.app.execute(CreateOrder { order: order.clone(), customer }).actor("ana").await?;
        let item = ItemId(item.to_owned());
        let add = AddItem { order: order.clone(), item, cents: 12_000, currency: "EUR" };
        self.app.execute(add).actor("ana").await?;
        self.app.execute(PlaceOrder { order }).actor("ana").await?;
        Ok(())
    }

    /// Waits until there is nothing left to do, to publish or to list.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        self.payments.settle().await?;
        let frontier = self.app.store().frontier().await?;
        self.outbox.wait_for(frontier).await?;
        Ok(self.app.wait_for::<OrderList>(frontier).await?)
    }

    /// Stops what runs.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.payments.stop().await?;
        self.list.stop().await?;
        Ok(self.outbox.stop().await?)
    }
}

/// Where a shop in this directory publishes to.
pub(crate) fn outbox_file(directory: &Path) -> PathBuf {
    directory.join("public.jsonl")
}

/// Appends an order as an early version of the program did, when prices had no currency.
pub(crate) async fn append_old_order(app: &Quipu, order: &str) -> Result<(), Failure> {
    let stream = StreamName::new(format!("order-{order}"))?;
    let tag = format!("order:{order}");
    let created = json!({ "order": order, "customer": "ben" }).to_string();
    let created = NewEvent::json("shop.order-created", created)?.with_tag(&tag)?;
    let added = json!({ "order": order, "item": "abacus", "cents": 4_200 }).to_string();
    let added = NewEvent::json("shop.item-added", added)?.with_tag(&tag)?;
    let added = added.with_tag("item:abacus")?.with_metadata(r#"{"$schemaVersion":1}"#);
    app.store().append(Append::new().event(stream.clone(), created).event(stream, added)).await?;
    Ok(())
}

/// The clock on the wall, which can be put forward.
#[derive(Clone, Default)]
pub(crate) struct WallClock {
    ahead_micros: Arc<AtomicU64>,
}

impl WallClock {
    pub(crate) fn put_forward(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.ahead_micros.fetch_add(micros, Ordering::SeqCst);
    }

    pub(crate) fn as_clock(&self) -> Clock {
        let ahead = Arc::clone(&self.ahead_micros);
        Arc::new(move || Timestamp::now().plus(Duration::from_micros(ahead.load(Ordering::SeqCst))))
    }
}
