//! A process of the framework whose operating system process is killed, again and again.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quipu::core::{Query, ReadAll, collect};
use quipu::{Clock, Quipu, Timestamp};

use super::run;
use crate::shop::{OrderEvent, Payment, Place};

/// Where the child finds its store, when the test began, and what its orders begin with.
const DIRECTORY: &str = "QUIPU_PROCESS_KILL_DIRECTORY";
const BEGAN: &str = "QUIPU_PROCESS_KILL_BEGAN";
const LIFE: &str = "QUIPU_PROCESS_KILL_LIFE";
const KILLS: u64 = 12;
/// Time goes so many times as fast: a quarter of an hour passes in 60 ms.
const HASTE: u64 = 15_000;

/// The same clock in every life.
fn clock(began: Timestamp) -> Clock {
    Arc::new(move || {
        let passed = Timestamp::now().as_micros().saturating_sub(began.as_micros());
        began.plus(Duration::from_micros(passed.unsigned_abs() * HASTE))
    })
}

async fn open(directory: &Path, began: Timestamp) -> Quipu {
    let app = Quipu::open(directory.join("shop.quipu")).await.unwrap();
    app.with_clock(clock(began))
}

/// Places orders while the process runs, and tells after each.
async fn place_and_run(app: &Quipu, life: &str, count: u64, mut tell: impl FnMut()) {
    let lease = Duration::from_millis(40);
    let running = run::<Payment>(app, lease).spawn();
    for number in 0..count {
        let order = if number % 3 == 0 {
            format!("sold-out {life} {number}")
        } else {
            format!("{life} {number}")
        };
        app.execute(Place(order)).await.unwrap();
        tell();
        // Now and then there is nothing new, so that timers have their turn.
        if number % 8 == 7 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    running.stop().await.unwrap();
}

/// In the process of the test that kills, this is what is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_not_killed_does_everything_once() {
    let began = std::env::var(BEGAN).ok().and_then(|text| text.parse().ok());
    let began = began.map_or_else(Timestamp::now, Timestamp::from_micros);
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let app = open(Path::new(&directory), began).await;
        let life = std::env::var(LIFE).unwrap();
        place_and_run(&app, &life, u64::MAX, || {
            // The parent closes the pipe when it is done with it.
            let _ended = writeln!(std::io::stdout(), "placed");
        })
        .await;
    }
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path(), began).await;

    place_and_run(&app, "only", 20, || {}).await;

    assert_eq!(check(&app).await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_effect_is_there_once_however_often_the_process_is_killed() {
    let seed = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(()));
    println!("replay with QUIPU_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let began = Timestamp::now();
    let mut chance = seed;

    for life in 0..KILLS {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        kill_after(directory.path(), began, life, 1 + (chance >> 33) % 40);
    }

    let app = open(directory.path(), began).await;
    let done = facts(&app).await.values().filter(|facts| facts.len() > 1).count();
    assert!(done > 0, "those that were killed had begun with some orders");
    let count = check(&app).await;
    println!("{count} orders were each cancelled once after {KILLS} kills");
}

/// Lets the process finish, and holds every order against what has to have happened to it.
async fn check(app: &Quipu) -> usize {
    let running = run::<Payment>(app, Duration::from_mins(1)).spawn();
    let facts = loop {
        let facts = facts(app).await;
        let is_finished = |(order, facts): (&String, &Vec<&str>)| {
            facts.contains(&if order.starts_with("sold-out") { "cancelled" } else { "released" })
        };
        if facts.iter().all(is_finished) {
            break facts;
        }
        assert_eq!(running.status().parked_count, 0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    running.stop().await.unwrap();
    for (order, facts) in &facts {
        let mut facts = facts.clone();
        facts.sort_unstable();
        if order.starts_with("sold-out") {
            // The reminder may come before the refusal.
            facts.retain(|fact| *fact != "reminded");
            assert_eq!(facts, ["cancelled", "placed"], "{order}");
        } else {
            let expected = ["cancelled", "placed", "released", "reminded", "reserved"];
            assert_eq!(facts, expected, "{order}");
        }
    }
    facts.len()
}

/// What happened to each order.
async fn facts(app: &Quipu) -> BTreeMap<String, Vec<&'static str>> {
    let query: Query = app.query_of::<OrderEvent>();
    let read = app.store().read_all(ReadAll::new(query)).await.unwrap();
    let mut facts = BTreeMap::<String, Vec<&'static str>>::new();
    for event in collect(read.batches).await.unwrap() {
        for part in quipu::decode_recorded::<OrderEvent>(&event, app.upcasters()).unwrap() {
            let (order, fact) = match part.event.unwrap() {
                OrderEvent::Placed(event) => (event.order, "placed"),
                OrderEvent::Paid(event) => (event.order, "paid"),
                OrderEvent::Reserved(event) => (event.order, "reserved"),
                OrderEvent::Released(event) => (event.order, "released"),
                OrderEvent::Reminded(event) => (event.order, "reminded"),
                OrderEvent::Cancelled(event) => (event.order, "cancelled"),
            };
            facts.entry(order).or_default().push(fact);
        }
    }
    facts
}

/// Runs the child and kills it after it has placed so many orders.
fn kill_after(directory: &Path, began: Timestamp, life: u64, orders: u64) {
    let name = "processes::kill::a_process_that_is_not_killed_does_everything_once";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DIRECTORY, directory)
        .env(BEGAN, began.as_micros().to_string())
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let count = told.filter(|line| line.contains("placed")).take(orders as usize).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(count as u64, orders, "the child lived until it was killed");
}
