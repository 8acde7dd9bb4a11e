//! Which sequences of types cases went through: a tree in which each case stands at the end of its
//! own sequence.

use std::collections::HashMap;

/// The most different beginnings of sequences. Cases whose sequences go beyond are counted together.
const NODE_COUNT_MAX: usize = 250_000;

/// A place in the tree: the sequence from the root to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(u32);

/// The root: the sequence of no types.
pub(super) const ROOT: Place = Place(0);
/// The place of all sequences that the tree has no room for.
const ELSEWHERE: Place = Place(u32::MAX);

#[derive(Debug)]
struct Node {
    parent: Place,
    step: u16,
    /// How many cases stand here.
    count: u64,
}

#[derive(Debug)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    next: HashMap<(Place, u16), Place>,
    elsewhere_count: u64,
}

impl Default for Paths {
    fn default() -> Self {
        let root = Node { parent: ROOT, step: 0, count: 0 };
        Self { nodes: vec![root], next: HashMap::new(), elsewhere_count: 0 }
    }
}

impl Paths {
    /// Moves one case on by a step, from where it stands; a new case stands at the root.
    pub(super) fn step(&mut self, from: Place, step: u16) -> Place {
        let to = self.find_or_add(from, step);
        if from != ROOT {
            *self.count_at(from) -= 1;
        }
        *self.count_at(to) += 1;
        to
    }

    fn find_or_add(&mut self, from: Place, step: u16) -> Place {
        if from == ELSEWHERE {
            return ELSEWHERE;
        }
        if let Some(known) = self.next.get(&(from, step)) {
            return *known;
        }
        if self.nodes.len() >= NODE_COUNT_MAX {
            return ELSEWHERE;
        }
        let place = Place(u32::try_from(self.nodes.len()).expect("the tree has a bound"));
        self.nodes.push(Node { parent: from, step, count: 0 });
        self.next.insert((from, step), place);
        place
    }

    fn count_at(&mut self, place: Place) -> &mut u64 {
        match self.nodes.get_mut(place.0 as usize) {
            Some(node) => &mut node.count,
            None => &mut self.elsewhere_count,
        }
    }

    /// How many different sequences cases have gone through, those counted together as one.
    pub(super) fn count(&self) -> u64 {
        let standing = self.nodes.iter().filter(|node| node.count > 0).count() as u64;
        standing + u64::from(self.elsewhere_count > 0)
    }

    /// The sequences that most cases have gone through, with how many.
    pub(super) fn most(&self, limit: usize) -> Vec<(Vec<u16>, u64)> {
        let mut standing: Vec<(u64, usize)> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.count > 0)
            .map(|(index, node)| (node.count, index))
            .collect();
        standing.sort_unstable_by_key(|&(count, index)| (std::cmp::Reverse(count), index));
        standing.truncate(limit);
        standing.into_iter().map(|(count, index)| (self.sequence_to(index), count)).collect()
    }

    fn sequence_to(&self, mut index: usize) -> Vec<u16> {
        let mut steps = Vec::new();
        while let Some(node) = self.nodes.get(index).filter(|_| index != ROOT.0 as usize) {
            steps.push(node.step);
            index = node.parent.0 as usize;
        }
        steps.reverse();
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_with_the_same_steps_stand_together() {
        let mut paths = Paths::default();
        let go = |paths: &mut Paths, steps: &[u16]| {
            steps.iter().fold(ROOT, |place, step| paths.step(place, *step))
        };
        go(&mut paths, &[1, 2, 3]);
        go(&mut paths, &[1, 2, 3]);
        let halfway = go(&mut paths, &[1, 2]);

        assert_eq!(paths.most(9), [(vec![1, 2, 3], 2), (vec![1, 2], 1)]);
        paths.step(halfway, 3);
        assert_eq!(paths.most(9), [(vec![1, 2, 3], 3)]);
        assert_eq!(paths.count(), 1);
    }
}
