//! One of several instances runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quipu_core::{EventStore, MemoryStore, Timestamp};
use quipu_groups::{Phase, PlaceKeeper, StorePlaces};

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
