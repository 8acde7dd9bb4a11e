//! What a relay makes of a log.

use std::sync::{Arc, Mutex};

use quipu_core::{
    Append, BoxFuture, ComponentKind, ComponentState, EventStore, ExpectedRevision, MemoryStore,
    NewEvent, Position, StreamName,
};
use quipu_groups::OnError;
use quipu_relay::{Batch, CloudEvent, Relay, Sink, SinkError};

#[derive(Default)]
struct InMemory {
    cloud_events: Mutex<Vec<CloudEvent>>,
    refused: Mutex<Option<String>>,
}

impl InMemory {
    fn cloud_events(&self) -> Vec<CloudEvent> {
        self.cloud_events.lock().unwrap().clone()
    }

    fn ids(&self) -> Vec<String> {
        self.cloud_events().into_iter().map(|cloud_event| cloud_event.subject.unwrap()).collect()
    }
}

impl Sink for InMemory {
    fn publish<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let refused = self.refused.lock().unwrap().clone();
            for (published, cloud_event) in batch.cloud_events.iter().enumerate() {
                if refused.is_some() && cloud_event.subject == refused {
                    return Err(SinkError::Rejected { published, source: "refused".into() });
                }
                self.cloud_events.lock().unwrap().push(cloud_event.clone());
            }
            Ok(())
        })
    }
}

async fn append(store: &dyn EventStore, stream: &str, event: NewEvent) -> Position {
    let append = Append::new().event(StreamName::new(stream).unwrap(), event);
    store.append(append).await.unwrap().last.unwrap()
}

fn counted() -> NewEvent {
    NewEvent::json("Counted", "{}").unwrap()
}

fn memory() -> (Arc<dyn EventStore>, Arc<InMemory>) {
    (Arc::new(MemoryStore::new()), Arc::new(InMemory::default()))
}

fn relay(store: &Arc<dyn EventStore>, sink: &Arc<InMemory>) -> Relay {
    let sink: Arc<dyn Sink> = sink.clone();
    Relay::new(Arc::clone(store), "public", sink)
}

#[tokio::test(start_paused = true)]
async fn a_cloud_event_says_where_it_comes_from_and_what_caused_it() {
    let (store, sink) = memory();
    let metadata = r#"{"$correlationId":"c","$causationId":"b","$actor":"ada","traceparent":"t"}"#;
    let event = counted().with_metadata(metadata);
    let id = event.id;
    let last = append(&*store, "order-1", event).await;

    let mut running = relay(&store, &sink).source("https://example.com/orders").spawn();
    running.wait_for(last).await.unwrap();

    let cloud_event = &sink.cloud_events()[0];
    assert_eq!(cloud_event.id, id.to_string());
    assert_eq!(cloud_event.source.as_deref(), Some("https://example.com/orders"));
    assert_eq!(cloud_event.event_type, "Counted");
    assert_eq!(cloud_event.key.as_deref(), Some("order-1"));
    let extensions: Vec<_> = cloud_event
        .extensions
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected =
        [("causationid", "b"), ("correlationid", "c"), ("position", "1"), ("traceparent", "t")];
    assert_eq!(extensions, expected, "who did it stays inside");
}

#[tokio::test(start_paused = true)]
async fn what_maps_to_nothing_stays_private_and_is_passed() {
    let (store, sink) = memory();
    for number in 0..10 {
        append(&*store, &format!("order-{number}"), counted()).await;
    }

    let relay = relay(&store, &sink).map(|event| {
        let is_public = event.position.get() % 3 == 0;
        Ok(is_public.then(|| CloudEvent::of(event)))
    });
    let mut running = relay.spawn();
    running.wait_for(Position::new(10)).await.unwrap();
    running.stop().await.unwrap();

    assert_eq!(sink.ids(), ["order-2", "order-5", "order-8"]);
    let components = store.registry().components().await.unwrap();
    assert_eq!(components[0].key.kind, ComponentKind::Relay);
    assert_eq!(components[0].lag, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_cloud_event_is_parked_and_the_others_go_out_once() {
    let (store, sink) = memory();
    *sink.refused.lock().unwrap() = Some("order-3".to_owned());
    for number in 0..10 {
        append(&*store, &format!("order-{}", number % 5), counted()).await;
    }

    let on_error = OnError::retry(1).then_park();
    // What is private lies between, so that cloud events and events are not counted alike.
    let relay = relay(&store, &sink)
        .on_error(on_error)
        .map(|event| Ok((event.stream.as_str() != "order-1").then(|| CloudEvent::of(event))));
    let mut running = relay.spawn();
    let status = running.wait_until(|it| it.parked_count == 2).await.unwrap();

    running.wait_for(Position::new(10)).await.unwrap();
    assert_eq!(status.last_error.as_deref(), Some("refused"));
    assert_eq!(sink.ids(), ["order-0", "order-2", "order-4", "order-0", "order-2", "order-4"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_mapped_stops_the_relay_with_its_place_and_cause() {
    let (store, sink) = memory();
    for stream in ["order-1", "order-2", "order-3"] {
        append(&*store, stream, counted()).await;
    }

    let relay = relay(&store, &sink).on_error(OnError::retry(1)).map(|event| {
        let cloud_event = CloudEvent::of(event);
        let is_bad = event.position.get() == 2;
        Ok(Some(if is_bad { cloud_event.with_extension("Not-A-Name", "") } else { cloud_event }))
    });
    let mut running = relay.spawn();
    let status = running.wait_until(|it| it.state == ComponentState::Stopped).await.unwrap();

    assert_eq!(status.stopped[0].position.get(), 2);
    assert!(status.stopped[0].cause.contains("Not-A-Name"), "{status:?}");
    assert_eq!(sink.ids(), ["order-1"], "what comes before it is out, once");
}

#[tokio::test(start_paused = true)]
async fn reserved_events_are_not_published() {
    let (store, sink) = memory();
    append(&*store, "$quipu.notes", counted()).await;
    let last = append(&*store, "order-1", counted()).await;

    let mut running = relay(&store, &sink).spawn();
    running.wait_for(last).await.unwrap();

    assert_eq!(sink.ids(), ["order-1"]);
}

/// On a compacted topic a deleted stream's key is to go too.
#[tokio::test(start_paused = true)]
async fn deleted_streams_of_a_category_are_published_without_data() {
    let (store, sink) = memory();
    let name = |stream| StreamName::new(stream).unwrap();
    for stream in ["order-1", "order-2", "secret-1"] {
        append(&*store, stream, counted()).await;
    }
    store.tombstone(name("order-1"), ExpectedRevision::Any).await.unwrap();
    for stream in ["order-2", "secret-1"] {
        store.delete(name(stream), ExpectedRevision::Any).await.unwrap();
    }
    let last = store.frontier().await.unwrap();

    let relay = relay(&store, &sink).query("category:order type:Counted".parse().unwrap());
    let mut running = relay.tombstones("order").spawn();
    running.wait_for(last).await.unwrap();

    let told: Vec<_> = sink
        .cloud_events()
        .iter()
        .map(|it| (it.event_type.clone(), it.key.clone().unwrap(), it.data.is_some()))
        .collect();
    let told: Vec<_> = told.iter().map(|it| (it.0.as_str(), it.1.as_str(), it.2)).collect();
    assert_eq!(
        told,
        [
            ("Counted", "order-1", true),
            ("Counted", "order-2", true),
            ("$streamDeleted", "order-1", false),
            ("$streamDeleted", "order-2", false),
        ]
    );
}
