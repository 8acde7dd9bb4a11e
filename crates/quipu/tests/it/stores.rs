//! The stores that every test runs on.

use std::sync::Arc;

use quipu::Quipu;
use quipu::core::MemoryStore;
use quipu_testing::served::Served;

/// Runs a test on the store in memory, on one that leaves gaps, on the engine, and on one that a
/// server holds.
pub(crate) async fn on_every_store<F: Future<Output = ()>>(test: impl Fn(Quipu) -> F) {
    test(Quipu::in_memory()).await;
    let gaps = MemoryStore::new();
    gaps.leave_gaps(7);
    test(Quipu::over(Arc::new(gaps))).await;
    let directory = tempfile::tempdir().unwrap();
    test(Quipu::open(directory.path().join("test.quipu")).await.unwrap()).await;
    if let Some(served) = Served::start() {
        test(Quipu::open_url(served.url()).await.unwrap()).await;
    }
}
