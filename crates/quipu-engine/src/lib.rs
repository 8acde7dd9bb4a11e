//! The embedded event store.

#[doc(hidden)]
pub mod fuzzing;
pub mod io;

mod activity;
mod backup;
mod beside;
mod engine;
mod error;
mod follower;
mod format;
mod growing;
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
mod rebuild;
mod recovery;
mod scavenge;
mod segment;
mod space;
mod stats;
mod subscription;
mod verify;
mod walk;
mod watermark;
mod writer;

pub use activity::{Activity, Distribution};
pub use backup::{BackedUp, BackupError, RestoreError, Restored, restore, restore_with};
pub use engine::{Engine, Recovery};
pub use error::DiskError;
pub use format::{Corrupt, FORMAT_VERSION};
pub use options::{OpenError, OpenOptions, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN};
pub use progress::{Progress, Wish};
pub use rebuild::{RebuildError, Rebuilt, rebuild_index, rebuild_index_with};
pub use scavenge::{ScavengeError, ScavengeOptions, Scavenged};
pub use stats::Stats;
pub use verify::{Damage, Verified, VerifyError, verify, verify_with};
