//! Which positions a reader wants, said in keys.

use super::key::Key;

/// Positions wanted of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Every position.
    Everything,
    /// The positions that have a key.
    Key(Key),
    /// The positions that are in all of these; every position where there are none.
    All(Vec<Self>),
    /// The positions that are in any of these; no position where there are none.
    Any(Vec<Self>),
}

impl Wanted {
    /// What is wanted by all of these.
    pub(crate) fn all(mut all: Vec<Self>) -> Self {
        match all.len() {
            0 => Self::Everything,
            1 => all.remove(0),
            _ => Self::All(all),
        }
    }

    /// What is wanted by any of these.
    pub(crate) fn any(mut any: Vec<Self>) -> Self {
        if any.contains(&Self::Everything) {
            return Self::Everything;
        }
        match any.len() {
            1 => any.remove(0),
            _ => Self::Any(any),
        }
    }

    /// The keys that it is said in.
    pub(crate) fn keys(&self) -> Box<dyn Iterator<Item = Key> + '_> {
        match self {
            Self::Everything => Box::new(std::iter::empty()),
            Self::Key(key) => Box::new(std::iter::once(*key)),
            Self::All(parts) | Self::Any(parts) => Box::new(parts.iter().flat_map(Self::keys)),
        }
    }
}

impl From<Key> for Wanted {
    fn from(key: Key) -> Self {
        Self::Key(key)
    }
}
