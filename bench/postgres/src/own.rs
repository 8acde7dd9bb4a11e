//! The store.

use quipu_core::{
    Append, EventStore as _, ExpectedRevision, NewEvent, Position, Query, Revision, StreamName,
};
use quipu_postgres::{PostgresOptions, PostgresStore};
use quipu_testing::postgres::Server;

use crate::{Client, Job, Kind};

pub(crate) async fn open(server: &Server, database: &str) -> PostgresStore {
    let options: PostgresOptions = server.socket_url(database).parse().unwrap();
    options.create(true).connections(32.try_into().unwrap()).open().await.unwrap()
}

pub(crate) fn client(store: &PostgresStore, job: Job, name: String) -> OwnClient {
    OwnClient { store: store.clone(), kind: job.kind, name, next: 0, last: Position::START }
}

pub(crate) struct OwnClient {
    store: PostgresStore,
    kind: Kind,
    /// Of the stream and of the tag.
    name: String,
    next: u64,
    last: Position,
}

impl Client for OwnClient {
    async fn append(&mut self, count: usize) -> bool {
        let event = |_| {
            let event = NewEvent::json("Benched", vec![0xAB_u8; 256]).unwrap();
            if self.kind == Kind::Plain { event } else { event.with_tag(&self.name).unwrap() }
        };
        let stream = StreamName::new(format!("bench-{}", self.name)).unwrap();
        let expected = match self.next.checked_sub(1) {
            None => ExpectedRevision::NoStream,
            Some(last) => ExpectedRevision::Exactly(Revision::new(last)),
        };
        let mut append = Append::to_stream(stream, expected, (0..count).map(event));
        if self.kind == Kind::Conditioned {
            let by_tag: Query = format!("tag:{}", self.name).parse().unwrap();
            append = append.fail_if(by_tag, Some(self.last));
        }
        let appended = self.store.append(append).await.unwrap();
        self.next += count as u64;
        self.last = appended.last.unwrap();
        true
    }
}

/// How many events the log has, about.
pub(crate) async fn count(store: &PostgresStore) -> u64 {
    store.frontier().await.unwrap().get()
}

/// Appends until the log has so many events.
pub(crate) async fn fill(store: &PostgresStore, target: u64) {
    let mut have = count(store).await;
    let mut number = 0;
    while have < target {
        let filling = (0..4).map(|at| {
            let store = store.clone();
            number += 1;
            let name = format!("fill-{have}-{number}-{at}");
            tokio::spawn(async move {
                let events = (0..1_000).map(|_| {
                    let event = NewEvent::json("Filled", vec![0xAB_u8; 256]).unwrap();
                    event.with_tag(&name).unwrap()
                });
                let stream = StreamName::new(&name).unwrap();
                let append = Append::to_stream(stream, ExpectedRevision::NoStream, events);
                store.append(append).await.unwrap();
            })
        });
        for filling in filling.collect::<Vec<_>>() {
            filling.await.unwrap();
        }
        have += 4_000;
    }
}
