//! Adopting: using runs that another process wrote in place of tails of one's own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Index;
use super::entries::Entries;
use super::error::IndexError;
use super::run::Run;
use super::source::{SharedTail, Sources};
use super::tail::Tail;

impl Index {
    /// Uses `runs`, oldest first and each beginning where the one before ends, in place of the runs
    /// there are and of the tails they cover. Where they go further than what was pushed, the
    /// next push is of the position after them.
    /// `keys_at` adds the event at a position, for a tail that is covered in part. Only the thread that pushes calls this.
    ///
    /// Runs that cover less than those there are change nothing.
    ///
    /// # Errors
    ///
    /// [`IndexError::Corrupt`] if the runs do not follow each other, and whatever `keys_at`
    /// answers. The index stays as it is.
    pub(crate) fn adopt<E: From<IndexError>>(
        &self,
        runs: Vec<Arc<Run>>,
        mut keys_at: impl FnMut(u64, &mut Entries) -> Result<(), E>,
    ) -> Result<(), E> {
        let own = Sources::clone(&self.snapshot());
        let mut next = own.runs.first().map_or(own.tails_first(), |run| run.name().first);
        for run in &runs {
            if run.name().first != next {
                let reason = "the run does not begin where the one before ends";
                let file = run.path().to_owned();
                return Err(IndexError::Corrupt { file, offset: 0, reason }.into());
            }
            next = run.name().last + 1;
        }
        let end = self.next_position();
        if next < own.tails_first() {
            return Ok(());
        }
        let mut tails = Vec::new();
        for (index, tail) in own.tails.iter().enumerate() {
            let tail_end = own.tails.get(index + 1).map_or(end, SharedTail::first);
            if tail.first() >= next {
                tails.push(tail.clone());
            } else if tail_end > next {
                let mut events = Entries::default();
                for position in next..tail_end {
                    keys_at(position, &mut events)?;
                }
                let mut rest = Tail::new(next);
                rest.push(events.all());
                tails.push(SharedTail::new(rest, tail.run()));
            }
        }
        if tails.is_empty() {
            tails.push(SharedTail::new(Tail::new(next), next));
        }
        self.change(|sources| *sources = Sources { runs, tails });
        self.next.fetch_max(next, Ordering::Release);
        Ok(())
    }
}
