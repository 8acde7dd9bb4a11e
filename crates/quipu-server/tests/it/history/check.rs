//! What no honest store can have answered.
//!
//! The log at the end is in a total order, so a history is linearizable if every answer fits a prefix
//! of it: one that has all that was acknowledged before the call began, and nothing that nobody had
//! asked for when it ended. An answer that fits no such prefix, or no log at all, is a violation.

use std::collections::{HashMap, HashSet};

use super::record::{Attempt, Call, Demand, Entry, History, Kind, Outcome};

/// What a kind of store promises beyond the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// One server: positions have no gaps, an append's events stand together, and whoever reads the log
    /// sees all that was acknowledged.
    Strict,
    /// Nodes before a database: positions have gaps, and what one node shows of the log may lag behind
    /// what another acknowledged. Streams do not.
    Nodes,
}

/// All violations, each with what was found.
pub(super) fn violations(history: &History, promise: Promise) -> Vec<String> {
    let ranked;
    let history = match promise {
        Promise::Strict => history,
        Promise::Nodes => {
            ranked = history.ranked();
            &ranked
        }
    };
    let mut check = Check::new(history, promise);
    check.log();
    for call in &history.calls {
        match &call.kind {
            Kind::Append(attempt, outcome) => check.append(call, attempt, outcome),
            Kind::Frontier(frontier) => check.frontier(call, *frontier),
            Kind::ReadAll { frontier, events } => check.read_all(call, *frontier, events),
            Kind::ReadStream { stream, events } => check.read_stream(call, stream, events),
            Kind::Deliveries { after, events } => check.deliveries(*after, events),
        }
    }
    if promise == Promise::Strict {
        check.sessions();
    }
    check.real_time();
    check.found
}

struct Check<'a> {
    history: &'a History,
    promise: Promise,
    found: Vec<String>,
    begins: HashMap<u128, u64>,
    /// Where each event is, as an index into the log.
    places: HashMap<u128, usize>,
    streams: HashMap<&'a str, Vec<&'a Entry>>,
    /// The calls for each append, by its first event.
    attempts: HashMap<u128, Vec<usize>>,
    /// For each prefix of the log, by its length, the latest time at which one of its events was first
    /// asked for.
    latest_begin: Vec<u64>,
    /// When each append was acknowledged, and the position that it reached, in the order of time; the
    /// position is the highest so far.
    acknowledged: Vec<(u64, u64)>,
}

impl<'a> Check<'a> {
    fn new(history: &'a History, promise: Promise) -> Self {
        let begins = history.begins();
        let places: HashMap<u128, usize> =
            history.log.iter().enumerate().map(|(at, entry)| (entry.id, at)).collect();
        let mut streams: HashMap<&str, Vec<&Entry>> = HashMap::new();
        let mut latest_begin = vec![0];
        for entry in &history.log {
            streams.entry(&entry.stream).or_default().push(entry);
            let begin = begins.get(&entry.id).copied().unwrap_or_default();
            latest_begin.push(begin.max(*latest_begin.last().unwrap()));
        }
        let mut acknowledged: Vec<(u64, u64)> = history
            .calls
            .iter()
            .filter_map(|call| match &call.kind {
                Kind::Append(attempt, Outcome::Done { first, .. }) => {
                    let last = attempt.ids.last().and_then(|id| places.get(id));
                    Some((call.ended, last.map_or(*first, |at| *at as u64 + 1)))
                }
                _ => None,
            })
            .collect();
        acknowledged.sort_unstable();
        let mut highest = 0;
        for (_, position) in &mut acknowledged {
            highest = highest.max(*position);
            *position = highest;
        }
        let mut attempts: HashMap<u128, Vec<usize>> = HashMap::new();
        for (number, call) in history.calls.iter().enumerate() {
            if let Kind::Append(attempt, _) = &call.kind {
                attempts.entry(attempt.ids[0]).or_default().push(number);
            }
        }
        let found = Vec::new();
        Self {
            history,
            promise,
            found,
            begins,
            places,
            streams,
            attempts,
            latest_begin,
            acknowledged,
        }
    }

    fn wrong(&mut self, what: String) {
        // The first ones tell enough.
        if self.found.len() < 20 {
            self.found.push(what);
        }
    }

    /// The shortest prefix of the log that a call may have seen.
    fn shortest(&self, call: &Call) -> u64 {
        let count = self.acknowledged.partition_point(|(ended, _)| *ended < call.began);
        count.checked_sub(1).map_or(0, |at| self.acknowledged[at].1)
    }

    /// The longest prefix of the log that a call may have seen.
    fn longest(&self, call: &Call) -> u64 {
        self.latest_begin.partition_point(|begin| *begin < call.ended) as u64 - 1
    }

    /// The log by itself: dense, each event once, revisions without gaps, batches whole.
    fn log(&mut self) {
        let log = &self.history.log;
        let mut ids = HashSet::new();
        let mut next: HashMap<&str, u64> = HashMap::new();
        for (at, entry) in log.iter().enumerate() {
            if entry.position != at as u64 + 1 {
                self.wrong(format!("position {} is where {} should be", entry.position, at + 1));
            }
            if !ids.insert(entry.id) {
                self.wrong(format!("the event at {} is in the log twice", entry.position));
            }
            if !self.begins.contains_key(&entry.id) {
                self.wrong(format!("nobody appended the event at {}", entry.position));
            }
            let next = next.entry(&entry.stream).or_default();
            if entry.revision != *next {
                self.wrong(format!("{entry:?} should have revision {next}"));
            }
            *next = entry.revision + 1;
        }
    }

    fn append(&mut self, call: &Call, attempt: &Attempt, outcome: &Outcome) {
        let place = self.places.get(&attempt.ids[0]).copied();
        if let Some(place) = place {
            self.whole(attempt, place);
        } else if attempt.ids.iter().any(|id| self.places.contains_key(id)) {
            self.wrong(format!("only the end of {attempt:?} is in the log"));
        }
        match outcome {
            Outcome::Done { first, revision, replayed } => {
                let Some(place) = place else {
                    return self.wrong(format!("{attempt:?} was acknowledged and is not there"));
                };
                let entry = &self.history.log[place];
                if (entry.position, entry.revision) != (*first, *revision) {
                    self.wrong(format!("{attempt:?} was told {first}/{revision}, not {entry:?}"));
                }
                if *replayed && !self.was_asked_before(call, attempt) {
                    self.wrong(format!("{attempt:?} was never asked for before"));
                }
                if !replayed {
                    self.first_time(call, attempt, place);
                }
            }
            Outcome::Conflict => self.conflict(call, attempt),
            Outcome::Refused => {
                if place.is_some() && !self.has_other_outcome(attempt) {
                    self.wrong(format!("{attempt:?} was refused and is in the log"));
                }
            }
            Outcome::Unknown => {}
        }
    }

    /// An append is in the log as a whole, in its order, with its stream and tag. On nodes others' events
    /// may stand between, in other streams.
    fn whole(&mut self, attempt: &Attempt, place: usize) {
        let first = self.history.log[place].revision as usize;
        for (index, id) in attempt.ids.iter().enumerate() {
            let entry = match self.promise {
                Promise::Strict => self.history.log.get(place + index),
                Promise::Nodes => {
                    let stream = self.streams.get(attempt.stream.as_str());
                    stream.and_then(|stream| stream.get(first + index)).copied()
                }
            };
            let is_it = |own: &Entry| {
                (own.id, &own.stream, &own.tag) == (*id, &attempt.stream, &attempt.tag)
            };
            if !entry.is_some_and(is_it) {
                return self.wrong(format!("{attempt:?} is not whole at index {place}"));
            }
        }
    }

    /// What an append demanded held when its events got their place.
    fn first_time(&mut self, call: &Call, attempt: &Attempt, place: usize) {
        let entry = &self.history.log[place];
        let held = match &attempt.demand {
            Demand::Nothing => true,
            Demand::NoStream => entry.revision == 0,
            Demand::Exactly(revision) => entry.revision == revision + 1,
            Demand::NoTag(tag, after) => self.count_tagged(tag, *after, place as u64) == 0,
        };
        if !held {
            self.wrong(format!("{attempt:?} did not hold at {entry:?}"));
        }
        if self.was_done_before(call, attempt) {
            self.wrong(format!("{attempt:?} was done before, and is not said to be replayed"));
        }
    }

    fn count_tagged(&self, tag: &str, after: u64, upto: u64) -> usize {
        let (from, to) = (after.min(upto) as usize, upto as usize);
        self.history.log[from..to].iter().filter(|own| own.tag.as_deref() == Some(tag)).count()
    }

    /// A conflict needs a prefix, of those that the call may have seen, in which the demand fails.
    fn conflict(&mut self, call: &Call, attempt: &Attempt) {
        if self.places.contains_key(&attempt.ids[0]) && !self.has_other_outcome(attempt) {
            return self.wrong(format!("{attempt:?} was a conflict and is in the log"));
        }
        let (shortest, longest) = (self.shortest(call), self.longest(call));
        let stream = self.streams.get(attempt.stream.as_str()).map_or(&[][..], Vec::as_slice);
        let count = |upto: u64| stream.partition_point(|own| own.position <= upto) as u64;
        let (least, most) = (count(shortest), count(longest.max(shortest)));
        let may_fail = match &attempt.demand {
            Demand::Nothing => false,
            Demand::NoStream => most > 0,
            Demand::Exactly(revision) => (least..=most).any(|count| count != revision + 1),
            Demand::NoTag(tag, after) => self.count_tagged(tag, *after, longest) > 0,
        };
        if !may_fail {
            self.wrong(format!("{attempt:?} was a conflict with nothing"));
        }
    }

    /// All calls for the same events.
    fn attempts(&self, attempt: &Attempt) -> impl Iterator<Item = (&Call, &Outcome)> {
        let numbers = self.attempts.get(&attempt.ids[0]).into_iter().flatten();
        numbers.filter_map(|number| match &self.history.calls[*number] {
            call @ Call { kind: Kind::Append(_, outcome), .. } => Some((call, outcome)),
            _ => None,
        })
    }

    /// Whether another call for the same events may have put them there.
    fn has_other_outcome(&self, attempt: &Attempt) -> bool {
        self.attempts(attempt)
            .any(|(_, own)| matches!(own, Outcome::Done { .. } | Outcome::Unknown))
    }

    fn was_asked_before(&self, call: &Call, attempt: &Attempt) -> bool {
        self.attempts(attempt).any(|(own, _)| own.began < call.began)
    }

    fn was_done_before(&self, call: &Call, attempt: &Attempt) -> bool {
        self.attempts(attempt)
            .any(|(own, outcome)| own.ended < call.began && matches!(outcome, Outcome::Done { .. }))
    }

    fn frontier(&mut self, call: &Call, frontier: u64) {
        if self.promise == Promise::Strict && frontier < self.shortest(call) {
            self.wrong(format!(
                "{call:?} is behind what was acknowledged: {}",
                self.shortest(call)
            ));
        }
        if frontier > self.longest(call) {
            self.wrong(format!("{call:?} is beyond what was asked for: {}", self.longest(call)));
        }
    }

    fn read_all(&mut self, call: &Call, frontier: u64, events: &[(u64, u128)]) {
        self.frontier(call, frontier);
        let expected = (1..=frontier).rev();
        if !events.iter().map(|(position, _)| *position).eq(expected.take(events.len())) {
            self.wrong(format!("{call:?} has a gap"));
        }
        self.same(events);
    }

    /// What was seen at a position is what is there at the end.
    fn same(&mut self, events: &[(u64, u128)]) {
        for (position, id) in events {
            let there = position.checked_sub(1).and_then(|at| self.history.log.get(at as usize));
            if there.is_none_or(|own| own.id != *id) {
                return self.wrong(format!("{id:x} was seen at {position}, where {there:?} is"));
            }
        }
    }

    fn read_stream(&mut self, call: &Call, stream: &str, events: &[(u64, u64, u128)]) {
        let own = self.streams.get(stream).cloned().unwrap_or_default();
        let seen = events.iter().copied();
        let there = own.iter().map(|entry| (entry.revision, entry.position, entry.id));
        if !seen.eq(there.take(events.len())) {
            return self.wrong(format!("{call:?} is not the beginning of its stream"));
        }
        let count = |upto: u64| own.partition_point(|entry| entry.position <= upto);
        let acknowledged = match self.promise {
            Promise::Strict => count(self.shortest(call)),
            Promise::Nodes => self.acknowledged_of(stream, call),
        };
        if events.len() < acknowledged {
            self.wrong(format!("{call:?} lacks what was acknowledged"));
        }
        if events.len() > count(self.longest(call)) {
            self.wrong(format!("{call:?} has what nobody had asked for"));
        }
    }

    /// How many events of a stream were acknowledged before the call began.
    fn acknowledged_of(&self, stream: &str, call: &Call) -> usize {
        let done = self.history.calls.iter().filter_map(|own| match &own.kind {
            Kind::Append(attempt, Outcome::Done { revision, .. })
                if attempt.stream == stream && own.ended < call.began =>
            {
                Some(*revision as usize + attempt.ids.len())
            }
            _ => None,
        });
        done.max().unwrap_or_default()
    }

    fn deliveries(&mut self, after: u64, events: &[(u64, u128)]) {
        let positions = events.iter().map(|(position, _)| *position);
        if !positions.eq((after + 1..).take(events.len())) {
            let found: Vec<u64> = events.iter().map(|(position, _)| *position).take(8).collect();
            self.wrong(format!("a subscription after {after} has a gap or goes back: {found:?}"));
        }
        self.same(events);
    }

    /// What one client sees of the log never gets shorter.
    fn sessions(&mut self) {
        let mut reached: HashMap<usize, u64> = HashMap::new();
        let mut calls: Vec<&Call> = self.history.calls.iter().collect();
        calls.sort_by_key(|call| call.began);
        for call in calls {
            if let Kind::Frontier(frontier) | Kind::ReadAll { frontier, .. } = call.kind {
                let before = reached.entry(call.client).or_default();
                if frontier < *before {
                    self.found.push(format!("{call:?} goes back behind {before}"));
                }
                *before = frontier.max(*before);
            }
        }
    }

    /// What was acknowledged before another append was asked for is before it in the log.
    fn real_time(&mut self) {
        for entry in &self.history.log {
            let Some(began) = self.begins.get(&entry.id) else { continue };
            let count = self.acknowledged.partition_point(|(ended, _)| ended < began);
            let before = count.checked_sub(1).map_or(0, |at| self.acknowledged[at].1);
            if entry.position <= before {
                self.wrong(format!("{entry:?} was asked for when {before} was acknowledged"));
                return;
            }
        }
    }
}
