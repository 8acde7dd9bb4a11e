//! A server that does nothing, to show what calls cost by themselves.

use std::net::SocketAddr;

use bytes::Bytes;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use super::proto::echo::Payload;
use super::proto::echo::echo_client::EchoClient;
use super::proto::echo::echo_server::{self, EchoServer};
use super::{Result, channel};

/// A connection of its own to the server.
pub(crate) struct Echo {
    calls: EchoClient<Channel>,
    /// As many bytes as an append of one event has.
    payload: Bytes,
}

impl Echo {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let channel = channel(address, [1 << 20, 4 << 20]).await?;
        Ok(Self { calls: EchoClient::new(channel), payload: vec![b'e'; 400].into() })
    }

    pub(crate) async fn call(&mut self) -> Result<()> {
        let data = self.payload.clone();
        let answer = self.calls.call(Payload { data }).await?.into_inner();
        if answer.data.len() == self.payload.len() { Ok(()) } else { Err("not an echo".into()) }
    }
}

struct Answering;

#[tonic::async_trait]
impl echo_server::Echo for Answering {
    async fn call(
        &self,
        request: Request<Payload>,
    ) -> std::result::Result<Response<Payload>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let server = Server::builder().tcp_nodelay(true).add_service(EchoServer::new(Answering));
    Ok(server.serve(address).await?)
}
