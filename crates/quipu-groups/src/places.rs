//! How far each slice has been handled, and where that is kept.
//!
//! A consumer's checkpoint is not one position but one for each range of slices: partitions advance
//! apart, one may stand still, and another number of partitions must not make anything be handled
//! again. Between runs the ranges are simply cut at the new edges.

use std::error::Error;

use quipu_core::{BoxFuture, Position};

use crate::slice::{SLICE_COUNT, SliceRange};

/// A range of slices, and the position up to which their events were handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "keepers build it")]
pub struct SlicePlace {
    /// The slices.
    pub slices: SliceRange,
    /// Every event of theirs at or before this position was handled.
    pub position: Position,
}

/// How far every slice has been handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePlaces(Vec<Position>);

impl SlicePlaces {
    /// Every slice at this position.
    pub fn all_at(position: Position) -> Self {
        Self(vec![position; usize::from(SLICE_COUNT)])
    }

    /// Where the rows put each slice; a slice of several rows is at the highest, one of no row at
    /// `otherwise`.
    pub fn from_rows(rows: &[SlicePlace], otherwise: Position) -> Self {
        let mut places = vec![None; usize::from(SLICE_COUNT)];
        for row in rows {
            let own = usize::from(row.slices.first())..=usize::from(row.slices.last());
            for place in places.get_mut(own).into_iter().flatten() {
                *place = (*place).max(Some(row.position));
            }
        }
        Self(places.into_iter().map(|place| place.unwrap_or(otherwise)).collect())
    }

    /// Where a slice is.
    pub fn of(&self, slice: u16) -> Position {
        self.0.get(usize::from(slice)).copied().unwrap_or_default()
    }

    /// The fewest rows that say the same and do not cross the edges of `partitions`.
    pub fn rows(&self, partitions: &[SliceRange]) -> Vec<SlicePlace> {
        partitions.iter().flat_map(|partition| self.rows_of(*partition)).collect()
    }

    fn rows_of(&self, partition: SliceRange) -> Vec<SlicePlace> {
        let mut rows: Vec<SlicePlace> = Vec::new();
        for slice in partition.first()..=partition.last() {
            let position = self.of(slice);
            if let Some(row) = rows.last_mut()
                && row.position == position
                && let Some(longer) = SliceRange::new(row.slices.first(), slice)
            {
                row.slices = longer;
            } else if let Some(slices) = SliceRange::new(slice, slice) {
                rows.push(SlicePlace { slices, position });
            }
        }
        rows
    }

    /// The position that every slice has reached.
    pub fn lowest(&self) -> Position {
        self.0.iter().copied().min().unwrap_or_default()
    }
}

/// A row that is to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the runner builds it")]
pub struct Move {
    /// The row's slices.
    pub slices: SliceRange,
    /// Where the row is, or its keeper says [`KeepError::Fenced`].
    pub from: Position,
    /// Where it comes to be.
    pub to: Position,
}

/// Keeps the checkpoints of one consumer.
///
/// A consumer whose work is in a database of its own keeps them there, so that work and checkpoint
/// are one transaction.
pub trait PlaceKeeper: Send + Sync {
    /// The rows as they were kept last. None: nothing was ever handled.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn load(&self) -> BoxFuture<'_, Result<Vec<SlicePlace>, KeepError>>;

    /// Replaces all rows by these, and takes them over: from then on everything that is asked for
    /// under a lower epoch is [`KeepError::Fenced`]. `loaded` is what [`load`](Self::load) answered:
    /// where it is not so any more, the answer is [`KeepError::Moved`] and nothing is changed.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn claim<'a>(
        &'a self,
        epoch: u64,
        loaded: &'a [SlicePlace],
        rows: &'a [SlicePlace],
    ) -> BoxFuture<'a, Result<(), KeepError>>;

    /// Moves rows forward. On `Ok` the moves are durable.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn advance<'a>(&'a self, epoch: u64, moves: &'a [Move])
    -> BoxFuture<'a, Result<(), KeepError>>;

    /// Puts every slice at `position`, forward or back.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn reset(&self, epoch: u64, position: Position) -> BoxFuture<'_, Result<(), KeepError>>;
}

/// Why a keeper of checkpoints or of parked events did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// A younger instance has taken over. The runner steps down.
    #[error("another instance has taken over")]
    Fenced,
    /// What was loaded is not there any more. The runner loads again.
    #[error("the checkpoints were moved in between")]
    Moved,
    /// What is kept is not of this log, or it will never work for another reason. The runner ends.
    #[error("the checkpoints cannot be used")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// It did not work this time. The runner tries again, for as long as it takes.
    #[error("the checkpoints could not be read or written")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::slice::divide;

    fn row(first: u16, last: u16, position: u64) -> SlicePlace {
        let slices = SliceRange::new(first, last).unwrap();
        SlicePlace { slices, position: Position::new(position) }
    }

    fn parts(count: u16) -> Vec<SliceRange> {
        divide(NonZeroU16::new(count).unwrap())
    }

    #[test]
    fn rows_are_cut_at_new_edges_and_lose_nothing() {
        let places =
            SlicePlaces::from_rows(&[row(0, 511, 10), row(512, 1_023, 20)], Position::START);

        let four = places.rows(&parts(4));
        let three = places.rows(&parts(3));
        let one = places.rows(&parts(1));

        assert_eq!(
            four,
            [row(0, 255, 10), row(256, 511, 10), row(512, 767, 20), row(768, 1_023, 20)]
        );
        assert_eq!(
            three,
            [row(0, 340, 10), row(341, 511, 10), row(512, 681, 20), row(682, 1_023, 20)]
        );
        assert_eq!(one, [row(0, 511, 10), row(512, 1_023, 20)]);
        for rows in [four, three, one] {
            assert_eq!(SlicePlaces::from_rows(&rows, Position::START), places);
        }
    }

    #[test]
    fn of_rows_that_overlap_the_highest_counts() {
        let rows = [row(0, 1_023, 7), row(0, 99, 9), row(50, 60, 8)];

        let places = SlicePlaces::from_rows(&rows, Position::START);

        assert_eq!([places.of(55), places.of(99), places.of(100)].map(Position::get), [9, 9, 7]);
        assert_eq!(places.lowest().get(), 7);
    }

    #[test]
    fn slices_of_no_row_are_where_the_consumer_begins() {
        let places = SlicePlaces::from_rows(&[row(1, 1_023, 9)], Position::new(5));

        assert_eq!(places.of(0).get(), 5);
    }
}
