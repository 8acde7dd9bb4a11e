//! How many subscriptions each principal has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts subscriptions by principal, up to a limit for each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    /// Guards the counts. Nothing is awaited while it is held. A principal without subscriptions
    /// has no entry, so that it is bounded by the connections.
    taken: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

/// One subscription's place among its principal's. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    principal: Arc<str>,
}

impl Slots {
    /// Takes a place, or answers `None` where the principal has so many already.
    pub(crate) fn take(&self, principal: &str, count_max: usize) -> Option<Slot> {
        let principal: Arc<str> = Arc::from(principal);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&principal).copied().unwrap_or_default();
        if count >= count_max {
            return None;
        }
        taken.insert(Arc::clone(&principal), count + 1);
        Some(Slot { slots: self.clone(), principal })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.principal) {
            Some(count @ 2..) => *count -= 1,
            _ => drop(taken.remove(&self.principal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_so_many_places_and_gets_them_back() {
        let slots = Slots::default();
        let first = slots.take("ada", 2).unwrap();
        let _second = slots.take("ada", 2).unwrap();

        assert!(slots.take("ada", 2).is_none());
        assert!(slots.take("bob", 2).is_some(), "others have theirs");
        drop(first);
        let third = slots.take("ada", 2);
        assert!(third.is_some() && slots.take("ada", 2).is_none());
    }

    #[test]
    fn who_has_none_leaves_nothing_behind() {
        let slots = Slots::default();
        drop((slots.take("ada", 2), slots.take("ada", 2)));

        assert!(slots.taken.lock().unwrap().is_empty());
    }
}
