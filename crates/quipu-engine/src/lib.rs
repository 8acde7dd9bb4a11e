//! The embedded event store.

pub mod io;

mod beside;
mod engine;
mod error;
mod format;
mod index;
mod layout;
mod listing;
mod log;
mod lookup;
mod manifest;
mod maintenance;
mod opening;
mod options;
mod progress;
mod reader;
mod recovery;
mod segment;
mod space;
mod subscription;
mod walk;
mod watermark;
mod writer;

pub use engine::{Engine, Recovery};
pub use error::DiskError;
pub use format::{Corrupt, FORMAT_VERSION};
pub use options::{OpenError, OpenOptions, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN};
pub use progress::Progress;
