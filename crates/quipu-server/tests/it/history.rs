//! Clients write down what they asked of a server and what it answered, while it is killed again and
//! again; afterwards every answer is held against the log that is left.
//!
//! ```text
//! record   what a history consists of
//! drive    clients that ask at random and write down
//! check    what no honest store can have answered
//! lies     the checker finds every lie that it is there for
//! ```

mod check;
mod drive;
mod lies;
mod record;

use std::sync::Arc;
use std::time::Duration;

use quipu_core::EventStore;
use quipu_wire::{Client, ClientOptions};
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::postgres;
use crate::support::{Running, Store};
use check::Promise;
use drive::{Driver, Source};

/// How often the server is killed in CI; under torture, as often as there is time.
const KILL_COUNT: u32 = 30;
/// How long the clients ask between two kills.
const LOAD: Duration = Duration::from_millis(700);

fn serve(store: &Store, options: &[&str]) -> (Running, String) {
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--print-address", "--log-level", "error"];
    let running = store.start(&[&fixed[..], options].concat());
    let url = running.line();
    (running, url)
}

async fn connect(url: &str) -> Arc<dyn EventStore> {
    // Patience belongs to the history: what fails is written down and asked again there.
    let options = ClientOptions { retry_count_max: 0, ..ClientOptions::default() };
    Arc::new(Client::connect(url, options).await.unwrap())
}

pub(crate) fn seed() -> u64 {
    let given = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_micros() as u64
    });
    eprintln!("seed {seed}");
    seed
}

fn kill_count() -> u32 {
    let minutes = std::env::var("QUIPU_TORTURE_MINUTES").ok().and_then(|it| it.parse::<u32>().ok());
    // A minute has some fifty kills; other tests want their share.
    minutes.map_or(KILL_COUNT, |minutes| (minutes * 10).max(KILL_COUNT))
}

#[test]
fn no_answer_is_contradicted_by_the_log_however_often_the_server_is_killed() {
    let store = Store::missing();
    let runtime = Runtime::new().unwrap();
    let source = Source::default();
    let driver = Driver::start(&runtime, &source, seed());

    for _ in 0..kill_count() {
        let (running, url) = serve(&store, &[]);
        source.serve(vec![runtime.block_on(connect(&url))]);
        std::thread::park_timeout(LOAD);
        // While requests are under way.
        running.signal(Signal::KILL);
        assert_eq!(running.end(), None, "a signal ended it");
        source.withdraw();
    }
    let (_running, url) = serve(&store, &[]);
    let last = runtime.block_on(connect(&url));
    source.serve(vec![Arc::clone(&last)]);
    let history = runtime.block_on(driver.end(&*last));

    let summary = history.summary();
    eprintln!("{} kills: {summary}", kill_count());
    let violations = check::violations(&history, Promise::Strict);
    assert_eq!(violations, Vec::<String>::new(), "{summary}");
    assert!(summary.is_telling(), "{summary}");
}

/// Three nodes before one database: one is killed, one sleeps for a while, and one comes new.
#[test]
fn no_answer_of_nodes_before_a_database_is_contradicted_by_the_log() {
    let Some(database) = postgres::database("histories") else { return };
    let runtime = Runtime::new().unwrap();
    let source = Source::default();
    let serve = || {
        let (running, url) = postgres::serve(&database);
        (running, runtime.block_on(connect(&url)))
    };
    let [(first, one), (second, two), (third, three)] = [serve(), serve(), serve()];
    source.serve(vec![one, Arc::clone(&two), Arc::clone(&three)]);
    let driver = Driver::start(&runtime, &source, seed());

    std::thread::park_timeout(3 * LOAD);
    first.signal(Signal::KILL);
    assert_eq!(first.end(), None, "a signal ended it");
    source.serve(vec![Arc::clone(&two), Arc::clone(&three)]);
    std::thread::park_timeout(2 * LOAD);
    second.signal(Signal::STOP);
    std::thread::park_timeout(3 * LOAD);
    second.signal(Signal::CONT);
    let (fourth, four) = serve();
    source.serve(vec![two, three, Arc::clone(&four)]);
    std::thread::park_timeout(3 * LOAD);
    let history = runtime.block_on(driver.end(&*four));

    let summary = history.summary();
    eprintln!("three nodes: {summary}");
    let violations = check::violations(&history, Promise::Nodes);
    assert_eq!(violations, Vec::<String>::new(), "{summary}");
    assert!(summary.is_telling(), "{summary}");
    for node in [second, third, fourth] {
        node.signal(Signal::TERM);
        assert_eq!(node.end(), Some(0));
    }
}
