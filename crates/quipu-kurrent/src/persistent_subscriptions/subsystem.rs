//! The persistent subscriptions of a server: which there are, and those that run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    Append, AppendError, ComponentKey, ComponentKind, EventStore, ExpectedRevision, NewEvent,
    ReadStream, Revision, StreamName,
};
use quipu_groups::group::{Group, GroupEnd, GroupInfo, Hosting, Joining, Membership, Which, spawn};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::backing::{Delivered, SubscriptionBacking, last_place};
use super::index_source::Tally;
use super::settings::{Asked, Config, Key, Origin, Start};
use crate::failure::Failure;

const CONFIG_STREAM: &str = "$persistentSubscriptionConfig";
const CONFIG_TYPE: &str = "$PersistentConfig";
/// The most subscriptions of one server.
const COUNT_MAX: usize = 100_000;

/// One change of which subscriptions there are.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Entry {
    Created(Config),
    Updated(Config),
    Deleted(Key),
}

/// A subscription, and which one of its key.
#[derive(Clone, Debug)]
struct Listed {
    config: Arc<Config>,
    version: u32,
}

#[derive(Default)]
struct Known {
    listed: BTreeMap<Key, Listed>,
    /// Where to go on reading the stream of configurations.
    next: u64,
    active: HashMap<Key, (u32, Group<Delivered>)>,
}

/// How a subscription is.
pub(super) struct Status {
    pub(super) config: Arc<Config>,
    /// The last place that was saved.
    pub(super) saved: Option<u64>,
    /// The place of the last event there is.
    pub(super) last: Option<u64>,
    pub(super) parked_count: u64,
    pub(super) running: Option<GroupInfo>,
}

/// The persistent subscriptions of one server. One runs while it has consumers.
pub struct Subsystem {
    store: Arc<dyn EventStore>,
    owner: String,
    /// Held while the configurations are read or changed, and while a subscription is started.
    known: Mutex<Known>,
}

impl std::fmt::Debug for Subsystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subsystem").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Subsystem {
    /// The subscriptions kept in this store, which has to be open with system rights. People see
    /// `owner` as the one who runs them.
    pub fn new(store: Arc<dyn EventStore>, owner: &str) -> Self {
        Self { store, owner: owner.to_owned(), known: Mutex::default() }
    }

    /// Ends every subscription here: checkpoints are saved, and consumers have to connect again.
    pub async fn stop(&self) {
        let active = std::mem::take(&mut self.known.lock().await.active);
        let mut ending = tokio::task::JoinSet::new();
        for (_, (_, group)) in active {
            ending.spawn(async move { group.end(GroupEnd::Stopped).await });
        }
        ending.join_all().await;
    }

    /// How the subscriptions that run here are, by the name of each.
    pub async fn running_here(&self) -> Vec<(String, GroupInfo)> {
        let groups: Vec<_> = {
            let known = self.known.lock().await;
            let own = |(key, (_, group)): (&Key, &(u32, Group<Delivered>))| {
                let backing = self.backing(known.listed.get(key)?).ok()?;
                Some((key.id(), backing, group.clone()))
            };
            known.active.iter().filter_map(own).collect()
        };
        let mut running = Vec::new();
        for (name, backing, group) in groups {
            let Ok(mut info) = group.info().await else { continue };
            // Such a group does not know itself how many events it has parked.
            let parked = backing.parked_count().await.unwrap_or_default();
            info.counts.parked = usize::try_from(parked).unwrap_or(usize::MAX);
            running.push((name, info));
        }
        running
    }

    pub(super) async fn create(&self, asked: Asked) -> Result<(), Failure> {
        let mut known = self.known.lock().await;
        self.read(&mut known).await?;
        if known.listed.contains_key(&asked.key) {
            return Err(asked.key.exists());
        }
        if known.listed.len() >= COUNT_MAX {
            let reason = format!("there are {COUNT_MAX} persistent subscriptions already");
            return Err(asked.key.failed(reason));
        }
        let after = self.after(&asked.key, asked.start).await?;
        let config = asked.config(after)?;
        let (key, after) = (config.key.clone(), config.after);
        self.write(&mut known, &Entry::Created(config)).await?;
        // One that was deleted may have left its checkpoint behind.
        let Some(listed) = known.listed.get(&key) else { return Ok(()) };
        let backing = self.backing(listed)?;
        if backing.saved().await.map_err(|_| Failure::Storage)?.is_some_and(|saved| saved != after)
        {
            self.forget(&key).await;
        }
        Ok(())
    }

    /// Lets a subscription begin where its configuration says, with nothing parked.
    async fn forget(&self, key: &Key) {
        let Ok(streams) = super::backing::Streams::of(key) else { return };
        for stream in [streams.checkpoint, streams.parked] {
            // What is not there need not go.
            self.store.delete(stream, ExpectedRevision::Any).await.ok();
        }
    }

    pub(super) async fn update(&self, asked: Asked) -> Result<(), Failure> {
        let ended = {
            let mut known = self.known.lock().await;
            self.read(&mut known).await?;
            let before = known.listed.get(&asked.key).ok_or_else(|| asked.key.missing())?;
            let before = Arc::clone(&before.config);
            let mut after = before.after;
            if asked.start != before.start {
                after = self.after(&asked.key, asked.start).await?;
            }
            let key = asked.key.clone();
            let config = Config { filter: before.filter.clone(), ..asked.config(after)? };
            self.write(&mut known, &Entry::Updated(config)).await?;
            known.active.remove(&key)
        };
        if let Some((_, group)) = ended {
            group.end(GroupEnd::Renewed).await;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<(), Failure> {
        let (version, ended) = {
            let mut known = self.known.lock().await;
            self.read(&mut known).await?;
            let version = known.listed.get(key).ok_or_else(|| key.missing())?.version;
            self.write(&mut known, &Entry::Deleted(key.clone())).await?;
            (version, known.active.remove(key))
        };
        if let Some((_, group)) = ended {
            group.end(GroupEnd::Deleted).await;
        }
        self.forget(key).await;
        // It is gone whether or not the registry hears of it.
        self.store.registry().remove(&component(key, version)).await.ok();
        Ok(())
    }

    /// Those over this origin, or all.
    pub(super) async fn list(&self, origin: Option<&Origin>) -> Result<Vec<Status>, Failure> {
        let keys: Vec<Key> = {
            let mut known = self.known.lock().await;
            self.read(&mut known).await?;
            let own = known.listed.keys();
            own.filter(|key| origin.is_none_or(|origin| key.origin == *origin)).cloned().collect()
        };
        let mut statuses = Vec::new();
        for key in keys {
            match self.status(&key).await {
                Ok(status) => statuses.push(status),
                // Deleted meanwhile.
                Err(Failure::SubscriptionMissing { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(statuses)
    }

    pub(super) async fn status(&self, key: &Key) -> Result<Status, Failure> {
        let (listed, group) = {
            let mut known = self.known.lock().await;
            self.read(&mut known).await?;
            let listed = known.listed.get(key).cloned().ok_or_else(|| key.missing())?;
            (listed, known.active.get(key).map(|(_, group)| group.clone()))
        };
        let running = match group {
            Some(group) => group.info().await.ok(),
            None => None,
        };
        let backing = self.backing(&listed)?;
        let store_failed = |error| {
            tracing::error!(%error, "a persistent subscription could not be looked at");
            Failure::Storage
        };
        Ok(Status {
            saved: backing.saved().await.map_err(store_failed)?,
            last: backing.last_place().await.map_err(store_failed)?,
            parked_count: backing.parked_count().await.map_err(store_failed)?,
            config: listed.config,
            running,
        })
    }

    pub(super) async fn join(
        &self,
        key: &Key,
        mut joining: Joining,
    ) -> Result<(Arc<Config>, Membership<Delivered>), Failure> {
        for _ in 0..2 {
            let (config, group) = self.start(key).await?;
            let count_max = usize::try_from(config.max_subscriber_count).unwrap_or_default();
            joining.member_count_max = count_max;
            match group.join(joining.clone()).await {
                Ok(membership) => return Ok((config, membership)),
                // It stopped between being found and being joined.
                Err(GroupEnd::Stopped | GroupEnd::Renewed | GroupEnd::Lost) => {}
                Err(end) => return Err(failure_of(key, &end)),
            }
        }
        Err(Failure::NotReady)
    }

    pub(super) async fn replay(&self, key: &Key, before: Option<u64>) -> Result<(), Failure> {
        let (_, group) = self.start(key).await?;
        let which = before.map_or(Which::All, Which::Before);
        group.replay(which).await.map(drop).map_err(|end| failure_of(key, &end))
    }

    pub(super) async fn truncate(&self, key: &Key, before: Option<u64>) -> Result<(), Failure> {
        let listed = {
            let mut known = self.known.lock().await;
            self.read(&mut known).await?;
            known.listed.get(key).cloned().ok_or_else(|| key.missing())?
        };
        let truncated = self.backing(&listed)?.truncate_parked(before).await;
        truncated.map_err(|error| key.failed(error.to_string()))
    }

    /// Ends every subscription here and lets consumers connect again.
    pub(crate) async fn restart(&self) {
        self.stop().await;
    }

    async fn start(&self, key: &Key) -> Result<(Arc<Config>, Group<Delivered>), Failure> {
        let mut known = self.known.lock().await;
        self.read(&mut known).await?;
        let listed = known.listed.get(key).cloned().ok_or_else(|| key.missing())?;
        if let Some((version, group)) = known.active.get(key)
            && *version == listed.version
            && !group.is_over()
        {
            return Ok((listed.config, group.clone()));
        }
        known.active.retain(|_, (_, group)| !group.is_over());
        let backing = Arc::new(self.backing(&listed)?);
        let hosting = Hosting {
            store: Arc::clone(&self.store),
            key: component(key, listed.version),
            owner: self.owner.clone(),
            lease_ttl: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
        };
        let group = spawn(backing, listed.config.settings(), hosting);
        known.active.insert(key.clone(), (listed.version, group.clone()));
        Ok((listed.config, group))
    }

    fn backing(&self, listed: &Listed) -> Result<SubscriptionBacking, Failure> {
        let config = Arc::clone(&listed.config);
        let backing = SubscriptionBacking::new(Arc::clone(&self.store), config);
        backing.map_err(|error| Failure::invalid(error.to_string()))
    }

    /// The place behind which a subscription begins.
    async fn after(&self, key: &Key, start: Start) -> Result<u64, Failure> {
        let last = last_place(&*self.store, key, &mut Tally::default()).await;
        let last = last.map_err(|_| Failure::Storage)?;
        match (start, &key.origin) {
            (Start::Beginning, _) => Ok(0),
            (Start::End, _) => Ok(last.unwrap_or_default()),
            // The first one delivered has this revision, and the place one behind it.
            (Start::At(revision), Origin::Stream(_)) => Ok(revision),
            (Start::At(position), Origin::All) if position > last.unwrap_or_default() => {
                Err(key.failed("The position is beyond the end of $all."))
            }
            (Start::At(position), Origin::All) => Ok(position.saturating_sub(1)),
        }
    }

    async fn read(&self, known: &mut Known) -> Result<(), Failure> {
        let failed = |error| {
            tracing::error!(%error, "the persistent subscriptions could not be read");
            Failure::Storage
        };
        let read = ReadStream::new(config_stream()?).from(Revision::new(known.next));
        let mut read = self.store.read_stream(read).await.map_err(failed)?;
        while let Some(batch) = read.batches.next().await.map_err(failed)? {
            for event in batch.iter() {
                known.next = event.revision().get() + 1;
                // What cannot be read is of a later version, and as good as not there.
                if let Ok(entry) = serde_json::from_slice(event.data_bytes()) {
                    known.take(entry, event.revision());
                }
            }
        }
        Ok(())
    }

    async fn write(&self, known: &mut Known, entry: &Entry) -> Result<(), Failure> {
        let data =
            serde_json::to_vec(entry).map_err(|error| Failure::invalid(error.to_string()))?;
        let event = NewEvent::json(CONFIG_TYPE, data);
        let event = event.map_err(|error| Failure::invalid(error.to_string()))?;
        let expected = match known.next.checked_sub(1) {
            Some(last) => ExpectedRevision::Exactly(Revision::new(last)),
            None => ExpectedRevision::NoStream,
        };
        let append = Append::to_stream(config_stream()?, expected, [event]);
        match self.store.append(append).await {
            Ok(_) => self.read(known).await,
            Err(AppendError::Conflict { .. } | AppendError::Overloaded) => Err(Failure::Busy),
            Err(AppendError::DiskFull) => Err(Failure::DiskFull),
            Err(AppendError::ReadOnly) => Err(Failure::ReadOnly),
            Err(error) => {
                tracing::error!(%error, "a persistent subscription could not be kept");
                Err(Failure::Storage)
            }
        }
    }
}

impl Known {
    fn take(&mut self, entry: Entry, revision: Revision) {
        match entry {
            Entry::Created(config) => {
                let version = u32::try_from(revision.get() + 1).unwrap_or(u32::MAX);
                let key = config.key.clone();
                self.listed.insert(key, Listed { config: Arc::new(config), version });
            }
            Entry::Updated(config) => {
                if let Some(listed) = self.listed.get_mut(&config.key) {
                    listed.config = Arc::new(config);
                }
            }
            Entry::Deleted(key) => {
                self.listed.remove(&key);
            }
        }
    }
}

fn config_stream() -> Result<StreamName, Failure> {
    StreamName::new(CONFIG_STREAM).map_err(|error| Failure::invalid(error.to_string()))
}

/// What a subscription is in the registry, whose names have at most 255 bytes.
fn component(key: &Key, version: u32) -> ComponentKey {
    let mut name = format!("kurrent/{}", key.id());
    if name.len() > 200 {
        let hash = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes());
        name.truncate(name.floor_char_boundary(150));
        name = format!("{name}~{hash}");
    }
    ComponentKey { kind: ComponentKind::Group, name, version }
}

/// What consumers are told when a subscription does not go on here.
pub(super) fn failure_of(key: &Key, end: &GroupEnd) -> Failure {
    match end {
        GroupEnd::Deleted | GroupEnd::Renewed => key.dropped(),
        GroupEnd::Full { .. } => key.full(),
        GroupEnd::Failed { cause } => key.failed(cause.clone()),
        // Also what later versions have.
        _ => Failure::NotReady,
    }
}
