//! A proxy before a broker: it can be cut, and knows which requests go through it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The requests of Kafka's protocol that a transaction is made of, in its order.
pub(super) const STEPS: [(i16, &str); 7] = [
    (22, "InitProducerId"),
    (1, "Fetch"),
    (0, "Produce"),
    (26, "EndTxn"),
    (0, "the next Produce"),
    (26, "the next EndTxn"),
    (10, "FindCoordinator"),
];

/// When a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Before the broker has seen it.
    Before,
    /// After the broker has answered, before the client knows.
    After,
}

/// Called at a request with its number; answers whether it is to be held for good.
type Trap = dyn FnMut(i16, Side) -> bool + Send;

pub(super) struct Proxy {
    port: u16,
    listener: TcpListener,
}

pub(super) struct Running {
    trap: Arc<Mutex<Box<Trap>>>,
    is_cut: watch::Sender<bool>,
}

impl Proxy {
    pub(super) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { port: listener.local_addr().unwrap().port(), listener }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn before(self, broker: String) -> Running {
        let trap: Arc<Mutex<Box<Trap>>> = Arc::new(Mutex::new(Box::new(|_, _| false)));
        let (is_cut, cutting) = watch::channel(false);
        let own = Arc::clone(&trap);
        tokio::spawn(async move {
            loop {
                let (client, _) = self.listener.accept().await.unwrap();
                if *cutting.borrow() {
                    continue;
                }
                let (broker, trap, cutting) = (broker.clone(), Arc::clone(&own), cutting.clone());
                tokio::spawn(async move {
                    // Either side may go away at any time.
                    carry(client, &broker, &trap, cutting).await.ok();
                });
            }
        });
        Running { trap, is_cut }
    }
}

impl Running {
    /// Calls `trap` at every request and answer from now on.
    pub(super) fn set_trap(&self, trap: impl FnMut(i16, Side) -> bool + Send + 'static) {
        *self.trap.lock().unwrap() = Box::new(trap);
    }

    /// Cuts every connection, and takes none until it is mended.
    pub(super) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(super) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

/// Carries frames to and fro, until a side ends or the network is cut.
async fn carry(
    client: TcpStream,
    broker: &str,
    trap: &Mutex<Box<Trap>>,
    mut cutting: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let broker = TcpStream::connect(broker).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    // A broker answers in the order in which it was asked.
    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let forth = async {
        loop {
            let frame = frame(&mut from_client).await?;
            let key = i16::from(frame[4]) << 8 | i16::from(frame[5]);
            if trap.lock().unwrap()(key, Side::Before) {
                std::future::pending::<()>().await;
            }
            ask.send(key).unwrap();
            to_broker.write_all(&frame).await?;
        }
    };
    let back = async {
        loop {
            let frame = frame(&mut from_broker).await?;
            let key = asked.recv().await.unwrap();
            if trap.lock().unwrap()(key, Side::After) {
                std::future::pending::<()>().await;
            }
            to_client.write_all(&frame).await?;
        }
    };
    tokio::select! {
        ended = forth => ended,
        ended = back => ended,
        _ = cutting.wait_for(|is_cut| *is_cut) => Ok(()),
    }
}

/// One frame, with its length.
async fn frame(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).await?;
    let size = frame.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
    frame.resize(4 + size, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}
