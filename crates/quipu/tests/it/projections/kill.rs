//! A projection whose process is killed, again and again.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use quipu::core::{Position, ReadAll, collect};
use quipu::{Quipu, decode_recorded};

use super::sample::{All, Balances, balances, deposit, open_database, row};
use crate::bank::FundsDeposited;

/// Where the child finds its store; set by the test that kills it.
const DIRECTORY: &str = "QUIPU_PROJECTION_KILL_DIRECTORY";
const KILLS: u64 = 12;
/// A lease that nobody loses on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// Appends events and projects them, round after round, and tells after each round.
async fn append_and_project(
    directory: &Path,
    rounds: u64,
    lease_ttl: Duration,
    mut tell: impl FnMut(),
) {
    let app = Quipu::open(directory.join("bank.quipu")).await.unwrap();
    let pool = open_database(directory).await;
    let into = balances(&app, &pool).partitions(NonZeroU16::new(3).unwrap()).batch(4);
    let running = into.lease_ttl(lease_ttl).spawn().await.unwrap();
    let mut last = Position::START;
    for round in 0..rounds {
        for number in 0..5 {
            last = deposit(&app, &format!("{}", (round * 5 + number) % 7), round + number).await;
        }
        // Wait for all of it now and then, so that it is killed both far behind and close.
        if round % 4 == 0 {
            app.wait_for::<Balances>(last).within(LONG).await.unwrap();
        }
        tell();
    }
    app.wait_for::<Balances>(last).within(LONG).await.unwrap();
    running.stop().await.unwrap();
    pool.close().await;
}

/// The read model is what the log adds up to.
async fn check(directory: &Path) -> usize {
    let app = Quipu::open(directory.join("bank.quipu")).await.unwrap();
    let read = app.store().read_all(ReadAll::new(app.query_of::<FundsDeposited>())).await.unwrap();
    let events = collect(read.batches).await.unwrap();
    let mut expected = std::collections::BTreeMap::<String, (i64, i64)>::new();
    for event in &events {
        for part in decode_recorded::<FundsDeposited>(event, app.upcasters()).unwrap() {
            let deposited = part.event.unwrap();
            let sum = expected.entry(deposited.account.0).or_default();
            *sum = (sum.0 + deposited.cents.cast_signed(), sum.1 + 1);
        }
    }
    let pool = open_database(directory).await;
    let view = app.project(Balances::default()).into(pool).view().unwrap();
    let expected: Vec<_> =
        expected.iter().map(|(account, (cents, count))| row(account, *cents, *count)).collect();
    assert_eq!(view.ask(All).await.unwrap(), expected);
    events.len()
}

/// In the process of the test that kills, this is what is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_that_is_not_killed_has_every_event_once() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        append_and_project(Path::new(&directory), u64::MAX, Duration::from_millis(40), || {
            // The parent closes the pipe when it is done with it.
            let _ended = writeln!(std::io::stdout(), "round");
        })
        .await;
    }
    let directory = tempfile::tempdir().unwrap();

    append_and_project(directory.path(), 12, LONG, || {}).await;

    assert_eq!(check(directory.path()).await, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_or_there_twice_however_often_the_projection_is_killed() {
    let seed = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(()));
    println!("replay with QUIPU_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let mut chance = seed;

    for _ in 0..KILLS {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        kill_after(directory.path(), 1 + (chance >> 33) % 12);
    }
    append_and_project(directory.path(), 1, LONG, || {}).await;

    let count = check(directory.path()).await;
    println!("{count} events are there once after {KILLS} kills");
}

/// Runs the child and kills it in the middle of the round after `rounds`.
fn kill_after(directory: &Path, rounds: u64) {
    let name = "projections::kill::a_projection_that_is_not_killed_has_every_event_once";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let count = told.filter(|line| line.contains("round")).take(rounds as usize).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(count as u64, rounds, "the child lived until it was killed");
}
