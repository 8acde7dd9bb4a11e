//! A server with principals of every kind, and requests written by hand.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    Append, EventStore, ExpectedRevision, MemoryStore, NewEvent, StreamName, Timestamp,
};
use quipu_server::config::Limits;
use quipu_server::security::{Authority, Credentials, Effect, Role, Rule, Secret};
use quipu_server::server::{Server, Tls};
use quipu_server::service::Service;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take before the test fails instead of hanging.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// A server, its store and its credentials file.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) store: MemoryStore,
    pub(super) service: Service,
    pub(super) credentials: PathBuf,
    pub(super) directory: TempDir,
}

/// A token and its id.
pub(super) struct Token {
    pub(super) id: String,
    pub(super) text: Secret,
}

impl World {
    /// A server without credentials.
    pub(super) async fn open() -> Self {
        Self::start(tempfile::tempdir().unwrap(), None).await
    }

    /// A server with these credentials.
    pub(super) async fn with(credentials: &Credentials) -> Self {
        Self::with_tls(credentials, tempfile::tempdir().unwrap(), None).await
    }

    pub(super) async fn with_tls(
        credentials: &Credentials,
        directory: TempDir,
        tls: Option<Tls>,
    ) -> Self {
        credentials.save(&directory.path().join("auth.json")).unwrap();
        Self::start(directory, tls).await
    }

    async fn start(directory: TempDir, tls: Option<Tls>) -> Self {
        let path = directory.path().join("auth.json");
        let store = MemoryStore::new();
        let authority = Authority::load(&path).unwrap();
        let (application, system) = (Arc::new(store.clone()), Arc::new(store.system()));
        let service = Service::secured(application, system, Limits::default(), authority);
        let server =
            Server::start(service.clone(), "127.0.0.1:0".parse().unwrap(), tls).await.unwrap();
        Self { server, store, service, credentials: path, directory }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Sends a request and answers what came back.
    pub(super) async fn ask(&self, operation: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        ask_on(stream, &format!("127.0.0.1:{}", self.address().port()), operation, headers).await
    }

    /// As [`ask`](Self::ask), with a token.
    pub(super) async fn ask_as(&self, token: &Secret, operation: &str) -> Answer {
        self.ask(operation, &[("authorization", &format!("Bearer {}", token.reveal()))]).await
    }

    /// Changes the credentials file, as the command line does.
    pub(super) fn edit(&self, change: impl FnOnce(&mut Credentials)) {
        let edited: Result<(), quipu_server::security::CredentialsError> =
            Credentials::edit(&self.credentials, |own| {
                change(own);
                Ok(())
            });
        edited.unwrap();
    }

    /// The audit's events of one type, once there is one.
    pub(super) async fn audit(&self, event_type: &str) -> serde_json::Value {
        let begin = std::time::Instant::now();
        loop {
            let stream = StreamName::new("$audit").unwrap();
            let read = quipu_core::ReadStream::new(stream);
            let read = self.store.read_stream(read).await.unwrap();
            let events = quipu_core::collect(read.batches).await.unwrap();
            let found = events.iter().rev().find(|event| event.event_type == *event_type);
            if let Some(event) = found {
                let data = event.data.present().unwrap();
                return serde_json::from_slice(data).unwrap();
            }
            assert!(begin.elapsed() < PATIENCE, "no {event_type} in {events:?}");
            tokio::task::yield_now().await;
        }
    }
}

/// Sends a request on a connection, and reads the answer to its end. An operation is what the
/// permission table has: a method and a path, or a gRPC method.
pub(super) async fn ask_on(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    operation: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let is_grpc = operation.starts_with('/');
    let line = if is_grpc { format!("POST {operation}") } else { operation.to_owned() };
    let line = line.replace(['{', '}', '*'], "");
    let mut head = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.extend(["host: ", host, "\r\n"]);
    }
    // An empty message of gRPC: not compressed, no bytes.
    let body: &[u8] = if is_grpc { &[0; 5] } else { &[] };
    if is_grpc {
        head += "content-type: application/grpc\r\nte: trailers\r\n";
    }
    head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head += "\r\n";
    let answer = async {
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        // What never ends by itself is answered with its head.
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return bytes,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            }
            let is_stream = bytes.windows(17).any(|it| it == b"text/event-stream");
            if (is_grpc || is_stream) && bytes.windows(4).any(|it| it == b"\r\n\r\n") {
                return bytes;
            }
        }
    };
    let bytes = tokio::time::timeout(PATIENCE, answer).await.expect("an answer comes");
    Answer(String::from_utf8_lossy(&bytes).into_owned())
}

/// A response, head and body, as text.
#[derive(Debug)]
pub(super) struct Answer(pub(super) String);

/// What the gate made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Unauthenticated,
    Forbidden,
    Unknown,
    Other,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        head.lines().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.body()).unwrap_or_else(|error| panic!("{error}: {}", self.0))
    }

    pub(super) fn verdict(&self) -> Verdict {
        match (self.status(), self.header("grpc-status")) {
            (401, None) | (200, Some("16")) => Verdict::Unauthenticated,
            (403, None) | (200, Some("7")) => Verdict::Forbidden,
            (404, None) if self.0.contains("\"detail\":\"there is nothing at") => Verdict::Unknown,
            (405, None) => Verdict::Unknown,
            (200, Some("12")) if self.0.contains("no%20such%20operation") => Verdict::Unknown,
            (0, _) => Verdict::Other,
            _ => Verdict::Passed,
        }
    }
}

pub(super) fn create(credentials: &mut Credentials, name: &str, role: Role) -> Token {
    let (id, text) = credentials.create_token(name, Some(role), &[], None).unwrap();
    Token { id, text }
}

pub(super) fn create_expired(credentials: &mut Credentials, name: &str, role: Role) -> Token {
    let end = Some(Timestamp::from_micros(Timestamp::now().as_micros() - 1));
    let (id, text) = credentials.create_token(name, Some(role), &[], end).unwrap();
    Token { id, text }
}

/// A principal with rules alone.
pub(super) fn create_with(credentials: &mut Credentials, name: &str, rules: &[&str]) -> Token {
    let rules: Vec<Rule> = rules.iter().map(|it| Rule::parse(Effect::Allow, it).unwrap()).collect();
    let (id, text) = credentials.create_token(name, None, &rules, None).unwrap();
    Token { id, text }
}

pub(super) fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// An append of one event without demands.
pub(super) fn append(name: &str) -> Append {
    let event = NewEvent::json("Made", "{}").unwrap();
    Append::to_stream(stream(name), ExpectedRevision::Any, [event])
}
