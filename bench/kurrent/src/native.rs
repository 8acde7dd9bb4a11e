//! The same through the native client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quipu_core::{
    Append, EventStore, ExpectedRevision, NewEvent, Query, QueryItem, ReadAll, ReadStream,
    StreamName,
};
use quipu_groups::group::{GroupConfig, Strategy};
use quipu_wire::{Client, ClientOptions};

use crate::{CATEGORY, CONSUMER_COUNT, DATA, Plan, STREAM_LENGTH, by_callers, rate};

pub(crate) async fn connect(address: &str) -> Client {
    Client::connect(&format!("http://{address}"), ClientOptions::default()).await.unwrap()
}

/// Events a second of appends of so many events by so many callers, each to a stream of its own.
pub(crate) async fn append(client: &Client, callers: usize, size: usize, time: Duration) -> f64 {
    let client = client.clone();
    by_callers(callers, time, move |stream| {
        let client = client.clone();
        async move {
            let stream = StreamName::new(stream).unwrap();
            let events = (0..size).map(|_| NewEvent::json("Transferred", DATA).unwrap());
            let append = Append::to_stream(stream, ExpectedRevision::Any, events);
            client.append(append).await.unwrap();
            size
        }
    })
    .await
}

pub(crate) async fn read_all(client: &Client, events: usize) -> f64 {
    let begin = Instant::now();
    let read = ReadAll::new(Query::all()).limit(events as u64);
    let mut read = client.read_all(read).await.unwrap();
    let mut count = 0;
    while let Some(batch) = read.batches.next().await.unwrap() {
        count +=
            batch.iter().map(|event| usize::from(!event.data_bytes().is_empty())).sum::<usize>();
    }
    assert_eq!(count, events);
    rate(count, begin)
}

/// Streams of the log, one after the other.
pub(crate) async fn read_streams(client: &Client, events: usize, time: Duration) -> f64 {
    let (begin, mut count) = (Instant::now(), 0);
    for number in (0..events / STREAM_LENGTH).cycle() {
        let stream = StreamName::new(format!("{CATEGORY}-{number}")).unwrap();
        let mut read = client.read_stream(ReadStream::new(stream)).await.unwrap();
        while let Some(batch) = read.batches.next().await.unwrap() {
            count += batch.count();
        }
        if begin.elapsed() > time {
            break;
        }
    }
    rate(count, begin)
}

/// Acknowledged events a second of all members of one group.
pub(crate) async fn consume(address: &str, name: &str, plan: Plan) -> f64 {
    let client = connect(address).await;
    let groups = client.groups();
    let item = QueryItem { category: Some(CATEGORY.to_owned()), ..QueryItem::default() };
    let config =
        GroupConfig { strategy: Strategy::RoundRobin, ..GroupConfig::new(name, Query::from(item)) };
    groups.create(&config).await.unwrap();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut members = Vec::new();
    for number in 0..CONSUMER_COUNT {
        let joined = groups.join(name, &format!("member-{number}"), 100).await;
        let (mut member, acknowledged) = (joined.unwrap(), Arc::clone(&acknowledged));
        members.push(tokio::spawn(async move {
            while let Ok(given) = member.next().await {
                if member.ack(given.iter().map(|own| own.number)).await.is_err() {
                    break;
                }
                acknowledged.fetch_add(given.len(), Ordering::Relaxed);
            }
        }));
    }
    let (begin, before) = (Instant::now(), acknowledged.load(Ordering::Relaxed));
    tokio::time::sleep(plan.time).await;
    let measured = rate(acknowledged.load(Ordering::Relaxed) - before, begin);
    for member in members {
        member.abort();
    }
    groups.delete(name).await.unwrap();
    measured
}
