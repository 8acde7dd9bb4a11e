//! What a consumer has seen, so that nothing takes effect twice.

use std::collections::HashMap;

/// The last position of each key that a consumer has handled.
///
/// Messages of one key come in the order of their positions. One that is not beyond the last was
/// handled before: after a crash, a replay, or from a sink that publishes at least once. A consumer
/// that keeps this with its result, in one transaction, has every event in the result once.
///
/// ```
/// use quipu_relay::Seen;
///
/// let mut seen = Seen::default();
/// assert!(seen.is_new("order-7", 12));
/// seen.note("order-7", 12);
///
/// assert!(!seen.is_new("order-7", 12), "it came again");
/// assert!(seen.is_new("order-7", 15) && seen.is_new("order-8", 3));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    positions: HashMap<String, u64>,
}

impl Seen {
    /// Whether the key's message at this position is yet to be handled. The position is the cloud
    /// event's extension `position`: in Kafka the header `ce_position`.
    pub fn is_new(&self, key: &str, position: u64) -> bool {
        self.positions.get(key).is_none_or(|seen| *seen < position)
    }

    /// Notes that it is handled. One that lies before what is noted changes nothing.
    pub fn note(&mut self, key: &str, position: u64) {
        match self.positions.get_mut(key) {
            Some(seen) => *seen = position.max(*seen),
            None => {
                self.positions.insert(key.to_owned(), position);
            }
        }
    }

    /// What is to be kept: each key with its last position.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.positions.iter().map(|(key, position)| (key.as_str(), *position))
    }
}

impl FromIterator<(String, u64)> for Seen {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(kept: I) -> Self {
        let mut seen = Self::default();
        for (key, position) in kept {
            seen.note(&key, position);
        }
        seen
    }
}
