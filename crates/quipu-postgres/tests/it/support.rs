//! Stores of their own for tests: each in a schema of the one server that the tests share.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_testing::postgres::Server;
use tokio::runtime::Runtime;

/// What stores run on that are used from threads of their own.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// The server that the tests share; none where it is not installed.
pub(crate) fn server() -> Option<&'static Server> {
    Server::shared()
}

/// Options of a store in a schema that nothing is in yet.
pub(crate) fn fresh(server: &Server) -> PostgresOptions {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    in_schema(server, &format!("t{number}"))
}

pub(crate) fn in_schema(server: &Server, schema: &str) -> PostgresOptions {
    let options: PostgresOptions = server.socket_url("postgres").parse().unwrap();
    options.schema(schema).unwrap().connections(8.try_into().unwrap()).create(true)
}

pub(crate) async fn open(options: PostgresOptions) -> PostgresStore {
    options.open().await.unwrap()
}
