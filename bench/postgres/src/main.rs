//! The store on `PostgreSQL` beside a bare `INSERT`, and beside `disintegrate-postgres`, on the same
//! server with sync on.
//!
//! Each row is measured in rounds, one after the other, and what counts is the ratio of the medians:
//!
//! - `pgbench` with a prepared `INSERT` of the same bytes into a table with a primary key and nothing
//!   else;
//! - `disintegrate-postgres`, which has no streams: events with an id that is indexed, and decisions by
//!   queries on it;
//! - appends to streams of their own at the revision expected, with types, ids and tags indexed.
//!
//! `--seconds N` and `--rounds N` say for how long, `--growth N` up to how many events the log grows
//! in the last rows; `--quick` is a look. `--only TEXT` measures the appends whose row has it, or the
//! `reads`, or the log that `grows`.
//! `--json FILE` writes the rows as lines of JSON as well.

mod bare;
mod own;
mod peer;
mod reading;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quipu_testing::postgres::Server;
use report::{Report, median};

/// What one row measures.
#[derive(Clone, Copy)]
struct Job {
    clients: usize,
    events: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// To a stream of its own each.
    Plain,
    /// And each event with a tag.
    Tagged,
    /// And on the condition that nobody else appended with the tag meanwhile.
    Conditioned,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Plain, Self::Tagged, Self::Conditioned];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "no tag",
            Self::Tagged => "a tag",
            Self::Conditioned => "a tag and a condition on it",
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    time: Duration,
    rounds: usize,
    growth: u64,
}

impl Plan {
    fn from_arguments() -> Self {
        let is_quick = std::env::args().any(|own| own == "--quick");
        let (seconds, rounds, growth) = if is_quick { (1, 1, 200_000) } else { (3, 3, 5_000_000) };
        Self {
            time: Duration::from_secs(option("--seconds", seconds)),
            rounds: option("--rounds", rounds) as usize,
            growth: option("--growth", growth),
        }
    }
}

fn text(name: &str) -> Option<String> {
    std::env::args().skip_while(|it| it != name).nth(1)
}

fn option(name: &str, usual: u64) -> u64 {
    text(name).map_or(usual, |value| value.parse().expect("a number"))
}

/// One who appends again and again.
trait Client: Send + 'static {
    /// Appends so many events, at once. Whether nobody was in the way: else they are not there.
    fn append(&mut self, count: usize) -> impl Future<Output = bool> + Send;
}

/// Events a second of clients that append at the same time.
async fn rate(clients: Vec<impl Client>, events: usize, time: Duration) -> f64 {
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let running: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let (is_over, count) = (Arc::clone(&is_over), Arc::clone(&count));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    if client.append(events).await {
                        count.fetch_add(events as u64, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    is_over.store(true, Ordering::Relaxed);
    for client in running {
        client.await.unwrap();
    }
    // Those that were under way at the end count, and so does their time.
    count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

fn jobs() -> Vec<Job> {
    let sizes = [(1, 1), (16, 1), (64, 1), (1, 100), (16, 100), (64, 100), (4, 1_000)];
    let of_kind = |kind| sizes.map(|(clients, events)| Job { clients, events, kind });
    Kind::ALL.into_iter().flat_map(of_kind).collect()
}

fn main() {
    let plan = Plan::from_arguments();
    let settings = ["max_connections=200", "shared_buffers=512MB", "max_wal_size=4GB"];
    // disintegrate-postgres does not work on Debian's version 15: its functions have hexadecimal numbers.
    let server = Server::start_newest_with(&settings).expect("it is installed");
    for database in ["bare", "peer", "own", "grown"] {
        server.sql("postgres", &format!("create database {database}"));
    }
    bare::prepare(&server);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut report = Report::begin(&server.sql("postgres", "select version()"));
    runtime.block_on(measure(plan, &server, &mut report));
    report.end();
}

async fn measure(plan: Plan, server: &Server, report: &mut Report) {
    let peer = peer::open(server).await;
    let own = own::open(server, "own").await;
    let only = text("--only");
    let is_wanted = |what: &str| only.as_ref().is_none_or(|only| what.contains(only));
    let mut tagged = Vec::new();
    report.head("appends", &["bare INSERT", "disintegrate", "quipu"]);
    for (number, job) in jobs().into_iter().enumerate() {
        let Job { clients, events, kind } = job;
        let what = format!("{clients} clients, {events} events, {}", kind.name());
        if !is_wanted(&what) {
            continue;
        }
        // As a server does by itself after a while: a plan that knows nothing of the tables would
        // scan them.
        for database in ["bare", "peer", "own"] {
            server.sql(database, "analyze");
        }
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..plan.rounds {
            let run = format!("{number}x{round}");
            rates[0].push(bare::insert(server, job, plan.time.as_secs()));
            let clients =
                (0..job.clients).map(|at| peer::client(&peer, job, format!("{run}x{at}")));
            rates[1].push(rate(clients.collect(), job.events, plan.time).await);
            let clients = (0..job.clients).map(|at| own::client(&own, job, format!("{run}x{at}")));
            rates[2].push(rate(clients.collect(), job.events, plan.time).await);
        }
        let medians = rates.map(median);
        let mut notes = vec![("of INSERT", medians[2] / medians[0])];
        notes.push(("of disintegrate", medians[2] / medians[1]));
        match kind {
            Kind::Plain => {}
            Kind::Tagged => tagged.push(((clients, events), medians[2])),
            Kind::Conditioned => {
                let mut beside = tagged.iter().filter(|(it, _)| *it == (clients, events));
                let beside = beside.next().map_or(f64::NAN, |(_, rate)| *rate);
                notes.push(("of without a condition", medians[2] / beside));
            }
        }
        report.row(&what, &medians, &notes);
    }
    if is_wanted("reads") {
        own::fill(&own, plan.growth / 5).await;
        reading::measure(plan, server, &own, report).await;
    }
    own.close().await;
    if is_wanted("grows") {
        let grown = own::open(server, "grown").await;
        grow(plan, &grown, report).await;
        grown.close().await;
    }
}

/// Appends to a log that grows.
async fn grow(plan: Plan, own: &quipu_postgres::PostgresStore, report: &mut Report) {
    report.head("appends to a log that grows, 16 clients, 1 event, a tag", &["quipu"]);
    let job = Job { clients: 16, events: 1, kind: Kind::Tagged };
    let mut first = None;
    for step in 0..=4 {
        own::fill(own, plan.growth * step / 4).await;
        let mut rates = Vec::new();
        for round in 0..plan.rounds {
            let run = |at| format!("grow{step}x{round}x{at}");
            let clients = (0..job.clients).map(|at| own::client(own, job, run(at)));
            rates.push(rate(clients.collect(), job.events, plan.time).await);
        }
        let rate = median(rates);
        let first = *first.get_or_insert(rate);
        let count = own::count(own).await;
        report.row(&format!("{count} events"), &[rate], &[("of the first", rate / first)]);
    }
}
