//! What operators see and ask for.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    BoxFuture, ComponentKind, ComponentRequest, ComponentState, EventStore, MemoryStore, Position,
    Query, SubscribeFrom,
};
use quipu_groups::{HandleError, Handler, RunError, Runner, Work};

use crate::sample::{Ledger, append, component, fill, parts, reported, runner};

fn memory() -> Arc<dyn EventStore> {
    Arc::new(MemoryStore::new())
}

#[tokio::test(start_paused = true)]
async fn a_paused_component_stands_still_until_it_is_resumed() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    let mut running = runner(&store, &ledger).spawn();
    running.wait_until(|it| it.state == ComponentState::Live).await.unwrap();

    store.registry().request(&component(), ComponentRequest::Pause).await.unwrap();
    running.wait_until(|it| it.state == ComponentState::Paused).await.unwrap();
    let last = fill(&*store, 10, 2).await;
    store.registry().request(&component(), ComponentRequest::Resume).await.unwrap();
    running.wait_for(last).await.unwrap();

    assert_eq!(ledger.count(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_replay_handles_everything_behind_the_place_again() {
    for ledger in [Ledger::default(), Ledger::transactional()] {
        let (store, ledger) = (memory(), Arc::new(ledger));
        let last = fill(&*store, 20, 1).await;
        let mut running = runner(&store, &ledger).spawn();
        running.wait_for(last).await.unwrap();

        let replay = ComponentRequest::ReplayFrom(Position::new(15));
        store.registry().request(&component(), replay).await.unwrap();
        ledger.wait_until(|it| it.count() == 25).await;
        running.wait_for(last).await.unwrap();

        let expected: Vec<u64> = (1..=20).chain(16..=20).collect();
        assert_eq!(ledger.of_key("a-0"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_registry_tells_how_a_component_is() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    let last = fill(&*store, 10, 2).await;
    let mut running = runner(&store, &ledger).owner("ada").spawn();
    running.wait_until(|it| it.state == ComponentState::Live).await.unwrap();
    running.wait_for(last).await.unwrap();
    let epoch = running.status().epoch;

    running.stop().await.unwrap();

    let status = reported(&*store).await;
    assert_eq!((status.owner.as_str(), status.epoch), ("ada", epoch));
    assert_eq!((status.position, status.lag), (last, 0));
    assert_eq!(status.state, ComponentState::Live);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_partitions_changes_without_handling_anything_again() {
    for ledger in [Ledger::default(), Ledger::transactional()] {
        let (store, ledger) = (memory(), Arc::new(ledger));
        let mut expected = 0;
        for count in [1, 8, 3, 1_024, 2] {
            let last = fill(&*store, 50, 25).await;
            expected += 50;

            let mut running = runner(&store, &ledger).partitions(parts(count)).spawn();
            running.wait_for(last).await.unwrap();
            running.stop().await.unwrap();

            assert_eq!(ledger.count(), expected, "with {count} partitions");
        }
        for (key, positions) in ledger.by_key() {
            assert!(positions.is_sorted(), "{key}: {positions:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_begins_where_it_is_told_once() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    fill(&*store, 5, 1).await;
    let from_end = || runner(&store, &ledger).from(SubscribeFrom::End);

    let mut running = from_end().spawn();
    running.wait_until(|it| it.state == ComponentState::Live).await.unwrap();
    running.stop().await.unwrap();
    let last = fill(&*store, 3, 1).await;
    let mut running = from_end().spawn();
    running.wait_for(last).await.unwrap();

    assert_eq!(ledger.of_key("a-0"), [6, 7, 8], "the second start goes on at the checkpoint");
}

#[tokio::test(start_paused = true)]
async fn events_that_do_not_match_move_the_checkpoint_too() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    let query: Query = "stream:b-1".parse().unwrap();
    let mut running = runner(&store, &ledger).query(query).partitions(parts(4)).spawn();
    append(&*store, "b-1").await;

    let last = fill(&*store, 100, 5).await;
    running.wait_for(last).await.unwrap();
    running.stop().await.unwrap();

    assert_eq!(ledger.count(), 1);
    assert_eq!(reported(&*store).await.lag, 0);
}

#[tokio::test(start_paused = true)]
async fn versions_of_a_component_run_side_by_side() {
    let (store, old, new) = (memory(), Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let last = fill(&*store, 10, 2).await;

    let mut first = runner(&store, &old).spawn();
    let mut second = runner(&store, &new).version(2).lease_ttl(Duration::from_mins(1)).spawn();
    first.wait_for(last).await.unwrap();
    second.wait_for(last).await.unwrap();

    assert_eq!((old.count(), new.count()), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn a_component_that_cannot_go_on_says_why() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    let beyond = SubscribeFrom::After(Position::new(1_000));

    let ended = runner(&store, &ledger).from(beyond).spawn().ended().await;

    assert!(matches!(ended, Err(RunError::Keep(_))), "{ended:?}");
    let status = reported(&*store).await;
    assert_eq!(status.state, ComponentState::Stopped);
    let error = status.last_error.unwrap();
    assert!(error.contains("position 1000 is beyond the end of the log"), "{error}");
}

/// Waits to be promoted.
struct Candidate(tokio::sync::watch::Sender<u64>);

impl Handler for Candidate {
    fn handle<'a>(&'a self, _work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async { Ok(()) })
    }

    fn promote(&self, epoch: u64) -> BoxFuture<'_, Result<(), HandleError>> {
        self.0.send_replace(epoch);
        Box::pin(async { Err(HandleError::failed("not ready")) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_shows_as_the_last_error() {
    let (store, candidate) = (memory(), Arc::new(Candidate(tokio::sync::watch::Sender::new(0))));
    let mut promoted = candidate.0.subscribe();
    let handler: Arc<dyn Handler> = candidate.clone();
    let runner = Runner::new(Arc::clone(&store), ComponentKind::Projection, "ledger", handler);
    let mut running = runner.spawn();
    running.wait_until(|it| it.state == ComponentState::Live).await.unwrap();

    store.registry().request(&component(), ComponentRequest::Promote).await.unwrap();
    promoted.wait_for(|epoch| *epoch == 1).await.unwrap();
    let status = running.wait_until(|it| it.last_error.is_some()).await.unwrap();

    assert!(status.last_error.unwrap().contains("not ready"));
    assert_eq!(running.status().state, ComponentState::Live, "the work goes on");
}
