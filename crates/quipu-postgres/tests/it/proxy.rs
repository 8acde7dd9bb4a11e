//! A way to the database that can be switched, and cut at the worst moment.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: AtomicU16,
    /// The answer to the next request that has this in it is not passed on, and its connection is cut.
    swallowed: Mutex<Option<&'static [u8]>>,
    cut: broadcast::Sender<()>,
    /// After the next request that has this in it, nothing comes through.
    hanging: Mutex<Option<&'static [u8]>>,
    /// Whether bytes are held back: the connections stay, and nothing comes through.
    is_hung: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(port),
            swallowed: Mutex::new(None),
            cut: broadcast::Sender::new(1),
            hanging: Mutex::new(None),
            is_hung: watch::Sender::new(false),
        });
        let port = listener.local_addr().unwrap().port();
        let own = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&own)));
            }
        });
        Self { port, shared }
    }

    /// Where to find a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        let user = quipu_testing::postgres::USER;
        format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Cuts all connections; those that come go to another server.
    pub(crate) fn switch(&self, port: u16) {
        self.shared.target.store(port, Ordering::SeqCst);
        self.shared.cut.send(()).ok();
    }

    /// Nothing comes through any more, and nobody is told, from the next request on that has this in it:
    /// that one still goes to the server.
    pub(crate) fn hang_after(&self, mark: &'static [u8]) {
        *self.shared.hanging.lock().unwrap() = Some(mark);
    }

    /// Nothing comes through from now on, and nobody is told.
    pub(crate) fn hang(&self) {
        self.shared.is_hung.send_replace(true);
    }

    /// What was held back goes on its way.
    pub(crate) fn go_on(&self) {
        self.shared.is_hung.send_replace(false);
    }

    /// Passes the next request that has this in it on, and cuts its connection before the answer.
    pub(crate) fn swallow_answer_to(&self, mark: &'static [u8]) {
        *self.shared.swallowed.lock().unwrap() = Some(mark);
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let target = shared.target.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let mut cut = shared.cut.subscribe();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is_doomed = AtomicBool::new(false);
    let has_mark = |request: &[u8]| {
        if takes_mark(&shared.swallowed, request) {
            is_doomed.store(true, Ordering::SeqCst);
        }
        true
    };
    tokio::select! {
        () = pass(from_client, to_server, has_mark, &shared) => {}
        () = pass(from_server, to_client, |_| !is_doomed.load(Ordering::SeqCst), &shared) => {}
        _ = cut.recv() => {}
    }
}

/// Whether the request has the mark, which then counts no more.
fn takes_mark(mark: &Mutex<Option<&'static [u8]>>, request: &[u8]) -> bool {
    let mut mark = mark.lock().unwrap();
    let found = mark.filter(|mark| request.windows(mark.len()).any(|it| it == *mark));
    if found.is_some() {
        *mark = None;
    }
    found.is_some()
}

/// Passes bytes on as long as there are some and they may pass.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    may_pass: impl Fn(&[u8]) -> bool,
    shared: &Shared,
) {
    let mut is_hung = shared.is_hung.subscribe();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..size];
        if is_hung.wait_for(|is_hung| !is_hung).await.is_err() {
            return;
        }
        if !may_pass(bytes) || to.write_all(bytes).await.is_err() {
            return;
        }
        if takes_mark(&shared.hanging, bytes) {
            shared.is_hung.send_replace(true);
        }
    }
}
