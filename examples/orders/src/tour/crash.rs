//! A process that is killed while it writes: nothing acknowledged is lost, nothing is half there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use quipu::core::{Append, Query, RecordedEvent};
use quipu::{Command, Ctx, Event, Events, Quipu, events};

use super::child::Process;
use super::scene::{Scene, broken, ensure, open, read, store_directory};
use crate::arguments::Child;
use crate::order::{
    ItemAdded, ItemId, Order, OrderCreated, OrderId, OrderPlaced, Refusal, State, upcasters,
};
use crate::shop::Failure;

/// How many orders are under way at a time.
const TASKS: usize = 4;
/// What one append of the child holds, in order.
const BATCH: [&str; 4] = [OrderCreated::TYPE, ItemAdded::TYPE, ItemAdded::TYPE, OrderPlaced::TYPE];

/// An append that the child was told is durable.
struct Acknowledged {
    order: String,
    position: u64,
    ids: Vec<String>,
}

/// A whole order in one decision: all of its events are stored, or none.
struct OrderAll {
    order: OrderId,
}

impl Command for OrderAll {
    type Model = Order;
    type Error = Refusal;

    fn model(&self) -> Order {
        Order::of(self.order.clone())
    }

    fn decide(&self, order: &Order, _ctx: &Ctx) -> Result<Events, Refusal> {
        let (found, wanted) = (order.state, State::Unknown);
        if found != wanted {
            return Err(Refusal::State { found, wanted });
        }
        let order = || self.order.clone();
        let item = |name: &str, cents| ItemAdded {
            order: order(),
            item: ItemId(name.to_owned()),
            cents,
            currency: "EUR".to_owned(),
        };
        Ok(events![
            OrderCreated { order: order(), customer: "ana".to_owned() },
            item("quipu", 12_000),
            item("abacus", 4_200),
            OrderPlaced { order: order(), cents: 16_200, currency: "EUR".to_owned() },
        ])
    }
}

/// The process that is killed: orders for ever, and tells what was acknowledged.
pub(crate) async fn order_until_killed(directory: &Path) -> Result<(), Failure> {
    let app = open(directory).await?;
    let life = std::process::id();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let app = app.clone();
        tasks.spawn(async move {
            for number in 0_u64.. {
                let order = OrderId(format!("{life}-{task}-{number}"));
                let done = app.execute(OrderAll { order: order.clone() }).await?;
                let ids: Vec<String> = done.events.iter().map(ToString::to_string).collect();
                // The full stop tells a whole line from one that the kill cut short.
                println!("acknowledged {} {} {} .", order.0, done.position, ids.join(","));
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    let (kills, patience) = (scene.count(5, 2), scene.count(400, 20));
    scene.say(
        "Another process takes orders, four at a time, and prints each one once the store has",
    );
    scene.say(
        "acknowledged it. Each order is four events in one append. The process is killed in the",
    );
    scene.say("middle of that (SIGKILL), and the store is opened again.");
    let mut acknowledged = Vec::new();
    let mut torn_size = 0;
    for kill in 1..=kills {
        acknowledged.extend(work_and_die(scene.directory(), patience)?);
        let (app, torn) = reopen(scene.directory())?;
        torn_size += torn;
        let found = check(&app, &acknowledged).await?;
        scene.say(format!(
            "kill {kill}: {} appends were acknowledged so far, {found} are there, all whole",
            acknowledged.len()
        ));
    }
    scene.say(format!("Bytes of unfinished appends that opening set aside: {torn_size}"));
    scene.say("A kill is not a power cut; power cuts are simulated in the engine's tests.");
    let count = acknowledged.len() * BATCH.len();
    Ok(format!("{count} acknowledged events there once after {kills} kills"))
}

/// Runs the process, kills it after so many acknowledgements, and answers all that it printed.
fn work_and_die(directory: &Path, patience: usize) -> Result<Vec<Acknowledged>, Failure> {
    let mut process = Process::start(&Child::Order(directory.to_owned()))?;
    let output = process.output().ok_or_else(|| broken("the process has no output"))?;
    let mut found = Vec::new();
    let mut is_killed = false;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        found.extend(parse(&String::from_utf8_lossy(&line)));
        if found.len() >= patience && !is_killed {
            is_killed = process.kill()?;
        }
    }
    ensure(is_killed, || "the process that orders ended by itself".to_owned())?;
    Ok(found)
}

fn parse(line: &str) -> Option<Acknowledged> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["acknowledged", order, position, ids, "."] = words[..] else { return None };
    let ids = ids.split(',').map(str::to_owned).collect();
    Some(Acknowledged { order: order.to_owned(), position: position.parse().ok()?, ids })
}

/// Opens the store, and tells how many bytes of unfinished appends were set aside.
fn reopen(directory: &Path) -> Result<(Quipu, u64), Failure> {
    let engine = quipu_engine::OpenOptions::new().open(store_directory(directory))?;
    let torn_size = engine.recovery().torn_size;
    Ok((Quipu::over(Arc::new(engine)).with_upcasters(upcasters())?, torn_size))
}

/// Holds the log against what was acknowledged. Answers how many orders are in it.
async fn check(app: &Quipu, acknowledged: &[Acknowledged]) -> Result<usize, Failure> {
    let mut orders = BTreeMap::<String, Vec<RecordedEvent>>::new();
    let mut ids = BTreeSet::new();
    for event in read(app, Query::all()).await? {
        ensure(ids.insert(event.id), || format!("event {} is there twice", event.id))?;
        orders.entry(event.stream.to_string()).or_default().push(event);
    }
    for (stream, events) in &orders {
        let types: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
        ensure(types == BATCH, || format!("{stream} is half there: {types:?}"))?;
    }
    for own in acknowledged {
        let events = orders.get(&format!("order-{}", own.order));
        let events = events.ok_or_else(|| broken(format!("order {} is lost", own.order)))?;
        let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
        let last = events.last().map(|event| event.position.get());
        ensure(ids == own.ids && last == Some(own.position), || {
            format!("order {} is not what was acknowledged: {events:?}", own.order)
        })?;
    }
    // The store goes on where it was.
    let probe = app.store().append(Append::new()).await;
    ensure(probe.is_ok(), || format!("the store takes no appends any more: {probe:?}"))?;
    Ok(orders.len())
}
