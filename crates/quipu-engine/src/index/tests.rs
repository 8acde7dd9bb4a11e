//! The index against a model of it.

mod candidates;
mod damage;
mod disk;
mod model;
mod names;
mod runs;

use super::tail::Tail;
use super::{Entries, IdKey, Index, Key};

impl Index {
    /// Adds one event and answers its position.
    fn add(&self, keys: &[Key], id: IdKey) -> u64 {
        self.push(one(keys, id).all());
        self.next_position() - 1
    }
}

impl Tail {
    /// Adds one event.
    pub(super) fn add(&mut self, keys: &[Key], id: IdKey) {
        self.push(one(keys, id).all());
    }
}

fn one(keys: &[Key], id: IdKey) -> Entries {
    let mut entries = Entries::default();
    entries.push(|all| {
        all.extend_from_slice(keys);
        id
    });
    entries
}
