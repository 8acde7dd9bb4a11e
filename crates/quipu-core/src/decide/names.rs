//! Names found again by the thousand.

use std::collections::HashMap;

use crate::name::StreamName;

/// Names in the order they were mentioned, found again without looking at each: an append may
/// mention 65,536 of them. Most mention one, and are spared the hash.
#[derive(Default)]
pub(super) struct NameIndex<'a> {
    names: Vec<&'a StreamName>,
    by_name: HashMap<&'a StreamName, usize>,
}

impl<'a> NameIndex<'a> {
    const HASHED_FROM: usize = 8;

    pub(super) fn get(&self, name: &StreamName) -> Option<usize> {
        if self.names.len() < Self::HASHED_FROM {
            self.names.iter().position(|own| *own == name)
        } else {
            self.by_name.get(name).copied()
        }
    }

    /// Adds a name that is not there and answers its place.
    pub(super) fn push(&mut self, name: &'a StreamName) -> usize {
        let place = self.names.len();
        self.names.push(name);
        if self.names.len() == Self::HASHED_FROM {
            self.by_name = self.names.iter().copied().zip(0..).collect();
        } else if self.names.len() > Self::HASHED_FROM {
            self.by_name.insert(name, place);
        }
        place
    }
}

impl<'a> FromIterator<&'a StreamName> for NameIndex<'a> {
    fn from_iter<I: IntoIterator<Item = &'a StreamName>>(names: I) -> Self {
        let mut index = Self::default();
        for name in names {
            index.push(name);
        }
        index
    }
}
