//! Connections that break, databases that go away and come back, and what is in the way.

use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    Append, AppendError, Delivery, Direction, EventStore, EventType, ExpectedRevision, NewEvent,
    Query, ReadAll, ReadError, ReadIndex, ReadStream, Revision, StreamName, StreamState, Subscribe,
    SubscribeFrom, Term, collect,
};
use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_testing::postgres::Server;

use crate::proxy::Proxy;
use crate::support::{fresh, open, server};

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn one(name: &str) -> Append {
    Append::new().event(stream(name), NewEvent::json("A", "{}").unwrap())
}

async fn state(store: &PostgresStore, name: &str) -> StreamState {
    store.read_stream(ReadStream::new(stream(name))).await.unwrap().state
}

#[tokio::test]
async fn connections_that_were_ended_are_made_again_without_a_loss() {
    let Some(server) = server() else { return };
    let options = fresh(server);
    let schema = options.to_string().split_once("schema=").unwrap().1.to_owned();
    let store = open(options).await;
    for _ in 0..20 {
        store.append(one("a-1")).await.unwrap();
        // All that append to this store, whatever they are doing, and none of another test's.
        server.sql(
            "postgres",
            &format!(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where query like '%{schema}.append(%' and pid <> pg_backend_pid()"
            ),
        );
        store.append(one("a-1")).await.unwrap();
    }
    assert_eq!(state(&store, "a-1").await, StreamState::Live { last: Revision::new(39) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_may_be_away_for_a_while() {
    let Some(server) = Server::start() else { return };
    let options: PostgresOptions = server.url("postgres").parse().unwrap();
    let options = options.create(true).patience(Duration::from_secs(1));
    let store = options.open().await.unwrap();
    let follow = Subscribe::All { query: Query::all(), from: SubscribeFrom::Start };
    let mut following = store.subscribe(follow).await.unwrap();
    store.append(one("a-1")).await.unwrap();
    assert!(matches!(following.next().await.unwrap(), Delivery::Events(_)));

    server.stop();
    let down = store.append(one("a-1")).await.unwrap_err();
    let unread = store.frontier().await;
    server.resume();
    let (mut store_again, mut tries) = (store.append(one("a-1")).await, 0);
    while store_again.is_err() && tries < 50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        store_again = store.append(one("a-1")).await;
        tries += 1;
    }

    assert!(
        matches!(
            down,
            AppendError::Overloaded | AppendError::Storage(_) | AppendError::OutcomeUnknown(_)
        ),
        "{down:?}"
    );
    assert!(unread.is_err());
    assert!(store_again.is_ok(), "{store_again:?}");
}

/// The network hangs: nobody is told, and no answer comes. What became of the append is not known until
/// it is asked again with the same ids.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_on_a_network_that_hangs_ends_and_is_found_by_its_ids() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port()).await;
    let options: PostgresOptions = proxy.url("postgres").parse().unwrap();
    let options = options.create(true).patience(Duration::from_secs(2));
    let store = options.answer_within(Duration::from_secs(1)).open().await.unwrap();
    let hung = one("hung-1");

    proxy.hang_after(b"hung-1");
    let asked = tokio::time::timeout(Duration::from_mins(1), async {
        (store.append(hung.clone()).await, store.append(one("a-1")).await, store.frontier().await)
    });
    let (lost, unsent, frontier) = asked.await.expect("nothing waits for ever");
    proxy.go_on();

    assert!(matches!(lost, Err(AppendError::OutcomeUnknown(_))), "{lost:?}");
    assert!(matches!(unsent, Err(AppendError::Overloaded)), "{unsent:?}");
    assert!(frontier.is_err());
    let found = store.append(hung).await.unwrap();
    assert!(found.replayed, "the first attempt had done it");
    assert_eq!(state(&store, "hung-1").await, StreamState::Live { last: Revision::FIRST });
}

/// Reads wait no longer: those of a page, and of what is kept beside the log. Afterwards the read goes on
/// with the page that did not come.
#[tokio::test(flavor = "multi_thread")]
async fn reads_on_a_network_that_hangs_end() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port()).await;
    let options: PostgresOptions = proxy.url("postgres").parse().unwrap();
    let options = options.create(true).patience(Duration::from_secs(2));
    let store = options.answer_within(Duration::from_secs(1)).open().await.unwrap();
    let events = (0..1_200).map(|_| NewEvent::json("A", "{}").unwrap());
    let many = Append::to_stream(stream("a-1"), ExpectedRevision::NoStream, events);
    let last = store.append(many).await.unwrap().last.unwrap();
    store.wait_visible(last).await.unwrap();
    let mut log = store.read_all(ReadAll::new(Query::all())).await.unwrap().batches;
    let first = log.next().await.unwrap().unwrap();

    proxy.hang();
    let asked = tokio::time::timeout(Duration::from_mins(1), async {
        let page = log.next().await.map(drop).unwrap_err();
        assert!(matches!(page, ReadError::Storage(_)), "{page:?}");
        assert!(store.read_stream(ReadStream::new(stream("a-1"))).await.is_err());
        assert!(store.stream_info(stream("a-1")).await.is_err());
        assert!(store.read_index(first_of_type("A")).await.is_err());
        assert!(store.checkpoints().list().await.is_err());
        assert!(store.leases().get("a").await.is_err());
        assert!(store.registry().components().await.is_err());
        assert!(store.snapshots().get("a", last).await.is_err());
    });
    asked.await.expect("nothing waits for ever");
    proxy.go_on();

    let rest = collect(log).await.unwrap();
    assert_eq!(first.count() + rest.len(), 1_200, "nothing is missing where it goes on");
    assert!(store.checkpoints().list().await.unwrap().is_empty());
}

fn first_of_type(name: &str) -> ReadIndex {
    let term = Term::Type(EventType::new(name).unwrap());
    ReadIndex { term, from: None, direction: Direction::Forward, limit: 1 }
}

/// Somebody else's transaction keeps a lock: the append is given up, and nothing of it was done.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_does_not_wait_for_a_lock_for_ever() {
    let Some(server) = server() else { return };
    let store = open(fresh(server).answer_within(Duration::from_secs(1))).await;
    store.append(one("a-1")).await.unwrap();
    let pool = sqlx::PgPool::connect(&server.socket_url("postgres")).await.unwrap();
    let mut theirs = pool.begin().await.unwrap();
    store.append_in(&mut theirs, one("a-1")).await.unwrap();

    let waited = store.append(one("a-1")).await;
    theirs.rollback().await.unwrap();

    assert!(matches!(waited, Err(AppendError::Overloaded)), "{waited:?}");
    store.append(one("a-1")).await.unwrap();
    assert_eq!(state(&store, "a-1").await, StreamState::Live { last: Revision::new(1) });
}

/// Two transactions that lock the same streams in another order each: the database ends one of them,
/// and the store's own append is simply done again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_no_failure_of_an_append() {
    let Some(server) = server() else { return };
    let store = open(fresh(server)).await;
    let pool = sqlx::PgPool::connect(&server.socket_url("postgres")).await.unwrap();
    for name in ["a-1", "b-1"] {
        store.append(one(name)).await.unwrap();
    }
    let mut theirs = pool.begin().await.unwrap();
    // The store's append waits for this stream while it holds the other one, ...
    store.append_in(&mut theirs, one("b-1")).await.unwrap();
    let own = store.clone();
    let both = Append::new()
        .event(stream("a-1"), NewEvent::json("A", "{}").unwrap())
        .event(stream("b-1"), NewEvent::json("A", "{}").unwrap());
    let own = tokio::spawn(async move { own.append(both).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // ... which is wanted here.
    let their_answer = store.append_in(&mut theirs, one("a-1")).await;
    match their_answer {
        Ok(_) => theirs.commit().await.unwrap(),
        Err(_) => theirs.rollback().await.unwrap(),
    }

    own.await.unwrap().unwrap();
    assert!(matches!(state(&store, "a-1").await, StreamState::Live { last } if last.get() >= 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_appends_than_connections_wait_for_their_turn() {
    let Some(server) = server() else { return };
    let store = Arc::new(open(fresh(server).connections(2.try_into().unwrap())).await);
    let appends = (0..200).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.append(one(&format!("a-{}", number % 50))).await })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.unwrap().unwrap();
    }
    for number in 0..50 {
        let state = state(&store, &format!("a-{number}")).await;
        assert_eq!(state, StreamState::Live { last: Revision::new(3) });
    }
}

#[tokio::test]
async fn a_server_that_is_full_of_connections_is_waited_for() {
    let Some(server) = Server::start_with(&["fsync=off", "max_connections=12"]) else { return };
    let options: PostgresOptions = server.url("postgres").parse().unwrap();
    let options = options.create(true).patience(Duration::from_millis(500));
    let store = options.connections(8.try_into().unwrap()).open().await.unwrap();
    let mut taken = Vec::new();
    while let Ok(connection) =
        <sqlx::PgConnection as sqlx::Connection>::connect(&server.url("postgres")).await
    {
        taken.push(connection);
        assert!(taken.len() < 20);
    }

    let full = store.append(one("a-1")).await;
    taken.clear();
    tokio::time::sleep(Duration::from_millis(500)).await;

    // One of its own connections may have been free.
    assert!(matches!(full, Ok(_) | Err(AppendError::Overloaded)), "{full:?}");
    store.append(one("a-1")).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let Some(server) = server() else { return };
    let store = open(fresh(server)).await;
    let follow = Subscribe::All { query: Query::all(), from: SubscribeFrom::Start };
    let mut following = store.subscribe(follow).await.unwrap();
    assert!(matches!(following.next().await.unwrap(), Delivery::CaughtUp));
    let waiting = tokio::spawn(async move { following.next().await });
    tokio::time::sleep(Duration::from_millis(50)).await;

    store.close().await;

    let append = Append::to_stream(stream("a-1"), ExpectedRevision::Any, []);
    assert!(matches!(store.append(append).await, Err(AppendError::Closed)));
    assert!(waiting.await.unwrap().is_err(), "whoever waits is told too");
}
