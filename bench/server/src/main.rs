//! Quipu's server beside `UmaDB` and `tephra-server`: each a process of its own, each spoken to by the
//! same client through a socket, with their defaults and durable.
//!
//! What is measured and how stands in `docs/benchmarks.md`.

mod appends;
mod client;
mod log;
mod machine;
mod output;
mod report;
mod server;
mod subscribers;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use client::Result;
use machine::Load;
use output::{progress, result};
use report::Report;
use server::{Programs, Which};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
cargo xtask bench server [--quick] [--rounds N] [--millis N] [--events N] [--only PART]
                         [--row TEXT] [--json FILE]

  --quick      one round of short rows on a log of 100,000 events: a look, not a figure
  --rounds N   how often each row is measured [3]
  --millis N   how long each row takes that is measured by time [1000]
  --events N   how many events the log has that is read [1000000]
  --only PART  appends, log or subscribers
  --row TEXT   of the appends, only rows whose name has this in it
  --json FILE  writes all figures as lines of JSON as well

bench/server/install installs the servers to compare with; those that are missing are left out.
";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: usize,
    /// How long a row takes that is measured by time.
    time: Duration,
    /// How long appends at a steady pace go on.
    paced_time: Duration,
    /// How many events the loaded log has.
    event_count: usize,
    /// How many deliveries are timed in a round.
    delivery_count: usize,
}

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Appends,
    Log,
    Subscribers,
}

#[derive(Debug)]
struct Options {
    plan: Plan,
    only: Option<Part>,
    row: String,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> std::result::Result<Self, String> {
        let mut plan = Plan {
            rounds: 3,
            time: Duration::from_secs(1),
            paced_time: Duration::from_secs(4),
            event_count: 1_000_000,
            delivery_count: 400,
        };
        let (mut only, mut row, mut json) = (None, String::new(), None);
        while let Some(argument) = arguments.next() {
            if argument == "--quick" {
                plan.rounds = 1;
                plan.time = Duration::from_millis(250);
                plan.paced_time = Duration::from_secs(2);
                plan.event_count = 100_000;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
            let number = || value.parse::<usize>().map_err(|_| format!("{value} is not a number"));
            match argument.as_str() {
                "--rounds" => plan.rounds = number()?.max(1),
                "--millis" => plan.time = Duration::from_millis(number()? as u64),
                "--events" => plan.event_count = number()?.max(10_000) / 10 * 10,
                "--row" => row = value,
                "--json" => json = Some(PathBuf::from(value)),
                "--only" => {
                    only = Some(match value.as_str() {
                        "appends" => Part::Appends,
                        "log" => Part::Log,
                        "subscribers" => Part::Subscribers,
                        _ => return Err(format!("{value} is no part")),
                    });
                }
                _ => return Err(format!("there is no {argument}")),
            }
        }
        Ok(Self { plan, only, row, json })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let outcome = match arguments.peek().map(String::as_str) {
        // The other end of the measurement of calls that do nothing.
        Some("echo") => echo(arguments.nth(1)).await.map(|()| true),
        Some("--help" | "-h") => {
            result(USAGE);
            Ok(true)
        }
        _ => match Options::parse(arguments) {
            Ok(options) => tokio::select! {
                outcome = run(options) => outcome,
                // The servers end, and what they wrote is removed.
                reason = told_to_stop() => Err(reason),
            },
            Err(reason) => Err(format!("{reason}\n\n{USAGE}").into()),
        },
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // A row is below its bar.
        Ok(false) => ExitCode::from(1),
        Err(cause) => {
            progress(&format!("error: {cause}"));
            ExitCode::from(2)
        }
    }
}

/// Waits until somebody wants the measurement to end, and says so.
async fn told_to_stop() -> client::Error {
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => tokio::select! {
            _ = terminated.recv() => "terminated".into(),
            _ = tokio::signal::ctrl_c() => "interrupted".into(),
        },
        Err(cause) => cause.into(),
    }
}

async fn echo(address: Option<String>) -> Result<()> {
    client::serve_echo(address.ok_or("an echo needs an address")?.parse()?).await
}

async fn run(options: Options) -> Result<bool> {
    let programs = Programs::find();
    let stores = programs.stores();
    if !stores.contains(&Which::Quipu) {
        return Err("quipu is not built: run it as `cargo xtask bench server`".into());
    }
    for peer in [Which::UmaDb, Which::Tephra].iter().filter(|peer| !stores.contains(peer)) {
        progress(&format!("SKIPPED {peer}: it is not installed; bench/server/install does that"));
    }
    let plan = options.plan;
    let load = Load::now();
    // Beside the program: on a disk.
    let beside = std::env::current_exe()?;
    let beside = beside.parent().ok_or("the program is in no directory")?;
    let scratch = tempfile::Builder::new().prefix("quipu-bench-server-").tempdir_in(beside)?;
    let does = |part| options.only.is_none_or(|only| only == part);
    let mut report = Report::default();
    if does(Part::Appends) {
        for round in 0..plan.rounds {
            progress(&format!("appends, round {} of {}", round + 1, plan.rounds));
            let directory = tempfile::tempdir_in(scratch.path())?;
            let jobs = appends::jobs(&options.row);
            appends::round(plan, jobs, &programs, directory.path(), round, &mut report).await?;
        }
        appends::set_goals(&mut report);
    }
    if does(Part::Log) {
        log::run(plan, &programs, &scratch.path().join("log"), &mut report).await?;
        log::set_goals(plan, &mut report);
    }
    if does(Part::Subscribers) {
        subscribers::run(plan, &programs, scratch.path(), &mut report).await?;
        subscribers::set_goals(&mut report);
    }
    result(&format!("{}; {} rounds, {:?} a row", machine::here(), plan.rounds, plan.time));
    let is_good = report.print();
    result(
        "\nMedians of the rounds; in parentheses p50/p99 of single calls in µs. A ratio says how \
         many times as good quipu is.",
    );
    let others = load.others_since();
    result(&format!("Other processes had {others:.0} % of the processors meanwhile."));
    if let Some(path) = options.json {
        report.write(&path)?;
    }
    Ok(is_good)
}
