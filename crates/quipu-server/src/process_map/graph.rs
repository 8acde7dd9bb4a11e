//! The counts of a process map, an event at a time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use quipu_core::{EventRef, Position};

use super::case::CaseBy;
use super::paths::{Paths, Place, ROOT};
use super::waits::Waits;
use crate::derived::{Derived, is_reserved};

/// The most types of a map. Events of further types are left out.
const TYPE_COUNT_MAX: usize = 500;
/// The most cases of a map: about 50 bytes each. Events of further cases are left out.
const CASE_COUNT_MAX: usize = 1_000_000;

/// Which type of event follows which.
#[derive(Debug)]
pub(crate) struct ProcessMap {
    by: CaseBy,
    /// Everything up to here is in it.
    position: Position,
    event_count: u64,
    left_out_count: u64,
    types: Vec<TypeCounts>,
    numbers: HashMap<Box<str>, u16>,
    /// By the hash of their names: two of a million cases are taken for one with a chance of one in
    /// thirty million.
    cases: HashMap<u64, Case>,
    hasher: RandomState,
    edges: HashMap<(u16, u16), Waits>,
    paths: Paths,
}

/// What is known of one type.
#[derive(Debug)]
pub(crate) struct TypeCounts {
    pub(crate) name: Box<str>,
    /// How often it happened in a case.
    pub(crate) count: u64,
    /// How many cases begin with it.
    pub(crate) start_count: u64,
    /// How many cases it is the last event of, so far.
    pub(crate) end_count: u64,
}

/// One type following another.
#[derive(Debug)]
pub(crate) struct Edge<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) count: u64,
    /// The time between the two, in microseconds.
    pub(crate) median_us: u64,
    pub(crate) p90_us: u64,
}

/// Where a case is.
#[derive(Clone, Copy, Debug)]
struct Case {
    place: Place,
    last: u16,
    last_at: i64,
}

impl ProcessMap {
    pub(crate) fn new(by: CaseBy) -> Self {
        Self {
            by,
            position: Position::START,
            event_count: 0,
            left_out_count: 0,
            types: Vec::new(),
            numbers: HashMap::new(),
            cases: HashMap::new(),
            hasher: RandomState::new(),
            edges: HashMap::new(),
            paths: Paths::default(),
        }
    }

    fn number_of(&mut self, name: &str) -> Option<u16> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.types.len() >= TYPE_COUNT_MAX {
            return None;
        }
        let number = u16::try_from(self.types.len()).expect("types have a bound");
        self.numbers.insert(name.into(), number);
        self.types.push(TypeCounts { name: name.into(), count: 0, start_count: 0, end_count: 0 });
        Some(number)
    }

    fn follow(&mut self, case: &str, number: u16, at: i64) {
        let key = self.hasher.hash_one(case);
        let before = self.cases.get(&key).copied();
        if before.is_none() && self.cases.len() >= CASE_COUNT_MAX {
            self.left_out_count += 1;
            return;
        }
        let place = self.paths.step(before.map_or(ROOT, |own| own.place), number);
        self.cases.insert(key, Case { place, last: number, last_at: at });
        let own = self.counts(number);
        own.count += 1;
        own.end_count += 1;
        match before {
            None => own.start_count += 1,
            Some(before) => {
                self.counts(before.last).end_count -= 1;
                // Copies of other logs may have times that go back.
                let wait = u64::try_from(at.saturating_sub(before.last_at)).unwrap_or(0);
                self.edges.entry((before.last, number)).or_default().add(wait);
            }
        }
    }

    fn counts(&mut self, number: u16) -> &mut TypeCounts {
        &mut self.types[usize::from(number)]
    }

    fn name(&self, number: u16) -> &str {
        &self.types[usize::from(number)].name
    }

    /// How many events it was made of, those without a case included.
    pub(crate) fn event_count(&self) -> u64 {
        self.event_count
    }

    /// How many events the map had no room for. It is complete where there are none.
    pub(crate) fn left_out_count(&self) -> u64 {
        self.left_out_count
    }

    pub(crate) fn case_count(&self) -> u64 {
        self.cases.len() as u64
    }

    /// The types that happened in a case, the most frequent first.
    pub(crate) fn types(&self) -> Vec<&TypeCounts> {
        let mut types: Vec<&TypeCounts> = self.types.iter().filter(|own| own.count > 0).collect();
        types.sort_by(|a, b| (b.count, &a.name).cmp(&(a.count, &b.name)));
        types
    }

    /// What follows what, the most frequent first.
    pub(crate) fn edges(&self) -> Vec<Edge<'_>> {
        let mut edges: Vec<Edge<'_>> = self
            .edges
            .iter()
            .map(|((from, to), waits)| Edge {
                from: self.name(*from),
                to: self.name(*to),
                count: waits.count(),
                median_us: waits.percentile(50).unwrap_or(0),
                p90_us: waits.percentile(90).unwrap_or(0),
            })
            .collect();
        edges.sort_by(|a, b| (b.count, a.from, a.to).cmp(&(a.count, b.from, b.to)));
        edges
    }

    /// The sequences of types that most cases have gone through so far, with how many.
    pub(crate) fn paths(&self, limit: usize) -> Vec<(Vec<&str>, u64)> {
        let named = |steps: Vec<u16>| steps.into_iter().map(|step| self.name(step)).collect();
        self.paths.most(limit).into_iter().map(|(steps, count)| (named(steps), count)).collect()
    }

    /// How many different sequences there are.
    pub(crate) fn path_count(&self) -> u64 {
        self.paths.count()
    }
}

impl Derived for ProcessMap {
    fn position(&self) -> Position {
        self.position
    }

    fn add(&mut self, event: EventRef<'_>) {
        self.position = event.position();
        if is_reserved(event) {
            return;
        }
        self.event_count += 1;
        let Some(number) = self.number_of(event.event_type()) else {
            self.left_out_count += 1;
            return;
        };
        let at = event.recorded_at().as_micros();
        let by = std::mem::take(&mut self.by);
        by.each(event, |case| self.follow(case, number, at));
        self.by = by;
    }

    fn reach(&mut self, position: Position) {
        self.position = self.position.max(position);
    }
}
