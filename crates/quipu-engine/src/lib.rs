//! The embedded event store.
pub mod io;
mod format;
pub use format::{Corrupt, FORMAT_VERSION};
