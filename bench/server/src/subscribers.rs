//! Ten thousand live subscribers of Quipu, each of a stream of its own: what memory they take, and
//! what they cost appends.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::Plan;
use crate::client::{Client, Follower, Quipu, Result};
use crate::report::{Bar, Figure, Report, Row, Unit, percentiles};
use crate::server::{Programs, Server, Which};
use crate::workload::{Feed, Kind, Texts, mix};

const CONNECTION_COUNT: usize = 100;
const PER_CONNECTION: usize = 100;
const SUBSCRIBER_COUNT: usize = CONNECTION_COUNT * PER_CONNECTION;
/// By default a caller may have a thousand.
const ARGUMENTS: [&str; 2] = ["--subscription-count-max", "10000"];
const WRITER_COUNT: u32 = 8;
/// How often each of them appends: a thousand appends a second together.
const PERIOD: Duration = Duration::from_millis(8);
/// How long the last events may take to arrive.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(10);
const TABLE: &str = "10,000 subscribers, 1,000 appends a second to their streams";

/// Measures each round without subscribers and with them, on one server.
pub(crate) async fn run(
    plan: Plan,
    programs: &Programs,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    let texts = Texts::new(plan.event_count);
    let directory = directory.join("subscribers");
    let (server, _) = Server::start(programs, Which::Quipu, &directory, &ARGUMENTS).await?;
    // Every stream has events, and what is slow only once was slow.
    append(&server, texts, plan.paced_time).await?;
    let mut add = |name: &str, unit, value| {
        let row = Row { table: TABLE, name: name.to_owned(), unit, bar: Bar::None };
        report.add(&row, Which::Quipu, Ok(Figure::of(value)));
    };
    for _ in 0..plan.rounds {
        server.rest().await;
        let (without, _) = append(&server, texts, plan.paced_time).await?;
        let subscribers = Subscribers::begin(&server).await?;
        server.rest().await;
        let before = subscribers.arrived.load(Ordering::Relaxed);
        let (with, count) = append(&server, texts, plan.paced_time).await?;
        subscribers.wait_for(before + count).await?;
        add("p50 of an append without them", Unit::Microseconds, without[0]);
        add("p50 of an append", Unit::Microseconds, with[0]);
        add("p99 of an append without them", Unit::Microseconds, without[1]);
        add("p99 of an append", Unit::Microseconds, with[1]);
        add("resident memory", Unit::Mebibytes, server.memory()?[0]);
    }
    Ok(())
}

/// What is wished for of them.
pub(crate) fn set_goals(report: &mut Report) {
    let value = |name| report.value(TABLE, name, Which::Quipu);
    let memory = value("resident memory");
    let [with, without] = ["p99 of an append", "p99 of an append without them"].map(value);
    report.at_most("10,000 subscribers: resident memory, MiB", memory, 1_024.0);
    let ratio = with.zip(without).map(|(with, without)| with / without);
    report.at_most("10,000 subscribers: p99 of an append, x without them", ratio, 1.2);
}

struct Subscribers {
    arrived: Arc<AtomicUsize>,
    /// They end when this is dropped.
    _following: JoinSet<Result<()>>,
    _connections: Vec<Quipu>,
}

fn stream(number: usize) -> String {
    format!("followed-{number:05}")
}

impl Subscribers {
    async fn begin(server: &Server) -> Result<Self> {
        let arrived = Arc::new(AtomicUsize::new(0));
        let mut following = JoinSet::new();
        let mut connections = Vec::new();
        for connection in 0..CONNECTION_COUNT {
            let mut client = Quipu::connect(server.address).await?;
            for number in 0..PER_CONNECTION {
                let number = connection * PER_CONNECTION + number;
                let follower = client.follow_stream(stream(number)).await?;
                following.spawn(count(follower, Arc::clone(&arrived)));
            }
            connections.push(client);
        }
        Ok(Self { arrived, _following: following, _connections: connections })
    }

    /// Waits until so many events have arrived.
    async fn wait_for(&self, count: usize) -> Result<()> {
        let begin = Instant::now();
        while self.arrived.load(Ordering::Relaxed) < count {
            if begin.elapsed() > ARRIVAL_TIME_MAX {
                let arrived = self.arrived.load(Ordering::Relaxed);
                return Err(format!("{arrived} of {count} events arrived").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

async fn count(mut follower: Box<dyn Follower>, arrived: Arc<AtomicUsize>) -> Result<()> {
    loop {
        arrived.fetch_add(follower.next().await?, Ordering::Relaxed);
    }
}

/// Appends to the streams at a steady pace. Answers how long appends took, and how many there were.
async fn append(
    server: &Server,
    texts: &'static Texts,
    time: Duration,
) -> Result<([f64; 2], usize)> {
    let mut writing = JoinSet::new();
    for writer in 0..WRITER_COUNT {
        let mut client = Quipu::connect(server.address).await?;
        let mut feed = Feed::new(texts, 1, Kind::Plain);
        writing.spawn(async move {
            let begin = Instant::now();
            let mut ticks = interval_at((begin + PERIOD * writer / WRITER_COUNT).into(), PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut latencies = Vec::new();
            while begin.elapsed() < time {
                ticks.tick().await;
                let mut batch = feed.next();
                let random = mix(latencies.len() as u64, u64::from(writer));
                batch.stream = stream((random % SUBSCRIBER_COUNT as u64) as usize);
                let sent = Instant::now();
                client.append(batch).await?;
                latencies.push(sent.elapsed());
            }
            Result::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = writing.join_next().await {
        all.append(&mut latencies??);
    }
    let count = all.len();
    Ok((percentiles(all), count))
}
