//! How far a long task has come.

use std::ops::ControlFlow;

/// How far a long task has come, for whoever watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is done so far.
    pub done: u64,
    /// What there is to do, as far as known.
    pub total: u64,
    /// What is counted: "events", "segments", "bytes".
    pub unit: &'static str,
}

impl Progress {
    pub(crate) fn new(done: u64, total: u64, unit: &'static str) -> Self {
        Self { done, total, unit }
    }
}

/// What whoever watches a long task answers: nothing, and it goes on, or whether it is to.
pub trait Wish {
    /// [`ControlFlow::Break`] ends the task at the next place where it can.
    fn flow(self) -> ControlFlow<()>;
}

impl Wish for () {
    fn flow(self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl Wish for ControlFlow<()> {
    fn flow(self) -> ControlFlow<()> {
        self
    }
}
