//! Places: in the log, in a stream, in time.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An event's place in the whole log. The first event has 1; 0 is before everything.
///
/// Positions rise strictly in the order of the log. The engine's are dense; stores on `PostgreSQL`
/// may leave gaps, so never add one to a position to find the next event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The place before every event.
    pub const START: Self = Self(0);
    /// The place of the first event of a log.
    pub const FIRST: Self = Self(1);
    /// A place after every event.
    pub const MAX: Self = Self(u64::MAX);

    /// The place with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The place as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The smallest place after this one, whether or not an event is there.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The largest place before this one, whether or not an event is there.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event's place in its stream: 0 for the first event, then 1, 2, … without gaps.
///
/// A revision counts within one stream. The place in the whole log is a [`Position`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The revision of the first event of any stream.
    pub const FIRST: Self = Self(0);
    /// A revision after every event.
    pub const MAX: Self = Self(u64::MAX);

    /// The revision with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The revision as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment: microseconds since 1970-01-01 00:00 UTC, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that many microseconds after 1970-01-01 00:00 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 00:00 UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The machine's wall clock. Stores under simulation use their own clock instead.
    pub fn now() -> Self {
        let now = SystemTime::now();
        let micros = match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |m| -m),
        };
        Self(micros)
    }

    /// This moment less `duration`, or the earliest moment there is.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This moment and `duration`, or the latest moment there is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}
