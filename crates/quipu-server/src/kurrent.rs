//! KurrentDB's client protocol, over the store as each caller may use it.

mod http;
mod operations;
mod users;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use quipu_core::{BoxFuture, EventStore, StorageError};
use quipu_kurrent::caller::{Caller, Denial, Operations, Users};
use quipu_kurrent::persistent_subscriptions::Subsystem;

use crate::security::{Access, Denied};
use crate::server::Peer;
pub(crate) use http::routes;
use operations::LastScavenge;
use users::Directory;

/// What the protocol needs to remember of a server, beside its store.
#[derive(Debug)]
pub(crate) struct State {
    directory: Directory,
    scavenge: LastScavenge,
    subscriptions: Arc<Subsystem>,
}

impl State {
    /// What is remembered of a server with this store, which is open with system rights.
    pub(crate) fn new(system: Arc<dyn EventStore>, owner: &str) -> Self {
        Self {
            directory: Directory::default(),
            scavenge: LastScavenge::default(),
            subscriptions: Arc::new(Subsystem::new(system, owner)),
        }
    }

    /// The persistent subscriptions.
    pub(crate) fn subscriptions(&self) -> &Arc<Subsystem> {
        &self.subscriptions
    }

    fn directory(&self) -> &Directory {
        &self.directory
    }

    fn scavenge(&self) -> &LastScavenge {
        &self.scavenge
    }
}

/// Lets handlers of the protocol find their caller in each request of the routes.
pub(crate) fn with_callers(routes: Router) -> Router {
    routes.layer(middleware::map_request(async |mut request: Request| {
        if let Some(access) = request.extensions().get::<Access>().cloned() {
            let peer = request.extensions().get::<Peer>();
            let caller: Arc<dyn Caller> = Arc::new(OwnCaller::new(access, peer));
            request.extensions_mut().insert(caller);
        }
        request
    }))
}

/// The address that a connection came in at.
fn address_of(peer: Option<&Peer>) -> SocketAddr {
    peer.map_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 2113)), |peer| peer.local)
}

/// Whoever makes a request, by what the gate has found out.
struct OwnCaller {
    access: Access,
    address: SocketAddr,
    peer: Option<SocketAddr>,
}

impl OwnCaller {
    fn new(access: Access, peer: Option<&Peer>) -> Self {
        Self { access, address: address_of(peer), peer: peer.map(|peer| peer.address) }
    }
}

impl Caller for OwnCaller {
    fn store(&self) -> Arc<dyn EventStore> {
        self.access.store()
    }

    fn reserved(&self) -> Arc<dyn EventStore> {
        self.access.reserved()
    }

    fn server_store(&self) -> Arc<dyn EventStore> {
        Arc::clone(self.access.service().system())
    }

    fn name(&self) -> &str {
        self.access.principal()
    }

    fn denial(&self, error: &StorageError) -> Option<Denial> {
        error.downcast_ref::<Denied>().map(denial_of)
    }

    fn still_holds(&self) -> Result<(), Denial> {
        self.access.still_holds().map_err(|denied| denial_of(&denied))
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn peer(&self) -> String {
        self.peer.map(|peer| peer.to_string()).unwrap_or_default()
    }

    fn users(&self) -> &dyn Users {
        self
    }

    fn subscriptions(&self) -> Arc<Subsystem> {
        Arc::clone(self.access.service().kurrent().subscriptions())
    }

    fn operations(&self) -> &dyn Operations {
        self
    }

    fn stopping(&self) -> BoxFuture<'static, ()> {
        let service = self.access.service().clone();
        Box::pin(async move { service.stopping().await })
    }
}

fn denial_of(denied: &Denied) -> Denial {
    match denied {
        Denied::Unauthenticated => Denial::Unauthenticated,
        Denied::Forbidden { .. } => Denial::Forbidden,
    }
}
