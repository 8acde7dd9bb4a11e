//! What is measured through the crate `kurrentdb`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kurrentdb::{
    BatchAppendOptions, Client, ClientSettings, EventData, PersistentSubscriptionToAllOptions,
    ReadAllOptions, ReadStreamOptions, StreamPosition, StreamState, SubscribeToAllOptions,
    SubscribeToPersistentSubscriptionOptions, SubscriptionEvent, SubscriptionFilter,
};
use uuid::Uuid;

use crate::{
    CATEGORY, CONSUMER_COUNT, DATA, Plan, RARE, RARE_EVERY, STREAM_LENGTH, by_callers, rate,
};

pub(crate) fn connect(address: &str) -> Client {
    let settings: ClientSettings = format!("kurrentdb://{address}?tls=false").parse().unwrap();
    Client::new(settings).unwrap()
}

fn event() -> EventData {
    let data = DATA.as_bytes().to_vec().into();
    EventData::binary("Transferred", data).id(Uuid::new_v4())
}

/// Appends a second by so many callers, each to a stream of its own.
pub(crate) async fn append(client: &Client, callers: usize, time: Duration) -> f64 {
    let client = client.clone();
    by_callers(callers, time, move |stream| {
        let client = client.clone();
        async move {
            client.append_to_stream(stream, &Default::default(), event()).await.unwrap();
            1
        }
    })
    .await
}

/// Events a second of batches of a hundred, one after the other.
pub(crate) async fn append_batches(client: &Client, time: Duration) -> f64 {
    let batches = client.batch_append(&BatchAppendOptions::default()).await.unwrap();
    let stream = format!("batch-{}", Uuid::new_v4());
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < time {
        let events = (0..100).map(|_| event()).collect();
        batches.append_to_stream(&stream, StreamState::Any, events).await.unwrap();
        count += 100;
    }
    rate(count, begin)
}

pub(crate) async fn read_all(client: &Client, events: usize) -> f64 {
    let begin = Instant::now();
    let options = ReadAllOptions::default().position(StreamPosition::Start).max_count(events);
    let mut read = client.read_all(&options).await.unwrap();
    let mut count = 0;
    while read.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, events);
    rate(count, begin)
}

/// Streams of the log, one after the other.
pub(crate) async fn read_streams(client: &Client, events: usize, time: Duration) -> f64 {
    let (begin, mut count) = (Instant::now(), 0);
    let options = ReadStreamOptions::default().position(StreamPosition::Start);
    for number in (0..events / STREAM_LENGTH).cycle() {
        let mut read = client.read_stream(format!("{CATEGORY}-{number}"), &options).await.unwrap();
        while read.next().await.unwrap().is_some() {
            count += 1;
        }
        if begin.elapsed() > time {
            break;
        }
    }
    rate(count, begin)
}

/// The category's stream, whose links are resolved.
pub(crate) async fn read_category(client: &Client, events: usize) -> f64 {
    let begin = Instant::now();
    let options = ReadStreamOptions::default().position(StreamPosition::Start).resolve_link_tos();
    let mut read = client.read_stream(format!("$ce-{CATEGORY}"), &options).await.unwrap();
    let mut count = 0;
    while let Some(event) = read.next().await.unwrap() {
        assert!(event.event.is_some());
        count += 1;
    }
    assert_eq!(count, events - events.div_ceil(RARE_EVERY));
    rate(count, begin)
}

/// Events of the log a second that a subscription passes, shown or not.
pub(crate) async fn subscribe(client: &Client, prefix: Option<&str>, events: usize) -> f64 {
    let begin = Instant::now();
    let mut options = SubscribeToAllOptions::default().position(StreamPosition::Start);
    if let Some(prefix) = prefix {
        let filter = SubscriptionFilter::on_stream_name().add_prefix(format!("{prefix}-"));
        options = options.filter(filter.max(1_000));
    }
    let wanted = prefix.map_or(events, |_| events.div_ceil(RARE_EVERY));
    let mut subscription = client.subscribe_to_all(&options).await;
    let mut count = 0;
    while count < wanted {
        match subscription.next_subscription_event().await.unwrap() {
            SubscriptionEvent::EventAppeared(_) => count += 1,
            SubscriptionEvent::CaughtUp(_) => break,
            _ => {}
        }
    }
    assert_eq!(count, wanted, "of {RARE}");
    rate(events, begin)
}

/// Acknowledged events a second of all consumers of one persistent subscription.
pub(crate) async fn consume(address: &str, group: &str, plan: Plan) -> f64 {
    let client = connect(address);
    let filter = SubscriptionFilter::on_stream_name().add_prefix(format!("{CATEGORY}-"));
    let options = PersistentSubscriptionToAllOptions::default()
        .start_from(StreamPosition::Start)
        .read_batch_size(500)
        .history_buffer_size(5_000)
        .filter(filter);
    client.create_persistent_subscription_to_all(group, &options).await.unwrap();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut consumers = Vec::new();
    for _ in 0..CONSUMER_COUNT {
        let options = SubscribeToPersistentSubscriptionOptions::default().buffer_size(100);
        let joined = client.subscribe_to_persistent_subscription_to_all(group, &options).await;
        let (mut consumer, acknowledged) = (joined.unwrap(), Arc::clone(&acknowledged));
        consumers.push(tokio::spawn(async move {
            while let Ok(event) = consumer.next().await {
                if consumer.ack(&event).await.is_err() {
                    break;
                }
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let (begin, before) = (Instant::now(), acknowledged.load(Ordering::Relaxed));
    tokio::time::sleep(plan.time).await;
    let measured = rate(acknowledged.load(Ordering::Relaxed) - before, begin);
    for consumer in consumers {
        consumer.abort();
    }
    client.delete_persistent_subscription_to_all(group, &Default::default()).await.unwrap();
    measured
}
