//! Accepting connections, and stopping in order.

mod gate;
mod peer;
mod prompt;
mod record;
mod request_id;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::config::Limits;
use crate::service::Service;
use crate::{descriptors, grpc, http, security};
pub use gate::REQUEST_LOG;
pub(crate) use gate::Refusal;
pub(crate) use gate::basic;
pub(crate) use peer::Peer;
use prompt::Prompt;
pub use record::ACCESS_LOG;
pub use request_id::RequestId;
pub(crate) use request_id::on_behalf;
pub use tls::{Tls, TlsError, TlsFiles};

/// How long to wait after an accept that failed, for instance for lack of file descriptors: they
/// come back when connections end.
const ACCEPT_PATIENCE: Duration = Duration::from_millis(50);
/// How often it is on record that connections cannot be accepted.
const FAILING_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    service: Service,
    accepting: JoinHandle<()>,
    keeping: JoinHandle<()>,
    reloading: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and serves until [`stop`](Self::stop). With `tls`, nothing else is spoken on the
    /// port.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on: it is in use, or not this machine's.
    pub async fn start(
        service: Service,
        address: SocketAddr,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let handlers = Handlers {
            routes: gate::guard(http::routes().merge(grpc::routes(&service)), &service),
            store: grpc::Store::new(&service),
            service: service.clone(),
        };
        let reloading = tls.clone().map(|tls| tokio::spawn(tls.keep(service.clone())));
        let acceptor = Acceptor {
            listener,
            handlers,
            tls,
            slots: Arc::new(Semaphore::new(connection_count_max(&service.limits()))),
            service: service.clone(),
        };
        let accepting = tokio::spawn(acceptor.run());
        let keeping = tokio::spawn(security::keep(service.clone()));
        Ok(Self { address, service, accepting, keeping, reloading })
    }

    /// Where it listens: the port that the system chose, if it was asked to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: takes no more connections, ends subscriptions with the place to go on from, lets
    /// requests under way end, and cuts off what takes longer than the limit.
    pub async fn stop(self) {
        self.service.stop();
        // A panic in it is on record already, and there is nothing left to stop then.
        let _panicked = self.accepting.await;
        // Members are told by now. Another server can run their groups at once.
        self.service.groups().stop().await;
        self.service.kurrent().subscriptions().stop().await;
        let _panicked = self.keeping.await;
        if let Some(reloading) = self.reloading {
            let _panicked = reloading.await;
        }
    }
}

/// How many connections there may be: the store is to have the files that it needs, however many
/// clients come.
fn connection_count_max(limits: &Limits) -> usize {
    let wanted = limits.connection_count_max;
    match descriptors::for_connections() {
        Some(count) if count < wanted => {
            tracing::warn!(
                count,
                wanted,
                "the limit of file descriptors (ulimit -n) allows fewer connections than wanted"
            );
            count
        }
        _ => wanted,
    }
}

struct Acceptor {
    listener: TcpListener,
    handlers: Handlers,
    tls: Option<Tls>,
    slots: Arc<Semaphore>,
    service: Service,
}

impl Acceptor {
    async fn run(self) {
        let graceful = GracefulShutdown::new();
        let stopping = self.service.stopping();
        tokio::pin!(stopping);
        let mut failing = Failing::default();
        loop {
            let accepted = tokio::select! {
                () = &mut stopping => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer, slot)) => {
                    failing.is_over();
                    self.serve(stream, peer, slot, &graceful);
                }
                Err(error) => {
                    self.service.metrics().accept_failures.inc();
                    failing.because(&error);
                    tokio::time::sleep(ACCEPT_PATIENCE).await;
                }
            }
        }
        drop(self.listener);
        let drain = self.service.limits().drain_timeout;
        if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests took too long and were cut off");
        }
    }

    /// Waits for room, then for a connection: whoever comes meanwhile waits in the system's queue.
    async fn accept(&self) -> io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("never closed");
        let (stream, address) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        let peer = Peer { address, local: stream.local_addr()?, certificate: None };
        self.service.metrics().connections.inc();
        Ok((stream, peer, slot))
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: Peer,
        slot: OwnedSemaphorePermit,
        graceful: &GracefulShutdown,
    ) {
        let handlers = self.handlers.clone();
        let connections = connection_builder(&self.service.limits());
        let watcher = graceful.watcher();
        let acceptor = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config()));
        let handshake = self.service.limits().handshake_timeout;
        let stream = Prompt(stream);
        tokio::spawn(async move {
            let _slot = slot;
            let ended = match acceptor {
                None => {
                    let service = answering(handlers, peer);
                    let connection =
                        connections.serve_connection(TokioIo::new(stream), service).into_owned();
                    watcher.watch(connection).await
                }
                Some(tls) => match tokio::time::timeout(handshake, tls.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let shown = stream.get_ref().1.peer_certificates();
                        let certificate = shown.and_then(|chain| chain.first());
                        let certificate = certificate.map(peer::names_of);
                        let service = answering(handlers, Peer { certificate, ..peer });
                        let connection = connections
                            .serve_connection(TokioIo::new(stream), service)
                            .into_owned();
                        watcher.watch(connection).await
                    }
                    Ok(Err(error)) => Err(error.into()),
                    Err(_) => Err("the TLS handshake took too long".into()),
                },
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

/// Connections that cannot be accepted, one after the other: on record when that begins, now and
/// then, and when it is over.
#[derive(Default)]
struct Failing {
    count: u64,
    logged: Option<Instant>,
}

impl Failing {
    fn because(&mut self, error: &io::Error) {
        self.count += 1;
        if self.logged.is_none_or(|last| last.elapsed() >= FAILING_LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            let failures = self.count;
            tracing::error!(%error, failures, "connections cannot be accepted; they wait");
        }
    }

    fn is_over(&mut self) {
        if self.count > 0 {
            tracing::info!(failures = self.count, "connections are accepted again");
            *self = Self::default();
        }
    }
}

/// What requests are answered by. All of it is behind the gate.
#[derive(Clone)]
struct Handlers {
    routes: Router,
    store: grpc::Store,
    service: Service,
}

impl Handlers {
    async fn answer(self, request: Request<Incoming>) -> Result<Response, Infallible> {
        if !grpc::Store::has(request.uri().path()) {
            return self.routes.oneshot(request).await;
        }
        let next = |request| self.store.answer(request);
        Ok(gate::pass(self.service, request.map(Body::new), next).await)
    }
}

/// Answers the requests of one connection; each knows where it came from.
fn answering(
    handlers: Handlers,
    peer: Peer,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future: Send + 'static,
> + Send
+ 'static {
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        handlers.clone().answer(request)
    })
}

fn connection_builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_timeout)
        .max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.in_flight_max)
        .max_header_list_size(16 << 10)
        .max_pending_accept_reset_streams(20)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    builder
}
