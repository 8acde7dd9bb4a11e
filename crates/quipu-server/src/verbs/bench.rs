//! `quipu bench`: measures this disk with a store of its own, which is removed afterwards.
//!
//! It tells whether a disk is fit for a log, and what grouping buys: many appends at once, or
//! many events in one, share a sync. It compares nothing.

use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_lite::future::block_on;
use quipu_core::{
    Append, EventStore, ExpectedRevision, NewEvent, Query, ReadAll, Rights, StreamName,
};
use quipu_engine::Engine;

use super::{Answer, Context};
use crate::cli::{BenchArgs, Format};
use crate::interrupt::Interrupt;
use crate::open;
use crate::output::{Align, Column, Output, OutputError, Table, Value, fact, note};

const THREAD_COUNT: usize = 64;
const BATCH_COUNT: usize = 100;
const DATA_SIZE: usize = 200;

const COLUMNS: &[Column] = &[
    Column { title: "what", align: Align::Left },
    Column { title: "events", align: Align::Right },
    Column { title: "events/s", align: Align::Right },
    Column { title: "median ms", align: Align::Right },
    Column { title: "p99 ms", align: Align::Right },
];

/// Wide enough for each row, since rows are printed as they come.
const WIDTHS: &[usize] = &[26, 10, 10, 9, 9];

pub(crate) fn run(args: &BenchArgs, context: &mut Context) -> anyhow::Result<Answer> {
    let interrupt = Interrupt::on_signal().context("could not watch for signals")?;
    let parent = existing_ancestor(&context.target.data);
    let directory = tempfile::Builder::new()
        .prefix("quipu-bench-")
        .tempdir_in(parent)
        .with_context(|| format!("could not make a directory in {}", parent.display()))?;
    let bench = Bench {
        engine: open::for_writing_or_new(&directory.path().join("log"), Rights::Application)?,
        time: Duration::from_secs(args.seconds),
        interrupt,
    };
    note(&format!("measuring {}; Ctrl-C ends it early", parent.display()));
    let mut table = Table::new(COLUMNS).at_least(WIDTHS);
    let output = &mut context.output;
    print(&bench.appends("append 1 event", 1, 1)?, &mut table, output)?;
    print(&bench.appends("append 100 events", 1, BATCH_COUNT)?, &mut table, output)?;
    print(&bench.appends("append 1 event, 64 threads", THREAD_COUNT, 1)?, &mut table, output)?;
    print(&bench.scan()?, &mut table, output)?;
    bench.engine.close()?;
    directory.close().context("could not remove the directory of the measurement")?;
    Ok(Answer::Yes)
}

/// The nearest directory above the store that exists: it is on the disk that the store will be on.
fn existing_ancestor(directory: &Path) -> &Path {
    let mut above = directory.ancestors().skip(1);
    above.find(|path| path.is_dir()).unwrap_or(Path::new("."))
}

struct Bench {
    engine: Engine,
    time: Duration,
    interrupt: Interrupt,
}

#[derive(Debug)]
struct Measured {
    what: &'static str,
    event_count: u64,
    took: Duration,
    /// How long each append took, sorted.
    latencies: Vec<Duration>,
}

impl Bench {
    fn appends(
        &self,
        what: &'static str,
        thread_count: usize,
        batch_count: usize,
    ) -> anyhow::Result<Measured> {
        let latencies = Mutex::new(Vec::new());
        let begin = Instant::now();
        thread::scope(|scope| {
            let appenders: Vec<_> = (0..thread_count)
                .map(|thread| {
                    let latencies = &latencies;
                    scope.spawn(move || -> anyhow::Result<()> {
                        let own = self.append_until(begin + self.time, thread, batch_count)?;
                        latencies.lock().expect("no holder panics").extend(own);
                        Ok(())
                    })
                })
                .collect();
            let mut ends = appenders
                .into_iter()
                .map(|appender| appender.join().expect("an appender answers its errors"));
            ends.try_for_each(|end| end)
        })?;
        let took = begin.elapsed();
        let mut latencies = latencies.into_inner().expect("no holder panics");
        latencies.sort();
        Ok(Measured { what, event_count: (latencies.len() * batch_count) as u64, took, latencies })
    }

    fn append_until(
        &self,
        end: Instant,
        thread: usize,
        batch_count: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        let data = format!("{{\"filling\":\"{}\"}}", "x".repeat(DATA_SIZE));
        while Instant::now() < end && !self.interrupt.is_raised() {
            let stream = StreamName::new(format!("bench-{thread}-{}", latencies.len() / 10))?;
            let event = NewEvent::json("Measured", data.clone())?
                .with_tag(&format!("thread:{thread}"))?
                .with_tag("bench:1")?;
            let events =
                (0..batch_count).map(|_| event.clone().with_id(quipu_core::EventId::generate()));
            let append = Append::to_stream(stream, ExpectedRevision::Any, events);
            let begin = Instant::now();
            block_on(self.engine.append(append))?;
            latencies.push(begin.elapsed());
        }
        Ok(latencies)
    }

    fn scan(&self) -> anyhow::Result<Measured> {
        let begin = Instant::now();
        let mut batches = block_on(self.engine.read_all(ReadAll::new(Query::all())))?.batches;
        let mut event_count = 0;
        while let Some(batch) = block_on(batches.next())? {
            event_count += batch.count() as u64;
        }
        let took = begin.elapsed();
        Ok(Measured { what: "scan", event_count, took, latencies: Vec::new() })
    }
}

impl Measured {
    fn latency_ms(&self, percent: usize) -> Value {
        let index = self.latencies.len().saturating_sub(1) * percent / 100;
        let latency = self.latencies.get(index);
        latency.map_or(Value::Nothing, |latency| Value::Number(latency.as_secs_f64() * 1_000.0))
    }

    fn events_per_second(&self) -> u64 {
        let nanos = self.took.as_nanos().max(1);
        u64::try_from(u128::from(self.event_count) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }
}

fn print(measured: &Measured, table: &mut Table, output: &mut Output) -> Result<(), OutputError> {
    let facts = [
        fact("what", Value::Text(measured.what.to_owned())),
        fact("events", Value::Count(measured.event_count)),
        fact("events_per_second", Value::Count(measured.events_per_second())),
        fact("median_ms", measured.latency_ms(50)),
        fact("p99_ms", measured.latency_ms(99)),
    ];
    match output.format() {
        Format::Jsonl => output.object(&facts)?,
        Format::Table => {
            let row = facts.iter().map(|fact| match &fact.value {
                Value::Number(number) => format!("{number:.3}"),
                value => value.to_text(),
            });
            table.push(row.collect());
            output.table(table)?;
        }
    }
    output.flush()
}
