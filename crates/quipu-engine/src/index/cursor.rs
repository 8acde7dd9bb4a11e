//! Walking the positions that are wanted, over all sources, in either direction.

use std::ops::Range;
use std::sync::Arc;

use quipu_core::Direction;

use super::error::Result;
use super::node::Node;
use super::source::Sources;
use super::wanted::Wanted;

/// Candidate positions, one at a time, each once, in one direction.
///
/// It reads as it goes: a source is looked at when the cursor comes to it, and a list in chunks.
/// It sees the index as it was when its reader was made, whatever is added or merged beside it.
#[derive(Debug)]
pub(crate) struct Cursor {
    sources: Arc<Sources>,
    wanted: Wanted,
    /// Nothing above is returned.
    upto: u64,
    direction: Direction,
    /// Forward: nothing below is returned. Backward: nothing above.
    bound: u64,
    /// The source that is read.
    open: Option<OpenSource>,
    /// The source that comes after it; `None` at the end.
    next: Option<usize>,
}

/// A source in which something may be wanted.
#[derive(Debug)]
struct OpenSource {
    index: usize,
    /// Its first position.
    first: u64,
    /// Only local positions below are wanted.
    end: u32,
    node: Node,
}

impl Cursor {
    pub(super) fn new(
        sources: Arc<Sources>,
        wanted: Wanted,
        upto: u64,
        from: u64,
        direction: Direction,
    ) -> Self {
        let bound = match direction {
            Direction::Forward => from,
            Direction::Backward => from.min(upto),
        };
        let next = Some(sources.find(bound));
        Self { sources, wanted, upto, direction, bound, open: None, next }
    }

    /// The next candidate, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<u64>> {
        loop {
            if let Some(open) = &mut self.open
                && let Some(target) = open.target(self.bound, self.direction)
                && let Some(source) = self.sources.get(open.index)
                && let Some(local) = open.node.advance(source, target, self.direction)?
            {
                let position = open.first + u64::from(local);
                self.pass(position);
                return Ok(Some(position));
            }
            self.open = None;
            if !self.open_next()? {
                return Ok(None);
            }
        }
    }

    /// Skips what is not yet at `position`: the next candidate is at `position` or past it.
    /// Never goes back.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "nothing needs it yet but the model in the tests")
    )]
    pub(crate) fn seek(&mut self, position: u64) {
        let ahead = match self.direction {
            Direction::Forward => position > self.bound,
            Direction::Backward => position < self.bound,
        };
        if !ahead {
            return;
        }
        self.bound = position;
        let found = self.sources.find(position);
        if self.open.as_ref().is_some_and(|open| open.index == found) {
            return;
        }
        // What is open ends before the position, unless it has been left already.
        let Some(next) = self.next else {
            return;
        };
        match self.direction {
            Direction::Forward if found >= next => (self.open, self.next) = (None, Some(found)),
            Direction::Backward if found <= next => (self.open, self.next) = (None, Some(found)),
            Direction::Forward | Direction::Backward => {}
        }
    }

    /// Lets nothing up to `position`, which is returned, be returned again.
    fn pass(&mut self, position: u64) {
        match self.direction {
            Direction::Forward => self.bound = position + 1,
            // Nothing comes before the first place there is.
            Direction::Backward if position == 0 => (self.open, self.next) = (None, None),
            Direction::Backward => self.bound = position - 1,
        }
    }

    /// Opens the next source that has anything to offer, or says that there is none.
    fn open_next(&mut self) -> Result<bool> {
        while let Some(index) = self.next {
            let (Some(source), Some(window)) = (self.sources.get(index), self.window(index)) else {
                self.next = None;
                break;
            };
            if !window.is_empty()
                && let Some(node) = Node::open(&self.wanted, source, &window, self.direction)?
            {
                let (first, end) = (source.first(), window.end);
                self.open = Some(OpenSource { index, first, end, node });
            }
            self.next = match self.direction {
                Direction::Forward => Some(index + 1),
                Direction::Backward => index.checked_sub(1),
            };
            if self.open.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The local positions of a source that may be returned; `None` where it, and with it every
    /// source that follows in this direction, has none.
    fn window(&self, index: usize) -> Option<Range<u32>> {
        let first = self.sources.get(index)?.first();
        let last = match self.direction {
            Direction::Forward => self.upto,
            Direction::Backward => self.upto.min(self.bound),
        };
        let last = last.min(self.sources.last(index));
        let end = match (last.checked_sub(first), self.direction) {
            (Some(last), _) => u32::try_from(last).map_or(u32::MAX, |last| last.saturating_add(1)),
            (None, Direction::Forward) => return None,
            (None, Direction::Backward) => 0,
        };
        let start = match self.direction {
            Direction::Forward => self.bound.saturating_sub(first),
            Direction::Backward => 0,
        };
        Some(u32::try_from(start).map_or(end..end, |start| start..end))
    }
}

impl OpenSource {
    /// Where in the source a cursor goes on that has come to `bound`; `None` if that is not in it.
    fn target(&self, bound: u64, direction: Direction) -> Option<u32> {
        match direction {
            Direction::Forward => u32::try_from(bound.saturating_sub(self.first)).ok(),
            Direction::Backward => {
                let local = bound.checked_sub(self.first)?;
                // Beyond the end there is nothing to leave out, and nothing to look for.
                let inside = u32::try_from(local).ok().filter(|local| local + 1 < self.end);
                Some(inside.unwrap_or(u32::MAX))
            }
        }
    }
}
