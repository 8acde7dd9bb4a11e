//! Which groups a store has: a fold over reserved streams, one for each group.

use std::collections::BTreeMap;
use std::sync::Arc;

use quipu_core::{
    Append, AppendError, EventRef, EventStore, ExpectedRevision, NameError, NewEvent, Position,
    Query, QueryItem, ReadAll, ReadError, Revision, StreamName,
};
use serde_json::json;
use tokio::sync::Mutex;

use super::config::GroupConfig;
use super::groups::GroupError;

const CREATED: &str = "$quipu.group-created";
const UPDATED: &str = "$quipu.group-updated";
const DELETED: &str = "$quipu.group-deleted";
/// The category of the groups' streams: what is before the `-`.
const CATEGORY: &str = "$quipu.group";

/// A group as the catalog has it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) config: Arc<GroupConfig>,
    /// Which group of this name it is: one that was created after another was deleted is another
    /// one, with its own checkpoint.
    pub(super) version: u32,
}

struct Row {
    /// `None` once it is deleted.
    listed: Option<Listed>,
    /// Where its stream is.
    revision: Revision,
}

#[derive(Default)]
struct Known {
    rows: BTreeMap<String, Row>,
    read_to: Position,
}

pub(super) struct Catalog {
    store: Arc<dyn EventStore>,
    /// Held while the log is read, so that it is read once.
    known: Mutex<Known>,
}

impl Catalog {
    pub(super) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, known: Mutex::default() }
    }

    pub(super) async fn get(&self, name: &str) -> Result<Listed, GroupError> {
        let mut known = self.known.lock().await;
        self.read(&mut known).await?;
        let listed = known.rows.get(name).and_then(|row| row.listed.clone());
        listed.ok_or_else(|| GroupError::Unknown { name: name.to_owned() })
    }

    pub(super) async fn list(&self) -> Result<Vec<Listed>, GroupError> {
        let mut known = self.known.lock().await;
        self.read(&mut known).await?;
        Ok(known.rows.values().filter_map(|row| row.listed.clone()).collect())
    }

    pub(super) async fn create(&self, config: &GroupConfig) -> Result<(), GroupError> {
        let mut known = self.known.lock().await;
        self.read(&mut known).await?;
        let expected = match known.rows.get(&config.name) {
            Some(Row { listed: Some(_), .. }) => {
                return Err(GroupError::Exists { name: config.name.clone() });
            }
            Some(Row { listed: None, revision }) => ExpectedRevision::Exactly(*revision),
            None => ExpectedRevision::NoStream,
        };
        self.append(&config.name, expected, CREATED, config.to_json().to_string()).await
    }

    pub(super) async fn update(&self, config: &GroupConfig) -> Result<(), GroupError> {
        let revision = self.revision(&config.name).await?;
        self.append(&config.name, revision, UPDATED, config.to_json().to_string()).await
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), GroupError> {
        let revision = self.revision(name).await?;
        self.append(name, revision, DELETED, json!({ "name": name }).to_string()).await
    }

    async fn revision(&self, name: &str) -> Result<ExpectedRevision, GroupError> {
        let mut known = self.known.lock().await;
        self.read(&mut known).await?;
        match known.rows.get(name) {
            Some(Row { listed: Some(_), revision }) => Ok(ExpectedRevision::Exactly(*revision)),
            _ => Err(GroupError::Unknown { name: name.to_owned() }),
        }
    }

    async fn append(
        &self,
        name: &str,
        expected: ExpectedRevision,
        event_type: &str,
        data: String,
    ) -> Result<(), GroupError> {
        let invalid = |error: NameError| GroupError::Invalid { reason: error.to_string() };
        let stream = StreamName::new(format!("{CATEGORY}-{name}")).map_err(invalid)?;
        let event = NewEvent::json(event_type, data).map_err(invalid)?;
        let appended = self.store.append(Append::to_stream(stream, expected, [event])).await;
        match appended.map(|appended| appended.last) {
            Ok(Some(last)) => Ok(self.store.wait_visible(last).await?),
            Ok(None) => Ok(()),
            Err(AppendError::Conflict { .. }) => {
                Err(GroupError::Contended { name: name.to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what happened since the last time.
    async fn read(&self, known: &mut Known) -> Result<(), ReadError> {
        let item = QueryItem { category: Some(CATEGORY.to_owned()), ..QueryItem::default() };
        let from = Position::new(known.read_to.get() + 1);
        let read = ReadAll::new(Query::from(item)).from(from);
        let mut read = self.store.read_all(read).await?;
        while let Some(batch) = read.batches.next().await? {
            for event in batch.iter() {
                known.take(event);
            }
        }
        known.read_to = known.read_to.max(read.frontier);
        Ok(())
    }
}

impl Known {
    fn take(&mut self, event: EventRef<'_>) {
        let Some(name) = event.stream().split_once('-').map(|(_, name)| name) else { return };
        let revision = event.revision();
        let row = self.rows.entry(name.to_owned()).or_insert(Row { listed: None, revision });
        row.revision = revision;
        match event.event_type() {
            CREATED | UPDATED => {
                // What cannot be read is of a later version, and as good as not there.
                let Some(config) = GroupConfig::from_json(event.data_bytes()) else { return };
                let version = match &row.listed {
                    Some(listed) => listed.version,
                    None => u32::try_from(revision.get() + 1).unwrap_or(u32::MAX),
                };
                row.listed = Some(Listed { config: Arc::new(config), version });
            }
            DELETED => row.listed = None,
            _ => {}
        }
    }
}
