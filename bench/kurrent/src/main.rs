//! KurrentDB's client beside the native one, on the same server of the same store.
//!
//! The server runs in this process, on a runtime of its own, and both clients come in through a
//! socket. Each row is measured in rounds, one client after the other, and what counts is the ratio of
//! the medians. `--events N` says how many events the log has, `--seconds N` how long the timed rows
//! take, `--rounds N` how often; `--quick` is a look.

mod costs;
mod kurrent;
mod native;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quipu_core::{Append, EventStore, NewEvent, StreamName};
use quipu_engine::{Engine, OpenOptions};
use quipu_server::config::Limits;
use quipu_server::security::Authority;
use quipu_server::server::Server;
use quipu_server::service::Service;
use tokio::runtime::Builder;
use uuid::Uuid;

use costs::{CLIENTS, Costs};

/// The category of nearly all events.
const CATEGORY: &str = "bench";
/// The category of one event in a hundred.
const RARE: &str = "rare";
/// One in so many events is of [`RARE`].
const RARE_EVERY: usize = 100;
/// How many events a stream of the log has.
const STREAM_LENGTH: usize = 1_000;
/// What an event has in it.
const DATA: &str = r#"{"account":"4711","amount_cents":123456,"currency":"EUR","memo":"a transfer of some money from one account to another, as banks have them: 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789"}"#;
/// How many consumers share a group.
const CONSUMER_COUNT: usize = 64;

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    events: usize,
    time: Duration,
    rounds: usize,
}

impl Plan {
    fn from_arguments() -> Self {
        let is_quick = std::env::args().any(|own| own == "--quick");
        let (events, seconds, rounds) = if is_quick { (50_000, 1, 1) } else { (1_000_000, 4, 3) };
        Self {
            events: option("--events", events),
            time: Duration::from_secs(option("--seconds", seconds) as u64),
            rounds: option("--rounds", rounds),
        }
    }
}

fn option(name: &str, usual: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|it| it != name);
    arguments.nth(1).map_or(usual, |value| value.parse().expect("a number"))
}

/// A row of the table.
struct Row {
    what: &'static str,
    kurrent: Vec<f64>,
    native: Vec<f64>,
    /// What reading an event costs either client and the server that it asks.
    costs: [Vec<Costs>; 2],
    /// The least ratio of the client to what it is compared with.
    bar: &'static str,
}

impl Row {
    fn new(what: &'static str, bar: &'static str) -> Self {
        Self { what, kurrent: Vec::new(), native: Vec::new(), costs: Default::default(), bar }
    }

    fn print(&self) {
        let (kurrent, native) = (median(self.kurrent.clone()), median(self.native.clone()));
        let ratio = kurrent / native;
        println!("| {} | {kurrent:.0} | {native:.0} | {ratio:.2} | {} |", self.what, self.bar);
    }

    /// Takes what came of a job of so many events, and what it cost.
    fn push(&mut self, who: usize, (rate, costs): (f64, Costs)) {
        [&mut self.kurrent, &mut self.native][who].push(rate);
        self.costs[who].push(costs);
    }

    fn print_costs(&self) {
        let [kurrent, native] = &self.costs;
        let of =
            |costs: &[Costs], part: fn(&Costs) -> f64| median(costs.iter().map(part).collect());
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} |",
            self.what,
            of(kurrent, |it| it.client),
            of(kurrent, |it| it.server),
            of(native, |it| it.client),
            of(native, |it| it.server),
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// So many of something in the time since `begin`, a second.
fn rate(count: usize, begin: Instant) -> f64 {
    count as f64 / begin.elapsed().as_secs_f64()
}

/// How much is done a second by so many callers at once. Each calls again and again, with the name of
/// a stream of its own, and is told how much that was.
async fn by_callers<A, F>(callers: usize, time: Duration, append: A) -> f64
where
    A: Fn(String) -> F + Clone + Send + 'static,
    F: Future<Output = usize> + Send,
{
    let (is_over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let begin = Instant::now();
    let calling = (0..callers).map(|_| {
        let (append, is_over, done) = (append.clone(), Arc::clone(&is_over), Arc::clone(&done));
        tokio::spawn(async move {
            let stream = format!("append-{}", Uuid::new_v4());
            while !is_over.load(Ordering::Relaxed) {
                done.fetch_add(append(stream.clone()).await, Ordering::Relaxed);
            }
        })
    });
    let calling: Vec<_> = calling.collect();
    tokio::time::sleep(time).await;
    let measured = rate(done.load(Ordering::Relaxed), begin);
    is_over.store(true, Ordering::Relaxed);
    for call in calling {
        call.await.unwrap();
    }
    measured
}

fn main() {
    let plan = Plan::from_arguments();
    let directory = tempfile::tempdir_in(".").unwrap();
    let engine = OpenOptions::new().create(true).open(directory.path().join("data")).unwrap();
    let runtime = Builder::new_multi_thread().thread_name(CLIENTS).enable_all().build().unwrap();
    runtime.block_on(load(&engine, plan.events));

    let serving = Builder::new_multi_thread().enable_all().build().unwrap();
    let service = Service::of_engine(&engine, Limits::default(), Authority::open());
    let any = "127.0.0.1:0".parse().unwrap();
    let server = serving.block_on(Server::start(service, any, None)).unwrap();
    let address = server.address();
    // On a thread of the runtime, so that what the clients cost is counted.
    let address = format!("{address}");
    runtime.block_on(async {
        tokio::spawn(async move { measure(plan, &address).await }).await.unwrap()
    });
    drop(server);
    serving.shutdown_timeout(Duration::from_secs(5));
}

/// Fills the log: streams of [`CATEGORY`], and in between of [`RARE`].
async fn load(engine: &Engine, events: usize) {
    let begin = Instant::now();
    let mut made = 0;
    while made < events {
        let mut append = Append::new();
        for number in made..events.min(made + 1_000) {
            let category = if number % RARE_EVERY == 0 { RARE } else { CATEGORY };
            let stream = format!("{category}-{}", number / STREAM_LENGTH);
            let event = NewEvent::json("Transferred", DATA).unwrap();
            append = append.event(StreamName::new(stream).unwrap(), event);
        }
        engine.append(append).await.unwrap();
        made += 1_000;
    }
    eprintln!("{events} events in {:.1} s", begin.elapsed().as_secs_f64());
}

async fn measure(plan: Plan, address: &str) {
    let kurrent = kurrent::connect(address);
    let native = native::connect(address).await;
    println!("| row | KurrentDB's client, /s | compared with, /s | ratio | bar |");
    println!("|---|---|---|---|---|");

    let mut one = Row::new("1 event an append, 1 caller; native", "0.67");
    let mut many = Row::new("1 event an append, 64 callers; native", "0.67");
    let mut batch =
        Row::new("100 events an append (BatchAppend), 1 caller; native, events", "0.67");
    let mut read = Row::new("the log, forwards; native, events", "0.67");
    let mut stream = Row::new("streams of 1,000; native, events", "0.67");
    let mut category =
        Row::new("a category, links resolved; its own read of `$all`, events", "0.80");
    let mut filtered = Row::new(
        "a filtered subscription to 1 % by prefix; its own subscription to `$all`, events passed",
        "-",
    );
    let mut groups = Row::new("64 consumers of a group, acknowledged; native, events", "20,000 /s");
    for round in 0..plan.rounds {
        eprintln!("round {}", round + 1);
        one.kurrent.push(kurrent::append(&kurrent, 1, plan.time).await);
        one.native.push(native::append(&native, 1, 1, plan.time).await);
        many.kurrent.push(kurrent::append(&kurrent, 64, plan.time).await);
        many.native.push(native::append(&native, 64, 1, plan.time).await);
        batch.kurrent.push(kurrent::append_batches(&kurrent, plan.time).await);
        batch.native.push(native::append(&native, 1, 100, plan.time).await);

        let log = costs::of(kurrent::read_all(&kurrent, plan.events)).await;
        category.push(1, log);
        read.push(0, log);
        read.push(1, costs::of(native::read_all(&native, plan.events)).await);
        stream.push(0, costs::of(kurrent::read_streams(&kurrent, plan.events, plan.time)).await);
        stream.push(1, costs::of(native::read_streams(&native, plan.events, plan.time)).await);
        category.push(0, costs::of(kurrent::read_category(&kurrent, plan.events)).await);

        filtered.native.push(kurrent::subscribe(&kurrent, None, plan.events).await);
        filtered.kurrent.push(kurrent::subscribe(&kurrent, Some(RARE), plan.events).await);

        let name = format!("round-{round}");
        groups.kurrent.push(kurrent::consume(address, &name, plan).await);
        groups.native.push(native::consume(address, &name, plan).await);
    }
    let rows = [one, many, batch, read, stream, category, filtered, groups];
    for row in &rows {
        row.print();
    }
    println!();
    println!("Processor time an event, in µs:");
    println!();
    println!(
        "| row | KurrentDB's client | the server for it | compared with | the server for it |"
    );
    println!("|---|---|---|---|---|");
    for row in rows.iter().filter(|row| !row.costs[0].is_empty()) {
        row.print_costs();
    }
}
