//! `disintegrate-postgres`.

use disintegrate::serde::{Deserializer, Error, Serializer};
use disintegrate::{Event, EventStore as _, StreamQuery, query};
use disintegrate_postgres::{PgEventId, PgEventStore};
use quipu_testing::postgres::Server;
use sqlx_08::postgres::PgPoolOptions;

use crate::{Client, Job, Kind};

#[derive(Clone, Debug, PartialEq, Eq, Event)]
// Decisions are about these alone: an event without a tag would match a query on any.
#[stream(Guarded, [Tagged])]
pub(crate) enum Benched {
    Plain {
        data: Vec<u8>,
    },
    Tagged {
        #[id]
        tag: String,
        data: Vec<u8>,
    },
}

/// Keeps the bytes as they are, as the others do.
#[derive(Clone)]
pub(crate) struct Raw;

impl Serializer<Benched> for Raw {
    fn serialize(&self, event: Benched) -> Vec<u8> {
        match event {
            Benched::Plain { data } | Benched::Tagged { data, .. } => data,
        }
    }
}

impl Deserializer<Benched> for Raw {
    fn deserialize(&self, data: Vec<u8>) -> Result<Benched, Error> {
        Ok(Benched::Plain { data })
    }
}

pub(crate) type Peer = PgEventStore<Benched, Raw>;

pub(crate) async fn open(server: &Server) -> Peer {
    let pool = PgPoolOptions::new().max_connections(64).connect(&server.socket_url("peer")).await;
    PgEventStore::try_new(pool.unwrap(), Raw).await.unwrap()
}

pub(crate) fn client(peer: &Peer, job: Job, tag: String) -> PeerClient {
    PeerClient { peer: peer.clone(), kind: job.kind, tag, last: 0 }
}

pub(crate) struct PeerClient {
    peer: Peer,
    kind: Kind,
    tag: String,
    last: PgEventId,
}

impl Client for PeerClient {
    async fn append(&mut self, count: usize) -> bool {
        let event = |_| {
            let data = vec![0xAB; 256];
            match self.kind {
                Kind::Plain => Benched::Plain { data },
                _ => Benched::Tagged { tag: self.tag.clone(), data },
            }
        };
        let events: Vec<Benched> = (0..count).map(event).collect();
        if self.kind != Kind::Conditioned {
            self.peer.append_without_validation(events).await.unwrap();
            return true;
        }
        let tag = &self.tag;
        let by_tag: StreamQuery<PgEventId, Guarded> = query!(Guarded; tag == tag);
        match self.peer.append(events, by_tag, self.last).await {
            Ok(appended) => {
                self.last = appended.last().map_or(self.last, |event| event.id());
                true
            }
            // Serializable transactions are in each other's way at times.
            Err(disintegrate_postgres::Error::Concurrency) => false,
            Err(disintegrate_postgres::Error::Database(error)) if is_serialization(&error) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn is_serialization(error: &sqlx_08::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some("40001")
}
