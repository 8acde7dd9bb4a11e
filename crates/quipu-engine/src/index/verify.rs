//! Verifying a run: reading all of it, and whether it hangs together.

use super::error::Result;
use super::run::{Run, RunKeys, RunNames};
use crate::format::run::postings::skip_count;

impl Run {
    /// Reads the whole run, compares every checksum and looks every key and id up.
    ///
    /// # Errors
    ///
    /// [`IndexError::Corrupt`](super::IndexError::Corrupt) with the first thing that is wrong. The
    /// index has to be built again from the log.
    #[cfg_attr(not(test), expect(dead_code, reason = "verifying a store is not here yet"))]
    pub(crate) fn verify(&self) -> Result<()> {
        self.compare_pages()?;
        self.verify_keys()?;
        self.verify_ids()?;
        self.verify_names()
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
