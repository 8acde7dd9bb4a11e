//! Verifying a run: reading all of it, and whether it hangs together.

use std::ops::Range;

use super::error::Result;
use super::key::{IdKey, Key};
use super::run::{Run, RunKeys, RunNames};
use crate::format::run::postings::skip_count;

impl Run {
    /// Reads the whole run, compares every checksum and looks every key and id up.
    ///
    /// # Errors
    ///
    /// [`IndexError::Corrupt`](super::IndexError::Corrupt) with the first thing that is wrong. The
    /// index has to be built again from the log.
    pub(crate) fn verify(&self) -> Result<()> {
        self.compare_pages()?;
        self.verify_keys()?;
        self.verify_ids()?;
        self.verify_names()
    }

    /// How many positions all keys together have.
    pub(crate) fn posting_count(&self) -> Result<u64> {
        let mut keys = RunKeys::new(self);
        let mut count = 0;
        while let Some((_, list)) = keys.next()? {
            count += u64::from(list.count);
        }
        Ok(count)
    }

    /// The local positions in a window that have a key, rising.
    pub(crate) fn locals_of(&self, key: Key, window: Range<u32>) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        let Some(list) = self.find(key)? else { return Ok(found) };
        for group in self.find_group(list, window.start)?..=skip_count(list.count) {
            let before = found.len();
            self.read_group(list, group, &mut found)?;
            if found.get(before).is_none_or(|first| *first >= window.end) {
                break;
            }
        }
        found.retain(|local| window.contains(local));
        Ok(found)
    }

    /// Whether the event with a local position is found by an id.
    pub(crate) fn has_id(&self, id: IdKey, local: u32) -> Result<bool> {
        let (mut low, mut high) = (0, self.name().event_count());
        while low < high {
            let middle = u64::midpoint(low, high);
            if self.id(middle)? < (id, local) { low = middle + 1 } else { high = middle }
        }
        Ok(low < self.name().event_count() && self.id(low)? == (id, local))
    }

    /// Whether a stream with this name is said to begin in the run.
    pub(crate) fn has_name(&self, name: &str) -> Result<bool> {
        Ok(RunNames::from(self, name)?.peek()? == Some(name))
    }

    fn verify_keys(&self) -> Result<()> {
        let mut keys = RunKeys::new(self);
        let mut locals = Vec::new();
        while let Some((key, list)) = keys.next()? {
            if self.find(key)? != Some(list) {
                return Err(self.corrupt_keys("a key is there but is not found"));
            }
            for group in 0..=skip_count(list.count) {
                locals.clear();
                self.read_group(list, group, &mut locals)?;
            }
        }
        Ok(())
    }

    fn verify_ids(&self) -> Result<()> {
        let mut before = None;
        for index in 0..self.name().event_count() {
            let entry = self.id(index)?;
            if before.is_some_and(|before| before >= entry) {
                return Err(self.corrupt_ids("the ids do not rise"));
            }
            if self.find_id(entry.0, None)?.is_none() {
                return Err(self.corrupt_ids("an id is there but is not found"));
            }
            before = Some(entry);
        }
        Ok(())
    }

    fn verify_names(&self) -> Result<()> {
        let mut names = RunNames::from(self, "")?;
        while names.next()?.is_some() {}
        Ok(())
    }
}
