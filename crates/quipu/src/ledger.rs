//! The ledger: one small event for each command that came with an idempotency key.
//!
//! It is appended in the same batch as the events that were decided, as its last event, so it is
//! there exactly if they are; also where nothing was decided. It is found by a reserved tag, at any
//! later time: how long it stays is up to the retention of its stream.
//!
//! The positions of the events cannot be in it, since nobody knows them before the append; their
//! ids are, and its own position is that of the batch's end.

use quipu_core::{
    ContentType, EventData, EventId, EventType, LogRead, NameError, NewEvent, Position, Query,
    ReadAll, StreamName, Tags,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::app::Quipu;
use crate::codec::CodecError;
use crate::command::digest;
use crate::error::Unavailable;
use crate::metadata::Metadata;

/// The type of the ledger's events.
pub const LEDGER_TYPE: &str = "$quipu.command";
/// The stream that they are in.
pub const LEDGER_STREAM: &str = "$quipu.commands";
/// The schema version of the ledger's events.
const VERSION: u32 = 1;

/// The data of a ledger event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) fingerprint: String,
    /// The ids of the events that were decided.
    pub(crate) events: Vec<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Value>,
}

/// A ledger event that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) id: EventId,
    pub(crate) position: Position,
}

/// The search for one key's ledger event, and what keeps its answer true.
#[derive(Debug)]
pub(crate) struct Lookup {
    key: String,
    stream: StreamName,
    event_type: EventType,
    tags: Tags,
    frontier: Option<Position>,
}

impl Lookup {
    pub(crate) fn new(key: String) -> Result<Self, NameError> {
        // A key may be of any length and have any characters; its digest is always a tag.
        let tags = Tags::parse([format!("$quipu.key:{}", digest(key.as_bytes()))])?;
        let stream = StreamName::new(LEDGER_STREAM)?;
        Ok(Self { key, stream, event_type: EventType::new(LEDGER_TYPE)?, tags, frontier: None })
    }

    /// What must not have come in between: a ledger event of the same key.
    pub(crate) fn condition(&self) -> (Query, Option<Position>) {
        (Query::tags(self.tags.clone()), self.frontier)
    }

    /// Looks for the key, the second time only in what is new.
    pub(crate) async fn read(&mut self, app: &Quipu) -> Result<Option<Found>, Unavailable> {
        let mut read = ReadAll::new(Query::tags(self.tags.clone()));
        read.from = self.frontier.map(Position::next);
        let LogRead { frontier, mut batches } =
            app.store().read_all(read).await.map_err(Unavailable::Read)?;
        while let Some(batch) = batches.next().await.map_err(Unavailable::Read)? {
            for event in batch.iter() {
                let (id, position) = (event.id(), event.position());
                let EventData::Present(data) = event.data() else { continue };
                let entry: Entry = serde_json::from_slice(&data).map_err(|cause| {
                    Unavailable::Ledger { position, cause: CodecError::new(cause) }
                })?;
                // Two keys with one digest are as unlikely as two equal ids, but easily told apart.
                if entry.key == self.key {
                    return Ok(Some(Found { entry, id, position }));
                }
            }
        }
        self.frontier = Some(frontier);
        Ok(None)
    }

    /// The ledger event of a decision.
    pub(crate) fn entry(
        &self,
        fingerprint: &str,
        events: &[(StreamName, NewEvent)],
        value: Option<&Value>,
        metadata: &Metadata,
    ) -> (StreamName, NewEvent) {
        let entry = Entry {
            key: self.key.clone(),
            fingerprint: fingerprint.to_owned(),
            events: events.iter().map(|(_, event)| event.id.as_uuid()).collect(),
            value: value.cloned(),
        };
        let data = serde_json::to_vec(&entry).expect("texts and a JSON value have a JSON form");
        let mut event = NewEvent::new(self.event_type.clone(), ContentType::json(), data.into());
        event.tags = self.tags.clone();
        event.metadata = metadata.to_bytes(VERSION);
        (self.stream.clone(), event)
    }
}
