//! From the contract's errors to messages.

use std::error::Error;
use std::fmt::Display;

use quipu_core::{
    AppendError, CheckpointError, InvalidAppend, LeaseError, Position, ReadError, RegistryError,
    StorageError, SubscribeError,
};
use quipu_groups::KeepError;
use quipu_groups::group::{GroupEnd, GroupError};
use tonic::Status;

use super::{Refused, TaskError, meaning, to_status};
use crate::from_proto::Malformed;
use crate::proto::{self, ErrorCode};
use crate::to_proto;

/// Everything that a call can fail with.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "the table has each of them")]
pub enum Failure {
    /// A change did not succeed.
    Append(AppendError),
    /// A read did not succeed.
    Read(ReadError),
    /// A subscription ended or could not begin.
    Subscribe(SubscribeError),
    /// A checkpoint was not read or moved.
    Checkpoint(CheckpointError),
    /// A lease was not given.
    Lease(LeaseError),
    /// The registry did not answer.
    Registry(RegistryError),
    /// A snapshot was not read or kept.
    Snapshot(StorageError),
    /// Something about a consumer group was not done.
    Group(GroupError),
    /// The request's message is not valid.
    Malformed(Malformed),
    /// The caller may not do this.
    Refused(Refused),
    /// Work on the store was not done.
    Task(TaskError),
    /// The caller has as many subscriptions as they may.
    TooManySubscriptions {
        /// Who.
        principal: String,
        /// How many that is.
        count_max: usize,
    },
    /// The server stops, and with it what never ends by itself.
    Stopping {
        /// The place after which to subscribe again; `None` is where the subscription began.
        resume_after: Option<u64>,
    },
}

impl Failure {
    /// What failed below the contract, if that is why.
    pub fn storage(&self) -> Option<&StorageError> {
        match self {
            Self::Append(AppendError::Storage(cause) | AppendError::OutcomeUnknown(cause))
            | Self::Read(ReadError::Storage(cause))
            | Self::Subscribe(SubscribeError::Storage(cause))
            | Self::Checkpoint(CheckpointError::Storage(cause))
            | Self::Lease(LeaseError::Storage(cause))
            | Self::Registry(RegistryError::Storage(cause))
            | Self::Group(
                GroupError::Read(ReadError::Storage(cause))
                | GroupError::Append(
                    AppendError::Storage(cause) | AppendError::OutcomeUnknown(cause),
                ),
            )
            | Self::Task(TaskError::Storage(cause))
            | Self::Snapshot(cause) => Some(cause),
            _ => None,
        }
    }

    /// The failure as a message, whole.
    pub fn to_error(&self) -> proto::Error {
        match self {
            Self::Append(error) => append(error),
            Self::Read(error) => read(error),
            Self::Subscribe(error) => subscribe(error),
            Self::Checkpoint(error) => checkpoint(error),
            Self::Lease(error) => lease(error),
            Self::Registry(error) => registry(error),
            Self::Group(error) => group(error),
            Self::Snapshot(error) => {
                proto::Error { cause: chain(error), ..new(ErrorCode::Storage, "the store failed") }
            }
            Self::Malformed(error) => new(ErrorCode::MalformedRequest, error.to_string()),
            Self::Refused(error @ Refused::Unauthenticated) => {
                new(ErrorCode::Unauthenticated, error.to_string())
            }
            Self::Refused(error @ Refused::Forbidden { .. }) => {
                new(ErrorCode::Forbidden, error.to_string())
            }
            Self::Task(error) => task(error),
            Self::TooManySubscriptions { principal, count_max } => proto::Error {
                size_max: *count_max as u64,
                ..new(
                    ErrorCode::TooManySubscriptions,
                    format!("{principal} has {count_max} subscriptions already"),
                )
            },
            Self::Stopping { resume_after } => proto::Error {
                resume_after: *resume_after,
                ..new(ErrorCode::Stopping, "the server stops")
            },
        }
    }

    /// The failure as a status.
    pub fn to_status(&self) -> Status {
        to_status(self.to_error())
    }
}

macro_rules! failure_from {
    ($($error:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

failure_from! {
    AppendError => Append,
    ReadError => Read,
    SubscribeError => Subscribe,
    CheckpointError => Checkpoint,
    LeaseError => Lease,
    RegistryError => Registry,
    GroupError => Group,
    StorageError => Snapshot,
    Malformed => Malformed,
    Refused => Refused,
    TaskError => Task,
}

/// A message with this code, and what the table says of it.
fn new(code: ErrorCode, message: impl Into<String>) -> proto::Error {
    let row = meaning(code);
    proto::Error {
        code: code.into(),
        message: message.into(),
        hint: row.hint.to_owned(),
        retryable: row.retryable,
        ..proto::Error::default()
    }
}

fn task(error: &TaskError) -> proto::Error {
    match error {
        TaskError::InvalidName { name } | TaskError::Exists { name } => {
            named(error.code(), error, name)
        }
        _ => of(error.code(), error),
    }
}

/// A message with what an error says, and what it came from.
fn of(code: ErrorCode, error: &dyn Error) -> proto::Error {
    let cause = error.source().map(chain).unwrap_or_default();
    proto::Error { cause, ..new(code, error.to_string()) }
}

/// What an error says, and what each of its sources says.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn append(error: &AppendError) -> proto::Error {
    match error {
        AppendError::Conflict { violations } => proto::Error {
            violations: violations.iter().map(to_proto::violation).collect(),
            violation_count: u32::try_from(violations.len()).unwrap_or(u32::MAX),
            ..new(ErrorCode::AppendConflict, "a demand of the append does not hold")
        },
        AppendError::Invalid(reason) => invalid(reason),
        AppendError::Overloaded => of(ErrorCode::Overloaded, error),
        AppendError::DiskFull => of(ErrorCode::DiskFull, error),
        AppendError::ReadOnly => of(ErrorCode::ReadOnly, error),
        AppendError::Closed => of(ErrorCode::Closed, error),
        AppendError::Storage(_) => of(ErrorCode::Storage, error),
        // Of a variant of a later contract nothing is known either.
        AppendError::OutcomeUnknown(_) | _ => of(ErrorCode::OutcomeUnknown, error),
    }
}

fn sized(code: ErrorCode, error: &InvalidAppend, sizes: [usize; 3]) -> proto::Error {
    let [index, size, size_max] = sizes.map(|it| it as u64);
    proto::Error { index, size, size_max, ..of(code, error) }
}

fn named(code: ErrorCode, error: &dyn Error, name: &dyn Display) -> proto::Error {
    proto::Error { name: name.to_string(), ..of(code, error) }
}

fn invalid(error: &InvalidAppend) -> proto::Error {
    match error {
        InvalidAppend::EventTooLarge { index, size, size_max } => {
            sized(ErrorCode::EventTooLarge, error, [*index, *size, *size_max])
        }
        InvalidAppend::TooLarge { size, size_max } => {
            sized(ErrorCode::AppendTooLarge, error, [0, *size, *size_max])
        }
        InvalidAppend::TooManyEvents { count, count_max } => {
            sized(ErrorCode::TooManyEvents, error, [0, *count, *count_max])
        }
        InvalidAppend::TooManyTags { index, count, count_max } => {
            sized(ErrorCode::TooManyTags, error, [*index, *count, *count_max])
        }
        InvalidAppend::ReservedName { name } => named(ErrorCode::ReservedName, error, name),
        InvalidAppend::MetadataStream { stream } => named(ErrorCode::MetadataStream, error, stream),
        InvalidAppend::NameTooLong { stream } => named(ErrorCode::NameTooLong, error, stream),
        InvalidAppend::TwoExpectations { stream } => {
            named(ErrorCode::TwoExpectations, error, stream)
        }
        InvalidAppend::RecordedInFuture { index, recorded_at } => proto::Error {
            index: *index as u64,
            time: recorded_at.as_micros(),
            ..of(ErrorCode::RecordedInFuture, error)
        },
        InvalidAppend::AfterBeyondFrontier { index, after, frontier } => proto::Error {
            index: *index as u64,
            ..places(ErrorCode::AfterBeyondFrontier, error, Some(*after), Some(*frontier))
        },
        InvalidAppend::MalformedMetadata => of(ErrorCode::MalformedMetadata, error),
        // A variant of a later contract: as little can be done about it.
        _ => of(ErrorCode::MalformedRequest, error),
    }
}

fn places(
    code: ErrorCode,
    error: &dyn Error,
    position: Option<Position>,
    frontier: Option<Position>,
) -> proto::Error {
    let (position, frontier) = (position.map(Position::get), frontier.map(Position::get));
    proto::Error { position, frontier, ..of(code, error) }
}

fn read(error: &ReadError) -> proto::Error {
    match error {
        ReadError::AsOfInFuture { frontier } => {
            places(ErrorCode::AsOfInFuture, error, None, Some(*frontier))
        }
        ReadError::Closed => of(ErrorCode::Closed, error),
        // Also what a later contract has.
        ReadError::Storage(_) | _ => of(ErrorCode::Storage, error),
    }
}

fn subscribe(error: &SubscribeError) -> proto::Error {
    match error {
        SubscribeError::BeyondEnd { after, frontier } => {
            places(ErrorCode::SubscribeBeyondEnd, error, Some(*after), Some(*frontier))
        }
        SubscribeError::StreamTombstoned { stream } => {
            named(ErrorCode::StreamTombstoned, error, stream)
        }
        SubscribeError::Closed => of(ErrorCode::Closed, error),
        // Also what a later contract has.
        SubscribeError::Storage(_) | _ => of(ErrorCode::Storage, error),
    }
}

fn checkpoint(error: &CheckpointError) -> proto::Error {
    match error {
        CheckpointError::Moved { name, actual } => proto::Error {
            position: actual.map(Position::get),
            ..named(ErrorCode::CheckpointMoved, error, name)
        },
        CheckpointError::StaleEpoch { name, epoch, current } => proto::Error {
            epoch: *epoch,
            current_epoch: *current,
            ..named(ErrorCode::CheckpointStaleEpoch, error, name)
        },
        CheckpointError::OtherLog { found, own } => proto::Error {
            found_log: to_proto::log_id(*found),
            own_log: to_proto::log_id(*own),
            ..of(ErrorCode::CheckpointOtherLog, error)
        },
        CheckpointError::OtherLife { position, found, began_at } => proto::Error {
            incarnation: found.get(),
            ..places(ErrorCode::CheckpointOtherLife, error, Some(*position), *began_at)
        },
        CheckpointError::BeyondEnd { position, frontier } => {
            places(ErrorCode::CheckpointBeyondEnd, error, Some(*position), Some(*frontier))
        }
        CheckpointError::InvalidName => of(ErrorCode::CheckpointInvalidName, error),
        CheckpointError::ReadOnly => of(ErrorCode::ReadOnly, error),
        // Also what a later contract has.
        CheckpointError::Storage(_) | _ => of(ErrorCode::Storage, error),
    }
}

fn lease(error: &LeaseError) -> proto::Error {
    match error {
        LeaseError::Held { name, owner, expires_at } => proto::Error {
            owner: owner.clone(),
            time: expires_at.as_micros(),
            ..named(ErrorCode::LeaseHeld, error, name)
        },
        LeaseError::Lost { name, epoch } => {
            proto::Error { epoch: *epoch, ..named(ErrorCode::LeaseLost, error, name) }
        }
        LeaseError::InvalidName => of(ErrorCode::LeaseInvalidName, error),
        LeaseError::ReadOnly => of(ErrorCode::ReadOnly, error),
        // Also what a later contract has.
        LeaseError::Storage(_) | _ => of(ErrorCode::Storage, error),
    }
}

fn registry(error: &RegistryError) -> proto::Error {
    match error {
        RegistryError::Unknown { key } => proto::Error {
            component: Some(to_proto::component_key(key)),
            ..of(ErrorCode::ComponentUnknown, error)
        },
        RegistryError::InvalidName => of(ErrorCode::ComponentInvalidName, error),
        RegistryError::StaleEpoch { epoch, current } => proto::Error {
            epoch: *epoch,
            current_epoch: *current,
            ..of(ErrorCode::ComponentStaleEpoch, error)
        },
        RegistryError::TooManyRequests => of(ErrorCode::TooManyRequests, error),
        RegistryError::ReadOnly => of(ErrorCode::ReadOnly, error),
        // Also what a later contract has.
        RegistryError::Storage(_) | _ => of(ErrorCode::Storage, error),
    }
}

fn group(error: &GroupError) -> proto::Error {
    match error {
        GroupError::Unknown { name } => named(ErrorCode::GroupUnknown, error, name),
        GroupError::Exists { name } => named(ErrorCode::GroupExists, error, name),
        GroupError::Invalid { .. } => of(ErrorCode::GroupInvalid, error),
        GroupError::Contended { name } => named(ErrorCode::GroupContended, error, name),
        GroupError::TooManyActive { count_max } => {
            proto::Error { size_max: *count_max as u64, ..of(ErrorCode::GroupTooManyActive, error) }
        }
        GroupError::Ended(end) => ended(end),
        GroupError::Read(cause) => read(cause),
        GroupError::Append(cause) => append(cause),
        GroupError::Keep(KeepError::Unavailable(_)) => of(ErrorCode::Storage, error),
        // Also what later versions have.
        GroupError::Keep(_) | _ => of(ErrorCode::GroupFailed, error),
    }
}

fn ended(end: &GroupEnd) -> proto::Error {
    match end {
        GroupEnd::Elsewhere { owner } => {
            proto::Error { owner: owner.clone(), ..of(ErrorCode::GroupElsewhere, end) }
        }
        GroupEnd::Deleted => of(ErrorCode::GroupDeleted, end),
        GroupEnd::Full { count_max } => {
            proto::Error { size_max: *count_max as u64, ..of(ErrorCode::GroupFull, end) }
        }
        GroupEnd::Failed { cause } => {
            proto::Error { cause: cause.clone(), ..new(ErrorCode::GroupFailed, "the group failed") }
        }
        // Also what later versions have.
        GroupEnd::Lost | GroupEnd::Renewed | GroupEnd::Stopped | _ => {
            of(ErrorCode::GroupRenewed, end)
        }
    }
}
