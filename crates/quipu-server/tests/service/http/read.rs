use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quipu_core::{
    Append, EventStore, ExpectedRevision, MemoryStore, NewEvent, StreamName, Timestamp,
};
use quipu_server::config::Limits;
use quipu_server::service::Aside;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use super::client::{Flow, Reply, World};
use super::spied::Spied;

async fn fill(store: &MemoryStore, stream: &str, count: usize) {
    let events = (0..count).map(|index| NewEvent::json("Counted", index.to_string()).unwrap());
    let stream = StreamName::new(stream).unwrap();
    let append = Append::to_stream(stream, ExpectedRevision::Any, events);
    store.append(append).await.unwrap();
}

/// The data of all events, page after page, as the links say; and how many pages there were.
async fn walk(world: &World, path: &str) -> (Vec<u64>, usize) {
    let mut numbers = Vec::new();
    let mut next = Some(path.to_owned());
    let mut count = 0;
    while let Some(path) = next {
        let reply = world.get(&path).await;
        let page = reply.is(200);
        let events = page["events"].as_array().unwrap();
        numbers.extend(events.iter().map(|event| event["data"].as_u64().unwrap()));
        next = page["next"].as_str().map(str::to_owned);
        let link = next.as_ref().map(|path| format!("<{path}>; rel=\"next\""));
        assert_eq!(reply.header("link"), link.as_deref());
        count += 1;
    }
    (numbers, count)
}

#[tokio::test]
async fn the_pages_of_a_stream_are_all_of_it_in_order() {
    let world = World::new().await;
    fill(&world.store, "a/b", 250).await;
    let forward: Vec<u64> = (0..250).collect();
    let backward: Vec<u64> = (0..250).rev().collect();

    assert_eq!(walk(&world, "/streams/a%2Fb").await, (forward.clone(), 3));
    assert_eq!(walk(&world, "/streams/a%2Fb?limit=250").await, (forward.clone(), 1));
    assert_eq!(walk(&world, "/streams/a%2Fb?limit=249").await, (forward, 2));
    assert_eq!(walk(&world, "/streams/a%2Fb?direction=backward&limit=77").await, (backward, 4));
    assert_eq!(walk(&world, "/streams/a%2Fb?from=248").await, (vec![248, 249], 1));
}

#[tokio::test]
async fn the_pages_of_the_log_are_what_matches_in_order() {
    let world = World::new().await;
    world.store.leave_gaps(3);
    for stream in ["order-1", "parcel-1", "order-2"] {
        fill(&world.store, stream, 120).await;
    }
    let twice: Vec<u64> = (0..120).chain(0..120).collect();

    assert_eq!(walk(&world, "/events?query=category:order").await, (twice.clone(), 3));
    let queries = "/events?limit=7&query=stream:order-1&query=stream:order-2%20type:Counted";
    assert_eq!(walk(&world, queries).await, (twice, 35));
    assert_eq!(walk(&world, "/events?limit=1000").await.0.len(), 360);
    assert_eq!(walk(&world, "/events?limit=5000").await.0.len(), 360);
    assert_eq!(walk(&world, "/events?query=type:Other").await, (Vec::new(), 1));
}

#[tokio::test]
async fn a_page_has_a_thousand_events_at_most_and_no_more_bytes_than_allowed() {
    let world = World::with_limits(Limits { page_size_max: 2_000, ..Limits::default() }).await;
    fill(&world.store, "s", 1_200).await;

    let first = world.get("/streams/s?limit=9999").await.is(200);
    let (numbers, _) = walk(&world, "/streams/s").await;

    assert!((2..20).contains(&first["events"].as_array().unwrap().len()), "{first}");
    assert_eq!(numbers.len(), 1_200);
    let wide = World::new().await;
    fill(&wide.store, "s", 1_200).await;
    let page = wide.get("/streams/s?limit=9999").await.is(200);
    assert_eq!(page["events"].as_array().unwrap().len(), 1_000);
    assert_eq!(page["next"], "/streams/s?limit=9999&from=1000");
}

#[tokio::test]
async fn a_stream_says_what_it_is_like() {
    let world = World::new().await;
    let state = |reply: &Reply| reply.header("quipu-stream-state").unwrap().to_owned();

    let absent = world.get("/streams/s").await;
    fill(&world.store, "s", 2).await;
    let live = world.get("/streams/s?limit=1").await;
    world.send("DELETE", "/streams/s", &[], b"").await.is(201);
    let deleted = world.get("/streams/s").await;
    world.send("DELETE", "/streams/s?hard=true", &[], b"").await.is(201);
    let tombstoned = world.get("/streams/s").await;

    let empty = json!({"stream": "s", "state": "absent", "last": null, "events": [], "next": null});
    assert_eq!(absent.is(200), empty);
    assert_eq!(state(&absent), "absent");
    assert_eq!(absent.header("etag"), None);
    assert_eq!((live.is(200)["last"].clone(), live.header("etag")), (json!(1), Some("\"1\"")));
    assert_eq!(state(&deleted), "deleted");
    assert_eq!(deleted.is(200)["events"], json!([]));
    assert_eq!(tombstoned.is_problem(410, "tombstoned")["stream"], "s");
}

#[tokio::test]
async fn a_read_as_of_a_moment_shows_what_was_there() {
    let world = World::new().await;
    fill(&world.store, "s", 2).await;
    let between = world.store.now();
    while world.store.now() == between {
        std::hint::spin_loop();
    }
    fill(&world.store, "s", 2).await;
    let count = |page: &Value| page["events"].as_array().unwrap().len();

    let by_position = world.get("/streams/s?as_of=3").await.is(200);
    let time = quipu_server::time::to_text(between);
    let by_time = world.get(&format!("/events?as_of={time}")).await.is(200);
    let position = world.get(&format!("/position?at={time}")).await.is(200);
    let in_future = world.get("/streams/s?as_of=99").await;

    assert_eq!(count(&by_position), 3);
    assert_eq!((count(&by_time), &by_time["frontier"]), (2, &json!(2)));
    assert_eq!(position, json!({"position": 2}));
    let problem = in_future.is_problem(400, "moment-in-future");
    assert_eq!((&problem["frontier"], &problem["retryable"]), (&json!(4), &json!(true)));
    let later = quipu_server::time::to_text(Timestamp::from_micros(4_000_000_000_000_000));
    world.get(&format!("/position?at={later}")).await.is_problem(400, "moment-in-future");
}

#[tokio::test]
async fn json_lines_have_no_pages() {
    let world = World::new().await;
    fill(&world.store, "s", 3_000).await;
    let accept = [("Accept", "application/x-ndjson")];

    let all = world.send("GET", "/events", &accept, b"").await;
    let some = world.send("GET", "/streams/s?limit=1500&from=10", &accept, b"").await;

    assert_eq!(all.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(all.header("quipu-frontier"), Some("3000"));
    let numbers: Vec<Value> = all
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"].clone())
        .collect();
    assert_eq!(numbers, (0..3_000).map(Value::from).collect::<Vec<_>>());
    assert_eq!(some.text().lines().count(), 1_500);
    assert!(some.text().starts_with("{\"position\":11,\"revision\":10,"));
}

/// A reader takes a long answer in small steps. At each of them the store was asked for little more
/// than was taken: what lies between is buffers of the system, whatever the log has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_makes_the_store_wait() {
    const COUNT: usize = 100_000;
    const BETWEEN_MAX: u64 = 12 << 20;
    let store = MemoryStore::new();
    let data = format!("\"{}\"", "x".repeat(400));
    for _ in 0..COUNT / 10_000 {
        let events = (0..10_000).map(|_| NewEvent::json("Counted", data.clone()).unwrap());
        let stream = StreamName::new("s").unwrap();
        let append = Append::to_stream(stream, ExpectedRevision::Any, events);
        store.append(append).await.unwrap();
    }
    let spied = Spied::new(store.clone());
    let world = World::over(store, spied.clone(), Limits::default()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let stream = socket.connect(world.address).await.unwrap();
    let mut flow = Flow::open(stream, "/events", &[("Accept", "application/x-ndjson")]).await;

    let (mut line_count, mut size, mut most) = (0, 0, 0);
    while let Some(chunk) = flow.chunk().await {
        size += chunk.len() as u64;
        line_count += chunk.split(|byte| *byte == b'\n').count() - 1;
        let asked = spied.read_count.load(Ordering::SeqCst) * (size / line_count as u64);
        most = most.max(asked.saturating_sub(size));
        assert!(most <= BETWEEN_MAX, "{most} bytes were asked for and not taken");
        // Other requests go through meanwhile, and give the server time to run ahead.
        if line_count % (20 * 256) == 0 {
            world.get("/frontier").await.is(200);
        }
    }

    assert_eq!(line_count, COUNT);
    assert!(size > 4 * BETWEEN_MAX, "the answer is much larger than what may lie between");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_wait_for_the_disk_hold_up_nobody_else() {
    let store = MemoryStore::new();
    let spied = Spied::new(store.clone());
    let disk = Arc::clone(&spied.disk);
    let world = World::over(store, Arc::new(Aside::new(spied)), Limits::default()).await;
    let world = Arc::new(world);
    world.post("/streams/s", &json!({"type": "T"})).await.is(201);
    // On a thread of its own: nothing else of this test may wait for it.
    let (hang, hangs) = std::sync::mpsc::channel::<()>();
    let (held, is_held) = tokio::sync::oneshot::channel();
    let holder = std::thread::spawn(move || {
        let _hanging = disk.lock();
        held.send(()).unwrap();
        hangs.recv().unwrap();
    });
    is_held.await.unwrap();

    let reads: Vec<_> = (0..8)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.get("/events").await.is(200) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..10 {
        assert_eq!(world.get("/health/live").await.status, 200);
        world.post("/streams/s", &json!({"type": "T"})).await.is(201);
    }

    assert!(reads.iter().all(|read| !read.is_finished()));
    hang.send(()).unwrap();
    for read in reads {
        assert!(read.await.unwrap()["events"].as_array().is_some_and(|own| own.len() == 11));
    }
    holder.join().unwrap();
}
