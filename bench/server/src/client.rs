//! How a server is spoken to: by stubs that are generated from its protocol, and nothing on top that
//! would try again, check or convert.

mod echo;
mod quipu;
mod tephra;
mod umadb;

use std::net::SocketAddr;
use std::pin::Pin;

use tonic::transport::{Channel, Endpoint};

use crate::workload::Batch;
pub(crate) use echo::{Echo, serve as serve_echo};
pub(crate) use quipu::Quipu;
pub(crate) use tephra::Tephra;
pub(crate) use umadb::UmaDb;

/// The messages of the other servers, as `proto` has them.
#[expect(unreachable_pub, clippy::pedantic, reason = "generated from the protocols")]
mod proto {
    pub(super) mod echo {
        tonic::include_proto!("echo");
    }
    pub(super) mod tephra {
        tonic::include_proto!("tephra.v1");
    }
    pub(super) mod umadb {
        tonic::include_proto!("umadb.v1");
    }
}

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A connection of its own to a server.
pub(crate) trait Client: Send {
    /// Makes one append, and waits for it. Answers the place of its last event.
    fn append(&mut self, batch: Batch) -> Answer<'_, u64>;

    /// Makes all appends of a source, so many of them under way at once.
    fn append_all<'a>(
        &'a mut self,
        source: &'a mut dyn Source,
        under_way_max: usize,
    ) -> Answer<'a, ()>;

    /// The place of the log's last event.
    fn last(&mut self) -> Answer<'_, u64>;

    /// Reads events, and looks at the data of each.
    fn read<'a>(&'a mut self, what: Read<'a>) -> Answer<'a, Tally>;

    /// Follows the log from its end on. From then on, the connection is for that.
    fn follow(self: Box<Self>) -> Answer<'static, Box<dyn Follower>>;
}

/// Where appends come from.
pub(crate) trait Source: Send {
    fn next(&mut self) -> Option<Batch>;

    /// One of them is durable.
    fn done(&mut self);
}

/// What is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read<'a> {
    /// So many events from the beginning of the log.
    First(usize),
    /// The events with a tag.
    Tag(&'a str),
}

/// Events that were read, and the bytes of their data.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: usize,
    pub(crate) size: usize,
}

impl Tally {
    fn add(&mut self, data: &[u8]) {
        self.count += 1;
        self.size += data.len();
    }
}

/// Events as they come.
pub(crate) trait Follower: Send {
    /// How many events came, none of them before the last call.
    fn next(&mut self) -> Answer<'_, usize>;
}

/// A connection for gRPC, with what the server may send ahead on a call and on all of them.
async fn channel(address: SocketAddr, windows: [u32; 2]) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(windows[0])
        .initial_connection_window_size(windows[1]);
    Ok(endpoint.connect().await?)
}
