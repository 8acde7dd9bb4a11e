//! What happens to events that cannot be handled.

use std::sync::Arc;

use quipu_core::{
    ComponentRequest, ComponentState, EventStore, MemoryStore, ReadStream, StreamName, collect,
};
use quipu_groups::slice_of;

use crate::sample::{Ledger, append, component, fill, parts, reported, retry, runner};

fn memory() -> Arc<dyn EventStore> {
    Arc::new(MemoryStore::new())
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_stops_its_partition_and_the_others_go_on() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    ledger.change(|state| state.poisoned.extend(["a-3".to_owned()]));
    fill(&*store, 200, 20).await;

    let mut running = runner(&store, &ledger).partitions(parts(8)).spawn();
    let status = running.wait_until(|it| !it.stopped.is_empty()).await.unwrap();
    let slices = status.stopped[0].slices;
    let others: Vec<_> = (0..20)
        .map(|number| format!("a-{number}"))
        .filter(|key| !slices.contains(slice_of(key)))
        .collect();
    ledger.wait_until(|it| others.iter().all(|key| it.of_key(key).len() == 10)).await;
    let status = running.status();

    assert_eq!(status.state, ComponentState::Stopped);
    assert_eq!(status.stopped.len(), 1);
    assert_eq!((status.stopped[0].key.as_str(), status.stopped[0].position.get()), ("a-3", 4));
    assert_eq!(status.stopped[0].cause, "poison");
    assert!(status.position.get() < 4, "the checkpoint stays before it");
    assert!(ledger.of_key("a-3").is_empty());
    assert!(others.len() >= 10);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_partition_goes_on_where_it_stopped_when_asked_to_retry() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    ledger.change(|state| state.poisoned.extend(["a-3".to_owned()]));
    let last = fill(&*store, 200, 20).await;
    let mut running = runner(&store, &ledger).partitions(parts(8)).spawn();
    running.wait_until(|it| it.state == ComponentState::Stopped).await.unwrap();

    ledger.change(|state| state.poisoned.clear());
    store.registry().request(&component(), ComponentRequest::Retry(None)).await.unwrap();
    running.wait_for(last).await.unwrap();

    for (key, positions) in ledger.by_key() {
        assert_eq!(positions.len(), 10, "{key} was handled once each");
        assert!(positions.is_sorted(), "{key}: {positions:?}");
    }
    assert_eq!(ledger.count(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_partition_leaves_the_event_out_when_asked_to_drop_it() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    let poison = append(&*store, "a-0").await;
    ledger.change(|state| state.poisoned.extend(["a-0".to_owned()]));
    let mut running = runner(&store, &ledger).spawn();
    running.wait_until(|it| it.state == ComponentState::Stopped).await.unwrap();

    let drop = ComponentRequest::Drop(Some(poison));
    store.registry().request(&component(), drop).await.unwrap();
    running.wait_for(poison).await.unwrap();

    assert_eq!(ledger.count(), 0);
    assert_eq!(notes(&*store).await, [("$quipu.skipped".to_owned(), poison.get())]);
}

#[tokio::test(start_paused = true)]
async fn the_later_events_of_a_parked_key_wait_behind_it() {
    for ledger in [Ledger::default(), Ledger::transactional()] {
        let (store, ledger) = (memory(), Arc::new(ledger));
        ledger.change(|state| state.poisoned.extend(["a-1".to_owned()]));
        let last = fill(&*store, 30, 3).await;

        let mut running = runner(&store, &ledger).on_error(retry(1).then_park()).spawn();
        running.wait_for(last).await.unwrap();
        let status = running.wait_until(|it| it.parked_count == 10).await.unwrap();
        assert_eq!(status.state, ComponentState::Live, "the other keys go on");
        assert_eq!((ledger.of_key("a-0").len(), ledger.of_key("a-1").len()), (10, 0));

        // Another instance knows what is parked, and tells it.
        running.stop().await.unwrap();
        let mut running = runner(&store, &ledger).on_error(retry(1).then_park()).spawn();
        running.wait_until(|it| it.parked_count == 10).await.unwrap();
        let parked = reported(&*store).await.parked;
        assert_eq!(parked.iter().map(|item| item.position.get()).collect::<Vec<_>>(), expected());
        assert_eq!((parked[0].key.as_str(), parked[0].cause.as_str()), ("a-1", "poison"));

        ledger.change(|state| state.poisoned.clear());
        store.registry().request(&component(), ComponentRequest::Retry(None)).await.unwrap();
        running.wait_until(|it| it.parked_count == 0).await.unwrap();
        assert_eq!(ledger.of_key("a-1"), expected());
    }
}

/// The positions of `a-1`.
fn expected() -> Vec<u64> {
    (0..10).map(|round| round * 3 + 2).collect()
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_fails_leaves_the_key_parked() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    ledger.change(|state| state.poisoned.extend(["a-0".to_owned()]));
    let first = append(&*store, "a-0").await;
    let second = append(&*store, "a-0").await;
    let mut running = runner(&store, &ledger).on_error(retry(0).then_park()).spawn();
    running.wait_until(|it| it.parked_count == 2).await.unwrap();
    let attempts = ledger.attempts();

    store.registry().request(&component(), ComponentRequest::Retry(Some(second))).await.unwrap();
    ledger.wait_until(|it| it.attempts() > attempts).await;
    ledger.change(|state| state.poisoned.clear());
    store.registry().request(&component(), ComponentRequest::Drop(Some(first))).await.unwrap();
    running.wait_until(|it| it.parked_count == 1).await.unwrap();
    store.registry().request(&component(), ComponentRequest::Retry(Some(second))).await.unwrap();
    running.wait_until(|it| it.parked_count == 0).await.unwrap();

    assert_eq!(ledger.of_key("a-0"), [second.get()]);
}

#[tokio::test(start_paused = true)]
async fn a_skipped_event_is_on_record() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    ledger.change(|state| state.poisoned.extend(["a-1".to_owned()]));
    let last = fill(&*store, 6, 3).await;

    let mut running = runner(&store, &ledger).on_error(retry(1).then_skip()).spawn();
    running.wait_for(last).await.unwrap();

    assert_eq!(ledger.count(), 4);
    let skipped = |position| ("$quipu.skipped".to_owned(), position);
    assert_eq!(notes(&*store).await, [skipped(2), skipped(5)]);
}

/// Types and positions in the stream of what was set aside.
async fn notes(store: &dyn EventStore) -> Vec<(String, u64)> {
    let stream = StreamName::new("$quipu.parked-projection/ledger/v1").unwrap();
    let read = store.read_stream(ReadStream::new(stream)).await.unwrap();
    let events = collect(read.batches).await.unwrap();
    let note = |event: &quipu_core::RecordedEvent| {
        let data: serde_json::Value =
            serde_json::from_slice(event.data.present().unwrap()).unwrap();
        (event.event_type.to_string(), data["position"].as_u64().unwrap())
    };
    events.iter().map(note).collect()
}

#[tokio::test(start_paused = true)]
async fn a_world_that_is_down_is_tried_again_for_as_long_as_it_takes() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    ledger.change(|state| state.is_down = true);
    let last = fill(&*store, 10, 2).await;

    let mut running = runner(&store, &ledger).on_error(retry(1)).spawn();
    ledger.wait_until(|it| it.attempts() >= 20).await;
    assert_eq!(running.status().stopped, []);
    running.wait_until(|it| it.state == ComponentState::Retrying).await.unwrap();
    assert_eq!(running.status().last_error.as_deref(), Some("the database is down"));
    ledger.change(|state| state.is_down = false);

    running.wait_for(last).await.unwrap();
    assert_eq!(ledger.count(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_is_an_event_at_fault() {
    let (store, ledger) = (memory(), Arc::new(Ledger::default()));
    append(&*store, "a-1").await;
    // The lock of the ledger is poisoned by the panic, so that it is looked at no more.
    ledger.change(|state| state.panicking.extend(["a-1".to_owned()]));

    let mut running = runner(&store, &ledger).on_error(retry(0)).spawn();
    let status = running.wait_until(|it| !it.stopped.is_empty()).await.unwrap();

    assert_eq!(status.stopped[0].position.get(), 1);
    assert!(status.stopped[0].cause.contains("a bug in the handler"), "{status:?}");
}
