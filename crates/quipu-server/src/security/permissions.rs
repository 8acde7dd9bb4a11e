//! Which right each operation needs. What is not in the table is refused: default deny.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use super::rules::ParseRuleError;

/// What a principal may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the evaluator decides each of them")]
pub enum Action {
    /// Anybody may, without credentials: health, for instance.
    Public,
    /// Reads and subscriptions, and what is known of streams.
    Read,
    /// Appends.
    Append,
    /// Deletes and tombstones.
    Delete,
    /// Metadata of streams.
    Metadata,
    /// The notes of consumers beside the log: snapshots, checkpoints, leases, components.
    Consume,
    /// Work on the store that reads no events: statistics, verification, backups, scavenging.
    Operate,
    /// Principals and rules.
    Administer,
}

impl Action {
    /// The actions that roles and rules can allow: all but [`Public`](Self::Public).
    pub const GRANTED: [Self; 7] = [
        Self::Read,
        Self::Append,
        Self::Delete,
        Self::Metadata,
        Self::Consume,
        Self::Operate,
        Self::Administer,
    ];

    /// The action's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Read => "read",
            Self::Append => "append",
            Self::Delete => "delete",
            Self::Metadata => "metadata",
            Self::Consume => "consume",
            Self::Operate => "operate",
            Self::Administer => "administer",
        }
    }

    /// Whether it can be allowed for some streams and refused for others.
    pub const fn is_about_events(self) -> bool {
        matches!(self, Self::Read | Self::Append | Self::Delete | Self::Metadata)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let found = Self::GRANTED.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| ParseRuleError::Action { word: text.to_owned() })
    }
}

/// An operation, and the right it needs at least. Handlers check in detail which streams.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a table")]
pub struct Permission {
    /// A gRPC method's path (`/quipu.v1.Store/Append`), or an HTTP method and a route
    /// (`GET /streams/{stream}`).
    pub operation: &'static str,
    /// What it needs.
    pub action: Action,
    /// What does as well, where the operation is several things and its handler tells them apart.
    pub or: &'static [Action],
}

const fn needs(operation: &'static str, action: Action) -> Permission {
    Permission { operation, action, or: &[] }
}

const fn needs_one(operation: &'static str, action: Action, or: &'static [Action]) -> Permission {
    Permission { operation, action, or }
}

/// Whoever may do anything may know which log it is about: clients ask that first.
const ANY: &[Action] = &Action::GRANTED;

/// Components are looked at and steered by those who run them and by operators.
const OPERATE: &[Action] = &[Action::Operate];

/// Every operation of the server.
pub const PERMISSIONS: &[Permission] = &[
    needs("GET /", Action::Public),
    needs("GET /ui/{file}", Action::Public),
    needs("GET /health/live", Action::Public),
    needs("GET /health/ready", Action::Public),
    needs("GET /metrics", Action::Operate),
    needs("GET /docs", Action::Public),
    needs("GET /openapi.json", Action::Public),
    needs("GET /problems/{name}", Action::Public),
    needs("GET /streams/{stream}", Action::Read),
    needs("POST /streams/{stream}", Action::Append),
    needs("DELETE /streams/{stream}", Action::Delete),
    needs("POST /append", Action::Append),
    needs("GET /events", Action::Read),
    needs("GET /streams/{stream}/subscribe", Action::Read),
    needs("GET /subscribe", Action::Read),
    needs("GET /streams", Action::Read),
    needs("GET /subscriptions", Action::Operate),
    needs("GET /streams/{stream}/info", Action::Read),
    needs("GET /streams/{stream}/metadata", Action::Read),
    needs("PUT /streams/{stream}/metadata", Action::Metadata),
    needs("GET /frontier", Action::Read),
    needs("GET /position", Action::Read),
    needs("POST /session", Action::Public),
    needs("DELETE /session", Action::Public),
    needs("GET /whoami", Action::Public),
    needs("GET /categories", Action::Read),
    needs("GET /types", Action::Read),
    needs("GET /tags", Action::Read),
    needs("GET /tag-keys", Action::Read),
    needs("GET /process-map", Action::Read),
    needs("GET /process-map/cases", Action::Read),
    needs("GET /process-map/export", Action::Read),
    needs_one("GET /components", Action::Consume, OPERATE),
    needs_one("GET /components/{kind}/{name}/{version}", Action::Consume, OPERATE),
    needs_one("DELETE /components/{kind}/{name}/{version}", Action::Consume, OPERATE),
    needs_one("POST /components/{kind}/{name}/{version}/requests", Action::Consume, OPERATE),
    needs("GET /groups", Action::Consume),
    needs("POST /groups/{group}", Action::Consume),
    needs("GET /groups/{group}", Action::Consume),
    needs("PATCH /groups/{group}", Action::Consume),
    needs("DELETE /groups/{group}", Action::Consume),
    needs("GET /groups/{group}/parked", Action::Consume),
    needs("DELETE /groups/{group}/parked", Action::Consume),
    needs("POST /groups/{group}/parked/replay", Action::Consume),
    needs("POST /groups/{group}/members", Action::Consume),
    needs("DELETE /groups/{group}/members/{member}", Action::Consume),
    needs("GET /groups/{group}/members/{member}/events", Action::Consume),
    needs("POST /groups/{group}/members/{member}/answers", Action::Consume),
    needs_one("/quipu.v1.Store/Identify", Action::Read, ANY),
    needs_one("/quipu.v1.Store/Change", Action::Append, &[Action::Delete, Action::Metadata]),
    needs_one("/quipu.v1.Store/AppendStream", Action::Append, &[Action::Delete, Action::Metadata]),
    needs("/quipu.v1.Store/ReadStream", Action::Read),
    needs("/quipu.v1.Store/ReadAll", Action::Read),
    needs("/quipu.v1.Store/ReadIndex", Action::Read),
    needs("/quipu.v1.Store/Frontier", Action::Read),
    needs("/quipu.v1.Store/PositionAt", Action::Read),
    needs("/quipu.v1.Store/WaitVisible", Action::Read),
    needs("/quipu.v1.Store/ListStreams", Action::Read),
    needs("/quipu.v1.Store/StreamInfo", Action::Read),
    needs("/quipu.v1.Store/Subscribe", Action::Read),
    needs("/quipu.v1.Notes/GetSnapshot", Action::Consume),
    needs("/quipu.v1.Notes/PutSnapshot", Action::Consume),
    needs("/quipu.v1.Notes/PruneSnapshots", Action::Consume),
    needs("/quipu.v1.Notes/GetCheckpoint", Action::Consume),
    needs("/quipu.v1.Notes/SwapCheckpoint", Action::Consume),
    needs("/quipu.v1.Notes/ListCheckpoints", Action::Consume),
    needs("/quipu.v1.Notes/AcquireLease", Action::Consume),
    needs("/quipu.v1.Notes/RenewLease", Action::Consume),
    needs("/quipu.v1.Notes/ReleaseLease", Action::Consume),
    needs("/quipu.v1.Notes/GetLease", Action::Consume),
    needs("/quipu.v1.Notes/ReportComponent", Action::Consume),
    needs("/quipu.v1.Notes/ListComponents", Action::Consume),
    needs("/quipu.v1.Notes/RemoveComponent", Action::Consume),
    needs("/quipu.v1.Notes/LeaveRequest", Action::Consume),
    needs("/quipu.v1.Notes/TakeRequests", Action::Consume),
    needs("GET /info", Action::Public),
    needs("GET /ping", Action::Public),
    needs("GET /gossip", Action::Public),
    needs("GET /stats", Action::Operate),
    needs("/event_store.client.server_features.ServerFeatures/GetSupportedMethods", Action::Public),
    needs("/event_store.client.gossip.Gossip/Read", Action::Public),
    needs("/event_store.client.streams.Streams/Read", Action::Read),
    needs("/event_store.client.streams.Streams/Append", Action::Append),
    needs("/event_store.client.streams.Streams/BatchAppend", Action::Append),
    needs("/event_store.client.streams.Streams/Delete", Action::Delete),
    needs("/event_store.client.streams.Streams/Tombstone", Action::Delete),
    needs(
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Create",
        Action::Consume,
    ),
    needs(
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Update",
        Action::Consume,
    ),
    needs(
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Delete",
        Action::Consume,
    ),
    needs(
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Read",
        Action::Consume,
    ),
    needs(
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/GetInfo",
        Action::Consume,
    ),
    needs(
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/ReplayParked",
        Action::Consume,
    ),
    needs(
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/TruncateParked",
        Action::Consume,
    ),
    needs(
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/List",
        Action::Consume,
    ),
    needs(
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/RestartSubsystem",
        Action::Consume,
    ),
    needs("/event_store.client.operations.Operations/StartScavenge", Action::Operate),
    needs("/event_store.client.operations.Operations/StopScavenge", Action::Operate),
    needs("/event_store.client.operations.Operations/Shutdown", Action::Operate),
    needs("/event_store.client.operations.Operations/MergeIndexes", Action::Operate),
    needs("/event_store.client.operations.Operations/ResignNode", Action::Operate),
    needs("/event_store.client.operations.Operations/SetNodePriority", Action::Operate),
    needs(
        "/event_store.client.operations.Operations/RestartPersistentSubscriptions",
        Action::Operate,
    ),
    needs("/event_store.client.monitoring.Monitoring/Stats", Action::Operate),
    needs("/event_store.client.users.Users/Create", Action::Administer),
    needs("/event_store.client.users.Users/Update", Action::Administer),
    needs("/event_store.client.users.Users/Delete", Action::Administer),
    needs("/event_store.client.users.Users/Disable", Action::Administer),
    needs("/event_store.client.users.Users/Enable", Action::Administer),
    needs("/event_store.client.users.Users/Details", Action::Administer),
    needs("/event_store.client.users.Users/ChangePassword", Action::Public),
    needs("/event_store.client.users.Users/ResetPassword", Action::Administer),
    needs("/event_store.client.projections.Projections/Create", Action::Operate),
    needs("/event_store.client.projections.Projections/Update", Action::Operate),
    needs("/event_store.client.projections.Projections/Delete", Action::Operate),
    needs("/event_store.client.projections.Projections/Disable", Action::Operate),
    needs("/event_store.client.projections.Projections/Enable", Action::Operate),
    needs("/event_store.client.projections.Projections/Reset", Action::Operate),
    needs("/event_store.client.projections.Projections/RestartSubsystem", Action::Operate),
    needs("/event_store.client.projections.Projections/Statistics", Action::Read),
    needs("/event_store.client.projections.Projections/State", Action::Read),
    needs("/event_store.client.projections.Projections/Result", Action::Read),
    needs("/kurrentdb.protocol.v2.streams.StreamsService/AppendSession", Action::Append),
    needs("/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords", Action::Append),
    needs("/quipu.v1.Groups/CreateGroup", Action::Consume),
    needs("/quipu.v1.Groups/UpdateGroup", Action::Consume),
    needs("/quipu.v1.Groups/DeleteGroup", Action::Consume),
    needs("/quipu.v1.Groups/ListGroups", Action::Consume),
    needs("/quipu.v1.Groups/GetGroup", Action::Consume),
    needs("/quipu.v1.Groups/Consume", Action::Consume),
    needs("/quipu.v1.Groups/ListParked", Action::Consume),
    needs("/quipu.v1.Groups/ReplayParked", Action::Consume),
    needs("/quipu.v1.Groups/DropParked", Action::Consume),
    needs("/quipu.v1.Admin/Stats", Action::Operate),
    needs("/quipu.v1.Admin/Verify", Action::Operate),
    needs("/quipu.v1.Admin/Backup", Action::Operate),
    needs("/quipu.v1.Admin/Scavenge", Action::Operate),
    needs("/quipu.v1.Admin/RebuildIndex", Action::Operate),
    needs("/quipu.v1.Admin/ListCredentials", Action::Administer),
    needs("/quipu.v1.Admin/ChangeCredentials", Action::Administer),
    needs("/grpc.health.v1.Health/Check", Action::Public),
    needs("/grpc.health.v1.Health/Watch", Action::Public),
    needs("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Action::Read),
];

/// Which entry of the table an operation has, if the server has it.
pub(crate) fn operation_number(operation: &str) -> Option<usize> {
    static NUMBERS: LazyLock<HashMap<&str, usize>> = LazyLock::new(|| {
        let operations = PERMISSIONS.iter().map(|own| own.operation);
        operations.enumerate().map(|(number, own)| (own, number)).collect()
    });
    NUMBERS.get(operation).copied()
}

/// The action that an operation needs of a server, which may be open. The users that an open server
/// is told of prove nothing: whoever may operate it may keep them.
pub(crate) fn wanted(permission: Permission, is_open: bool) -> Action {
    const USERS: &str = "/event_store.client.users.Users/";
    match permission.action {
        Action::Administer if is_open && permission.operation.starts_with(USERS) => Action::Operate,
        action => action,
    }
}
