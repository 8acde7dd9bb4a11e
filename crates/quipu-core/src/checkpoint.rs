//! Checkpoints: a consumer's last handled position, moved by whoever holds its epoch.

use crate::place::Position;
use crate::read::StorageError;
use crate::store::{BoxFuture, Incarnation, LogId, LogIdentity};

/// How far a consumer has come, and in which life of which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Checkpoint {
    /// The last event that was handled.
    pub position: Position,
    /// The log it is in.
    pub log: LogId,
    /// The life of the log that it was read in.
    pub incarnation: Incarnation,
}

impl Checkpoint {
    /// A checkpoint in the present life of a log.
    pub fn new(position: Position, of: &LogIdentity) -> Self {
        Self { position, log: of.log, incarnation: of.incarnation }
    }
}

/// A request to move a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct SwapCheckpoint {
    /// The consumer's name: at most 255 bytes, not empty.
    pub name: String,
    /// The epoch of the lease under which it runs; 0 where there is none.
    pub epoch: u64,
    /// Where the consumer believes it is; `None` for nowhere yet.
    pub old: Option<Position>,
    /// Where it is now. It may be behind `old`: that is how a consumer starts over.
    pub new: Checkpoint,
}

/// Where checkpoints are kept.
pub trait Checkpoints: Send + Sync {
    /// The checkpoint under `name`.
    ///
    /// # Errors
    ///
    /// See [`CheckpointError`]: a stored one that this log cannot go on from is an error too.
    fn get<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, CheckpointError>>;

    /// Moves a checkpoint, if it is where the caller believes and the caller's epoch is not stale,
    /// which is below the highest that ever moved it. On `Ok` the move is durable.
    ///
    /// The name is checked first, then whether this log can go on from the new place, then the
    /// epoch, then the old place. The old place is compared as a number, whichever life it is of: so
    /// a consumer whose checkpoint this life cannot go on from starts over from the position that
    /// [`CheckpointError::OtherLife`] told it.
    ///
    /// # Errors
    ///
    /// See [`CheckpointError`]; nothing was moved.
    fn swap(&self, swap: SwapCheckpoint) -> BoxFuture<'_, Result<(), CheckpointError>>;

    /// The names of all checkpoints, in order.
    ///
    /// # Errors
    ///
    /// See [`CheckpointError`].
    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, CheckpointError>>;
}

/// Why a checkpoint was not read or moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The checkpoint is not where the caller believes. Another instance moved it: step down, or
    /// go on from where it is.
    #[error("the checkpoint \"{name}\" is not where it was expected")]
    Moved {
        /// The checkpoint.
        name: String,
        /// Where it is; `None` for nowhere yet.
        actual: Option<Position>,
    },
    /// A younger instance has taken over. Step down.
    #[error("the checkpoint \"{name}\" is held under epoch {current}, {epoch} is stale")]
    StaleEpoch {
        /// The checkpoint.
        name: String,
        /// The caller's epoch.
        epoch: u64,
        /// The epoch that holds it.
        current: u64,
    },
    /// The checkpoint is of another log. Start over, or find the log it belongs to.
    #[error("the checkpoint is of log {found}, this is log {own}")]
    OtherLog {
        /// The checkpoint's log.
        found: LogId,
        /// This log.
        own: LogId,
    },
    /// The checkpoint is of an earlier life of the log, beyond the place where that life ended; or
    /// of a life that this log has not had. What it handled may not be in this log. Start over.
    #[error("position {position} of incarnation {found} is not in this life of the log")]
    OtherLife {
        /// The checkpoint's position.
        position: Position,
        /// The checkpoint's incarnation.
        found: Incarnation,
        /// The place where its life ended, if this log knows it.
        began_at: Option<Position>,
    },
    /// The position is beyond the end of the log.
    #[error("position {position} is beyond the end of the log at {frontier}")]
    BeyondEnd {
        /// The checkpoint's position.
        position: Position,
        /// Where the log is.
        frontier: Position,
    },
    /// The name is empty, or over 255 bytes.
    #[error("a checkpoint's name has 1 to 255 bytes")]
    InvalidName,
    /// The store was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store failed.
    #[error("the store could not keep checkpoints")]
    Storage(#[source] StorageError),
}

/// The lives of one log: which there were, and where each began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lives {
    log: LogId,
    /// Each life after the first, and the frontier at which it began. In order.
    later: Vec<(Incarnation, Position)>,
}

impl Lives {
    /// A log in its first life.
    pub fn first(log: LogId) -> Self {
        Self { log, later: Vec::new() }
    }

    /// A log with these later lives, each with the frontier at which it began, in order.
    pub fn new(log: LogId, later: Vec<(Incarnation, Position)>) -> Self {
        Self { log, later }
    }

    /// The present life.
    pub fn current(&self) -> Incarnation {
        self.later.last().map_or(Incarnation::FIRST, |(incarnation, _)| *incarnation)
    }

    /// Each life after the first, and the frontier at which it began.
    pub fn later(&self) -> &[(Incarnation, Position)] {
        &self.later
    }

    /// Begins a new life at this frontier.
    pub fn begin(&mut self, at: Position) {
        self.later.push((Incarnation::new(self.current().get() + 1), at));
    }

    /// Whether this log can go on from `checkpoint`.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::OtherLog`], [`CheckpointError::OtherLife`] or
    /// [`CheckpointError::BeyondEnd`].
    pub fn check(
        &self,
        checkpoint: &Checkpoint,
        frontier: Position,
    ) -> Result<(), CheckpointError> {
        let Checkpoint { position, log, incarnation } = *checkpoint;
        if log != self.log {
            return Err(CheckpointError::OtherLog { found: log, own: self.log });
        }
        let other_life =
            |began_at| CheckpointError::OtherLife { position, found: incarnation, began_at };
        if incarnation > self.current() || incarnation < Incarnation::FIRST {
            return Err(other_life(None));
        }
        // Every later life cut the log at the place where it began; the lowest cut counts.
        let after = self.later.iter().filter(|(later, _)| *later > incarnation);
        if let Some(began_at) = after.map(|(_, began_at)| *began_at).min()
            && position > began_at
        {
            return Err(other_life(Some(began_at)));
        }
        if position > frontier {
            return Err(CheckpointError::BeyondEnd { position, frontier });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that began its second life at 10, its third at 5, and is at 20.
    fn lives() -> Lives {
        let cuts = [(2, 10), (3, 5)];
        let later = cuts.map(|(life, at)| (Incarnation::new(life), Position::new(at)));
        Lives::new(LogId::from_uuid(uuid::Uuid::nil()), later.into())
    }

    fn check(position: u64, incarnation: u64) -> Result<(), CheckpointError> {
        let checkpoint = Checkpoint {
            position: Position::new(position),
            log: LogId::from_uuid(uuid::Uuid::nil()),
            incarnation: Incarnation::new(incarnation),
        };
        lives().check(&checkpoint, Position::new(20))
    }

    fn began_at(answer: Result<(), CheckpointError>) -> Option<u64> {
        match answer {
            Err(CheckpointError::OtherLife { began_at, .. }) => began_at.map(Position::get),
            other => panic!("another life was expected, got {other:?}"),
        }
    }

    #[test]
    fn the_present_life_reaches_to_the_frontier() {
        assert!(check(20, 3).is_ok());
        assert!(matches!(check(21, 3), Err(CheckpointError::BeyondEnd { .. })));
    }

    #[test]
    fn an_earlier_life_reaches_to_the_lowest_place_where_a_later_one_began() {
        assert!(check(5, 2).is_ok());
        assert_eq!(began_at(check(6, 2)), Some(5));
        assert!(check(5, 1).is_ok());
        assert_eq!(began_at(check(6, 1)), Some(5), "the third life cut it lower than the second");
    }

    #[test]
    fn a_life_that_never_was_reaches_nowhere() {
        assert_eq!(began_at(check(1, 4)), None);
        assert_eq!(began_at(check(0, 0)), None);
    }

    #[test]
    fn another_log_is_told_apart_before_anything_else() {
        let other = LogId::generate();
        let incarnation = Incarnation::new(9);
        let checkpoint = Checkpoint { position: Position::MAX, log: other, incarnation };

        let answer = lives().check(&checkpoint, Position::new(20));

        assert!(matches!(answer, Err(CheckpointError::OtherLog { found, .. }) if found == other));
    }

    #[test]
    fn a_new_life_is_the_next_one() {
        let mut lives = Lives::first(LogId::generate());
        assert_eq!(lives.current(), Incarnation::FIRST);

        lives.begin(Position::new(7));

        assert_eq!(lives.current(), Incarnation::new(2));
        assert_eq!(lives.later(), [(Incarnation::new(2), Position::new(7))]);
    }
}
