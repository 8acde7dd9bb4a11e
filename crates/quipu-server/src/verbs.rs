//! The verbs, one file each: what it asks the store and how it prints the answer.

pub(crate) mod append;
mod auth;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod cert;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod export;
pub(crate) mod group;
pub(crate) mod import;
pub(crate) mod migrate;
pub(crate) mod parked;
pub(crate) mod projections;
pub(crate) mod read;
pub(crate) mod rebuild_index;
pub(crate) mod relay;
pub(crate) mod restore;
pub(crate) mod rule;
pub(crate) mod scavenge;
pub(crate) mod schemas;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod stream;
pub(crate) mod streams;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod verify;

use std::path::PathBuf;

use quipu_core::EventRef;

use crate::open::Target;
use crate::output::Output;

/// What every verb works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where the store is.
    pub(crate) target: Target,
    /// The directory that holds the log, if somebody named it.
    pub(crate) given_data: Option<PathBuf>,
    /// Where the answer goes.
    pub(crate) output: Output,
}

/// How a verb that did its work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done, or yes.
    Yes,
    /// The question was answered with no.
    No,
}

/// Whether an event is the store's or the framework's own, hidden unless asked for.
pub(crate) fn is_reserved(event: EventRef<'_>) -> bool {
    event.stream().starts_with('$') || event.event_type().starts_with('$')
}
