//! The contract suite over the network: a client, a server, and a store behind it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use quipu_core::contract::Harness;
use quipu_core::{EventStore, MemoryStore, Rights, Timestamp};
use quipu_engine::OpenOptions;
use quipu_server::config::Limits;
use quipu_server::server::Server;
use quipu_server::service::Service;
use quipu_wire::{Client, ClientOptions};
use tokio::runtime::Runtime;

mod over_memory {
    quipu_core::contract_tests!(super::OverMemory::new);
}

mod over_the_engine {
    quipu_core::contract_tests!(super::OverEngine::new);
}

/// All servers and clients of the suite run on it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A server and a client of it.
struct Served {
    server: Option<Server>,
    client: Mutex<Client>,
}

impl Served {
    /// Serves `store` to applications. Small pages, so that the cases meet batches that are split.
    fn new(store: Arc<dyn EventStore>, system: Arc<dyn EventStore>) -> Self {
        let limits = Limits { page_size_max: 16 << 10, ..Limits::default() };
        let service = Service::new(store, system, limits);
        RUNTIME.block_on(async {
            let address = "127.0.0.1:0".parse().unwrap();
            let server = Server::start(service, address, None).await.unwrap();
            let client = Mutex::new(connect(&server).await);
            Self { server: Some(server), client }
        })
    }

    fn client(&self) -> Arc<dyn EventStore> {
        Arc::new(self.client.lock().unwrap().clone())
    }

    /// Asks again which life of the log it is.
    fn identify(&self) {
        let client = self.client.lock().unwrap().clone();
        RUNTIME.block_on(client.identify()).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // Nobody waits for it: the runtime ends with the process.
            RUNTIME.spawn(server.stop());
        }
    }
}

async fn connect(server: &Server) -> Client {
    let uri = format!("http://{}", server.address());
    Client::connect(&uri, ClientOptions::default()).await.unwrap()
}

/// The store in memory behind two servers: one for applications, one with system rights.
struct OverMemory {
    store: MemoryStore,
    micros: Arc<AtomicI64>,
    application: Served,
    system: Served,
}

impl OverMemory {
    fn new() -> Self {
        let micros = Arc::new(AtomicI64::new(1_750_000_000_000_000));
        let clock = Arc::clone(&micros);
        let store = MemoryStore::with_clock(Arc::new(move || {
            Timestamp::from_micros(clock.load(Ordering::SeqCst))
        }));
        let system: Arc<dyn EventStore> = Arc::new(store.system());
        let application = Served::new(Arc::new(store.clone()), Arc::clone(&system));
        let system = Served::new(Arc::clone(&system), system);
        Self { store, micros, application, system }
    }
}

impl Harness for OverMemory {
    fn store(&self) -> Arc<dyn EventStore> {
        self.application.client()
    }

    fn system(&self) -> Arc<dyn EventStore> {
        self.system.client()
    }

    fn advance_clock(&self, by: Duration) -> bool {
        let micros = i64::try_from(by.as_micros()).expect("cases move the clock by hours at most");
        self.micros.fetch_add(micros, Ordering::SeqCst);
        true
    }

    fn scavenge(&self) -> bool {
        self.store.scavenge();
        true
    }

    fn begin_life(&self) -> bool {
        self.store.restore_as_new_life();
        self.application.identify();
        self.system.identify();
        true
    }

    fn enter(&self, body: &mut dyn FnMut()) {
        let _entered = RUNTIME.enter();
        body();
    }
}

/// The engine behind two servers: one for applications, one with system rights.
struct OverEngine {
    application: Served,
    system: Served,
    /// Outlives the servers.
    _directory: tempfile::TempDir,
}

impl OverEngine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions::new().create(true).segment_size(64 << 10).run_count(32);
        let engine = options.open(directory.path().join("log")).unwrap();
        let system: Arc<dyn EventStore> = Arc::new(engine.with_rights(Rights::System));
        let application = Served::new(Arc::new(engine), Arc::clone(&system));
        let system = Served::new(Arc::clone(&system), system);
        Self { application, system, _directory: directory }
    }
}

impl Harness for OverEngine {
    fn store(&self) -> Arc<dyn EventStore> {
        self.application.client()
    }

    fn system(&self) -> Arc<dyn EventStore> {
        self.system.client()
    }

    fn enter(&self, body: &mut dyn FnMut()) {
        let _entered = RUNTIME.enter();
        body();
    }
}
