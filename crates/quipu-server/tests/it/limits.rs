//! More of everything than a server has room for: descriptors, appends, subscribers. What it takes is
//! seen from outside, as those who operate it see it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quipu_core::{
    Append, AppendError, Delivery, EventStore, ExpectedRevision, NewEvent, StreamName, Subscribe,
    SubscribeFrom, Subscription,
};
use quipu_wire::{Client, ClientOptions};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use tokio::task::JoinSet;

use crate::support::{PATIENCE, Running, Store};

fn is_torture() -> bool {
    std::env::var_os("QUIPU_TORTURE_MINUTES").is_some()
}

fn serve(store: &Store, options: &[&str]) -> (Running, String) {
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--print-address", "--log-level", "error"];
    let running = store.start(&[&fixed[..], options].concat());
    let url = running.line();
    (running, url)
}

async fn connect(url: &str) -> Client {
    Client::connect(url, ClientOptions::default()).await.unwrap()
}

fn append_to(stream: &str, size: usize) -> Append {
    let data = format!("{:?}", "x".repeat(size));
    let event = NewEvent::json("Happened", data).unwrap();
    Append::to_stream(StreamName::new(stream).unwrap(), ExpectedRevision::Any, [event])
}

/// Memory that only this process has, in bytes: files mapped into it are the system's.
fn own_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap()
        * 1024
}

/// How many ticks, of a hundredth of a second, a process has run.
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Asks on a connection that is open already, and answers the body.
fn ask(stream: &mut TcpStream, path: &str) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

#[test]
fn a_server_without_descriptors_goes_on_when_there_are_some_again() {
    let store = Store::missing();
    let (running, url) = serve(&store, &[]);
    let address = url.strip_prefix("http://").unwrap();
    let mut early = TcpStream::connect(address).unwrap();
    // Accepted before the limit falls.
    write!(early, "GET /metr").unwrap();
    std::thread::park_timeout(Duration::from_millis(300));
    let id = running.id();
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count() as u64;
    let pid = Pid::from_raw(i32::try_from(id).unwrap());
    // The server asks for all that it may have, as much as this process.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let few = Rlimit { current: Some(open + 4), maximum };
    prlimit(pid, Resource::Nofile, few).unwrap();

    let waiting: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    let ticks_before = ticks(id);
    std::thread::park_timeout(Duration::from_secs(3));
    let spent = ticks(id) - ticks_before;

    // A tenth of one core at most: it waits between two attempts.
    assert!(spent < 60, "{spent} hundredths of a second of work in three seconds");
    write!(early, "ics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    early.read_to_string(&mut metrics).unwrap();
    let failures = metrics
        .lines()
        .find_map(|line| line.strip_prefix("quipu_accept_failures_total ")?.parse::<u64>().ok());
    assert!(failures.is_some_and(|count| count > 3), "{metrics}");
    drop((waiting, early));
    let begun = Instant::now();
    let live = loop {
        let live = TcpStream::connect(address).ok().and_then(|mut it| ask(&mut it, "/health/live"));
        if live.is_some() || begun.elapsed() > PATIENCE {
            break live;
        }
    };
    assert_eq!(live.as_deref(), Some("live\n"));
    prlimit(pid, Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
}

#[test]
fn connections_leave_the_store_the_descriptors_that_it_needs() {
    let store = Store::missing();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 96 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_quipu")]);
    command.arg("--data").arg(store.data()).args(["serve", "--listen", "127.0.0.1:0"]);
    let running = Running::start(command.args(["--print-address", "--log-level", "error"]));
    let url = running.line();
    let address = url.strip_prefix("http://").unwrap();

    let waiting: Vec<TcpStream> = (0..110).map(|_| TcpStream::connect(address).unwrap()).collect();
    std::thread::park_timeout(Duration::from_millis(500));
    let open = std::fs::read_dir(format!("/proc/{}/fd", running.id())).unwrap().count();
    assert!(open < 90, "{open} are open");
    drop(waiting);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = connect(&url).await;
        client.append(append_to("a-1", 10)).await.unwrap();
    });
}

#[test]
fn memory_stays_flat_however_much_is_asked_at_once() {
    let store = Store::missing();
    let (running, url) = serve(&store, &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let time = Duration::from_secs(if is_torture() { 300 } else { 12 });
    let (is_over, done, refused) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );

    let mut asking = JoinSet::new();
    for number in 0..12 {
        let client = runtime.block_on(connect(&url));
        // A connection carries about a hundred at a time: this is three times what goes through.
        for lane in 0..300 {
            let (client, is_over) = (client.clone(), Arc::clone(&is_over));
            let (done, refused) = (Arc::clone(&done), Arc::clone(&refused));
            asking.spawn_on(
                async move {
                    while !is_over.load(Ordering::Relaxed) {
                        let append = append_to(&format!("s-{number}-{lane}"), 4_000);
                        match client.append(append).await {
                            Ok(_) => done.fetch_add(1, Ordering::Relaxed),
                            Err(AppendError::Overloaded | AppendError::OutcomeUnknown(_)) => {
                                refused.fetch_add(1, Ordering::Relaxed)
                            }
                            Err(error) => panic!("{error}"),
                        };
                    }
                },
                runtime.handle(),
            );
        }
    }
    let begun = Instant::now();
    let mut sizes = Vec::new();
    while begun.elapsed() < time {
        std::thread::park_timeout(Duration::from_millis(250));
        sizes.push(own_memory(running.id()));
    }
    is_over.store(true, Ordering::Relaxed);
    runtime.block_on(async { while asking.join_next().await.is_some() {} });

    let (early, late) = sizes.split_at(sizes.len() / 2);
    let (early, late) = (early.iter().max().unwrap(), late.iter().max().unwrap());
    let (done, refused) = (done.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    eprintln!("{done} appends, {refused} refused; memory {early} bytes, later {late}");
    assert!(done > 100, "{done}");
    // The index has the last 10 MiB or so of events in memory; what is under way is bounded.
    assert!(*late < early + (128 << 20) && *late < 512 << 20, "{early} bytes, later {late}");
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
}

#[test]
fn thousands_follow_a_stream_each_and_appends_go_on() {
    let count = if is_torture() { 10_000 } else { 1_000 };
    let store = Store::missing();
    let (running, url) = serve(&store, &["--subscription-count-max", "20000"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let alone = connect(&url).await;
        let median_alone = time_of_appends(&alone).await;
        let empty = own_memory(running.id());

        let mut followers = Vec::new();
        for block in 0..count / 100 {
            let client = connect(&url).await;
            for number in 0..100 {
                let stream = StreamName::new(format!("s-{}", block * 100 + number)).unwrap();
                let subscribe = Subscribe::Stream { stream, from: SubscribeFrom::Start };
                let mut subscription = client.subscribe(subscribe).await.unwrap();
                let first = subscription.next().await.unwrap();
                assert!(matches!(first, Delivery::CaughtUp), "{first:?}");
                followers.push(subscription);
            }
        }
        let full = own_memory(running.id());
        let median_beside = time_of_appends(&alone).await;
        let each = full.saturating_sub(empty) / count;
        eprintln!(
            "{count} subscribers: {full} bytes, {each} for each; the median append takes \
             {median_beside:?}, {median_alone:?} without them"
        );
        assert!(full < 1 << 30, "{full} bytes");

        for number in [0, count / 2, count - 1] {
            alone.append(append_to(&format!("s-{number}"), 10)).await.unwrap();
            let follower = &mut followers[usize::try_from(number).unwrap()];
            let got = tokio::time::timeout(PATIENCE, next_event(&mut **follower)).await.unwrap();
            assert_eq!(got, format!("s-{number}"));
        }
    });
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
}

async fn next_event(subscription: &mut dyn Subscription) -> String {
    loop {
        if let Delivery::Events(batch) = subscription.next().await.unwrap() {
            return batch.last().unwrap().stream().to_owned();
        }
    }
}

async fn time_of_appends(client: &Client) -> Duration {
    let mut took = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        client.append(append_to("alone-1", 100)).await.unwrap();
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}
