//! The webhook sink, against a server that does as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quipu_core::{BoxFuture, ContentType};
use quipu_relay::conform::{self, Destination};
use quipu_relay::{Batch, CloudEvent, Sink, SinkError, WebhookMode, WebhookSink};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// What the server does with a request.
#[derive(Clone, Debug)]
enum Answer {
    /// This status line, and further headers.
    Status(&'static str),
    /// Nothing at all: the connection stays open.
    Silence,
    /// The connection is closed.
    Close,
}

#[derive(Clone, Debug)]
struct Received {
    head: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Whether it was acknowledged.
    is_taken: bool,
}

impl Received {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Takes requests; answers as scripted, then 204.
struct Server {
    url: String,
    script: Arc<Mutex<VecDeque<Answer>>>,
    received: Arc<Mutex<Vec<Received>>>,
    mode: WebhookMode,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    fn start(mode: WebhookMode, script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        let received = Arc::new(Mutex::new(Vec::new()));
        let (answers, log) = (Arc::clone(&script), Arc::clone(&received));
        let task = tokio::spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, Arc::clone(&answers), Arc::clone(&log)));
            }
        });
        Self { url, script, received, mode, task: task.abort_handle() }
    }

    fn sink(&self) -> WebhookSink {
        WebhookSink::new(&self.url).unwrap().mode(self.mode)
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve(
    connection: TcpStream,
    script: Arc<Mutex<VecDeque<Answer>>>,
    log: Arc<Mutex<Vec<Received>>>,
) {
    let mut connection = BufReader::new(connection);
    while let Some(mut received) = read_request(&mut connection).await {
        let answer = script.lock().unwrap().pop_front();
        let answer = answer.unwrap_or(Answer::Status("204 No Content"));
        received.is_taken = matches!(answer, Answer::Status(status) if status.starts_with('2'));
        log.lock().unwrap().push(received);
        match answer {
            Answer::Status(status) => {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                if connection.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Answer::Silence => std::future::pending().await,
            Answer::Close => return,
        }
    }
}

async fn read_request(connection: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut head = String::new();
    connection.read_line(&mut head).await.ok().filter(|size| *size > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let mut received = Received { head, headers, body: Vec::new(), is_taken: false };
    let size = received.header("content-length").map_or(0, |size| size.parse().unwrap());
    received.body.resize(size, 0);
    connection.read_exact(&mut received.body).await.ok()?;
    Some(received)
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = tail.split_at(2);
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The cloud event of a request, as the JSON format has it.
fn cloud_event_of(received: &Received) -> Value {
    let content_type = received.header("content-type");
    if content_type.is_some_and(|it| it.starts_with("application/cloudevents+json")) {
        return serde_json::from_slice(&received.body).unwrap();
    }
    let mut cloud_event = Map::new();
    for (name, value) in &received.headers {
        if let Some(name) = name.strip_prefix("ce-") {
            cloud_event.insert(name.to_owned(), unescape(value).into());
        }
    }
    if let Some(content_type) = content_type {
        cloud_event.insert("datacontenttype".to_owned(), content_type.into());
        if ContentType::new(content_type).unwrap().is_json() {
            cloud_event.insert("data".to_owned(), serde_json::from_slice(&received.body).unwrap());
        } else {
            use base64::Engine as _;
            let data = base64::engine::general_purpose::STANDARD.encode(&received.body);
            cloud_event.insert("data_base64".to_owned(), data.into());
        }
    }
    Value::Object(cloud_event)
}

impl Destination for Server {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Sink>> {
        Box::pin(async { Arc::new(self.sink()) as Arc<dyn Sink> })
    }

    fn delivered(&self) -> BoxFuture<'_, Vec<Value>> {
        let taken = self.received().into_iter().filter(|received| received.is_taken);
        let cloud_events = taken.map(|received| cloud_event_of(&received)).collect();
        Box::pin(async move { cloud_events })
    }
}

fn cloud_event(id: &str) -> CloudEvent {
    CloudEvent {
        id: id.to_owned(),
        source: Some("urn:test".to_owned()),
        event_type: "Counted".to_owned(),
        subject: None,
        time: None,
        data_content_type: Some("application/json".to_owned()),
        data: Some(Bytes::from_static(b"{}")),
        key: Some("k".to_owned()),
        extensions: std::collections::BTreeMap::new(),
    }
}

/// Publishes `a`, `b` and `c`.
async fn publish_three(sink: &WebhookSink) -> Result<(), SinkError> {
    let cloud_events = ["a", "b", "c"].map(cloud_event).to_vec();
    sink.publish(&Batch { epoch: 1, cloud_events, moves: Vec::new() }).await
}

fn unavailable(outcome: Result<(), SinkError>) -> (usize, Option<Duration>, String) {
    match outcome {
        Err(SinkError::Unavailable { published, retry_after, source }) => {
            (published, retry_after, source.to_string())
        }
        other => panic!("the sink is to be unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn a_webhook_does_what_every_sink_must_in_binary_mode() {
    conform::all(|| Server::start(WebhookMode::Binary, [])).await;
}

#[tokio::test]
async fn a_webhook_does_what_every_sink_must_in_structured_mode() {
    conform::all(|| Server::start(WebhookMode::Structured, [])).await;
}

#[tokio::test]
async fn a_server_that_fails_is_tried_again_and_loses_nothing() {
    let failures = ["500 Oops", "503 Busy", "429 Slow down", "408 Timeout"].map(Answer::Status);
    let script = failures.into_iter().chain([Answer::Close]);
    let server = Server::start(WebhookMode::Binary, []);

    for failure in script {
        server.script.lock().unwrap().extend([Answer::Status("200 OK"), failure]);
        let (published, _, _) = unavailable(publish_three(&server.sink()).await);
        assert_eq!(published, 1, "what went before the failure is known");
    }

    publish_three(&server.sink()).await.unwrap();
    let ids: Vec<_> = server.delivered().await.iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, ["a", "a", "a", "a", "a", "a", "b", "c"]);
}

#[tokio::test]
async fn an_answer_says_when_to_come_again() {
    let answer = Answer::Status("429 Too Many Requests\r\nretry-after: 7");
    let server = Server::start(WebhookMode::Binary, [answer]);

    let (published, retry_after, cause) = unavailable(publish_three(&server.sink()).await);

    assert_eq!((published, retry_after), (0, Some(Duration::from_secs(7))));
    assert_eq!(cause, "the webhook answered 429");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let server = Server::start(WebhookMode::Binary, [Answer::Silence]);
    let sink = server.sink().timeout(Duration::from_millis(30));

    let (published, retry_after, _) = unavailable(publish_three(&sink).await);

    assert_eq!((published, retry_after), (0, None));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);

    let (published, _, _) = unavailable(publish_three(&WebhookSink::new(&url).unwrap()).await);

    assert_eq!(published, 0);
}

#[tokio::test]
async fn a_refusal_names_the_cloud_event_and_is_not_repeated() {
    for status in ["400 Bad Request", "410 Gone", "301 Moved\r\nlocation: /"] {
        let script = [Answer::Status("200 OK"), Answer::Status(status)];
        let server = Server::start(WebhookMode::Binary, script);

        let outcome = publish_three(&server.sink()).await;

        let is_second = matches!(&outcome, Err(SinkError::Rejected { published: 1, .. }));
        assert!(is_second, "{status}: {outcome:?}");
        assert_eq!(server.received().len(), 2);
    }
}

#[tokio::test]
async fn requests_carry_the_path_and_the_callers_headers() {
    let server = Server::start(WebhookMode::Structured, []);
    let sink = server.sink().header("Authorization", "Bearer secret").unwrap();

    publish_three(&sink).await.unwrap();

    let received = server.received();
    assert_eq!(received[0].head, "POST /hook?a=b HTTP/1.1\r\n");
    assert_eq!(received[0].header("authorization"), Some("Bearer secret"));
    assert_eq!(
        received[0].header("content-type"),
        Some("application/cloudevents+json; charset=utf-8")
    );
    assert!(!format!("{sink:?}").contains("secret"));
}
