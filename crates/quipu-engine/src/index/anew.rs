//! Making a run anew: from the events that it covers, in place of the file that there is.

use std::path::Path;
use std::sync::Arc;

use quipu_core::StreamName;

use super::Index;
use super::entries::Entries;
use super::error::IndexError;
use super::merge;
use super::run::Run;
use super::seal;
use super::tail::Tail;
use crate::format::run::{Header, RunName};
use crate::io::Io;

/// Events that are put into a tail at a time.
const ENTRIES_AT_ONCE: usize = 1_024;

/// What a run is made of.
pub(crate) trait Origins<E> {
    /// Adds the event at a position.
    fn keys_at(&mut self, position: u64, events: &mut Entries) -> Result<(), E>;

    /// The name of the stream that begins at a position, if one does.
    fn name_at(&mut self, position: u64) -> Result<Option<StreamName>, E>;

    /// Hears that the events up to this position are looked at. Whether to go on.
    fn is_at(&mut self, position: u64) -> bool;
}

impl Index {
    /// Writes the run of this name from the events that it covers, in place of its file. When this
    /// returns the file is durable; it is not used before [`install`](Self::install). `None` where
    /// `origins` want no more: then the file is as it was.
    ///
    /// # Errors
    ///
    /// [`IndexError::Io`] and whatever `origins` answer.
    pub(crate) fn make_anew<E: From<IndexError>>(
        &self,
        io: &dyn Io,
        dir: &Path,
        run: RunName,
        origins: &mut impl Origins<E>,
    ) -> Result<Option<Arc<Run>>, E> {
        let size = u64::from(self.run_event_count);
        let header = Header { origin: self.origin, name: run };
        if run.event_count() <= size {
            if !self.write_part(io, dir, header, origins)? {
                return Ok(None);
            }
            return Ok(Some(Arc::new(Run::open(io, dir, header)?)));
        }
        // Parts of it, as the run was made of once. They are in nobody's way: the names of their
        // files are of positions that only this run covers.
        let make_way = || self.make_way();
        let mut parts = Vec::new();
        let made = self.write_parts(io, dir, run, &mut parts, origins).and_then(|is_whole| {
            let merged = is_whole
                && merge::write_merged(io, dir, header, &parts, &mut || true, &make_way)
                    .map_err(E::from)?;
            Ok(if merged { Some(Arc::new(Run::open(io, dir, header)?)) } else { None })
        });
        for part in parts {
            // What stays behind is removed when the store is opened again.
            let _stays = io.remove(part.path());
        }
        made
    }

    fn write_parts<E: From<IndexError>>(
        &self,
        io: &dyn Io,
        dir: &Path,
        run: RunName,
        parts: &mut Vec<Arc<Run>>,
        origins: &mut impl Origins<E>,
    ) -> Result<bool, E> {
        let mut first = run.first;
        while first <= run.last {
            let last = run.last.min(first + u64::from(self.run_event_count) - 1);
            let header = Header { origin: self.origin, name: RunName { level: 0, first, last } };
            if !self.write_part(io, dir, header, origins)? {
                return Ok(false);
            }
            parts.push(Arc::new(Run::open(io, dir, header)?));
            first = last + 1;
        }
        Ok(true)
    }

    /// Writes a run of as many events as fit in a tail.
    fn write_part<E: From<IndexError>>(
        &self,
        io: &dyn Io,
        dir: &Path,
        header: Header,
        origins: &mut impl Origins<E>,
    ) -> Result<bool, E> {
        let RunName { first, last, .. } = header.name;
        let mut tail = Tail::new(first);
        let mut events = Entries::default();
        for position in first..=last {
            origins.keys_at(position, &mut events)?;
            if events.count() == ENTRIES_AT_ONCE || position == last {
                tail.push(events.all());
                events.clear();
                if !origins.is_at(position) {
                    return Ok(false);
                }
            }
        }
        let stream_names = self.hasher().stream_names();
        let name_at = |position| origins.name_at(position);
        let make_way = || self.make_way();
        seal::write_tail(io, dir, header, &tail, stream_names, name_at, &make_way)?;
        Ok(true)
    }
}
