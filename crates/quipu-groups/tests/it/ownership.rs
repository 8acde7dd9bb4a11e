//! One of several instances runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quipu_core::{BoxFuture, ComponentKind, EventStore, MemoryStore, Timestamp};
use quipu_groups::{HandleError, Handler, Phase, PlaceKeeper, Runner, StorePlaces, Work};
use tokio::sync::watch;

use crate::sample::{Ledger, append, fill, runner};

const NAME: &str = "projection/ledger/v1";

#[tokio::test(start_paused = true)]
async fn of_two_runners_the_second_takes_over_when_the_first_stops() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let ledger = Arc::new(Ledger::default());
    let last = fill(&*store, 10, 2).await;
    let mut first = runner(&store, &ledger).spawn();
    first.wait_for(last).await.unwrap();
    let mut second = runner(&store, &ledger).spawn();

    assert_eq!(second.status().phase, Phase::Waiting);
    first.stop().await.unwrap();
    let last = fill(&*store, 10, 2).await;
    second.wait_for(last).await.unwrap();

    assert_eq!(ledger.count(), 20, "each event once");
    assert!(second.status().epoch > 1);
}

#[tokio::test(start_paused = true)]
async fn a_runner_whose_lease_another_took_steps_down_and_comes_back() {
    let micros = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&micros);
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::with_clock(Arc::new(move || {
        Timestamp::from_micros(clock.load(Ordering::SeqCst))
    })));
    let ledger = Arc::new(Ledger::default());
    let ttl = Duration::from_secs(9);
    let mut running = runner(&store, &ledger).lease_ttl(ttl).spawn();
    running.wait_until(|it| it.phase == Phase::Running).await.unwrap();

    // The store's clock runs ahead, as it seems to an instance that was suspended.
    micros.store(60_000_000, Ordering::SeqCst);
    let lease = store.leases().acquire(NAME, "other", ttl).await.unwrap();
    running.wait_until(|it| it.phase == Phase::Waiting).await.unwrap();
    store.leases().release(&lease).await.unwrap();
    let status = running.wait_until(|it| it.phase == Phase::Running && it.epoch > 2).await;

    assert_eq!(status.unwrap().epoch, lease.epoch + 1);
}

#[tokio::test(start_paused = true)]
async fn a_runner_whose_epoch_is_stale_steps_down_before_its_lease_is_over() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let ledger = Arc::new(Ledger::default());
    let ttl = Duration::from_secs(1_000_000);
    let last = fill(&*store, 10, 2).await;
    let mut running = runner(&store, &ledger).lease_ttl(ttl).spawn();
    running.wait_for(last).await.unwrap();

    // Another instance, which knows of no lease, has taken over the checkpoints.
    let places = StorePlaces::new(Arc::clone(&store), NAME);
    loop {
        let loaded = places.load().await.unwrap();
        if places.claim(7, &loaded, &loaded).await.is_ok() {
            break;
        }
    }
    let saved = places.load().await.unwrap();
    append(&*store, "a-1").await;
    running.wait_until(|it| it.phase == Phase::Waiting).await.unwrap();

    assert_eq!(places.load().await.unwrap(), saved, "the fenced one moved nothing");
}

/// Begins works and never ends them; counts those that are under way.
struct Endless(watch::Sender<u32>);

struct UnderWay<'a>(&'a watch::Sender<u32>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Handler for Endless {
    fn handle<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async {
            self.0.send_modify(|count| *count += 1);
            let _under_way = UnderWay(&self.0);
            std::future::pending().await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_work_under_way_is_dropped_when_the_lease_is_lost_or_the_runner_dropped() {
    let micros = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&micros);
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::with_clock(Arc::new(move || {
        Timestamp::from_micros(clock.load(Ordering::SeqCst))
    })));
    fill(&*store, 1, 1).await;
    let endless = Arc::new(Endless(watch::Sender::new(0)));
    let mut under_way = endless.0.subscribe();
    let handler: Arc<dyn Handler> = endless.clone();
    let runner = Runner::new(Arc::clone(&store), ComponentKind::Projection, "ledger", handler);
    let ttl = Duration::from_secs(9);
    let running = runner.lease_ttl(ttl).spawn();
    under_way.wait_for(|count| *count == 1).await.unwrap();

    micros.store(60_000_000, Ordering::SeqCst);
    let lease = store.leases().acquire(NAME, "other", ttl).await.unwrap();
    under_way.wait_for(|count| *count == 0).await.unwrap();
    store.leases().release(&lease).await.unwrap();
    under_way.wait_for(|count| *count == 1).await.unwrap();
    drop(running);
    under_way.wait_for(|count| *count == 0).await.unwrap();
}
