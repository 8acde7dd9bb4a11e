//! What others read: the programs of docs/kafka.md as they stand there.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use quipu_core::{Append, EventStore, MemoryStore, NewEvent, StreamName};
use quipu_relay::{KafkaSink, KafkaTopics, Relay};
use quipu_testing::java;

use super::{PATIENCE, broker, unique};

/// A program that runs until its value is dropped, and the lines that it prints.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            printed.lines().map_while(Result::ok).all(|line| tell.send(line).is_ok())
        });
        Self { child, lines }
    }

    /// What it prints, up to the line that ends so.
    fn until(&self, end: &str) -> Vec<String> {
        let mut all = Vec::new();
        while all.last().is_none_or(|line: &String| !line.ends_with(end)) {
            all.push(self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{all:?}")));
        }
        all
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program in this language that the page shows, reading from there.
fn shown(language: &str, servers: &str, topic: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kafka.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, consuming) = page.split_once("## Consume it").unwrap();
    let (_, program) = consuming.split_once(&format!("```{language}\n")).unwrap();
    let (program, _) = program.split_once("```").unwrap();
    program.replace("localhost:9092", servers).replace("\"orders\"", &format!("\"{topic}\""))
}

/// Where the clients are that `.ci/install/kafka-consumers` fetches; `None`, and a line that says so,
/// where they are not.
fn clients() -> Option<PathBuf> {
    let cache = || {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("quipu-tools")
    };
    let tools = std::env::var_os("QUIPU_TOOLS").map_or_else(cache, PathBuf::from);
    let clients = tools.join("kafka-consumers");
    if clients.join("node.done").exists() {
        return Some(clients);
    }
    quipu_testing::skip("a client of Kafka in Python and Node (.ci/install/kafka-consumers)");
    None
}

async fn publish(store: &Arc<dyn EventStore>, name: &str, servers: &str, topic: &str) {
    let topics = KafkaTopics::default().create().partitions(1);
    let sink = KafkaSink::new(servers, topic).unwrap().topics(topics);
    let last = store.frontier().await.unwrap();
    let mut running = Relay::new(Arc::clone(store), name, Arc::new(sink)).spawn();
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();
}

async fn append(store: &Arc<dyn EventStore>, stream: &str, data: &str) {
    let event = NewEvent::json("Counted", data.to_owned()).unwrap();
    let append = Append::new().event(StreamName::new(stream).unwrap(), event);
    store.append(append).await.unwrap();
}

/// Everything is published twice, by two relays, and the consumers take each once.
#[tokio::test(flavor = "multi_thread")]
async fn the_consumers_of_the_page_take_each_event_once() {
    let Some(cluster) = broker() else { return };
    let Some(clients) = clients() else { return };
    let (servers, topic) = (cluster.servers(), unique("orders"));
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let mut expected = Vec::new();
    for number in 0..30 {
        append(&store, &format!("order-{}", number % 4), &number.to_string()).await;
        expected.push(format!("order-{} {} {number}", number % 4, number + 1));
    }
    publish(&store, &unique("first"), &servers, &topic).await;
    publish(&store, &unique("again"), &servers, &topic).await;
    append(&store, "order-9", "99").await;
    publish(&store, &unique("third"), &servers, &topic).await;
    expected.push("order-9 31 99".to_owned());

    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(
        clients.join("node/node_modules"),
        directory.path().join("node_modules"),
    )
    .unwrap();
    let jars = java::kafka().expect("the brokers run with them");
    for (language, name) in [("java", "Billing.java"), ("python", "it.py"), ("js", "it.mjs")] {
        // Each is a consumer group of its own.
        let text = shown(language, &servers, &topic).replace("\"billing\"", &format!("\"{name}\""));
        let source = directory.path().join(name);
        std::fs::write(&source, text).unwrap();
        let mut command = match language {
            "java" => java::program(&jars, &source),
            "python" => Command::new(clients.join("python/bin/python")),
            _ => Command::new("node"),
        };
        if language != "java" {
            command.arg(&source);
        }
        let printed = Program::start(&mut command).until(" 99");
        assert_eq!(printed, expected, "{language}");
    }

    assert_eq!(cluster.judge(&topic).len(), 30 + 30 + 31, "though all of it came more than once");
}
