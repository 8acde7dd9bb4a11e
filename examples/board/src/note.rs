//! The shared board: its operations as events, the state they add up to, and what may be done.
//!
//! The board is an observed-remove set of notes. Each adding of a note has a dot of its own, and a
//! removal names the dots that it has seen, so that an adding that it has not seen stays. The text
//! of a note is a register in which the last writer wins.
//!
//! # Invariants
//!
//! - The state is the same for the same operations in any order: replicas get them in different
//!   ones. So a removal is kept, for an adding that arrives after it.

use std::collections::{BTreeMap, BTreeSet};

use quipu::{Command, Ctx, DecisionModel, Event, EventSet, Events, Evolve, TagValue, events};
use serde::{Deserialize, Serialize};

#[derive(TagValue, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BoardId(pub(crate) String);

#[derive(
    TagValue, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
pub(crate) struct ReplicaId(pub(crate) String);

/// Who wrote, and when by a clock that counts: later than everything that the writer has seen.
///
/// No two writings have the same. They are in the order of the clock, and of the replicas' names
/// where two did not know of each other: whose text is shown then is arbitrary, but the same
/// everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Dot {
    pub(crate) clock: u64,
    pub(crate) replica: ReplicaId,
}

/// Its first tag is the replica: each has a stream of its own.
#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "board.note-added")]
pub(crate) struct NoteAdded {
    #[tag]
    pub(crate) replica: ReplicaId,
    #[tag]
    pub(crate) board: BoardId,
    pub(crate) note: String,
    pub(crate) text: String,
    pub(crate) dot: Dot,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "board.note-edited")]
pub(crate) struct NoteEdited {
    #[tag]
    pub(crate) replica: ReplicaId,
    #[tag]
    pub(crate) board: BoardId,
    pub(crate) note: String,
    pub(crate) text: String,
    pub(crate) dot: Dot,
}

#[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[event(type = "board.note-removed")]
pub(crate) struct NoteRemoved {
    #[tag]
    pub(crate) replica: ReplicaId,
    #[tag]
    pub(crate) board: BoardId,
    pub(crate) note: String,
    /// The addings that it removes.
    pub(crate) dots: BTreeSet<Dot>,
}

#[derive(EventSet)]
pub(crate) enum BoardEvent {
    Added(NoteAdded),
    Edited(NoteEdited),
    Removed(NoteRemoved),
}

#[derive(DecisionModel, Clone, Debug, PartialEq)]
#[model(events = BoardEvent)]
pub(crate) struct Board {
    #[key("board")]
    pub(crate) id: BoardId,
    notes: BTreeMap<String, Note>,
    /// The latest clock of all that was seen.
    clock: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Note {
    added: BTreeSet<Dot>,
    removed: BTreeSet<Dot>,
    text: String,
    written: Dot,
}

impl Evolve for Board {
    fn evolve(&mut self, event: &BoardEvent) {
        match event {
            BoardEvent::Added(NoteAdded { note, text, dot, .. }) => {
                self.write(note, text, dot).added.insert(dot.clone());
            }
            BoardEvent::Edited(NoteEdited { note, text, dot, .. }) => {
                self.write(note, text, dot);
            }
            BoardEvent::Removed(NoteRemoved { note, dots, .. }) => {
                let note = self.notes.entry(note.clone()).or_default();
                note.removed.extend(dots.iter().cloned());
            }
        }
    }
}

impl Board {
    fn write(&mut self, note: &str, text: &str, dot: &Dot) -> &mut Note {
        self.clock = self.clock.max(dot.clock);
        let note = self.notes.entry(note.to_owned()).or_default();
        if *dot > note.written {
            note.written = dot.clone();
            text.clone_into(&mut note.text);
        }
        note
    }

    /// The notes that are on the board, with their texts.
    pub(crate) fn notes(&self) -> BTreeMap<&str, &str> {
        let present = self.notes.iter().filter(|(_, note)| note.is_present());
        present.map(|(name, note)| (name.as_str(), note.text.as_str())).collect()
    }

    /// The dots of a note that is on the board.
    fn present(&self, note: &str) -> Option<BTreeSet<Dot>> {
        let note = self.notes.get(note).filter(|note| note.is_present())?;
        Some(note.added.difference(&note.removed).cloned().collect())
    }

    fn next_dot(&self, replica: &ReplicaId) -> Dot {
        Dot { clock: self.clock + 1, replica: replica.clone() }
    }
}

impl Note {
    fn is_present(&self) -> bool {
        !self.added.is_subset(&self.removed)
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is a note {0:?} already")]
    Present(String),
    #[error("there is no note {0:?}")]
    Absent(String),
}

/// What one replica does to the board, as it sees it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) replica: ReplicaId,
    pub(crate) board: BoardId,
    pub(crate) note: String,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Add { text: String },
    Edit { text: String },
    Remove,
}

impl Command for Operation {
    type Model = Board;
    type Error = Refusal;

    fn model(&self) -> Board {
        Board::of(self.board.clone())
    }

    fn decide(&self, state: &Board, _ctx: &Ctx) -> Result<Events, Refusal> {
        let Self { replica, board, note, what } = self.clone();
        let dot = state.next_dot(&replica);
        match (what, state.present(&note)) {
            (What::Add { .. }, Some(_)) => Err(Refusal::Present(note)),
            (What::Add { text }, None) => {
                Ok(events![NoteAdded { replica, board, note, text, dot }])
            }
            (What::Edit { text }, Some(_)) => {
                Ok(events![NoteEdited { replica, board, note, text, dot }])
            }
            (What::Remove, Some(dots)) => Ok(events![NoteRemoved { replica, board, note, dots }]),
            (What::Edit { .. } | What::Remove, None) => Err(Refusal::Absent(note)),
        }
    }
}
