//! What can go wrong when a model is loaded or a command executed.

use quipu_core::{AppendError, NameError, Position, ReadError, Violation};

use crate::codec::CodecError;
use crate::command::InvalidCommand;
use crate::decode::DecodeError;

/// Why a model could not be loaded, or its history read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An event cannot be read. Nothing is decided on a state that misses one.
    #[error("an event cannot be read")]
    Decode(#[from] DecodeError),
    /// The moment asked for has not come yet.
    #[error("the log is at position {frontier}, the moment asked for is later")]
    AsOfInFuture {
        /// Where the log is.
        frontier: Position,
    },
    /// A key makes a tag or a stream's name too long or unprintable.
    #[error("a key of the model cannot be part of a name")]
    Key(#[from] NameError),
    /// The store could not be read. Try again later.
    #[error("the store could not be read")]
    Unavailable(#[source] ReadError),
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::AsOfInFuture { frontier } => Self::AsOfInFuture { frontier },
            other => Self::Unavailable(other),
        }
    }
}

/// Why a command was not executed.
///
/// Every variant but [`OutcomeUnknown`](Self::OutcomeUnknown) promises that nothing was appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError<E> {
    /// The command was refused. This is an answer, not a failure.
    #[error("the command was refused")]
    Rejected(#[source] E),
    /// Other appends came first, as often as the command was decided. Send it again.
    #[error("{}", describe_conflict(*attempt_count, violations))]
    Conflict {
        /// How often it was decided.
        attempt_count: u32,
        /// The demands of the last append that did not hold.
        violations: Vec<Violation>,
    },
    /// Another command came with the same idempotency key. Give this one a key of its own.
    #[error("the idempotency key \"{key}\" belongs to another command, at position {position}")]
    KeyReused {
        /// The key.
        key: String,
        /// Where the other command is recorded.
        position: Position,
    },
    /// The command itself is wrong and will never succeed.
    #[error("the command is not valid")]
    Invalid(#[source] InvalidCommand),
    /// An event cannot be read, so that nothing can be decided on it.
    #[error("an event cannot be read")]
    Decode(#[source] DecodeError),
    /// The store could not be read or did not take the append. Try again later.
    #[error("the store is not available")]
    Unavailable(#[source] Unavailable),
    /// The store stopped before it answered, also when it was asked again. The events may or may
    /// not be in the log. A command with an idempotency key is safe to send again.
    #[error("the outcome of the command is not known")]
    OutcomeUnknown(#[source] AppendError),
}

impl<E> ExecuteError<E> {
    /// The refusal, if that is what it is.
    pub fn rejection(&self) -> Option<&E> {
        if let Self::Rejected(refusal) = self { Some(refusal) } else { None }
    }
}

impl<E> From<LoadError> for ExecuteError<E> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Decode(error) => Self::Decode(error),
            LoadError::Key(error) => Self::Invalid(InvalidCommand::Name(error)),
            LoadError::Unavailable(error) => Self::Unavailable(Unavailable::Read(error)),
            // A command is decided on the present, which no log has before it.
            LoadError::AsOfInFuture { frontier } => {
                Self::Unavailable(Unavailable::Read(ReadError::AsOfInFuture { frontier }))
            }
        }
    }
}

impl<E> From<InvalidCommand> for ExecuteError<E> {
    fn from(error: InvalidCommand) -> Self {
        Self::Invalid(error)
    }
}

/// What a store could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// It could not be read.
    #[error("the store could not be read")]
    Read(#[source] ReadError),
    /// It did not take the append.
    #[error("the store did not take the append")]
    Append(#[source] AppendError),
    /// It holds a record of this key that is not one.
    #[error("the record of the idempotency key at position {position} is not one")]
    Ledger {
        /// Where it is.
        position: Position,
        /// What is wrong with it.
        #[source]
        cause: CodecError,
    },
}

fn describe_conflict(attempt_count: u32, violations: &[Violation]) -> String {
    let violations: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let violations = violations.join("; ");
    if attempt_count == 1 {
        return format!("another append came first: {violations}");
    }
    format!("another append came first, each of {attempt_count} times: {violations}")
}
