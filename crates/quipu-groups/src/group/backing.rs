//! What a group stands on: where its events come from, and where its state is kept.

use quipu_core::{BoxFuture, ParkedItem, Position, SubscribeError};

use super::machine::Note;
use crate::machine::Item;
use crate::places::KeepError;

/// A group's state as it was kept last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "backings build it")]
pub struct Kept {
    /// Everything at or before this place is settled.
    pub checkpoint: Position,
    /// What is parked, in the order of the log. Empty where the group does not know what is.
    pub parked: Vec<ParkedItem>,
}

/// What the log brings.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "drivers handle each of them")]
pub enum Pulled<E> {
    /// Events, in the log's order, and the place up to which the log was read with them.
    Items(Vec<Item<E>>, Position),
    /// The end of the log is reached.
    CaughtUp,
    /// The group was slower than the log.
    FellBehind,
}

/// A group's events, in the log's order.
pub trait Source<E>: Send {
    /// Waits for what comes next.
    ///
    /// # Errors
    ///
    /// A [`SubscribeError`] ends the source.
    fn next(&mut self) -> BoxFuture<'_, Result<Pulled<E>, SubscribeError>>;
}

/// What begins to read.
pub type Reading<'a, E> = BoxFuture<'a, Result<Box<dyn Source<E>>, SubscribeError>>;

/// Which parked events are to be replayed.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "backings serve each of them")]
pub enum Replay {
    /// These, which the group knows to be parked.
    Items(Vec<ParkedItem>),
    /// Those of these places among the parked ones: from the first on, before the second or to the
    /// end that there is now. For groups that do not know.
    Range {
        /// The first.
        from: u64,
        /// The one behind the last.
        before: Option<u64>,
    },
}

/// Parked events that were read.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "backings make it")]
pub struct Fetched<E> {
    /// To be brought back now.
    pub items: Vec<Item<E>>,
    /// What was too much to read at once. It is asked for when these are settled.
    pub rest: Option<Replay>,
}

/// What a group stands on.
pub trait Backing: Send + Sync + 'static {
    /// An event as members get it. Cloned with each redelivery.
    type Event: Clone + Send + Sync + 'static;

    /// Loads what is kept, and takes it over: from then on a lower epoch is
    /// [`KeepError::Fenced`] wherever it is presented.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn claim(&self, epoch: u64) -> BoxFuture<'_, Result<Kept, KeepError>>;

    /// Begins to read behind a place.
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    fn read_after(&self, place: Position) -> Reading<'_, Self::Event>;

    /// Keeps what a note says. On `Ok` it is durable. A note may come again, as crashes have it.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn keep<'a>(
        &'a self,
        epoch: u64,
        note: &'a Note<Self::Event>,
    ) -> BoxFuture<'a, Result<(), KeepError>>;

    /// Reads parked events, as many as fit in memory. Those that are not in the log any more are
    /// forgotten.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn read_parked(
        &self,
        epoch: u64,
        replay: Replay,
    ) -> BoxFuture<'_, Result<Fetched<Self::Event>, KeepError>>;

    /// Puts the checkpoint anywhere, and forgets what is parked behind that place. The group is at
    /// rest.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn reset(&self, epoch: u64, place: Position) -> BoxFuture<'_, Result<(), KeepError>>;

    /// How many positions lie between a place and the end.
    fn lag(&self, place: Position) -> BoxFuture<'_, u64>;
}
