//! What it costs that many follow: the database is asked for what somebody follows, and by nobody else.

use std::time::Duration;

use quipu_core::{
    Append, Delivery, EventStore, NewEvent, Position, Query, StreamName, Subscribe, SubscribeFrom,
    Subscription,
};
use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_testing::postgres::Server;

const FOLLOWER_COUNT: usize = 200;
const EVENT_COUNT: usize = 40;

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// A server that counts statements.
fn counting() -> Option<Server> {
    let server = Server::start_with(&[
        "fsync=off",
        "shared_preload_libraries=pg_stat_statements",
        "pg_stat_statements.track=top",
    ])?;
    server.sql("postgres", "create extension pg_stat_statements");
    Some(server)
}

/// How often events were read: pages of streams, of the log, of queries.
fn count_reads(server: &Server) -> usize {
    let sql = "select coalesce(sum(calls), 0) from pg_stat_statements
        where query like '%e.position, e.revision, e.recorded_at%'";
    server.sql("postgres", sql).parse().unwrap()
}

async fn open(server: &Server) -> PostgresStore {
    let options: PostgresOptions = server.socket_url("postgres").parse().unwrap();
    options.create(true).open().await.unwrap()
}

async fn append(store: &PostgresStore, name: &str, tag: &str) -> Position {
    let event = NewEvent::json("A", "{}").unwrap().with_tag(tag).unwrap();
    store.append(Append::new().event(stream(name), event)).await.unwrap().last.unwrap()
}

/// Waits in the background, and counts the events that come.
fn follow(mut subscription: Box<dyn Subscription>) -> tokio::sync::watch::Receiver<usize> {
    let (tell, told) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        while let Ok(delivery) = subscription.next().await {
            if let Delivery::Events(batch) = delivery {
                tell.send_modify(|count| *count += batch.count());
            }
        }
    });
    told
}

/// Appends to what one of many follows, and waits each time until it came.
async fn measure(
    server: &Server,
    store: &PostgresStore,
    followers: &mut [tokio::sync::watch::Receiver<usize>],
) {
    let one = FOLLOWER_COUNT / 2;
    // They all come to their end before it is counted.
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.sql("postgres", "select pg_stat_statements_reset()");
    for number in 1..=EVENT_COUNT {
        append(store, &format!("s-{one}"), &format!("n:{one}")).await;
        let came = followers[one].wait_for(|count| *count == number);
        let came = tokio::time::timeout(Duration::from_mins(1), came).await;
        came.expect("what is followed comes").unwrap();
    }
    let reads = count_reads(server);

    assert!(reads >= EVENT_COUNT, "{reads} reads were counted");
    // One reads for each event, and may do so once more where it was called while it read.
    assert!(reads <= EVENT_COUNT * 3, "{reads} reads");
    let others: usize = followers.iter().map(|it| *it.borrow()).sum();
    assert_eq!(others, EVENT_COUNT, "nobody else got anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_follow_streams_only_those_of_the_stream_read() {
    let Some(server) = counting() else { return };
    let store = open(&server).await;
    let mut followers = Vec::new();
    for number in 0..FOLLOWER_COUNT {
        let stream = stream(&format!("s-{number}"));
        let subscribe = Subscribe::Stream { stream, from: SubscribeFrom::Start };
        followers.push(follow(store.subscribe(subscribe).await.unwrap()));
    }

    measure(&server, &store, &mut followers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_follow_queries_only_those_that_match_read() {
    let Some(server) = counting() else { return };
    let store = open(&server).await;
    let mut followers = Vec::new();
    for number in 0..FOLLOWER_COUNT {
        let query: Query = format!("tag:n:{number}").parse().unwrap();
        let subscribe = Subscribe::All { query, from: SubscribeFrom::Start };
        followers.push(follow(store.subscribe(subscribe).await.unwrap()));
    }

    measure(&server, &store, &mut followers).await;
}

/// What another node appends is seen by looking, and what a transaction of somebody's own appends too.
#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_stream_gets_what_other_nodes_and_transactions_append() {
    let Some(server) = Server::start() else { return };
    let (store, other) = (open(&server).await, open(&server).await);
    let subscribe = Subscribe::Stream { stream: stream("s-1"), from: SubscribeFrom::Start };
    let mut came = follow(store.subscribe(subscribe).await.unwrap());
    let mut wait_for = async |count| {
        let waited = tokio::time::timeout(Duration::from_mins(1), came.wait_for(|it| *it == count));
        waited.await.expect("it comes").unwrap();
    };

    append(&other, "s-1", "n:1").await;
    wait_for(1).await;
    let pool = sqlx::PgPool::connect(&server.url("postgres")).await.unwrap();
    let mut held = pool.begin().await.unwrap();
    let event = || NewEvent::json("A", "{}").unwrap();
    store.append_in(&mut held, Append::new().event(stream("s-2"), event())).await.unwrap();
    // The frontier is held back, and a stream's reader is not.
    append(&other, "s-1", "n:1").await;
    wait_for(2).await;
    // This one has a lower place than what was already told of.
    let mut late = pool.begin().await.unwrap();
    store.append_in(&mut late, Append::new().event(stream("s-3"), event())).await.unwrap();
    store.append_in(&mut late, Append::new().event(stream("s-1"), event())).await.unwrap();
    append(&other, "s-4", "n:1").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    late.commit().await.unwrap();
    wait_for(3).await;
    // The database may have ended it by now.
    held.rollback().await.ok();
}
