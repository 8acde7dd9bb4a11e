//! A model at a place: what loading answers.

use std::ops::Deref;

use quipu_core::{Position, Revision};

use crate::model::{Evolve, Model};

/// A model's state, and the place of the log that it is the state of. Derefs to the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<M> {
    state: M,
    position: Position,
    revision: Option<Revision>,
}

impl<M> Loaded<M> {
    pub(crate) fn new(state: M, position: Position, revision: Option<Revision>) -> Self {
        Self { state, position, revision }
    }

    /// The place of the log that was read up to. For an aggregate: the place of its last event, or
    /// [`Position::START`] where it has none.
    pub fn position(&self) -> Position {
        self.position
    }

    /// For an aggregate, the revision of its last event: `None` where it has none. For other models
    /// it is always `None`, since their events are in many streams.
    pub fn revision(&self) -> Option<Revision> {
        self.revision
    }

    /// The state.
    pub fn into_state(self) -> M {
        self.state
    }
}

impl<M: Evolve> Loaded<M> {
    /// The state after these events, which are the first of its stream.
    pub fn from_history<E: Into<M::Event>>(
        initial: M,
        events: impl IntoIterator<Item = E>,
    ) -> Self {
        let mut loaded = Self::new(initial, Position::START, None);
        for event in events {
            loaded.apply(event);
        }
        loaded
    }

    /// Takes one more event into the state, as the next one of its stream. Nothing is appended.
    pub fn apply(&mut self, event: impl Into<M::Event>) {
        self.state.evolve(&event.into());
        self.revision = Some(self.revision.map_or(Revision::FIRST, Revision::next));
    }
}

impl<M: Model> Deref for Loaded<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.state
    }
}
