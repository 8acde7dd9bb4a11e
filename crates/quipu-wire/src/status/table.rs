//! The table of codes.

use tonic::Code;

use crate::proto::ErrorCode;

/// What a code is to those who get it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a table")]
pub struct Meaning {
    /// The code.
    pub code: ErrorCode,
    /// The code of the gRPC status.
    pub grpc: Code,
    /// Its name where errors are text. It never changes.
    pub name: &'static str,
    /// Whether the same call may succeed later without any other change.
    pub retryable: bool,
    /// What to do about it.
    pub hint: &'static str,
}

const fn never(code: ErrorCode, grpc: Code, name: &'static str, hint: &'static str) -> Meaning {
    Meaning { code, grpc, name, retryable: false, hint }
}

const fn later(code: ErrorCode, grpc: Code, name: &'static str, hint: &'static str) -> Meaning {
    Meaning { code, grpc, name, retryable: true, hint }
}

/// The meaning of a code.
pub fn meaning(code: ErrorCode) -> &'static Meaning {
    TABLE.iter().find(|row| row.code == code).expect("a test holds that each code has a row")
}

/// Every code, in the order of its number.
#[rustfmt::skip]
pub const TABLE: &[Meaning] = &[
    later(ErrorCode::Unspecified, Code::Unknown, "unknown",
        "look at the server's log"),
    never(ErrorCode::AppendConflict, Code::Aborted, "append.conflict",
        "read again, decide again, then append again"),
    never(ErrorCode::EventTooLarge, Code::InvalidArgument, "append.event_too_large",
        "split the event, or keep the large part elsewhere and refer to it"),
    never(ErrorCode::AppendTooLarge, Code::InvalidArgument, "append.too_large",
        "append fewer events at once"),
    never(ErrorCode::TooManyEvents, Code::InvalidArgument, "append.too_many_events",
        "append fewer events at once"),
    never(ErrorCode::TooManyTags, Code::InvalidArgument, "append.too_many_tags",
        "give the event fewer tags"),
    never(ErrorCode::ReservedName, Code::InvalidArgument, "append.reserved_name",
        "use a name that does not begin with $"),
    never(ErrorCode::MetadataStream, Code::InvalidArgument, "append.metadata_stream",
        "name the stream itself, not its metadata stream"),
    never(ErrorCode::NameTooLong, Code::InvalidArgument, "append.name_too_long",
        "use a shorter name"),
    never(ErrorCode::TwoExpectations, Code::InvalidArgument, "append.two_expectations",
        "give each stream one expectation"),
    never(ErrorCode::RecordedInFuture, Code::InvalidArgument, "append.recorded_in_future",
        "give no time later than the server's clock"),
    never(ErrorCode::AfterBeyondFrontier, Code::InvalidArgument, "append.after_beyond_frontier",
        "use the frontier that a read answered"),
    never(ErrorCode::MalformedMetadata, Code::InvalidArgument, "append.malformed_metadata",
        "send a JSON object whose known keys have valid values"),
    later(ErrorCode::Overloaded, Code::ResourceExhausted, "append.overloaded",
        "try again after the appends under way are answered"),
    later(ErrorCode::DiskFull, Code::ResourceExhausted, "append.disk_full",
        "make space on the server's disk, then try again"),
    never(ErrorCode::ReadOnly, Code::FailedPrecondition, "store.read_only",
        "write to the server that has the store open for writing"),
    later(ErrorCode::Closed, Code::Unavailable, "store.closed",
        "try again once the server has opened the store again"),
    later(ErrorCode::OutcomeUnknown, Code::Unknown, "append.outcome_unknown",
        "try again with the same ids: nothing is appended twice"),
    later(ErrorCode::Storage, Code::Internal, "store.failed",
        "look at the server's log"),
    later(ErrorCode::AsOfInFuture, Code::OutOfRange, "read.as_of_in_future",
        "ask for an earlier moment, or wait"),
    never(ErrorCode::SubscribeBeyondEnd, Code::OutOfRange, "subscribe.beyond_end",
        "check which log the place is of; subscribe after a place in this one"),
    never(ErrorCode::StreamTombstoned, Code::FailedPrecondition, "subscribe.tombstoned",
        "nothing will follow: stop"),
    never(ErrorCode::CheckpointMoved, Code::Aborted, "checkpoint.moved",
        "another instance runs: stop, or go on from where the checkpoint is"),
    never(ErrorCode::CheckpointStaleEpoch, Code::Aborted, "checkpoint.stale_epoch",
        "a later instance has taken over: stop"),
    never(ErrorCode::CheckpointOtherLog, Code::FailedPrecondition, "checkpoint.other_log",
        "connect to the log that the checkpoint is of, or start over"),
    never(ErrorCode::CheckpointOtherLife, Code::FailedPrecondition, "checkpoint.other_life",
        "start over: what was handled may not be in this log"),
    never(ErrorCode::CheckpointBeyondEnd, Code::OutOfRange, "checkpoint.beyond_end",
        "check which log the checkpoint is of"),
    never(ErrorCode::CheckpointInvalidName, Code::InvalidArgument, "checkpoint.invalid_name",
        "use a name of 1 to 255 bytes"),
    later(ErrorCode::LeaseHeld, Code::Aborted, "lease.held",
        "wait until it expires, then try again"),
    never(ErrorCode::LeaseLost, Code::Aborted, "lease.lost",
        "stop what the lease was for"),
    never(ErrorCode::LeaseInvalidName, Code::InvalidArgument, "lease.invalid_name",
        "use a name of 1 to 255 bytes"),
    never(ErrorCode::ComponentUnknown, Code::NotFound, "component.unknown",
        "list the components and use one of their names"),
    never(ErrorCode::ComponentInvalidName, Code::InvalidArgument, "component.invalid_name",
        "use a name of 1 to 255 bytes without control characters"),
    never(ErrorCode::ComponentStaleEpoch, Code::Aborted, "component.stale_epoch",
        "a later instance has taken over: stop"),
    later(ErrorCode::TooManyRequests, Code::ResourceExhausted, "component.too_many_requests",
        "see whether the component runs, then try again"),
    never(ErrorCode::MalformedRequest, Code::InvalidArgument, "request.malformed",
        "send what the protocol's description asks for"),
    never(ErrorCode::Unauthenticated, Code::Unauthenticated, "request.unauthenticated",
        "send a valid token"),
    never(ErrorCode::Forbidden, Code::PermissionDenied, "request.forbidden",
        "ask an administrator for a rule that allows it"),
    later(ErrorCode::Stopping, Code::Unavailable, "server.stopping",
        "connect again, and subscribe after the last place that was handled"),
    later(ErrorCode::TooManySubscriptions, Code::ResourceExhausted, "subscribe.too_many",
        "end a subscription, then subscribe again"),
    never(ErrorCode::GroupUnknown, Code::NotFound, "group.unknown",
        "list the groups and use one of their names, or create it"),
    never(ErrorCode::GroupExists, Code::AlreadyExists, "group.exists",
        "update the group, or use another name"),
    never(ErrorCode::GroupInvalid, Code::InvalidArgument, "group.invalid",
        "change what the message says is wrong"),
    later(ErrorCode::GroupContended, Code::Aborted, "group.contended",
        "look at the group again, then change it again"),
    later(ErrorCode::GroupTooManyActive, Code::ResourceExhausted, "group.too_many_active",
        "try again when other groups have no members any more"),
    later(ErrorCode::GroupElsewhere, Code::Unavailable, "group.elsewhere",
        "join at the server that runs the group, or here again later"),
    later(ErrorCode::GroupRenewed, Code::Unavailable, "group.renewed",
        "join again"),
    never(ErrorCode::GroupDeleted, Code::NotFound, "group.deleted",
        "stop: nothing will follow"),
    later(ErrorCode::GroupFull, Code::FailedPrecondition, "group.full",
        "join when another member has left, or let the group have more members"),
    later(ErrorCode::GroupFailed, Code::Internal, "group.failed",
        "look at the server's log"),
    never(ErrorCode::TaskUnsupported, Code::FailedPrecondition, "task.unsupported",
        "serve a directory; for backups, name their directory with --backup-dir"),
    never(ErrorCode::BackupInvalidName, Code::InvalidArgument, "backup.invalid_name",
        "use a name of 1 to 64 letters, digits, -, _ and dots, none of them first"),
    never(ErrorCode::BackupExists, Code::AlreadyExists, "backup.exists",
        "use another name"),
    later(ErrorCode::TaskBusy, Code::Aborted, "task.busy",
        "wait until the other task is done, then try again"),
    never(ErrorCode::CredentialsInvalid, Code::FailedPrecondition, "credentials.invalid",
        "look at who there is and what they may do, then ask for something else"),
];
