//! Clients that mean harm, or are broken: the server answers or closes, keeps its memory, and a good
//! client beside them hardly notices.
//!
//! Seeds are printed; `QUIPU_SEED` replays one. Under torture the counts are those of a release.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quipu_core::{
    Append, EventStore, ExpectedRevision, MemoryStore, NewEvent, ReadStream, StreamName,
};
use quipu_engine::OpenOptions;
use quipu_server::config::Limits;
use quipu_server::security::Authority;
use quipu_server::server::Server;
use quipu_server::service::Service;
use quipu_wire::{Client, ClientOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long anything may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_mins(2);
/// How many malformed requests are sent in CI, and under torture.
const REQUEST_COUNT: u64 = 50_000;
const TORTURE_REQUEST_COUNT: u64 = 1_000_000;
/// What the process may grow by, whatever is sent to it.
const GROWTH_MAX: u64 = 256 << 20;

fn is_torture() -> bool {
    std::env::var_os("QUIPU_TORTURE_MINUTES").is_some()
}

struct World {
    server: Server,
    client: Client,
    /// Of a store on the disk.
    _directory: Option<tempfile::TempDir>,
}

impl World {
    async fn new(limits: Limits) -> Self {
        let store = MemoryStore::new();
        let system = Arc::new(store.system());
        Self::over(Service::new(Arc::new(store), system, limits), None).await
    }

    /// What is appended takes no memory of this process.
    async fn on_disk(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let engine = OpenOptions::new().create(true).open(directory.path().join("log")).unwrap();
        let service = Service::of_engine(&engine, limits, Authority::open());
        Self::over(service, Some(directory)).await
    }

    async fn over(service: Service, directory: Option<tempfile::TempDir>) -> Self {
        let server = Server::start(service, "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let uri = format!("http://{}", server.address());
        let client = Client::connect(&uri, ClientOptions::default()).await.unwrap();
        Self { server, client, _directory: directory }
    }

    /// Sends bytes on a connection of their own, and waits for the answer or the end for a moment.
    async fn send(&self, bytes: &[u8], patience: Duration) -> Vec<u8> {
        let mut answer = Vec::new();
        let Ok(mut stream) = TcpStream::connect(self.server.address()).await else { return answer };
        let talk = async {
            let _is_sent = stream.write_all(bytes).await.is_ok();
            let _is_ended = stream.shutdown().await.is_ok();
            let _is_read = stream.read_to_end(&mut answer).await.is_ok();
        };
        let _is_over = tokio::time::timeout(patience, talk).await.is_ok();
        answer
    }
}

/// A good client: appends and reads back, one after the other, as long as others do harm.
struct GoodClient {
    is_over: Arc<AtomicBool>,
    took: tokio::task::JoinHandle<Vec<Duration>>,
}

impl GoodClient {
    fn start(client: &Client) -> Self {
        let (client, is_over) = (client.clone(), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&is_over);
        let took = tokio::spawn(async move {
            let mut took = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let begin = Instant::now();
                work(&client).await;
                took.push(begin.elapsed());
            }
            took
        });
        Self { is_over, took }
    }

    /// The 99th percentile of what its work took.
    async fn end(self) -> Duration {
        self.is_over.store(true, Ordering::SeqCst);
        let mut took = tokio::time::timeout(PATIENCE, self.took).await.unwrap().unwrap();
        took.sort_unstable();
        assert!(!took.is_empty(), "it got nothing done");
        took[(took.len() - 1) * 99 / 100]
    }
}

async fn work(client: &Client) {
    let stream = StreamName::new("good-1").unwrap();
    let event = NewEvent::json("Made", "{}").unwrap();
    let append = Append::to_stream(stream.clone(), ExpectedRevision::Any, [event]);
    client.append(append).await.unwrap();
    client.read_stream(ReadStream::new(stream).limit(1)).await.unwrap();
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    size.unwrap_or(0_u64) * 1024
}

/// Numbers that look random, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const PATHS: &[&str] = &[
    "/",
    "/streams",
    "/streams/a",
    "/streams/%00",
    "/streams/%ff%fe",
    "/streams/a/info",
    "/append",
    "/events",
    "/events?query=type:A",
    "/events?query=%22",
    "/events?limit=-1",
    "/subscribe?from=x",
    "/streams/../../etc/passwd",
    "/position?at=never",
    "/frontier",
    "/session",
    "/metrics",
    "//",
    "/streams/a/metadata",
    "/problems/%2e%2e",
    "*",
    "/streams/a?expect=99999999999999999999",
];
const METHODS: &[&str] =
    &["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "TRACE", "G\u{e9}T", ""];
const BODIES: &[&str] = &[
    "",
    "{",
    "[]",
    "[{}]",
    "null",
    "{\"events\":[{\"stream\":\"\u{1}\",\"type\":\"\"}]}",
    "[{\"type\":\"A\",\"data\":",
    "{\"events\":1}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "\"\\ud800\"",
    "{\"events\":[],\"fail_if\":[{\"query\":\"(((\"}]}",
];
const KINDS: &[&str] = &[
    "application/json",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/grpc",
    "application/grpc+proto",
    "text/plain",
    "",
    "application/json; charset=utf-7",
];
const METHODS_OF_GRPC: &[&str] = &[
    "/quipu.v1.Store/Change",
    "/quipu.v1.Store/ReadAll",
    "/quipu.v1.Store/Subscribe",
    "/quipu.v1.Store/AppendStream",
    "/quipu.v1.Notes/PutSnapshot",
    "/quipu.v1.Admin/Backup",
    "/quipu.v1.Store/None",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// A request that is wrong somewhere, or everywhere.
fn malformed(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = match chance.below(8) {
        0 => {
            let count = chance.below(300);
            chance.bytes(count)
        }
        1 => {
            // A connection of HTTP/2 with frames that are none.
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
            let count = chance.below(200);
            bytes.extend(chance.bytes(count));
            bytes
        }
        2 | 3 => grpc(chance),
        _ => http(chance),
    };
    match chance.below(4) {
        0 => bytes.truncate(chance.below(bytes.len() + 1)),
        1 if !bytes.is_empty() => {
            for _ in 0..=chance.below(4) {
                let at = chance.below(bytes.len());
                bytes[at] = chance.below(256) as u8;
            }
        }
        _ => {}
    }
    bytes
}

fn http(chance: &mut Chance) -> Vec<u8> {
    let body = chance.one_of(BODIES);
    let (method, path) = (chance.one_of(METHODS), chance.one_of(PATHS));
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    write!(text, "content-type: {}\r\n", chance.one_of(KINDS)).unwrap();
    match chance.below(6) {
        0 => text += "content-length: 99999999999999999999\r\n",
        1 => text += "transfer-encoding: chunked\r\n",
        2 => write!(text, "x-long: {}\r\n", "x".repeat(chance.below(40_000))).unwrap(),
        _ => write!(text, "content-length: {}\r\n", body.len()).unwrap(),
    }
    (text + "\r\n" + body).into_bytes()
}

/// A call of gRPC over HTTP/1.1, as the server takes it too, with a message that is none.
fn grpc(chance: &mut Chance) -> Vec<u8> {
    let count = chance.below(200);
    let message = chance.bytes(count);
    let said = match chance.below(4) {
        0 => u32::MAX,
        1 => 1 << 30,
        _ => message.len() as u32,
    };
    let mut body = vec![chance.below(3) as u8];
    body.extend(on_the_wire(said));
    body.extend(message);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nte: trailers\r\n\
         content-type: application/grpc\r\ncontent-length: {}\r\n\r\n",
        chance.one_of(METHODS_OF_GRPC),
        body.len()
    );
    [head.into_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_answered_or_cut_off_and_nothing_else_happens() {
    let seed = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 7_919);
    eprintln!("seed {seed}");
    let count = if is_torture() { TORTURE_REQUEST_COUNT } else { REQUEST_COUNT };
    let limits = Limits { handshake_timeout: Duration::from_secs(2), ..Limits::default() };
    let world = Arc::new(World::on_disk(limits).await);
    let alone = GoodClient::start(&world.client);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let alone = alone.end().await;
    let beside = GoodClient::start(&world.client);
    send_from_many(&world, count / 10, seed, well_formed).await;
    let beside = beside.end().await;

    let good = GoodClient::start(&world.client);
    let before = resident();
    let answered = send_from_many(&world, count, seed, malformed).await;

    let p99 = good.end().await;
    let grown = resident().saturating_sub(before);
    eprintln!(
        "{count} sent, {answered} answered; the good client's p99 {p99:?}, {beside:?} beside well-formed \
         requests, {alone:?} alone; {grown} bytes more"
    );
    assert!(answered > count / 3, "{answered} of {count} were answered at all");
    assert!(grown < GROWTH_MAX, "{grown} bytes more");
    // A machine that does other things as well is given time; what hangs is not.
    assert!(p99 < Duration::from_secs(5), "{p99:?}");
    // Those who send are on this machine, too: what is malformed costs others little more than what
    // is not.
    assert!(p99 <= 5 * beside || !is_torture(), "{p99:?}, and {beside:?}");
    work(&world.client).await;
}

/// Sends so many requests, some at a time, and answers how many of them were answered.
async fn send_from_many(
    world: &Arc<World>,
    count: u64,
    seed: u64,
    make: fn(&mut Chance) -> Vec<u8>,
) -> u64 {
    let (sent, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut senders = JoinSet::new();
    for number in 0..16 {
        let (world, sent, answered) = (Arc::clone(world), Arc::clone(&sent), Arc::clone(&answered));
        let mut chance = Chance(seed.wrapping_add(number * 104_729) | 1);
        senders.spawn(async move {
            while sent.fetch_add(1, Ordering::SeqCst) < count {
                let bytes = make(&mut chance);
                let answer = world.send(&bytes, Duration::from_millis(500)).await;
                if !answer.is_empty() {
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                let text = String::from_utf8_lossy(&answer);
                assert!(!text.starts_with("HTTP/1.1 500"), "{text}\nto\n{bytes:?}");
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.unwrap();
    }
    answered.load(Ordering::SeqCst)
}

fn well_formed(_: &mut Chance) -> Vec<u8> {
    b"GET /frontier HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let world = World::new(Limits { request_size_max: 64 << 10, ..Limits::default() }).await;
    let before = resident();

    for path in ["/append", "/streams/a"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             expect: 100-continue\r\ncontent-length: 4000000000\r\n\r\n"
        );
        let answer = world.send(head.as_bytes(), PATIENCE).await;
        assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    }
    let event = NewEvent::json("Made", format!("{:?}", "x".repeat(100 << 10))).unwrap();
    let stream = StreamName::new("large-1").unwrap();
    let refused =
        world.client.append(Append::to_stream(stream, ExpectedRevision::Any, [event])).await;
    assert!(refused.is_err());

    assert!(resident().saturating_sub(before) < GROWTH_MAX);
    work(&world.client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_are_ended_and_hold_up_nobody() {
    let count = if is_torture() { 5_000 } else { 500 };
    let limits = Limits { handshake_timeout: Duration::from_secs(1), ..Limits::default() };
    let world = World::new(limits).await;
    let good = GoodClient::start(&world.client);

    // Each says the beginning of a request, or of its body, and then nothing more.
    let mut slow = Vec::new();
    for number in 0..count {
        let mut stream = TcpStream::connect(world.server.address()).await.unwrap();
        let heads: [&[u8]; 4] = [
            b"GET /streams HTTP/1.1\r\nho",
            b"G",
            b"POST /append HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
              content-type: application/json\r\ncontent-length: 99\r\n\r\n{",
            b"PRI * HTTP/2.0\r\n",
        ];
        stream.write_all(heads[number % 4]).await.unwrap();
        slow.push(stream);
    }
    for (number, mut stream) in slow.into_iter().enumerate().filter(|(number, _)| number % 4 < 3) {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "connection {number} stays open");
    }

    let p99 = good.end().await;
    assert!(p99 < Duration::from_secs(5), "{p99:?}");
}

/// A number as networks have it: the highest byte first.
fn on_the_wire(number: u32) -> [u8; 4] {
    let mut bytes = number.to_le_bytes();
    bytes.reverse();
    bytes
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = on_the_wire(payload.len() as u32);
    let mut bytes = vec![size[1], size[2], size[3], kind, flags];
    bytes.extend(on_the_wire(stream));
    bytes.extend(payload);
    bytes
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Headers of a GET of /frontier, from the static table and as literals.
fn headers() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, 9];
    block.extend(b"/frontier");
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    block
}

/// Sends frames until the server closes or has taken them all, and answers how many it took.
async fn flood(world: &World, count: u32, make: impl Fn(u32) -> Vec<u8>) -> u32 {
    let stream = TcpStream::connect(world.server.address()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while matches!(reader.read(&mut buffer).await, Ok(1..)) {}
    });
    let mut taken = 0;
    if writer.write_all(PREFACE).await.is_ok() {
        for number in 0..count {
            let bytes = make(number);
            let write = writer.write_all(&bytes);
            match tokio::time::timeout(Duration::from_secs(10), write).await {
                Ok(Ok(())) => taken += 1,
                _ => break,
            }
        }
    }
    drop(writer);
    let _is_over = tokio::time::timeout(Duration::from_secs(10), reading).await.is_ok();
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_resets_and_empty_frames_hold_up_nobody() {
    let count = if is_torture() { 2_000_000 } else { 100_000 };
    let world = World::new(Limits::default()).await;
    let good = GoodClient::start(&world.client);
    let before = resident();

    // Requests that are taken back at once.
    let resets = flood(&world, count, |number| {
        let stream = 2 * number + 1;
        [frame(1, 0x5, stream, &headers()), frame(3, 0, stream, &on_the_wire(8))].concat()
    })
    .await;
    // Headers that never end.
    let continuations = flood(&world, count, |number| {
        if number == 0 { frame(1, 0, 1, &headers()) } else { frame(9, 0, 1, &[]) }
    })
    .await;
    // Data without data.
    let empty = flood(&world, count, |number| {
        if number == 0 { frame(1, 0x4, 1, &headers()) } else { frame(0, 0, 1, &[]) }
    })
    .await;
    // Settings and pings that want to be answered.
    let pings = flood(&world, count, |number| {
        if number % 2 == 0 { frame(6, 0, 0, &[0; 8]) } else { frame(4, 0, 0, &[]) }
    })
    .await;

    let p99 = good.end().await;
    let grown = resident().saturating_sub(before);
    eprintln!(
        "taken before the end: {resets} resets, {continuations} continuations, {empty} empty frames, \
         {pings} pings; the good client's p99 {p99:?}; {grown} bytes more"
    );
    assert!(resets < count && continuations < count, "somebody who floods is cut off");
    assert!(p99 < Duration::from_secs(5) && grown < GROWTH_MAX, "{p99:?} {grown}");
    work(&world.client).await;
}
