//! A server for one test, and a client that is plain text over TCP.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{EventStore, MemoryStore};
use quipu_server::config::Limits;
use quipu_server::server::Server;
use quipu_server::service::Service;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How long anything may take before the test fails instead of hanging.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// A server over a log in memory.
pub(super) struct World {
    pub(super) store: MemoryStore,
    pub(super) address: SocketAddr,
    server: Server,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(super) async fn with_limits(limits: Limits) -> Self {
        let store = MemoryStore::new();
        let application = Arc::new(store.clone());
        Self::over(store, application, limits).await
    }

    pub(super) async fn over(
        store: MemoryStore,
        application: Arc<dyn EventStore>,
        limits: Limits,
    ) -> Self {
        let service = Service::new(application, Arc::new(store.system()), limits);
        let server = Server::start(service, "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        Self { store, address: server.address(), server }
    }

    pub(super) async fn stop(self) {
        tokio::time::timeout(PATIENCE, self.server.stop()).await.unwrap();
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        let kind = [("Content-Type", "application/json")];
        self.send("POST", path, &kind, body.to_string().as_bytes()).await
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let headers: Vec<_> = headers.iter().copied().chain([("Connection", "close")]).collect();
        let request = request(method, path, &headers, body);
        self.send_raw(&request).await
    }

    /// The status of an answer whose body may have no end.
    pub(super) async fn probe(&self, path: &str) -> u16 {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Flow::open(stream, path, &[]).await.status
    }

    /// Sends bytes as they are, and reads until the server closes.
    pub(super) async fn send_raw(&self, bytes: &[u8]) -> Reply {
        let answer = exchange(self.address, bytes).await;
        Reply::parse(&answer)
    }
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() || method == "POST" || method == "PUT" {
        write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend(body);
    bytes
}

/// Sends bytes and answers all that comes back until the server closes.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let mut answer = Vec::new();
        // A server that has seen enough closes before it has read all; what it said still counts.
        let write = async {
            let _is_sent = writer.write_all(bytes).await.is_ok();
        };
        let read = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                answer.extend_from_slice(&buffer[..count]);
            }
        };
        tokio::join!(write, read);
        answer
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("the server closes in time")
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(bytes)));
        let (status, headers) = parse_head(std::str::from_utf8(&bytes[..end]).unwrap());
        let mut reply = Self { status, headers, body: bytes[end + 4..].to_vec() };
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.body = join_chunks(&reply.body);
        }
        reply
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, of an answer with this status.
    #[track_caller]
    pub(super) fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// The body, of a problem of this kind, which is as problems are.
    #[track_caller]
    pub(super) fn is_problem(&self, status: u16, name: &str) -> Value {
        let problem = self.is(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["type"], format!("/problems/{name}"), "{problem}");
        assert_eq!(problem["status"], status);
        for member in ["title", "detail", "hint"] {
            assert!(problem[member].is_string(), "{member} of {problem}");
        }
        assert!(problem["retryable"].is_boolean(), "{problem}");
        problem
    }
}

fn parse_head(head: &str) -> (u16, Vec<(String, String)>) {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    (status, headers.collect())
}

fn join_chunks(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a chunk has a size");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
}

/// An answer that is read as it comes.
pub(super) struct Flow {
    stream: BufReader<TcpStream>,
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    text: Vec<u8>,
    is_over: bool,
}

impl Flow {
    pub(super) async fn open(stream: TcpStream, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = BufReader::new(stream);
        stream.write_all(&request("GET", path, headers, b"")).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let count = tokio::time::timeout(PATIENCE, stream.read_line(&mut head)).await;
            assert_ne!(count.unwrap().unwrap(), 0, "the head ends: {head}");
        }
        let (status, headers) = parse_head(head.trim_end());
        Self { stream, status, headers, text: Vec::new(), is_over: false }
    }

    pub(super) async fn subscribe(world: &World, path: &str, headers: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(world.address).await.unwrap();
        let flow = Self::open(stream, path, headers).await;
        assert_eq!(flow.status, 200, "{path}");
        flow
    }

    /// The next chunk of the body, or `None` at its end.
    pub(super) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let mut size = String::new();
            self.stream.read_line(&mut size).await.unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).await.unwrap();
            chunk.truncate(size);
            (size > 0).then_some(chunk)
        };
        tokio::time::timeout(PATIENCE, read).await.expect("something comes in time")
    }

    /// The next server-sent event, comments too; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                return Some(Sent::parse(std::str::from_utf8(&block).unwrap()));
            }
            if self.is_over {
                return None;
            }
            match self.chunk().await {
                Some(chunk) => self.text.extend(chunk),
                None => self.is_over = true,
            }
        }
    }

    /// The next server-sent event of this kind, passing over others.
    pub(super) async fn next_of(&mut self, kind: &str) -> Sent {
        loop {
            let sent = self.next().await.unwrap_or_else(|| panic!("the end came before {kind}"));
            if sent.kind == kind {
                return sent;
            }
        }
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) kind: String,
    pub(super) id: Option<u64>,
    pub(super) data: String,
    pub(super) comment: String,
}

impl Sent {
    fn parse(block: &str) -> Self {
        let mut sent = Self::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => sent.id = Some(id.parse().unwrap()),
                Some(("event", kind)) => kind.clone_into(&mut sent.kind),
                Some(("data", data)) => data.clone_into(&mut sent.data),
                Some(("", comment)) => comment.clone_into(&mut sent.comment),
                Some(("retry", _)) => "retry".clone_into(&mut sent.kind),
                other => assert!(other.is_none() && line.is_empty(), "{line:?}"),
            }
        }
        sent
    }
}
