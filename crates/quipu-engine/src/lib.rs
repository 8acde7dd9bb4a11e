//! The embedded event store.

#[expect(dead_code, unused_imports, reason = "the engine around the index is not here yet")]
mod index;
pub mod io;
