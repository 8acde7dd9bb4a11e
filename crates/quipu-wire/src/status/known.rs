//! From messages to the contract's errors.

use quipu_core::{
    AppendError, CheckpointError, Incarnation, InvalidAppend, LeaseError, Position, ReadError,
    RegistryError, StorageError, StreamName, SubscribeError, Timestamp,
};

use quipu_groups::group::{GroupEnd, GroupError};

use super::remote;
use crate::from_proto;
use crate::proto::{self, ErrorCode};

/// An error of the contract that a message can say.
pub trait ContractError: Sized {
    /// The error that the message says, if it is one of these and says all that belongs to it.
    fn known(error: &proto::Error) -> Option<Self>;

    /// The variant for what failed below the contract.
    fn storage(cause: StorageError) -> Self;
}

fn stream(error: &proto::Error) -> Option<StreamName> {
    StreamName::new(&error.name).ok()
}

fn position(error: &proto::Error) -> Option<Position> {
    error.position.map(Position::new)
}

fn frontier(error: &proto::Error) -> Option<Position> {
    error.frontier.map(Position::new)
}

fn time(error: &proto::Error) -> Timestamp {
    Timestamp::from_micros(error.time)
}

impl ContractError for AppendError {
    fn known(error: &proto::Error) -> Option<Self> {
        match error.code() {
            ErrorCode::AppendConflict => {
                let violations = error.violations.iter().cloned().map(from_proto::violation);
                Some(Self::Conflict { violations: violations.collect::<Result<_, _>>().ok()? })
            }
            ErrorCode::Overloaded => Some(Self::Overloaded),
            ErrorCode::DiskFull => Some(Self::DiskFull),
            ErrorCode::ReadOnly => Some(Self::ReadOnly),
            ErrorCode::Closed => Some(Self::Closed),
            ErrorCode::OutcomeUnknown => Some(Self::OutcomeUnknown(remote(error.clone()))),
            _ => invalid(error).map(Self::Invalid),
        }
    }

    fn storage(cause: StorageError) -> Self {
        Self::Storage(cause)
    }
}

fn invalid(error: &proto::Error) -> Option<InvalidAppend> {
    let [index, size, size_max] = [error.index, error.size, error.size_max].map(from_proto::count);
    Some(match error.code() {
        ErrorCode::EventTooLarge => InvalidAppend::EventTooLarge { index, size, size_max },
        ErrorCode::AppendTooLarge => InvalidAppend::TooLarge { size, size_max },
        ErrorCode::TooManyEvents => {
            InvalidAppend::TooManyEvents { count: size, count_max: size_max }
        }
        ErrorCode::TooManyTags => {
            InvalidAppend::TooManyTags { index, count: size, count_max: size_max }
        }
        ErrorCode::ReservedName => InvalidAppend::ReservedName { name: error.name.clone() },
        ErrorCode::MetadataStream => InvalidAppend::MetadataStream { stream: stream(error)? },
        ErrorCode::NameTooLong => InvalidAppend::NameTooLong { stream: stream(error)? },
        ErrorCode::TwoExpectations => InvalidAppend::TwoExpectations { stream: stream(error)? },
        ErrorCode::RecordedInFuture => {
            InvalidAppend::RecordedInFuture { index, recorded_at: time(error) }
        }
        ErrorCode::AfterBeyondFrontier => InvalidAppend::AfterBeyondFrontier {
            index,
            after: position(error)?,
            frontier: frontier(error)?,
        },
        ErrorCode::MalformedMetadata => InvalidAppend::MalformedMetadata,
        _ => return None,
    })
}

impl ContractError for ReadError {
    fn known(error: &proto::Error) -> Option<Self> {
        match error.code() {
            ErrorCode::AsOfInFuture => Some(Self::AsOfInFuture { frontier: frontier(error)? }),
            ErrorCode::Closed => Some(Self::Closed),
            _ => None,
        }
    }

    fn storage(cause: StorageError) -> Self {
        Self::Storage(cause)
    }
}

impl ContractError for SubscribeError {
    fn known(error: &proto::Error) -> Option<Self> {
        match error.code() {
            ErrorCode::SubscribeBeyondEnd => {
                Some(Self::BeyondEnd { after: position(error)?, frontier: frontier(error)? })
            }
            ErrorCode::StreamTombstoned => Some(Self::StreamTombstoned { stream: stream(error)? }),
            ErrorCode::Closed => Some(Self::Closed),
            _ => None,
        }
    }

    fn storage(cause: StorageError) -> Self {
        Self::Storage(cause)
    }
}

impl ContractError for CheckpointError {
    fn known(error: &proto::Error) -> Option<Self> {
        let name = error.name.clone();
        Some(match error.code() {
            ErrorCode::CheckpointMoved => Self::Moved { name, actual: position(error) },
            ErrorCode::CheckpointStaleEpoch => {
                Self::StaleEpoch { name, epoch: error.epoch, current: error.current_epoch }
            }
            ErrorCode::CheckpointOtherLog => Self::OtherLog {
                found: from_proto::log_id(&error.found_log).ok()?,
                own: from_proto::log_id(&error.own_log).ok()?,
            },
            ErrorCode::CheckpointOtherLife => Self::OtherLife {
                position: position(error)?,
                found: Incarnation::new(error.incarnation),
                began_at: frontier(error),
            },
            ErrorCode::CheckpointBeyondEnd => {
                Self::BeyondEnd { position: position(error)?, frontier: frontier(error)? }
            }
            ErrorCode::CheckpointInvalidName => Self::InvalidName,
            ErrorCode::ReadOnly => Self::ReadOnly,
            _ => return None,
        })
    }

    fn storage(cause: StorageError) -> Self {
        Self::Storage(cause)
    }
}

impl ContractError for LeaseError {
    fn known(error: &proto::Error) -> Option<Self> {
        let name = error.name.clone();
        Some(match error.code() {
            ErrorCode::LeaseHeld => {
                Self::Held { name, owner: error.owner.clone(), expires_at: time(error) }
            }
            ErrorCode::LeaseLost => Self::Lost { name, epoch: error.epoch },
            ErrorCode::LeaseInvalidName => Self::InvalidName,
            ErrorCode::ReadOnly => Self::ReadOnly,
            _ => return None,
        })
    }

    fn storage(cause: StorageError) -> Self {
        Self::Storage(cause)
    }
}

impl ContractError for RegistryError {
    fn known(error: &proto::Error) -> Option<Self> {
        Some(match error.code() {
            ErrorCode::ComponentUnknown => {
                Self::Unknown { key: from_proto::component_key(error.component.clone()).ok()? }
            }
            ErrorCode::ComponentInvalidName => Self::InvalidName,
            ErrorCode::ComponentStaleEpoch => {
                Self::StaleEpoch { epoch: error.epoch, current: error.current_epoch }
            }
            ErrorCode::TooManyRequests => Self::TooManyRequests,
            ErrorCode::ReadOnly => Self::ReadOnly,
            _ => return None,
        })
    }

    fn storage(cause: StorageError) -> Self {
        Self::Storage(cause)
    }
}

/// Snapshots fail with nothing else.
impl ContractError for StorageError {
    fn known(_: &proto::Error) -> Option<Self> {
        None
    }

    fn storage(cause: StorageError) -> Self {
        cause
    }
}

impl ContractError for GroupError {
    fn known(error: &proto::Error) -> Option<Self> {
        let name = error.name.clone();
        let count_max = from_proto::count(error.size_max);
        let ended = |end| Some(Self::Ended(end));
        match error.code() {
            ErrorCode::GroupUnknown => Some(Self::Unknown { name }),
            ErrorCode::GroupExists => Some(Self::Exists { name }),
            ErrorCode::GroupInvalid => Some(Self::Invalid { reason: error.message.clone() }),
            ErrorCode::GroupContended => Some(Self::Contended { name }),
            ErrorCode::GroupTooManyActive => Some(Self::TooManyActive { count_max }),
            ErrorCode::GroupElsewhere => ended(GroupEnd::Elsewhere { owner: error.owner.clone() }),
            ErrorCode::GroupRenewed => ended(GroupEnd::Renewed),
            ErrorCode::GroupDeleted => ended(GroupEnd::Deleted),
            ErrorCode::GroupFull => ended(GroupEnd::Full { count_max }),
            ErrorCode::GroupFailed => ended(GroupEnd::Failed { cause: error.cause.clone() }),
            ErrorCode::Stopping => ended(GroupEnd::Stopped),
            _ => None,
        }
    }

    fn storage(cause: StorageError) -> Self {
        Self::Read(ReadError::Storage(cause))
    }
}
