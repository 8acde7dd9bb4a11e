//! The embedded event store.

#[expect(dead_code, unused_imports, reason = "the engine around the index is not here yet")]
mod index;
pub mod io;

mod error;
mod format;
mod index;
mod layout;
mod log;
mod lookup;
mod manifest;
mod options;
mod segment;
mod space;
mod walk;
mod watermark;
mod writer;

pub use error::DiskError;
pub use format::{Corrupt, FORMAT_VERSION};
pub use options::{OpenError, OpenOptions, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN};
