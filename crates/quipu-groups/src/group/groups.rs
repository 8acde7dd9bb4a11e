//! The groups of one store, as a server has them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quipu_core::{
    AppendError, ComponentKey, ComponentKind, EventStore, ParkedItem, Position, ReadError,
    RecordedEvent,
};
use tokio::sync::Mutex;

use super::catalog::{Catalog, Listed};
use super::config::GroupConfig;
use super::drive::{Hosting, spawn};
use super::member::{Group, GroupEnd, GroupInfo, Joining, Membership, Which};
use super::native::StoreBacking;
use crate::places::KeepError;

/// A group's event, as members get it.
pub type GroupEvent = Arc<RecordedEvent>;

/// Why something about a group was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// There is no such group. List the groups and use one of their names.
    #[error("there is no group named \"{name}\"")]
    Unknown {
        /// The name.
        name: String,
    },
    /// There is one already. Update it, or use another name.
    #[error("there is a group named \"{name}\" already")]
    Exists {
        /// The name.
        name: String,
    },
    /// The group cannot be like that.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// Somebody else changed the group at the same time. Look at it again.
    #[error("somebody else changed the group \"{name}\" at the same time")]
    Contended {
        /// The name.
        name: String,
    },
    /// Too many groups have members here. Try again when others have gone.
    #[error("{count_max} groups have members here already")]
    TooManyActive {
        /// The most.
        count_max: usize,
    },
    /// The group does not go on here.
    #[error(transparent)]
    Ended(#[from] GroupEnd),
    /// The store could not be read.
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    /// The store did not take the change.
    #[error("the store did not take the change")]
    Append(#[from] AppendError),
    /// What is kept of the group could not be read.
    #[error("what is kept of the group could not be read")]
    Keep(#[from] KeepError),
}

/// How a group of a store is.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct GroupStatus {
    /// What it is.
    pub config: Arc<GroupConfig>,
    /// Everything at or before this place is settled, and after a crash it is still so.
    pub checkpoint: Position,
    /// How many positions lie between the checkpoint and the frontier.
    pub lag: u64,
    /// How many events are parked.
    pub parked_count: u64,
    /// How it runs here; `None` while nobody is in it.
    pub running: Option<GroupInfo>,
}

/// How the groups of a store are run.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct GroupsOptions {
    /// Who runs them, for people.
    pub owner: String,
    /// How long nobody runs a group after a crash of who did.
    pub lease_ttl: Duration,
    /// How long a group without members stays where it is.
    pub idle_timeout: Duration,
    /// The most groups that run here at a time.
    pub active_count_max: usize,
}

impl Default for GroupsOptions {
    fn default() -> Self {
        Self {
            owner: format!("process {}", std::process::id()),
            lease_ttl: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            active_count_max: 1_000,
        }
    }
}

/// A group that runs here, and which one of its name.
struct Active {
    version: u32,
    group: Group<GroupEvent>,
}

/// The groups of one store. A group runs here while it has members, under a lease, so that of several
/// servers one runs it; until then it costs nothing.
///
/// ```
/// use std::sync::Arc;
/// use quipu_core::*;
/// use quipu_groups::group::{GroupConfig, Groups, GroupsOptions, Joining};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new());
/// let placed = NewEvent::json("OrderPlaced", "{}")?;
/// store.append(Append::new().event(StreamName::new("order-1")?, placed)).await?;
///
/// let groups = Groups::new(store, GroupsOptions::default());
/// groups.create(GroupConfig::new("billing", Query::all())).await?;
/// let mut member = groups.join("billing", Joining::new(10)).await?;
/// let got = member.next().await?;
///
/// assert_eq!(got[0].item.event.event_type, "OrderPlaced");
/// member.answers().ack(vec![got[0].number]).await?;
/// # Ok(())
/// # }
/// ```
pub struct Groups {
    store: Arc<dyn EventStore>,
    catalog: Catalog,
    options: GroupsOptions,
    /// Held while a group is looked up or started, never while one ends.
    active: Mutex<HashMap<String, Active>>,
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Groups {
    /// The groups of this store. They are kept with an application's rights.
    pub fn new(store: Arc<dyn EventStore>, options: GroupsOptions) -> Self {
        let catalog = Catalog::new(Arc::clone(&store));
        Self { store, catalog, options, active: Mutex::default() }
    }

    /// Creates a group. On `Ok` it is durable.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn create(&self, config: GroupConfig) -> Result<(), GroupError> {
        config.check().map_err(|reason| GroupError::Invalid { reason })?;
        self.catalog.create(&config).await
    }

    /// Changes a group's settings. Where it begins and which events it has stay as they are. Its
    /// members are told to join again; nothing is lost.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn update(&self, mut config: GroupConfig) -> Result<(), GroupError> {
        let before = self.catalog.get(&config.name).await?.config;
        config.query.clone_from(&before.query);
        config.after = before.after;
        config.check().map_err(|reason| GroupError::Invalid { reason })?;
        self.catalog.update(&config).await?;
        self.end(&config.name, GroupEnd::Renewed).await;
        Ok(())
    }

    /// Deletes a group: its checkpoint and what it parked are not used any more.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn delete(&self, name: &str) -> Result<(), GroupError> {
        let version = self.catalog.get(name).await?.version;
        self.catalog.delete(name).await?;
        self.end(name, GroupEnd::Deleted).await;
        // It is gone whether or not the registry hears of it.
        self.store.registry().remove(&key(name, version)).await.ok();
        Ok(())
    }

    /// All groups, in the order of their names.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn list(&self) -> Result<Vec<Arc<GroupConfig>>, GroupError> {
        Ok(self.catalog.list().await?.into_iter().map(|listed| listed.config).collect())
    }

    /// What a group is.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn config(&self, name: &str) -> Result<Arc<GroupConfig>, GroupError> {
        Ok(self.catalog.get(name).await?.config)
    }

    /// How a group is.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn status(&self, name: &str) -> Result<GroupStatus, GroupError> {
        let listed = self.catalog.get(name).await?;
        let running = match self.running(name, &listed).await {
            Some(group) => group.info().await.ok(),
            None => None,
        };
        let (checkpoint, parked_count) = if let Some(info) = &running {
            (info.checkpoint, info.counts.parked)
        } else {
            let kept = self.backing(&listed)?.load().await?;
            (kept.checkpoint, kept.parked.len())
        };
        let frontier = self.store.frontier().await?;
        let lag = frontier.get().saturating_sub(checkpoint.get());
        let parked_count = parked_count as u64;
        Ok(GroupStatus { config: listed.config, checkpoint, lag, parked_count, running })
    }

    /// Joins a group, which begins to run here if it does not yet.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn join(
        &self,
        name: &str,
        mut joining: Joining,
    ) -> Result<Membership<GroupEvent>, GroupError> {
        let listed = self.catalog.get(name).await?;
        joining.member_count_max = listed.config.member_count_max;
        let group = self.start(name, &listed).await?;
        match group.join(joining.clone()).await {
            // It stopped between being found and being joined: once more.
            Err(GroupEnd::Stopped) => Ok(self.start(name, &listed).await?.join(joining).await?),
            joined => Ok(joined?),
        }
    }

    /// What is parked, in the order of the log.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn parked(&self, name: &str) -> Result<Vec<ParkedItem>, GroupError> {
        let listed = self.catalog.get(name).await?;
        match self.running(name, &listed).await {
            Some(group) => Ok(group.parked().await?),
            None => Ok(self.backing(&listed)?.load().await?.parked),
        }
    }

    /// Tries parked events again, before anything else of their keys. How many.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn replay(&self, name: &str, which: Which) -> Result<usize, GroupError> {
        let listed = self.catalog.get(name).await?;
        Ok(self.start(name, &listed).await?.replay(which).await?)
    }

    /// Forgets parked events: the one at this place, or all. How many.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    pub async fn drop_parked(
        &self,
        name: &str,
        which: Option<Position>,
    ) -> Result<usize, GroupError> {
        let listed = self.catalog.get(name).await?;
        Ok(self.start(name, &listed).await?.drop_parked(which).await?)
    }

    /// How the groups that run here are, with their names.
    pub async fn running_here(&self) -> Vec<(String, GroupInfo)> {
        let active = self.active.lock().await;
        let groups: Vec<_> =
            active.iter().map(|(name, it)| (name.clone(), it.group.clone())).collect();
        drop(active);
        let mut running = Vec::new();
        for (name, group) in groups {
            if let Ok(info) = group.info().await {
                running.push((name, info));
            }
        }
        running.sort_by(|(first, _), (second, _)| first.cmp(second));
        running
    }

    /// Ends every group here: checkpoints are saved, and leases given back.
    pub async fn stop(&self) {
        let active = std::mem::take(&mut *self.active.lock().await);
        let mut ending = tokio::task::JoinSet::new();
        for (_, Active { group, .. }) in active {
            ending.spawn(async move { group.end(GroupEnd::Stopped).await });
        }
        ending.join_all().await;
    }

    async fn end(&self, name: &str, reason: GroupEnd) {
        let ended = self.active.lock().await.remove(name);
        if let Some(Active { group, .. }) = ended {
            group.end(reason).await;
        }
    }

    fn backing(&self, listed: &Listed) -> Result<StoreBacking, GroupError> {
        let name = self.hosting(listed).lease_name();
        let backing = StoreBacking::new(Arc::clone(&self.store), listed.config.clone(), name);
        backing.map_err(|error| GroupError::Invalid { reason: error.to_string() })
    }

    fn hosting(&self, listed: &Listed) -> Hosting {
        Hosting {
            store: Arc::clone(&self.store),
            key: key(&listed.config.name, listed.version),
            owner: self.options.owner.clone(),
            lease_ttl: self.options.lease_ttl,
            idle_timeout: self.options.idle_timeout,
        }
    }

    async fn running(&self, name: &str, listed: &Listed) -> Option<Group<GroupEvent>> {
        let active = self.active.lock().await;
        let found = active.get(name).filter(|own| own.version == listed.version)?;
        (!found.group.is_over()).then(|| found.group.clone())
    }

    async fn start(&self, name: &str, listed: &Listed) -> Result<Group<GroupEvent>, GroupError> {
        let mut active = self.active.lock().await;
        if let Some(own) = active.get(name)
            && own.version == listed.version
            && !own.group.is_over()
        {
            return Ok(own.group.clone());
        }
        let count_max = self.options.active_count_max;
        if active.len() >= count_max {
            active.retain(|_, own| !own.group.is_over());
            if active.len() >= count_max {
                return Err(GroupError::TooManyActive { count_max });
            }
        }
        let backing = Arc::new(self.backing(listed)?);
        let group = spawn(backing, listed.config.settings(), self.hosting(listed));
        let own = Active { version: listed.version, group: group.clone() };
        active.insert(name.to_owned(), own);
        Ok(group)
    }
}

/// What a group is in the registry.
fn key(name: &str, version: u32) -> ComponentKey {
    ComponentKey { kind: ComponentKind::Group, name: name.to_owned(), version }
}
