//! The NATS sink, judged by a real server.

mod relaying;
mod security;
mod suite;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::{self, Context};
use quipu_relay::{NatsSink, NatsStreams};
use quipu_testing::nats::Nats;

/// How long anything of a server may take. Generous: machines that test are busy.
const PATIENCE: Duration = Duration::from_mins(2);

/// One server, for all tests that do not harm it.
fn server() -> Option<&'static Nats> {
    static SHARED: OnceLock<Option<Nats>> = OnceLock::new();
    SHARED.get_or_init(|| Nats::start("")).as_ref()
}

/// A name that no other test uses.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A sink to a stream that is made when it is missing, with the key in each subject.
fn sink(server: &Nats, stream: &str) -> NatsSink {
    let sink = NatsSink::new(&server.url(), stream, &format!("{stream}.{{key}}")).unwrap();
    sink.streams(NatsStreams::default().create())
}

async fn jetstream(server: &Nats) -> Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

/// Everything in the stream, in order.
async fn read(server: &Nats, stream: &str) -> Vec<StreamMessage> {
    let context = jetstream(server).await;
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match context.get_stream(stream).await {
            Ok(stream) => break stream,
            // A server that was started again takes a moment.
            Err(error) => assert!(Instant::now() < deadline, "{stream}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut messages = Vec::new();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        messages.push(stream.get_raw_message(sequence).await.unwrap());
    }
    messages
}

/// A header's value, as text.
fn header(message: &StreamMessage, name: &str) -> Option<String> {
    message.headers.get(name).map(ToString::to_string)
}
