//! Appends: by how many clients, of how many events, on which condition, how many under way.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Plan;
use crate::client::{Echo, Result, Source};
use crate::report::{Bar, Figure, Report, Row, Unit, percentiles};
use crate::server::{Programs, Server, Which};
use crate::workload::{Batch, Feed, Kind, Texts};

/// How long a row may take that does not come to its end.
const TIME_MAX: Duration = Duration::from_secs(20);
const CLIENT_COUNTS: [usize; 3] = [1, 8, 64];
const SIZES: [usize; 3] = [1, 100, 1_000];
const ONE: &str = "one append at a time of each client, events";
const MANY: &str = "many appends under way of each client, events";
const ECHO: &str = "unary calls that do nothing";

/// What one row does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) clients: usize,
    /// How many events an append has.
    pub(crate) size: usize,
    pub(crate) kind: Kind,
    /// How many appends of a client are under way at once.
    pub(crate) under_way: usize,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, size, kind, under_way } = *self;
        let events = if size == 1 { "event" } else { "events" };
        write!(f, "{}, {size} {events}", client_count(clients))?;
        if under_way > 1 {
            write!(f, ", {under_way} under way")?;
        }
        f.write_str(match kind {
            Kind::Plain => "",
            Kind::UniqueTag => ", unique tag",
            Kind::Type => ", no such type since",
        })
    }
}

fn client_count(count: usize) -> String {
    if count == 1 { "1 client".to_owned() } else { format!("{count} clients") }
}

impl Job {
    fn row(&self) -> Row {
        let table = if self.under_way == 1 { ONE } else { MANY };
        Row { table, name: self.to_string(), unit: Unit::PerSecond, bar: Bar::Level }
    }
}

/// How many appends of a client are under way in the rows that have many: fewer of large ones.
fn many(size: usize) -> usize {
    match size {
        1 => 16,
        100 => 4,
        _ => 2,
    }
}

/// The jobs whose names have the text in them.
pub(crate) fn jobs(text: &str) -> Vec<Job> {
    let all = [Kind::Plain, Kind::UniqueTag].into_iter().flat_map(|kind| {
        SIZES.into_iter().flat_map(move |size| {
            CLIENT_COUNTS.into_iter().map(move |clients| Job { clients, size, kind, under_way: 1 })
        })
    });
    let all: Vec<Job> = all.collect();
    let many = all.clone().into_iter().map(|job| Job { under_way: many(job.size), ..job });
    all.into_iter().chain(many).filter(|job| job.to_string().contains(text)).collect()
}

/// Measures every row once, on stores that are new.
pub(crate) async fn round(
    plan: Plan,
    jobs: Vec<Job>,
    programs: &Programs,
    directory: &Path,
    round: usize,
    report: &mut Report,
) -> Result<()> {
    let texts = Texts::new(plan.event_count);
    let echo = Server::start(programs, Which::Echo, &directory.join("echo"), &[]).await?.0;
    let mut servers = Vec::new();
    for which in programs.stores() {
        let (server, _) =
            Server::start(programs, which, &directory.join(format!("{which}")), &[]).await?;
        // Not measured: what is slow only once.
        let warm = Job { clients: 8, size: 1, kind: Kind::UniqueTag, under_way: 1 };
        measure(&server, warm, texts, plan.time / 4).await?;
        servers.push(server);
    }
    for clients in CLIENT_COUNTS {
        let name = client_count(clients);
        let row = Row { table: ECHO, name, unit: Unit::PerSecond, bar: Bar::None };
        report.add(&row, Which::Echo, measure_echo(&echo, clients, plan.time).await);
    }
    drop(echo);
    // Another one begins each time, and each row in each round.
    let count = servers.len();
    servers.rotate_left(round % count);
    for job in jobs {
        servers.rotate_left(1);
        for server in &servers {
            let figure = measure(server, job, texts, plan.time).await;
            report.add(&job.row(), server.which, figure);
            server.rest().await;
        }
    }
    Ok(())
}

/// The appends of one client, for as long as the row takes.
struct Course {
    feed: Feed,
    until: Instant,
    ended: Vec<Instant>,
    latencies: Vec<Duration>,
}

impl Source for Course {
    fn next(&mut self) -> Option<Batch> {
        (Instant::now() < self.until).then(|| self.feed.next())
    }

    fn done(&mut self) {
        self.ended.push(Instant::now());
    }
}

/// Events a second of appends for so long. Those that are under way at the end count, and so does
/// their time.
pub(crate) async fn measure(
    server: &Server,
    job: Job,
    texts: &'static Texts,
    time: Duration,
) -> Result<Figure> {
    let mut clients = Vec::new();
    for _ in 0..job.clients {
        clients.push(server.connect().await?);
    }
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for mut client in clients {
        let feed = Feed::new(texts, job.size, job.kind);
        let mut course =
            Course { feed, until: begin + time, ended: Vec::new(), latencies: Vec::new() };
        running.spawn(async move {
            if job.under_way > 1 {
                client.append_all(&mut course, job.under_way).await?;
                return Result::Ok(course);
            }
            if job.kind == Kind::Type {
                course.feed.after = client.last().await?;
            }
            while let Some(batch) = course.next() {
                let sent = Instant::now();
                course.feed.after = client.append(batch).await?;
                course.latencies.push(sent.elapsed());
                course.done();
            }
            Ok(course)
        });
    }
    let (mut ended, mut latencies) = (vec![begin], Vec::new());
    while let Some(course) = timeout(TIME_MAX, running.join_next()).await? {
        let mut course = course??;
        ended.append(&mut course.ended);
        latencies.append(&mut course.latencies);
    }
    ended.sort_unstable();
    // From the first answer on: before it, all clients make their first appends.
    let gaps = ended[1..].windows(2).map(|pair| pair[1] - pair[0]);
    let stall = gaps.max().unwrap_or_default();
    let elapsed = ended[ended.len() - 1] - begin;
    Ok(Figure {
        value: ((ended.len() - 1) * job.size) as f64 / elapsed.as_secs_f64(),
        latency: (!latencies.is_empty()).then(|| percentiles(latencies)),
        stall: Some(stall.as_secs_f64() * 1e3),
    })
}

/// Calls a second to a server that does nothing.
async fn measure_echo(server: &Server, clients: usize, time: Duration) -> Result<Figure> {
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let mut echo = Echo::connect(server.address).await?;
        running.spawn(async move {
            let (begin, mut latencies) = (Instant::now(), Vec::new());
            while begin.elapsed() < time {
                let sent = Instant::now();
                echo.call().await?;
                latencies.push(sent.elapsed());
            }
            Result::Ok((latencies, begin.elapsed()))
        });
    }
    let (mut rate, mut all) = (0.0, Vec::new());
    while let Some(course) = running.join_next().await {
        let (mut latencies, elapsed) = course??;
        rate += latencies.len() as f64 / elapsed.as_secs_f64();
        all.append(&mut latencies);
    }
    Ok(Figure { latency: Some(percentiles(all)), ..Figure::of(rate) })
}

/// What is wished for of appends.
pub(crate) fn set_goals(report: &mut Report) {
    let name =
        |clients, size, under_way| Job { clients, size, kind: Kind::Plain, under_way }.to_string();
    let streamed = name(64, 1, many(1));
    let ours = report.value(MANY, &streamed, Which::Quipu);
    for (which, wanted) in [(Which::Tephra, 1.5), (Which::UmaDb, 3.0)] {
        let ratio = ours.zip(report.value(MANY, &streamed, which)).map(|(own, it)| own / it);
        report.at_least(&format!("{streamed}: x {which}"), ratio, wanted);
    }
    let unary = report.value(ONE, &name(64, 1, 1), Which::Quipu);
    let echo = report.value(ECHO, &client_count(64), Which::Echo);
    let ratio = unary.zip(echo).map(|(own, echo)| own / echo);
    report.at_least("64 clients, 1 event, one at a time: x an echo", ratio, 0.8);
    let batches: Vec<Row> =
        jobs("").into_iter().filter(|job| job.size > 1).map(|job| job.row()).collect();
    let ratios = batches.iter().filter_map(|row| {
        let of = |which| report.value(row.table, &row.name, which);
        Some((of(Which::Quipu)? / of(Which::Tephra)?, &row.name))
    });
    if let Some((ratio, name)) = ratios.min_by(|one, other| one.0.total_cmp(&other.0)) {
        report.at_least(&format!("batches, the least: x tephra ({name})"), Some(ratio), 2.0);
    }
    let stalls =
        batches.iter().filter_map(|row| Some((report.stall(row.table, &row.name)?, &row.name)));
    if let Some((stall, name)) = stalls.max_by(|one, other| one.0.total_cmp(&other.0)) {
        report.at_most(&format!("batches, the longest stall, ms ({name})"), Some(stall), 30.0);
    }
}
