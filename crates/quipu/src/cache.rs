//! States that were folded a short time ago, so that the next command on the same thing reads only what
//! is new since.
//!
//! A cached state is a snapshot that was never written: it has a place, and the log must bear it out
//! as any other. Only models with a snapshot policy are cached; the others are replayed, always.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quipu_core::{Position, Revision};

/// A model's state at a place.
pub(crate) struct CachedState {
    pub(crate) position: Position,
    /// The revision of an aggregate's last event.
    pub(crate) revision: Option<Revision>,
    /// Events folded since the last snapshot that was written.
    pub(crate) folded_count: u64,
    pub(crate) state: Box<dyn Any + Send + Sync>,
}

/// The states that were used last, by the keys of their snapshots.
///
/// Half of them are young. What is asked for becomes young; when there are too many, the young become
/// old and the old are forgotten.
pub(crate) struct StateCache {
    /// Held for a look or an exchange; states are copied outside.
    generations: Mutex<Generations>,
    young_max: usize,
}

#[derive(Default)]
struct Generations {
    young: HashMap<String, Arc<CachedState>>,
    old: HashMap<String, Arc<CachedState>>,
}

impl StateCache {
    /// A cache of at most so many states.
    pub(crate) fn new(count_max: usize) -> Self {
        Self { generations: Mutex::default(), young_max: count_max / 2 }
    }

    /// The state that was kept under this key, if it is not of a later place.
    pub(crate) fn get(&self, key: &str, at: Position) -> Option<Arc<CachedState>> {
        // The maps are whole at any time: a panic elsewhere does not make them wrong.
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = generations.young.get(key) {
            return (state.position <= at).then(|| Arc::clone(state));
        }
        let (key, state) = generations.old.remove_entry(key)?;
        let found = (state.position <= at).then(|| Arc::clone(&state));
        self.insert(&mut generations, key, state);
        found
    }

    /// Keeps a state, in place of an earlier one.
    pub(crate) fn put(&self, key: &str, state: CachedState) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        // Commands end in any order: a state never goes back.
        let kept = generations.old.remove(key).filter(|kept| kept.position > state.position);
        let state = kept.unwrap_or_else(|| Arc::new(state));
        self.insert(&mut generations, key.to_owned(), state);
    }

    fn insert(&self, generations: &mut Generations, key: String, state: Arc<CachedState>) {
        let is_later = |own: &Arc<CachedState>| own.position > state.position;
        if generations.young.get(&key).is_some_and(is_later) {
            return;
        }
        generations.young.insert(key, state);
        if generations.young.len() > self.young_max {
            generations.old = std::mem::take(&mut generations.young);
        }
    }
}

impl fmt::Debug for StateCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateCache").field("young_max", &self.young_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(position: u64) -> CachedState {
        let position = Position::new(position);
        CachedState { position, revision: None, folded_count: 0, state: Box::new(()) }
    }

    fn position(cache: &StateCache, key: &str, at: u64) -> Option<u64> {
        cache.get(key, Position::new(at)).map(|state| state.position.get())
    }

    #[test]
    fn a_state_is_found_unless_an_earlier_one_is_asked_for() {
        let cache = StateCache::new(10);

        cache.put("a", state(5));
        cache.put("a", state(3));

        assert_eq!(position(&cache, "a", 9), Some(5), "a state never goes back");
        assert_eq!(position(&cache, "a", 4), None);
        assert_eq!(position(&cache, "b", 9), None);
    }

    #[test]
    fn what_was_not_asked_for_is_forgotten_first() {
        let cache = StateCache::new(4);
        for (index, key) in ["a", "b", "c"].into_iter().enumerate() {
            cache.put(key, state(index as u64 + 1));
        }

        for (index, key) in ["d", "e", "f"].into_iter().enumerate() {
            assert_eq!(position(&cache, "a", 9), Some(1), "before {key}");
            cache.put(key, state(index as u64 + 4));
        }

        assert_eq!(position(&cache, "b", 9), None);
        assert_eq!(position(&cache, "f", 9), Some(6));
    }

    #[test]
    fn a_state_that_is_old_is_not_replaced_by_an_earlier_one() {
        let cache = StateCache::new(2);
        cache.put("a", state(5));
        cache.put("b", state(6));

        cache.put("a", state(3));

        assert_eq!(position(&cache, "a", 9), Some(5));
    }
}
