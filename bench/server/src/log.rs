//! A log that was loaded: reads, a condition on a type, subscriptions, memory, and opening it again
//! after `kill -9`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Plan;
use crate::appends::{self, Job};
use crate::client::{Client, Follower, Read, Result, Source};
use crate::output::progress;
use crate::report::{Bar, Figure, Report, Row, Unit, percentiles};
use crate::server::{Programs, Server, Which};
use crate::workload::{self, Batch, CUSTOMER_EVENT_COUNT, Feed, Kind, Texts};

/// How many appends of the load are under way at once.
const LOAD_UNDER_WAY: usize = 4;
/// How many clients append when a server is killed.
const WRITER_COUNT: usize = 8;
/// How long they append before.
const WRITING_TIME: Duration = Duration::from_millis(300);
/// What is waited for between two events whose delivery is measured. UmaDB rests for 2 ms after each.
const DELIVERY_PAUSE: Duration = Duration::from_millis(4);
const READS: &str = "reads and conditions on a loaded log";
const DELIVERY: &str = "from the append to the subscriber";
const PROCESS: &str = "the process";

fn row(table: &'static str, name: impl Into<String>, unit: Unit, bar: Bar) -> Row {
    Row { table, name: name.into(), unit, bar }
}

/// Loads a log into each server, and measures every row in rounds.
pub(crate) async fn run(
    plan: Plan,
    programs: &Programs,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    let texts = Texts::new(plan.event_count);
    let mut servers = BTreeMap::new();
    let mut order = programs.stores();
    for &which in &order {
        let directory = directory.join(which.to_string());
        let (server, time) = Server::start(programs, which, &directory, &[]).await?;
        let first =
            row(PROCESS, "start on an empty directory", Unit::Milliseconds, Bar::AtMost(100.0));
        report.add(&first, which, Ok(Figure::of(time.as_secs_f64() * 1e3)));
        load(&server, texts).await?;
        server.rest().await;
        let [all, own] = server.memory()?;
        let all_row = row(PROCESS, "resident memory after the load", Unit::Mebibytes, Bar::Level);
        report.add(&all_row, which, Ok(Figure::of(all)));
        let own_row = row(PROCESS, "of it no file's", Unit::Mebibytes, Bar::None);
        report.add(&own_row, which, Ok(Figure::of(own)));
        servers.insert(which, server);
    }
    for _ in 0..plan.rounds {
        for which in &order {
            measure(&servers[which], plan, texts, report).await;
        }
        for &which in &order {
            let Some(server) = servers.remove(&which) else { continue };
            let directory = directory.join(which.to_string());
            let (server, time) = reopen(server, programs, &directory, texts).await?;
            let row = row(PROCESS, "open and read after kill -9", Unit::Milliseconds, Bar::Level);
            report.add(&row, which, Ok(Figure::of(time.as_secs_f64() * 1e3)));
            server.rest().await;
            servers.insert(which, server);
        }
        order.rotate_left(1);
    }
    Ok(())
}

struct Loading(workload::Load);

impl Source for Loading {
    fn next(&mut self) -> Option<Batch> {
        self.0.next()
    }

    fn done(&mut self) {}
}

async fn load(server: &Server, texts: &'static Texts) -> Result<()> {
    let begin = Instant::now();
    let mut source = Loading(workload::Load::new(texts));
    server.connect().await?.append_all(&mut source, LOAD_UNDER_WAY).await?;
    progress(&format!("{} loaded in {:.1} s", server.which, begin.elapsed().as_secs_f64()));
    Ok(())
}

async fn measure(server: &Server, plan: Plan, texts: &'static Texts, report: &mut Report) {
    let which = server.which;
    let name = format!("all {} events, one after the other", plan.event_count);
    let figure = read_all(server, plan.event_count).await;
    report.add(&row(READS, name, Unit::PerSecond, Bar::Level), which, figure);
    for clients in [1, 8] {
        let name = format!("reads of 10 events by tag, {clients} at a time");
        let figure = read_tags(server, texts, clients, plan.time).await;
        report.add(&row(READS, name, Unit::PerSecond, Bar::Level), which, figure);
    }
    let job = Job { clients: 1, size: 1, kind: Kind::Type, under_way: 1 };
    let figure = appends::measure(server, job, texts, plan.time).await;
    let name = "appends of 1 event, no such type since";
    report.add(&row(READS, name, Unit::PerSecond, Bar::Level), which, figure);
    let delivery = |name| row(DELIVERY, name, Unit::Microseconds, Bar::Level);
    match deliver(server, texts, plan.delivery_count).await {
        Ok([p50, p99]) => {
            report.add(&delivery("p50"), which, Ok(Figure::of(p50)));
            report.add(&delivery("p99"), which, Ok(Figure::of(p99)));
        }
        Err(cause) => report.add(&delivery("p50"), which, Err(cause)),
    }
    server.rest().await;
}

async fn read_all(server: &Server, count: usize) -> Result<Figure> {
    let mut client = server.connect().await?;
    let begin = Instant::now();
    let tally = client.read(Read::First(count)).await?;
    if tally.count != count || tally.size == 0 {
        return Err(format!("{tally:?} of {count} events").into());
    }
    Ok(Figure::of(count as f64 / begin.elapsed().as_secs_f64()))
}

/// Reads a customer's events.
async fn read_tag(client: &mut dyn Client, texts: &Texts, random: u64) -> Result<()> {
    let tally = client.read(Read::Tag(texts.customer(random))).await?;
    if tally.count == CUSTOMER_EVENT_COUNT {
        return Ok(());
    }
    Err(format!("{tally:?} of {CUSTOMER_EVENT_COUNT} events").into())
}

async fn read_tags(
    server: &Server,
    texts: &'static Texts,
    clients: u64,
    time: Duration,
) -> Result<Figure> {
    let mut reading = JoinSet::new();
    for lane in 0..clients {
        let mut client = server.connect().await?;
        reading.spawn(async move {
            let (begin, mut latencies) = (Instant::now(), Vec::new());
            while begin.elapsed() < time {
                let sent = Instant::now();
                let random = workload::mix(latencies.len() as u64, lane);
                read_tag(&mut *client, texts, random).await?;
                latencies.push(sent.elapsed());
            }
            Result::Ok((latencies, begin.elapsed()))
        });
    }
    let (mut rate, mut all) = (0.0, Vec::new());
    while let Some(done) = reading.join_next().await {
        let (mut latencies, elapsed) = done??;
        rate += latencies.len() as f64 / elapsed.as_secs_f64();
        all.append(&mut latencies);
    }
    Ok(Figure { latency: Some(percentiles(all)), ..Figure::of(rate) })
}

/// How long events take from before their append to a subscriber that has caught up.
///
/// A task does all of it, like the clients of other rows: the thread of `main` would be woken, and
/// would wake others, where the answers of a client come in by a task of its own.
async fn deliver(server: &Server, texts: &'static Texts, count: usize) -> Result<[f64; 2]> {
    let follower = server.connect().await?.follow().await?;
    let client = server.connect().await?;
    tokio::spawn(time_deliveries(client, follower, texts, count)).await?
}

async fn time_deliveries(
    mut client: Box<dyn Client>,
    mut follower: Box<dyn Follower>,
    texts: &'static Texts,
    count: usize,
) -> Result<[f64; 2]> {
    let mut feed = Feed::new(texts, 1, Kind::Plain);
    let mut times = Vec::new();
    for _ in 0..count {
        tokio::time::sleep(DELIVERY_PAUSE).await;
        let begin = Instant::now();
        let delivered = async {
            let count = follower.next().await?;
            Result::Ok((count, begin.elapsed()))
        };
        let (appended, delivered) = tokio::join!(client.append(feed.next()), delivered);
        appended?;
        match delivered? {
            (1, time) => times.push(time),
            (count, _) => return Err(format!("{count} events came at once").into()),
        }
    }
    Ok(percentiles(times))
}

/// Kills a server while clients append, starts it again, and reads: how long that took. All that was
/// acknowledged has to be there.
async fn reopen(
    server: Server,
    programs: &Programs,
    directory: &Path,
    texts: &'static Texts,
) -> Result<(Server, Duration)> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut writing = JoinSet::new();
    for _ in 0..WRITER_COUNT {
        let (mut client, acknowledged) = (server.connect().await?, Arc::clone(&acknowledged));
        let mut feed = Feed::new(texts, 1, Kind::Plain);
        writing.spawn(async move {
            // Until the server is gone.
            while let Ok(place) = client.append(feed.next()).await {
                acknowledged.fetch_max(place, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(WRITING_TIME).await;
    let which = server.which;
    server.kill()?;
    writing.join_all().await;
    let (server, started) = Server::start(programs, which, directory, &[]).await?;
    let begin = Instant::now();
    let mut client = server.connect().await?;
    read_tag(&mut *client, texts, 1).await?;
    let time = started + begin.elapsed();
    let (last, acknowledged) = (client.last().await?, acknowledged.load(Ordering::Relaxed));
    if acknowledged == 0 || last < acknowledged {
        return Err(format!("{which} has {last} events, {acknowledged} were acknowledged").into());
    }
    Ok((server, time))
}

/// What is wished for of reads and subscriptions.
pub(crate) fn set_goals(plan: Plan, report: &mut Report) {
    let name = format!("all {} events, one after the other", plan.event_count);
    let ratio = report.ratio(READS, &name);
    report.at_least(&format!("{name}: x the better"), ratio, 2.0);
    let p50 = report.value(DELIVERY, "p50", Which::Quipu).map(|micros| micros / 1e3);
    report.at_most("from the append to the subscriber, p50, ms", p50, 0.4);
}
