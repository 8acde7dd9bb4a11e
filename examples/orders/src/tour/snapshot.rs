//! A snapshot: an aggregate with very many events need not be replayed each time.

use std::time::{Duration, Instant};

use quipu::{Loaded, Quipu};

use super::bulk::Bulk;
use super::scene::{Scene, ensure};
use super::till::{SaleRungUp, Till, TillId};
use crate::shop::Failure;

/// How many sales come after the snapshot.
const REST: u64 = 10;

pub(super) async fn run(scene: &Scene) -> Result<String, Failure> {
    let count = scene.count(100_000, 2_000) as u64;
    scene.say(format!("{count} sales are imported into one till ..."));
    let app = scene.open().await?;
    ring_up(&app, 0..count).await?;
    let (by_replay, replay_time) = load(&app).await?;
    ensure(by_replay.replayed_count == count, || {
        format!("{} of {count} events were replayed", by_replay.replayed_count)
    })?;
    scene.say(format!("Loaded by replay: {count} events in {}", show(replay_time)));
    app.settle_snapshots().await;
    ring_up(&app, count..count + REST).await?;
    drop(app);

    // Opened again, so that nothing in memory can help.
    let app = scene.open().await?;
    let (by_snapshot, snapshot_time) = load(&app).await?;
    scene.say(format!(
        "Loaded from a snapshot, then the rest: {} events in {}",
        by_snapshot.replayed_count,
        show(snapshot_time)
    ));
    let mut whole = Loaded::from_history(Till::of(till()), Vec::<SaleRungUp>::new());
    let mut changes = app.history(Till::of(till())).read().await?;
    while let Some(change) = changes.next().await? {
        if let Some(event) = change.event {
            whole.apply(event);
        }
    }
    let (found, expected) = (by_snapshot.state(), whole.state());
    ensure(found == expected && by_snapshot.revision() == whole.revision(), || {
        format!("from the snapshot it is {found:?}, by replay {expected:?}")
    })?;
    ensure(by_snapshot.replayed_count == REST, || {
        format!("{} events were replayed after the snapshot", by_snapshot.replayed_count)
    })?;
    scene.say(format!("Both say: {} sales, {} cents", expected.0, expected.1));
    Ok(format!(
        "{} events in {}, or {REST} in {}",
        count + REST,
        show(replay_time),
        show(snapshot_time)
    ))
}

fn till() -> TillId {
    TillId("1".to_owned())
}

async fn ring_up(app: &Quipu, numbers: std::ops::Range<u64>) -> Result<(), Failure> {
    let mut bulk = Bulk::default();
    for number in numbers {
        bulk.add(&SaleRungUp { till: till(), cents: 100 + number % 900 })?;
    }
    bulk.append(app).await
}

async fn load(app: &Quipu) -> Result<(Loaded<Till>, Duration), Failure> {
    let begun = Instant::now();
    let loaded = app.load(Till::of(till())).await?;
    Ok((loaded, begun.elapsed()))
}

fn show(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}
