//! The embedded event store.

#[doc(hidden)]
pub mod fuzzing;
pub mod io;

mod backup;
mod beside;
mod engine;
mod error;
mod follower;
mod format;
mod index;
mod layout;
mod listing;
mod log;
mod lookup;
mod maintenance;
mod manifest;
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

pub use backup::{BackedUp, BackupError, RestoreError, Restored, restore, restore_with};
pub use engine::{Engine, Recovery};
pub use error::DiskError;
pub use format::{Corrupt, FORMAT_VERSION};
pub use options::{OpenError, OpenOptions, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN};
pub use progress::Progress;
