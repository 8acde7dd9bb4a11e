//! The contract suite against `quipu serve`, a process of its own.

use std::sync::{Arc, LazyLock, Mutex};

use quipu_core::contract::Harness;
use quipu_core::{EventStore, Rights};
use quipu_wire::{Client, ClientOptions};
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::support::{Running, Store};

quipu_core::contract_tests!(Process::new);

/// All clients of the suite run on it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A server in a process of its own, on a directory of its own.
struct Process {
    serving: Mutex<Serving>,
    store: Store,
}

/// The process while it runs, and how it is reached.
struct Serving {
    running: Running,
    application: Client,
    system: Client,
}

impl Serving {
    fn start(store: &Store) -> Self {
        let options = ["serve", "--listen", "127.0.0.1:0", "--print-address"];
        let running = store.start(&options);
        let url = running.line();
        let connect = |rights| {
            let options = ClientOptions { rights, ..ClientOptions::default() };
            RUNTIME.block_on(Client::connect(&url, options)).unwrap()
        };
        let (application, system) = (connect(Rights::Application), connect(Rights::System));
        Self { running, application, system }
    }
}

impl Process {
    fn new() -> Self {
        let store = Store::missing();
        Self { serving: Mutex::new(Serving::start(&store)), store }
    }

    /// Ends the server as those who operate it do, and starts it again after `between`.
    fn restart(&self, between: impl FnOnce()) {
        let mut serving = self.serving.lock().unwrap();
        serving.running.signal(Signal::TERM);
        assert_eq!(serving.running.wait(), Some(0), "the server ends in order");
        between();
        *serving = Serving::start(&self.store);
    }
}

impl Harness for Process {
    fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.serving.lock().unwrap().application.clone())
    }

    fn system(&self) -> Arc<dyn EventStore> {
        Arc::new(self.serving.lock().unwrap().system.clone())
    }

    fn scavenge(&self) -> bool {
        let client = self.serving.lock().unwrap().application.clone();
        RUNTIME.block_on(client.scavenge(Some(0), &mut |_| {})).unwrap();
        true
    }

    fn begin_life(&self) -> bool {
        self.restart(|| {
            let backup = self.store.path("backup");
            let backup = backup.to_str().unwrap();
            self.store.run(&["backup", backup]).ok();
            std::fs::remove_dir_all(self.store.data()).unwrap();
            self.store.run(&["restore", backup]).ok();
            std::fs::remove_dir_all(backup).unwrap();
        });
        true
    }

    fn reopen(&self) -> bool {
        self.restart(|| {});
        true
    }

    fn enter(&self, body: &mut dyn FnMut()) {
        let _entered = RUNTIME.enter();
        body();
    }
}
