//! The registry: which components run, how they are, and what they are asked to do.
//!
//! Servers, user interfaces and command lines see and control what runs in other processes only
//! through it.

use crate::place::{Position, Timestamp};
use crate::read::StorageError;
use crate::store::BoxFuture;

/// The most parked items that a status carries.
pub const PARKED_ITEMS_MAX: usize = 1_000;
/// The most requests that wait for one component.
pub const REQUESTS_MAX: usize = 1_000;

/// What kind of component it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "stores write each of them")]
pub enum ComponentKind {
    /// Builds a read model.
    Projection,
    /// Reacts to events with effects.
    Process,
    /// Publishes events to elsewhere.
    Relay,
    /// A consumer group.
    Group,
}

impl ComponentKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Projection, Self::Process, Self::Relay, Self::Group];

    /// The kind's name: `projection`, `process`, `relay`, `group`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Projection => "projection",
            Self::Process => "process",
            Self::Relay => "relay",
            Self::Group => "group",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Which component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ComponentKey {
    /// Its kind.
    pub kind: ComponentKind,
    /// Its name: 1 to 255 bytes, any text without control characters.
    pub name: String,
    /// Its version: two versions of one projection run side by side.
    pub version: u32,
}

/// What a component is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "stores write each of them")]
pub enum ComponentState {
    /// It reads history.
    CatchingUp,
    /// It is at the end of the log.
    Live,
    /// It was asked to pause.
    Paused,
    /// It failed and will not go on by itself.
    Stopped,
    /// It failed and will try again.
    Retrying,
}

impl ComponentState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::CatchingUp, Self::Live, Self::Paused, Self::Stopped, Self::Retrying];

    /// The state's name: `catching-up`, `live`, `paused`, `stopped`, `retrying`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CatchingUp => "catching-up",
            Self::Live => "live",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Retrying => "retrying",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// An event that a component set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ParkedItem {
    /// The event.
    pub position: Position,
    /// The key whose later events wait behind it.
    pub key: String,
    /// Why.
    pub cause: String,
}

/// How a component is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ComponentStatus {
    /// Which component.
    pub key: ComponentKey,
    /// Who runs it, for people.
    pub owner: String,
    /// The epoch of the lease under which it runs; 0 where there is none.
    pub epoch: u64,
    /// What it is doing.
    pub state: ComponentState,
    /// The last event it handled.
    pub position: Position,
    /// How many positions lie between it and the frontier.
    pub lag: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How many items are parked.
    pub parked_count: u64,
    /// The first [`PARKED_ITEMS_MAX`] of them.
    pub parked: Vec<ParkedItem>,
    /// When this was reported.
    pub reported_at: Timestamp,
}

/// What a component is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stores write each of them")]
pub enum ComponentRequest {
    /// Stop handling events until resumed.
    Pause,
    /// Go on.
    Resume,
    /// Handle the parked item at this place again; `None` is all of them.
    Retry(Option<Position>),
    /// Forget the parked item at this place; `None` is all of them.
    Drop(Option<Position>),
    /// Let this version serve.
    Promote,
    /// Start again behind this place.
    ReplayFrom(Position),
}

/// Where components report and requests wait.
pub trait Registry: Send + Sync {
    /// Replaces a component's status. Parked items beyond [`PARKED_ITEMS_MAX`] are left out.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`].
    fn report(&self, status: ComponentStatus) -> BoxFuture<'_, Result<(), RegistryError>>;

    /// Every component that has reported, in the order of its key.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`].
    fn components(&self) -> BoxFuture<'_, Result<Vec<ComponentStatus>, RegistryError>>;

    /// Forgets a component and the requests that wait for it. One that is not there is forgotten
    /// already.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`].
    fn remove<'a>(&'a self, key: &'a ComponentKey) -> BoxFuture<'a, Result<(), RegistryError>>;

    /// Leaves a request for a component. Any opener may, one for reading only too.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`]; a component that never reported is [`RegistryError::Unknown`].
    fn request<'a>(
        &'a self,
        key: &'a ComponentKey,
        request: ComponentRequest,
    ) -> BoxFuture<'a, Result<(), RegistryError>>;

    /// Takes the requests that wait for a component, oldest first. Each is taken once. None wait for
    /// a component that never reported.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`].
    fn take_requests<'a>(
        &'a self,
        key: &'a ComponentKey,
    ) -> BoxFuture<'a, Result<Vec<ComponentRequest>, RegistryError>>;
}

/// Why the registry did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No such component has reported. Look at the names that `components` lists.
    #[error("no {} named \"{}\" of version {} has reported", key.kind.as_str(), key.name, key.version)]
    Unknown {
        /// The component asked for.
        key: ComponentKey,
    },
    /// The name is empty, over 255 bytes, or has control characters.
    #[error("a component's name has 1 to 255 bytes and no control characters")]
    InvalidName,
    /// The status is older than what is there: its epoch is stale. Step down.
    #[error("the status is reported under epoch {current}, {epoch} is stale")]
    StaleEpoch {
        /// The caller's epoch.
        epoch: u64,
        /// The epoch that reports.
        current: u64,
    },
    /// [`REQUESTS_MAX`] requests wait for the component already. It may not be running.
    #[error("too many requests wait for the component")]
    TooManyRequests,
    /// The store was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store failed.
    #[error("the registry could not be read or written")]
    Storage(#[source] StorageError),
}
