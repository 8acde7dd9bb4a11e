//! The embedded event store.

pub mod io;
