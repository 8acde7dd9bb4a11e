//! The store on `PostgreSQL` beside a bare `INSERT`, on the same server with sync on.
//!
//! Each row is measured in rounds, one after the other of both, and what counts is the ratio of the
//! medians: `pgbench` with a prepared `INSERT` of the same bytes into a table with a primary key and
//! nothing else, and appends to streams of their own at the revision expected, with types and tags
//! indexed. `--seconds N` and `--rounds N` say for how long.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quipu_core::{
    Append, EventStore, ExpectedRevision, NewEvent, Query, ReadAll, Revision, StreamName,
};
use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_testing::postgres::{Server, USER};

/// What one row measures.
#[derive(Clone, Copy)]
struct Job {
    clients: usize,
    events: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Tagged,
    Conditioned,
}

const JOBS: [Job; 9] = [
    Job { clients: 1, events: 1, kind: Kind::Plain },
    Job { clients: 16, events: 1, kind: Kind::Plain },
    Job { clients: 64, events: 1, kind: Kind::Plain },
    Job { clients: 1, events: 100, kind: Kind::Plain },
    Job { clients: 16, events: 100, kind: Kind::Plain },
    Job { clients: 4, events: 1_000, kind: Kind::Plain },
    Job { clients: 16, events: 1, kind: Kind::Tagged },
    Job { clients: 16, events: 1, kind: Kind::Conditioned },
    Job { clients: 64, events: 1, kind: Kind::Conditioned },
];

fn main() {
    let (seconds, rounds) = (option("--seconds", 4), option("--rounds", 3));
    let time = Duration::from_secs(seconds);
    let settings = ["max_connections=200", "shared_buffers=512MB", "max_wal_size=4GB"];
    let server = Server::start_with(&settings).expect("PostgreSQL is installed");
    server.sql("postgres", "create table bare (n bigserial primary key, data bytea)");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let options: PostgresOptions = server.socket_url("postgres").parse().unwrap();
    let options = options.create(true).connections(32.try_into().unwrap());
    let store = runtime.block_on(options.open()).unwrap();
    println!("| clients | events | what | INSERT events/s | quipu events/s | ratio |");
    println!("|---|---|---|---|---|---|");
    for (number, job) in JOBS.into_iter().enumerate() {
        let (mut bare, mut own) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            bare.push(run_bare(&server, job, seconds));
            let run = format!("{number}x{round}");
            own.push(runtime.block_on(run_own(&store, job, &run, time)));
        }
        let (bare, own) = (median(bare), median(own));
        let what = match job.kind {
            Kind::Plain => "one stream each",
            Kind::Tagged => "and a tag",
            Kind::Conditioned => "and a condition on it",
        };
        let Job { clients, events, .. } = job;
        println!("| {clients} | {events} | {what} | {bare:.0} | {own:.0} | {:.2} |", own / bare);
    }
    runtime.block_on(read(&server, &store));
    runtime.block_on(store.close());
}

fn option(name: &str, usual: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|it| it != name);
    arguments.nth(1).map_or(usual, |value| value.parse().expect("a number"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Events a second of a bare `INSERT`.
fn run_bare(server: &Server, job: Job, seconds: u64) -> f64 {
    let script = match job.events {
        1 => "insert into bare (data) values (decode(repeat('ab', 256), 'hex'));".to_owned(),
        count => format!(
            "insert into bare (data) select decode(repeat('ab', 256), 'hex')
             from generate_series(1, {count});"
        ),
    };
    let mut pgbench = server.command("pgbench");
    pgbench.arg("-h").arg(server.socket()).args(["-p", &server.port().to_string(), "-U", USER]);
    pgbench.args(["-n", "-M", "prepared", "-j", "2", "-f", "/dev/stdin"]);
    pgbench.args(["-c", &job.clients.to_string(), "-T", &seconds.to_string(), "postgres"]);
    pgbench.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = pgbench.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.replace('\n', " ").as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let tps = output.lines().find_map(|line| line.strip_prefix("tps = ")).expect("it ran");
    let tps: f64 = tps.split(' ').next().unwrap().parse().unwrap();
    tps * job.events as f64
}

/// Events a second of the store.
async fn run_own(store: &PostgresStore, job: Job, run: &str, time: Duration) -> f64 {
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let clients: Vec<_> = (0..job.clients)
        .map(|client| {
            let (store, is_over, count) = (store.clone(), Arc::clone(&is_over), Arc::clone(&count));
            let name = format!("bench-{run}-{client}");
            tokio::spawn(async move {
                let mut next = 0;
                while !is_over.load(Ordering::Relaxed) {
                    append(&store, job, &name, next).await;
                    next += job.events as u64;
                    count.fetch_add(job.events as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

async fn append(store: &PostgresStore, job: Job, name: &str, next: u64) {
    let data = vec![0xAB_u8; 256];
    let events = (0..job.events).map(|_| {
        let event = NewEvent::json("Benched", data.clone()).unwrap();
        if job.kind == Kind::Plain { event } else { event.with_tag(name).unwrap() }
    });
    let stream = StreamName::new(name).unwrap();
    let expected = match next.checked_sub(1) {
        None => ExpectedRevision::NoStream,
        Some(last) => ExpectedRevision::Exactly(Revision::new(last)),
    };
    let mut append = Append::to_stream(stream, expected, events);
    if job.kind == Kind::Conditioned {
        let query: Query = format!("type:Other tag:{name}").parse().unwrap();
        append = append.fail_if(query, None);
    }
    store.append(append).await.unwrap();
}

/// Reads all events, and as many rows with a bare `SELECT`.
async fn read(server: &Server, store: &PostgresStore) {
    let begun = Instant::now();
    let mut read = store.read_all(ReadAll::new(Query::all())).await.unwrap();
    let mut count = 0;
    while let Some(batch) = read.batches.next().await.unwrap() {
        count += batch.count();
    }
    let own = count as f64 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let select = "copy (select * from quipu.events order by position) to stdout (format binary)";
    let mut psql = server.command("psql");
    psql.arg("-h").arg(server.socket()).args(["-p", &server.port().to_string(), "-U", USER]);
    psql.args(["-X", "-q", "-d", "postgres", "-c", select]).stdout(Stdio::null());
    assert!(psql.status().unwrap().success());
    let bare = count as f64 / begun.elapsed().as_secs_f64();
    println!("\nReads of {count} events: COPY {bare:.0}/s, quipu {own:.0}/s: {:.2}", own / bare);
}
