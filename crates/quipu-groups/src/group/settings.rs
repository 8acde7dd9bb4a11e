//! What a group goes by.

use std::time::Duration;

use crate::policy::{Backoff, GiveUp, OnError};

/// Which member gets an event, and whether events of one key wait for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the machine decides each of them")]
pub enum Strategy {
    /// In order within each key, side by side across keys: the next event of a key leaves once the
    /// one before is acknowledged, skipped or parked. A key's events go to the same member while it
    /// has room, else to another one.
    #[default]
    ByKey,
    /// To each member in turn. Nothing waits, so that nothing is in order.
    RoundRobin,
    /// To the member that joined first, and to the next one only while it has no room.
    DispatchToSingle,
    /// All events of a key to one member, for as long as the members stay the same. It does not wait
    /// for acknowledgements: what is redelivered comes behind later events of its key.
    Pinned,
}

impl Strategy {
    /// Whether the events of one key wait for each other.
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::ByKey)
    }
}

/// What a group goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct GroupSettings {
    /// Which member gets an event.
    pub strategy: Strategy,
    /// The most events that are with members at a time, all of them together.
    pub in_flight_max: usize,
    /// The most events that the group holds, wherever they are, before it reads no further.
    pub buffer_max: usize,
    /// The most bytes of them.
    pub buffer_size_max: usize,
    /// How long a member may take for an event; `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// What happens to an event that was not acknowledged in time, or that a member asked to retry.
    /// With [`GiveUp::Stop`] there is no end to it: the event is tried again for ever.
    pub on_error: OnError,
    /// The most parked events that the group knows of. What would be parked beyond is tried again
    /// instead. `None`: the group does not know what is parked, its keeper does.
    pub parked_max: Option<usize>,
    /// The least time between two checkpoints.
    pub save_interval: Duration,
    /// How many events must be settled before a checkpoint is worth saving.
    pub save_count_min: u64,
    /// How many settled events make a checkpoint due at once.
    pub save_count_max: u64,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            strategy: Strategy::ByKey,
            in_flight_max: 10_000,
            buffer_max: 20_000,
            buffer_size_max: 64 << 20,
            timeout: Some(Duration::from_secs(30)),
            on_error: OnError {
                retries: 10,
                backoff: Backoff {
                    first: Duration::from_millis(100),
                    max: Duration::from_secs(30),
                },
                give_up: GiveUp::Park,
            },
            parked_max: Some(10_000),
            save_interval: Duration::from_millis(250),
            save_count_min: 1,
            save_count_max: 10_000,
        }
    }
}
