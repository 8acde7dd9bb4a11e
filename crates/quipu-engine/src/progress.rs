//! How far a long task has come.

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
