//! The relay's checkpoint, as the record that goes with its messages.

use quipu_core::{Incarnation, LogId, LogIdentity, Position};
use quipu_groups::{Move, SlicePlace, SliceRange};
use serde_json::{Value, json};
use uuid::Uuid;

/// How far the relay has published, as of one record in its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) log: LogId,
    pub(super) incarnation: Incarnation,
    /// The highest epoch that ever moved it.
    pub(super) epoch: u64,
    pub(super) rows: Vec<SlicePlace>,
}

/// What becomes of moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// They are made.
    Made,
    /// They were made already, by an attempt whose answer was lost.
    Before,
    /// Another instance has moved it.
    Fenced,
}

impl Checkpoint {
    /// Of a relay that has not published yet.
    pub(super) fn new(identity: &LogIdentity) -> Self {
        let LogIdentity { log, incarnation, .. } = *identity;
        Self { log, incarnation, epoch: 0, rows: Vec::new() }
    }

    /// The same of this life of the log, which goes on from it.
    pub(super) fn in_life(self, identity: &LogIdentity) -> Self {
        Self { incarnation: identity.incarnation, ..self }
    }

    /// The furthest that any row has come.
    pub(super) fn highest(&self) -> Position {
        self.rows.iter().map(|row| row.position).max().unwrap_or_default()
    }

    /// Makes the moves, all or none.
    pub(super) fn apply(&mut self, epoch: u64, moves: &[Move]) -> Applied {
        if epoch < self.epoch {
            return Applied::Fenced;
        }
        let is_at = |rows: &[SlicePlace], slices, position| {
            rows.iter().any(|row| row.slices == slices && row.position == position)
        };
        if !moves.is_empty() && moves.iter().all(|own| is_at(&self.rows, own.slices, own.to)) {
            return Applied::Before;
        }
        let mut rows = self.rows.clone();
        for own in moves {
            let is_own =
                |row: &&mut SlicePlace| row.slices == own.slices && row.position == own.from;
            let Some(row) = rows.iter_mut().find(is_own) else { return Applied::Fenced };
            row.position = own.to;
        }
        self.rows = rows;
        Applied::Made
    }

    pub(super) fn to_json(&self) -> String {
        let rows = self
            .rows
            .iter()
            .map(|row| json!([row.slices.first(), row.slices.last(), row.position.get()]));
        json!({
            "log": self.log.to_string(),
            "incarnation": self.incarnation.get(),
            "epoch": self.epoch,
            "rows": rows.collect::<Vec<Value>>(),
        })
        .to_string()
    }

    /// What [`to_json`](Self::to_json) made; `None` if it did not make it.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        Self::from_value(&serde_json::from_slice(json).ok()?)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let row = |row: &Value| {
            let number = |index| row.get(index).and_then(Value::as_u64);
            let slice = |index| u16::try_from(number(index)?).ok();
            let slices = SliceRange::new(slice(0)?, slice(1)?)?;
            Some(SlicePlace { slices, position: Position::new(number(2)?) })
        };
        Some(Self {
            log: LogId::from_uuid(Uuid::try_parse(value.get("log")?.as_str()?).ok()?),
            incarnation: Incarnation::new(value.get("incarnation")?.as_u64()?),
            epoch: value.get("epoch")?.as_u64()?,
            rows: value.get("rows")?.as_array()?.iter().map(row).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first: u16, last: u16, position: u64) -> SlicePlace {
        let slices = SliceRange::new(first, last).unwrap();
        SlicePlace { slices, position: Position::new(position) }
    }

    fn moved(first: u16, last: u16, from: u64, to: u64) -> Move {
        let (from, to) = (Position::new(from), Position::new(to));
        Move { slices: SliceRange::new(first, last).unwrap(), from, to }
    }

    fn checkpoint() -> Checkpoint {
        let (log, incarnation) = (LogId::generate(), Incarnation::FIRST);
        Checkpoint { log, incarnation, epoch: 3, rows: vec![row(0, 511, 7), row(512, 1_023, 9)] }
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let written = checkpoint();

        let read = Checkpoint::from_json(written.to_json().as_bytes()).unwrap();

        assert_eq!(read, written);
    }

    #[test]
    fn what_is_not_a_checkpoint_is_not_taken_for_one() {
        let texts = ["", "{}", "[1]", r#"{"log":"x","incarnation":1,"epoch":1,"rows":[]}"#];
        for text in texts {
            assert!(Checkpoint::from_json(text.as_bytes()).is_none(), "{text}");
        }
        let turned = checkpoint().to_json().replace("[0,511,7]", "[511,0,7]");
        assert!(Checkpoint::from_json(turned.as_bytes()).is_none());
    }

    #[test]
    fn moves_are_made_all_or_none_and_by_nobody_who_is_fenced() {
        let mut held = checkpoint();

        assert_eq!(held.apply(2, &[moved(0, 511, 7, 8)]), Applied::Fenced, "of an old epoch");
        let torn = [moved(0, 511, 7, 8), moved(512, 1_023, 8, 9)];
        assert_eq!(held.apply(3, &torn), Applied::Fenced, "a row is elsewhere");
        assert_eq!(held.rows, [row(0, 511, 7), row(512, 1_023, 9)], "none was made");

        let good = [moved(0, 511, 7, 11), moved(512, 1_023, 9, 11)];
        assert_eq!(held.apply(3, &good), Applied::Made);
        assert_eq!(held.apply(3, &good), Applied::Before, "the answer was lost");
        assert_eq!(held.highest().get(), 11);
        assert_eq!(held.apply(3, &[]), Applied::Made, "a parked event's retry moves nothing");
    }
}
