//! What is kept beside the log: snapshots, checkpoints, leases, the registry. Tables, no events.

mod checkpoints;
mod leases;
mod registry;
mod snapshots;

use std::time::Duration;

/// The most bytes in a name.
const NAME_SIZE_MAX: usize = 255;

fn is_name(name: &str) -> bool {
    (1..=NAME_SIZE_MAX).contains(&name.len()) && !name.contains('\0')
}

/// Text for people, as the database can have it.
fn text(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// A time in microseconds that can be added to any present.
fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 2)
}
