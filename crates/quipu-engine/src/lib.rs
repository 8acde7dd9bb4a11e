//! The embedded event store.

pub mod beside;
pub mod io;
