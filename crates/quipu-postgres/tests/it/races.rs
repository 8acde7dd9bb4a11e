//! Many writers whose transactions end in another order than they began, and readers beside them:
//! nothing is missed, nothing comes twice, nothing is out of order.
//!
//! It is the measure of a store on a database: positions are given out before transactions commit,
//! so who reads on from the last position seen passes over what commits later. 8 writers with
//! transactions of several statements, on 20 shared streams, of which some are rolled back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quipu_core::{
    Append, AppendError, Delivery, EventId, EventStore, NewEvent, Position, Query, ReadAll,
    StreamName, Subscribe, SubscribeFrom, collect,
};
use quipu_postgres::PostgresStore;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::{fresh, open, server};

const WRITER_COUNT: usize = 8;
const APPEND_COUNT: usize = 60;

/// Numbers that look like chance and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What a reader saw, in the order in which it saw it.
type Seen = Vec<(Position, String, u64, EventId)>;

/// Appends in transactions that take their time; answers the ids that were committed.
async fn write(store: PostgresStore, pool: PgPool, number: usize) -> Vec<EventId> {
    let mut random = Random(number as u64 + 1);
    let mut committed = Vec::new();
    while committed.len() < APPEND_COUNT {
        let mut transaction = pool.begin().await.unwrap();
        // A row of the application's own comes first, so that transactions are numbered in another
        // order than streams are locked.
        let row = AssertSqlSafe(format!("insert into races_{} values (1)", number % 2));
        sqlx::query(row).execute(&mut *transaction).await.unwrap();
        let count = 1 + random.below(3);
        let events: Vec<NewEvent> =
            (0..count).map(|_| NewEvent::json("Raced", "{}").unwrap()).collect();
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        let stream = StreamName::new(format!("race-{}", random.below(20))).unwrap();
        let append = events.into_iter().fold(Append::new(), |append, event| {
            append.event(stream.clone(), event.with_tag("race").unwrap())
        });
        if store.append_in(&mut transaction, append).await.is_err() {
            continue;
        }
        tokio::time::sleep(Duration::from_micros(random.below(3_000))).await;
        if random.below(20) == 0 {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
            committed.extend(ids);
        }
    }
    committed
}

/// Appends in the ordinary way, beside the others.
async fn append(store: PostgresStore, number: usize) -> Vec<EventId> {
    let mut random = Random(1_000 + number as u64);
    let mut committed = Vec::new();
    for _ in 0..APPEND_COUNT {
        let event = NewEvent::json("Raced", "{}").unwrap().with_tag("race").unwrap();
        let stream = StreamName::new(format!("race-{}", random.below(20))).unwrap();
        committed.push(event.id);
        store.append(Append::new().event(stream, event)).await.unwrap();
    }
    committed
}

/// Subscribes from the start until so many events came and all writers are done.
async fn follow(store: PostgresStore, query: Query, count: Arc<AtomicUsize>) -> Seen {
    let from = SubscribeFrom::Start;
    let mut subscription = store.subscribe(Subscribe::All { query, from }).await.unwrap();
    let mut seen = Seen::new();
    let mut is_over = false;
    while seen.len() < count.load(Ordering::SeqCst) || !is_over {
        // What comes too much comes soon after the last.
        let patience = Duration::from_millis(300);
        match tokio::time::timeout(patience, subscription.next()).await {
            Ok(Ok(Delivery::Events(batch))) => {
                is_over = false;
                for event in batch.iter() {
                    let stream = event.stream().to_owned();
                    seen.push((event.position(), stream, event.revision().get(), event.id()));
                }
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => panic!("the subscription ended: {error}"),
            Err(_) => is_over = true,
        }
    }
    seen
}

/// Reads page after page, each from the frontier of the one before.
async fn page(store: PostgresStore, count: Arc<AtomicUsize>) -> Seen {
    let (mut seen, mut after) = (Seen::new(), Position::START);
    while seen.len() < count.load(Ordering::SeqCst) {
        let read = store.read_all(ReadAll::new(Query::all()).from(after.next())).await.unwrap();
        after = read.frontier.max(after);
        for event in collect(read.batches).await.unwrap() {
            let stream = event.stream.to_string();
            seen.push((event.position, stream, event.revision.get(), event.id));
        }
    }
    seen
}

fn check(seen: &Seen, committed: &BTreeSet<EventId>) {
    let ids: BTreeSet<EventId> = seen.iter().map(|(.., id)| *id).collect();
    let missed = committed.difference(&ids).count();
    let invented = ids.difference(committed).count();
    let duplicates = seen.len() - ids.len();
    let mut disorder = seen.windows(2).filter(|pair| pair[0].0 >= pair[1].0).count();
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, stream, revision, _) in seen {
        let expected = next.entry(stream).or_default();
        disorder += usize::from(revision != expected);
        *expected = revision + 1;
    }
    let found = (missed, invented, duplicates, disorder);
    assert_eq!(found, (0, 0, 0, 0), "missed, invented, twice, out of order");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_miss_nothing_while_transactions_end_out_of_order() {
    let Some(server) = server() else { return };
    let options = fresh(server).connections(40.try_into().unwrap());
    let url = server.socket_url("postgres");
    let pool = PgPoolOptions::new().max_connections(20).connect(&url).await.unwrap();
    for table in ["races_0", "races_1"] {
        let table = AssertSqlSafe(format!("create table {table} (n int)"));
        sqlx::query(table).execute(&pool).await.unwrap();
    }
    // Two nodes, so that frontiers of one are not those of the other.
    let (store, other) = (open(options.clone()).await, open(options).await);
    let count = Arc::new(AtomicUsize::new(usize::MAX));
    let tagged: Query = "tag:race type:Raced".parse().unwrap();
    let mut readers = Vec::new();
    for (store, query) in
        [(&store, Query::all()), (&other, Query::all()), (&store, tagged.clone()), (&other, tagged)]
    {
        readers.push(tokio::spawn(follow(store.clone(), query, Arc::clone(&count))));
    }
    readers.push(tokio::spawn(page(store.clone(), Arc::clone(&count))));
    readers.push(tokio::spawn(page(other.clone(), Arc::clone(&count))));

    let mut writers = Vec::new();
    for number in 0..WRITER_COUNT {
        let node = if number % 2 == 0 { &store } else { &other };
        writers.push(tokio::spawn(write(node.clone(), pool.clone(), number)));
        writers.push(tokio::spawn(append(node.clone(), number)));
    }
    let mut committed = BTreeSet::new();
    for writer in writers {
        committed.extend(writer.await.unwrap());
    }
    count.store(committed.len(), Ordering::SeqCst);

    for reader in readers {
        let reading = tokio::time::timeout(Duration::from_mins(1), reader).await;
        check(&reading.expect("a reader misses nothing").unwrap(), &committed);
    }
    store.close().await;
    other.close().await;
}

/// Takes a seat, on a condition that says in its own way that nobody has it.
fn take_seat(seat: u64, racer: usize) -> Append {
    let tag = format!("seat:{seat}");
    let event = NewEvent::json("Taken", "{}").unwrap().with_tag(&tag).unwrap();
    let event = event.with_tag("hall:1").unwrap();
    let nobody = match racer % 4 {
        0 => format!("tag:{tag}"),
        1 => format!("tag:{tag} type:Taken,Kept"),
        2 => format!("tag:{tag} tag:hall:1"),
        _ => format!("tag:{tag} category:racer"),
    };
    let stream = StreamName::new(format!("racer-{seat}-{racer}")).unwrap();
    Append::new().event(stream, event).fail_if(nobody.parse().unwrap(), None)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_race_for_one_of_many_boundaries_one_wins_each() {
    const SEATS: u64 = 40;
    const RACERS: usize = 8;
    let Some(server) = server() else { return };
    let options = fresh(server);
    let nodes = [open(options.clone()).await, open(options).await];

    let racing = (0..RACERS).flat_map(|racer| (0..SEATS).map(move |seat| (seat, racer)));
    let racing = racing.map(|(seat, racer)| {
        let node = nodes[racer / 4 % 2].clone();
        tokio::spawn(async move { (seat, node.append(take_seat(seat, racer)).await) })
    });
    let mut winners: BTreeMap<u64, usize> = BTreeMap::new();
    for raced in racing.collect::<Vec<_>>() {
        match raced.await.unwrap() {
            (seat, Ok(_)) => *winners.entry(seat).or_default() += 1,
            (_, Err(AppendError::Conflict { .. })) => {}
            (_, Err(error)) => panic!("{error}"),
        }
    }

    assert_eq!(winners, (0..SEATS).map(|seat| (seat, 1)).collect());
    let taken = nodes[0].read_all(ReadAll::new(Query::all())).await.unwrap();
    assert_eq!(collect(taken.batches).await.unwrap().len() as u64, SEATS);
    for node in nodes {
        node.close().await;
    }
}
