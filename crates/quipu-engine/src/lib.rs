//! The embedded event store.

mod format;
#[expect(dead_code, unused_imports, reason = "the engine around the index is not here yet")]
mod index;
pub mod io;
