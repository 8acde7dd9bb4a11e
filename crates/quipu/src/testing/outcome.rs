//! What a command came to, and what a test says about it.

use std::fmt;

use serde::Serialize;

use super::world::{Boundary, describe_pending};
use crate::command::{Events, PendingEvent};

/// What a command came to. Each method checks one thing and gives the outcome back.
#[derive(Debug)]
pub struct Outcome<E> {
    decided: Result<Decided, E>,
    boundary: Boundary,
}

#[derive(Debug)]
struct Decided {
    events: Vec<PendingEvent>,
    value: Option<serde_json::Value>,
}

impl<E: fmt::Debug> Outcome<E> {
    pub(super) fn new(decided: Result<Events, E>, boundary: Boundary) -> Self {
        let decided = decided.map(|events| match events.into_parts() {
            Ok((events, value)) => Decided { events, value },
            Err(error) => panic!("a decided event cannot be appended: {error}\n{boundary}"),
        });
        Self { decided, boundary }
    }

    /// Checks which events were decided, in order, by type, tags and data.
    ///
    /// # Panics
    ///
    /// If others were, or the command was refused.
    #[expect(clippy::return_self_not_must_use, reason = "the check is done")]
    pub fn then(self, expected: Events) -> Self {
        let expected = match expected.into_parts() {
            Ok((events, _)) => lines(&events),
            Err(error) => panic!("an expected event cannot be encoded: {error}"),
        };
        let found = lines(&self.decided().events);
        assert!(
            found == expected,
            "other events were decided\nexpected:\n{}found:\n{}{}",
            list(&expected),
            list(&found),
            self.boundary
        );
        self
    }

    /// Checks that nothing was decided, and nothing refused.
    ///
    /// # Panics
    ///
    /// If an event was decided, or the command was refused.
    #[expect(clippy::return_self_not_must_use, reason = "the check is done")]
    pub fn then_nothing(self) -> Self {
        self.then(Events::new())
    }

    /// Checks the value that the decision returned.
    ///
    /// # Panics
    ///
    /// If it is another one, or there is none.
    #[expect(clippy::return_self_not_must_use, reason = "the check is done")]
    pub fn then_value<T: Serialize>(self, expected: &T) -> Self {
        let expected = serde_json::to_value(expected).ok();
        let found = &self.decided().value;
        assert!(
            *found == expected,
            "another value was returned\nexpected: {expected:?}\nfound: {found:?}\n{}",
            self.boundary
        );
        self
    }

    fn decided(&self) -> &Decided {
        match &self.decided {
            Ok(decided) => decided,
            Err(refusal) => panic!("the command was refused: {refusal:?}\n{}", self.boundary),
        }
    }
}

impl<E: fmt::Debug + PartialEq> Outcome<E> {
    /// Checks that the command was refused, and how.
    ///
    /// # Panics
    ///
    /// If it was refused otherwise, or not at all.
    #[expect(clippy::return_self_not_must_use, reason = "the check is done")]
    pub fn then_rejected(self, expected: &E) -> Self {
        match &self.decided {
            Err(found) => assert!(
                found == expected,
                "the command was refused otherwise\nexpected: {expected:?}\nfound: {found:?}\n{}",
                self.boundary
            ),
            Ok(decided) => panic!(
                "the command was not refused\nexpected: {expected:?}\nfound:\n{}{}",
                list(&lines(&decided.events)),
                self.boundary
            ),
        }
        self
    }
}

fn lines(events: &[PendingEvent]) -> Vec<String> {
    events.iter().map(describe_pending).collect()
}

fn list(lines: &[String]) -> String {
    if lines.is_empty() {
        return "  nothing\n".to_owned();
    }
    lines.iter().flat_map(|line| ["  ", line, "\n"]).collect()
}
