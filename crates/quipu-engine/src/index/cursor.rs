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
    /// The source that is read, or the one that comes next where `node` is `None`. `None` at the
    /// end.
    source: Option<usize>,
    node: Option<Node>,
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
        let source = Some(sources.find(bound));
        Self { sources, wanted, upto, direction, bound, source, node: None }
    }

    /// The next candidate, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<u64>> {
        while let Some(index) = self.source {
            let Some(window) = self.window(index) else {
                self.source = None;
                return Ok(None);
            };
            let source = self.sources.get(index).expect("window() found the source");
            if self.node.is_none() && !window.is_empty() {
                self.node = Node::open(&self.wanted, source, &window, self.direction)?;
            }
            let found = match &mut self.node {
                // A seek may have left nothing of the source.
                Some(_) if window.is_empty() => None,
                Some(node) => {
                    let target = match self.direction {
                        Direction::Forward => window.start,
                        Direction::Backward => window.end.saturating_sub(1),
                    };
                    node.advance(source, target, self.direction)?
                }
                None => None,
            };
            if let Some(local) = found {
                let position = source.first() + u64::from(local);
                self.pass(position);
                return Ok(Some(position));
            }
            self.node = None;
            self.source = match self.direction {
                Direction::Forward => Some(index + 1),
                Direction::Backward => index.checked_sub(1),
            };
        }
        Ok(None)
    }

    /// Skips what is not yet at `position`: the next candidate is at `position` or past it.
    /// Never goes back.
    pub(crate) fn seek(&mut self, position: u64) {
        let ahead = match self.direction {
            Direction::Forward => position > self.bound,
            Direction::Backward => position < self.bound,
        };
        let Some(index) = self.source else {
            return;
        };
        if ahead {
            self.bound = position;
            let found = match self.direction {
                Direction::Forward => self.sources.find(position).max(index),
                Direction::Backward => self.sources.find(position).min(index),
            };
            if found != index {
                self.node = None;
                self.source = Some(found);
            }
        }
    }

    /// Lets nothing up to `position`, which is returned, be returned again.
    fn pass(&mut self, position: u64) {
        match self.direction {
            Direction::Forward => self.bound = position + 1,
            Direction::Backward if position == 0 => self.source = None,
            Direction::Backward => self.bound = position - 1,
        }
    }

    /// The local positions of a source that may be returned; `None` where it, and with it every
    /// source that follows in this direction, has none.
    fn window(&self, index: usize) -> Option<Range<u32>> {
        let source = self.sources.get(index)?;
        let first = source.first();
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
