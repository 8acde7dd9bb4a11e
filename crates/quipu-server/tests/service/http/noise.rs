use super::client::{World, exchange, request};

/// Numbers that follow from a seed: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % count
    }

    fn one<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"];
const PATHS: [&str; 22] = [
    "/",
    "/streams",
    "/streams/s",
    "/streams/%2F",
    "/streams/%ff",
    "/streams/..%2F..",
    "/streams/$$s",
    "/streams/s/info",
    "/streams/s/metadata",
    "/streams/$$s/metadata",
    "/append",
    "/events",
    "/frontier",
    "/position",
    "/problems/conflict",
    "/openapi.json",
    "/docs",
    "/metrics",
    "/subscribe?after=99999999",
    "/streams/s/subscribe?after=x",
    "//",
    "/nothing",
];
const PARAMS: [&str; 24] = [
    "from=0",
    "from=18446744073709551615",
    "from=-1",
    "limit=1",
    "limit=0",
    "limit=99999999999999999999",
    "direction=backward",
    "as_of=1",
    "as_of=18446744073709551615",
    "as_of=2026-01-01",
    "as_of=x",
    "query=type:A",
    "query=tag:%22",
    "query=%00",
    "query=",
    "expect=none",
    "expect=18446744073709551615",
    "expect=x",
    "hard=true",
    "id=x",
    "at=0000-01-01T00:00:00Z",
    "at=9999-12-31T23:59:59Z",
    "prefix=%F0",
    "after=s",
];
const HEADERS: [(&str, &str); 14] = [
    ("Content-Type", "application/json"),
    ("Content-Type", "application/json"),
    ("Content-Type", "application/x-ndjson"),
    ("Content-Type", "application/cloudevents+json"),
    ("Content-Type", "application/cloudevents-batch+json"),
    ("Content-Type", "\u{ff}"),
    ("Accept", "application/x-ndjson"),
    ("Accept", "application/cloudevents-batch+json"),
    ("Accept", ";;,,q=;q=x,*"),
    ("If-Match", "\"0\""),
    ("If-Match", "*"),
    ("If-None-Match", "*"),
    ("If-Match", "\""),
    ("Last-Event-ID", "18446744073709551615"),
];
const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"type\":\"T\"",
    "\"data\":",
    "\"data_base64\":\"/w==\"",
    "\"metadata\":{}",
    "\"tags\":[\"a\"]",
    "\"stream\":\"s\"",
    "\"id\":\"x\"",
    "\"events\":[",
    "\"expect\":{",
    "\"fail_if\":[",
    "\"query\":\"type:T\"",
    "\"after\":0",
    "1e999",
    "-0",
    "null",
    "true",
    "\\u0000",
    "\\ud800",
    "\n",
    "\r\n",
    " ",
    "\"specversion\":\"1.0\"",
    "\"source\":\"/a\"",
    "\"id\":\"1\"",
    "\"$maxCount\":1",
    "\"$tb\":0",
    "{\"type\":\"T\"}",
    "{\"type\":\"T\",\"stream\":\"s\"}",
    "[[[[[[[[[[",
    "\"\u{1F9F6}\"",
    "18446744073709551616",
    "\u{0}",
    "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/a\",\"type\":\"T\"}",
];

fn random_request(random: &mut Random, is_last: bool) -> Vec<u8> {
    let mut path = random.one(&PATHS).to_owned();
    for index in 0..random.below(4) {
        path.push(if index == 0 && !path.contains('?') { '?' } else { '&' });
        path.push_str(random.one(&PARAMS));
    }
    let mut headers: Vec<(&str, &str)> =
        (0..random.below(4)).map(|_| HEADERS[random.below(HEADERS.len())]).collect();
    if is_last {
        headers.push(("Connection", "close"));
    }
    let mut body: Vec<u8> = Vec::new();
    for _ in 0..random.below(12) {
        body.extend(random.one(&PIECES).as_bytes());
    }
    if random.below(8) == 0 && !body.is_empty() {
        let at = random.below(body.len());
        body[at] = random.below(256) as u8;
    }
    let method = random.one(&METHODS);
    request(method, &path, &headers, &body)
}

fn status_count(answer: &[u8]) -> usize {
    answer.windows(9).filter(|window| window == b"HTTP/1.1 ").count()
}

/// Requests that are well formed as HTTP and make no sense otherwise: each gets an answer. Bytes that
/// are not even HTTP: the server goes on. `QUIPU_SEED` replays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_stops_the_server() {
    const CONNECTION_COUNT: usize = 950;
    const REQUEST_COUNT: usize = 20;
    const RAW_COUNT: usize = 1_000;
    let given = std::env::var("QUIPU_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(seed_of_the_hour);
    println!("replay with QUIPU_SEED={seed}");
    let mut random = Random(seed | 1);
    let world = World::new().await;

    for _ in 0..CONNECTION_COUNT {
        let mut bytes = Vec::new();
        for index in 1..=REQUEST_COUNT {
            bytes.extend(random_request(&mut random, index == REQUEST_COUNT));
        }
        let answer = exchange(world.address, &bytes).await;
        assert_eq!(status_count(&answer), REQUEST_COUNT, "{}", String::from_utf8_lossy(&bytes));
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("HTTP/1.1 500"), "{}\n{text}", String::from_utf8_lossy(&bytes));
    }
    for _ in 0..RAW_COUNT {
        let mut bytes = random_request(&mut random, true);
        for _ in 0..=random.below(6) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.below(256) as u8),
            }
        }
        exchange_and_leave(&world, &bytes).await;
    }

    let body = serde_json::json!([{ "type": "Made", "data": {} }]);
    world.post("/streams/after-all", &body).await.is(201);
    world.stop().await;
}

/// Sends bytes that need not be a whole request, and closes: no answer has to come.
async fn exchange_and_leave(world: &World, bytes: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    if stream.write_all(bytes).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let mut some = [0; 1024];
    let read = tokio::time::timeout(super::client::PATIENCE, stream.read(&mut some)).await;
    assert!(read.is_ok(), "neither an answer nor an end to {}", String::from_utf8_lossy(bytes));
}

fn seed_of_the_hour() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_nanos() as u64
}
