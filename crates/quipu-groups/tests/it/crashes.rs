//! Runners that end in the middle of everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{EventStore, MemoryStore};
use quipu_engine::OpenOptions;

use crate::random::{Random, ShowSeed, seeds};
use crate::sample::{Ledger, append, parts, runner};

/// Runs and drops runners at random moments while events are appended, then lets one finish.
/// Answers what the log holds, by key.
async fn crash_often(
    store: &Arc<dyn EventStore>,
    ledger: &Arc<Ledger>,
    random: &mut Random,
    crashes: u64,
) -> BTreeMap<String, Vec<u64>> {
    let mut log = BTreeMap::<String, Vec<u64>>::new();
    let mut last = quipu_core::Position::START;
    for crash in 0..=crashes {
        for _ in 0..=random.below(30) {
            let key = format!("a-{}", random.below(12));
            last = append(&**store, &key).await;
            log.entry(key).or_default().push(last.get());
        }
        // Who crashes leaves a lease to wait for; who ends well must not lose it on a busy machine.
        let is_last = crash == crashes;
        let ttl = if is_last { Duration::from_mins(1) } else { Duration::from_millis(30) };
        let mut running = runner(store, ledger)
            .partitions(parts(1 + random.below(6) as u16))
            .batch(1 + random.below(10) as usize)
            .lease_ttl(ttl)
            .spawn();
        if is_last {
            running.wait_for(last).await.unwrap();
            running.stop().await.unwrap();
        } else {
            let count = ledger.count() + random.below(25) as usize;
            tokio::select! {
                () = ledger.wait_until(|it| it.count() >= count) => {}
                reached = running.wait_for(last) => reached.unwrap(),
            }
        }
    }
    log
}

/// Each key's events in the order in which they were handled first.
fn first_times(handled: &[u64]) -> Vec<u64> {
    let mut seen = Vec::new();
    for position in handled {
        if !seen.contains(position) {
            seen.push(*position);
        }
    }
    seen
}

#[tokio::test]
async fn nothing_is_missing_or_overtaken_however_often_a_runner_is_dropped() {
    for seed in seeds(3) {
        let _show = ShowSeed(seed);
        let mut random = Random::new(seed);
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let ledger = Arc::new(Ledger::default());

        let log = crash_often(&store, &ledger, &mut random, 12).await;

        let handled = ledger.by_key();
        assert_eq!(log.len(), handled.len());
        for (key, positions) in log {
            assert_eq!(first_times(&handled[&key]), positions, "{key}");
        }
    }
}

#[tokio::test]
async fn with_checkpoints_in_the_works_transaction_each_event_is_handled_once() {
    for seed in seeds(3) {
        let _show = ShowSeed(seed);
        let mut random = Random::new(seed);
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let ledger = Arc::new(Ledger::transactional());

        let log = crash_often(&store, &ledger, &mut random, 12).await;

        assert_eq!(ledger.by_key(), log);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_keeps_what_runners_need_across_crashes_and_openings() {
    for seed in seeds(1) {
        let _show = ShowSeed(seed);
        let mut random = Random::new(seed);
        let directory = tempfile::tempdir().unwrap();
        let open = || -> Arc<dyn EventStore> {
            let options = OpenOptions::new().create(true).segment_size(64 << 10);
            Arc::new(options.open(directory.path()).unwrap())
        };
        let ledger = Arc::new(Ledger::default());

        let store = open();
        let mut log = crash_often(&store, &ledger, &mut random, 5).await;
        drop(store);
        let store = open();
        let before = ledger.count();
        let more = crash_often(&store, &ledger, &mut random, 0).await;

        assert_eq!(ledger.count() - before, more.values().map(Vec::len).sum::<usize>());
        for (key, positions) in more {
            log.entry(key).or_default().extend(positions);
        }
        for (key, positions) in log {
            assert_eq!(first_times(&ledger.of_key(&key)), positions, "{key}");
        }
    }
}
