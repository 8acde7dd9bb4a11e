//! Walking the positions that one source has for one key.

use std::ops::Range;

use quipu_core::Direction;

use super::error::Result;
use super::key::Key;
use super::source::{CHUNK_COUNT, List, Source};

/// A place in one list of one source. The source is given to every call.
#[derive(Debug)]
pub(super) struct ListCursor {
    list: List,
    /// How many of the list's positions are wanted, from its beginning.
    count: u32,
    /// Forward: the first ordinal not yet returned. Backward: the last one returned, or `count`.
    place: u32,
    /// Positions by ordinal, from `chunk_begin` on.
    chunk: Vec<u32>,
    chunk_begin: u32,
}

impl ListCursor {
    /// A cursor over the positions of `key` up to the window's end, if any is in the window.
    pub(super) fn open(
        source: Source<'_>,
        key: Key,
        window: &Range<u32>,
        direction: Direction,
    ) -> Result<Option<Self>> {
        let Some((list, count)) = source.list(key, window)? else {
            return Ok(None);
        };
        let place = match direction {
            Direction::Forward => 0,
            Direction::Backward => count,
        };
        Ok(Some(Self { list, count, place, chunk: Vec::new(), chunk_begin: 0 }))
    }

    /// How many positions are below the window's end.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The next position that is at `target` or past it.
    pub(super) fn advance(
        &mut self,
        source: Source<'_>,
        target: u32,
        direction: Direction,
    ) -> Result<Option<u32>> {
        match direction {
            Direction::Forward => self.advance_forward(source, target),
            Direction::Backward => self.advance_backward(source, target),
        }
    }

    fn advance_forward(&mut self, source: Source<'_>, target: u32) -> Result<Option<u32>> {
        let near = target == 0 || self.loaded(self.place).is_some_and(|local| local >= target);
        let ordinal = if near { self.place } else { self.rank(source, target)?.max(self.place) };
        if ordinal >= self.count {
            self.place = self.count;
            return Ok(None);
        }
        self.place = ordinal + 1;
        self.at(source, ordinal).map(Some)
    }

    fn advance_backward(&mut self, source: Source<'_>, target: u32) -> Result<Option<u32>> {
        let Some(before) = self.place.checked_sub(1) else {
            return Ok(None);
        };
        let end = target.saturating_add(1);
        let near = target == u32::MAX || self.loaded(before).is_some_and(|local| local < end);
        self.place = if near { before + 1 } else { self.rank(source, end)?.min(before + 1) };
        let Some(ordinal) = self.place.checked_sub(1) else {
            return Ok(None);
        };
        self.place = ordinal;
        self.at(source, ordinal).map(Some)
    }

    /// How many positions of the list are below `local`.
    fn rank(&mut self, source: Source<'_>, local: u32) -> Result<u32> {
        let loaded = self.chunk.first().is_some_and(|first| *first <= local)
            && self.chunk.last().is_some_and(|last| *last >= local);
        if !loaded {
            let index = source.find_chunk(self.list, local)?;
            self.load(source, index)?;
        }
        let below = self.chunk.partition_point(|other| *other < local);
        Ok(self.chunk_begin + super::source::to_count(below))
    }

    /// The position with this ordinal.
    pub(super) fn at(&mut self, source: Source<'_>, ordinal: u32) -> Result<u32> {
        if self.loaded(ordinal).is_none() {
            self.load(source, ordinal / CHUNK_COUNT)?;
        }
        Ok(self.loaded(ordinal).expect("a chunk holds all ordinals it covers that the list has"))
    }

    fn loaded(&self, ordinal: u32) -> Option<u32> {
        let index = ordinal.checked_sub(self.chunk_begin)?;
        self.chunk.get(index as usize).copied()
    }

    fn load(&mut self, source: Source<'_>, index: u32) -> Result<()> {
        self.chunk_begin = index * CHUNK_COUNT;
        source.read_chunk(self.list, index, &mut self.chunk)
    }
}
