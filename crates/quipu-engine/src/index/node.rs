//! Joins within one source: which of its positions are wanted.

use std::ops::Range;

use quipu_core::Direction;

use super::error::Result;
use super::list::ListCursor;
use super::source::Source;
use super::wanted::Wanted;

/// What is wanted of one source, with a place in it.
#[derive(Debug)]
pub(super) enum Node {
    /// Every position of the range, less what was returned.
    Every(Range<u32>),
    /// The positions of one key.
    List(ListCursor),
    /// The positions that are in all of these, the shortest first.
    All(Vec<Self>),
    /// The positions that are in any of these.
    Any(Vec<Branch>),
}

/// One of several alternatives, and the next position that it has to offer.
#[derive(Debug)]
pub(super) struct Branch {
    node: Node,
    head: Option<u32>,
}

impl Node {
    /// What is wanted of `source` within the window; `None` where nothing in it can be.
    ///
    /// Nothing below the window is sought by the node itself: the first call says where to begin.
    pub(super) fn open(
        wanted: &Wanted,
        source: Source<'_>,
        window: &Range<u32>,
        direction: Direction,
    ) -> Result<Option<Self>> {
        match wanted {
            Wanted::Everything => Ok(Some(Self::Every(window.clone()))),
            Wanted::Key(key) => {
                Ok(ListCursor::open(source, *key, window, direction)?.map(Self::List))
            }
            Wanted::All(all) if all.is_empty() => Ok(Some(Self::Every(window.clone()))),
            Wanted::All(all) => {
                let mut nodes = Vec::with_capacity(all.len());
                for wanted in all {
                    match Self::open(wanted, source, window, direction)? {
                        Some(node) => nodes.push(node),
                        None => return Ok(None),
                    }
                }
                nodes.sort_by_key(Self::count);
                Ok(Some(Self::All(nodes)))
            }
            Wanted::Any(any) => {
                let mut branches = Vec::new();
                for wanted in any {
                    if let Some(node) = Self::open(wanted, source, window, direction)? {
                        branches.push(Branch { node, head: None });
                    }
                }
                Ok(match branches.len() {
                    0 => None,
                    1 => branches.pop().map(|branch| branch.node),
                    _ => Some(Self::Any(branches)),
                })
            }
        }
    }

    /// At most how many positions the node has.
    fn count(&self) -> u64 {
        match self {
            Self::Every(range) => range.len() as u64,
            Self::List(list) => list.count().into(),
            Self::All(nodes) => nodes.iter().map(Self::count).min().unwrap_or(u64::MAX),
            Self::Any(branches) => branches.iter().map(|branch| branch.node.count()).sum(),
        }
    }

    /// The next position that is at `target` or past it, in the direction given; 0 forward and
    /// `u32::MAX` backward leave nothing out. A node that answered `None` is finished and must not
    /// be asked again.
    pub(super) fn advance(
        &mut self,
        source: Source<'_>,
        target: u32,
        direction: Direction,
    ) -> Result<Option<u32>> {
        match self {
            Self::Every(range) => Ok(advance_range(range, target, direction)),
            Self::List(list) => list.advance(source, target, direction),
            Self::All(nodes) => advance_all(nodes, source, target, direction),
            Self::Any(branches) => advance_any(branches, source, target, direction),
        }
    }
}

fn advance_range(range: &mut Range<u32>, target: u32, direction: Direction) -> Option<u32> {
    match direction {
        Direction::Forward => {
            range.start = range.start.max(target);
            range.next()
        }
        Direction::Backward => {
            range.end = range.end.min(target.saturating_add(1));
            range.next_back()
        }
    }
}

/// The nodes take turns to leap to where the others are, until all stand on one position.
fn advance_all(
    nodes: &mut [Node],
    source: Source<'_>,
    target: u32,
    direction: Direction,
) -> Result<Option<u32>> {
    let mut candidate = target;
    let mut agreed = 0;
    let mut turn = 0;
    while agreed < nodes.len() {
        let Some(found) = nodes[turn].advance(source, candidate, direction)? else {
            return Ok(None);
        };
        // A node returns a position once: the one that moved on is where the count starts again.
        if found == candidate {
            agreed += 1;
        } else {
            candidate = found;
            agreed = 1;
        }
        turn = (turn + 1) % nodes.len();
    }
    Ok(Some(candidate))
}

fn advance_any(
    branches: &mut Vec<Branch>,
    source: Source<'_>,
    target: u32,
    direction: Direction,
) -> Result<Option<u32>> {
    let is_before = |one: u32, other: u32| match direction {
        Direction::Forward => one < other,
        Direction::Backward => one > other,
    };
    let mut nearest = None;
    let mut index = 0;
    while let Some(branch) = branches.get_mut(index) {
        if branch.head.is_none_or(|head| is_before(head, target)) {
            branch.head = branch.node.advance(source, target, direction)?;
        }
        match branch.head {
            None => {
                branches.swap_remove(index);
            }
            Some(head) => {
                if nearest.is_none_or(|nearest| is_before(head, nearest)) {
                    nearest = Some(head);
                }
                index += 1;
            }
        }
    }
    for branch in branches {
        branch.head = branch.head.filter(|head| Some(*head) != nearest);
    }
    Ok(nearest)
}
