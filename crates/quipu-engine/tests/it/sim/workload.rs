//! What is done to a store, made up by chance.

use quipu_core::{
    Append, Change, EventId, ExpectedRevision, NewEvent, Position, Query, Revision, StreamName,
    Timestamp,
};
use quipu_engine::io::sim::Chance;

/// One thing that is done to a store.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Make these changes, as one group.
    Change(Vec<Change>),
    /// Close the store and open it again.
    Reopen,
    /// Look at everything.
    Look,
    /// Let time pass.
    Wait(i64),
    /// Make these changes, then scavenge all that may go.
    Scavenge(Vec<Change>),
}

const STREAMS: [&str; 6] = ["order-1", "order-2", "cart-1", "cart-2", "plain", "gone-1"];
const TYPES: [&str; 3] = ["Placed", "Paid", "Shipped"];
const TAGS: [&str; 5] = ["order:1", "order:2", "item:a", "item:b", "vip"];

/// A source of steps.
#[derive(Debug)]
pub(crate) struct Workload {
    chance: Chance,
    /// What was done already, to be tried again with the same ids.
    before: Vec<Change>,
    /// Whether appends have many events, so that runs of the index come quickly.
    is_bulky: bool,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let is_bulky = chance.below(3) == 0;
        Self { chance, before: Vec::new(), is_bulky }
    }

    /// The next step, for a store whose last event has this position.
    pub(crate) fn next(&mut self, last: u64, now: Timestamp) -> Step {
        match self.chance.below(20) {
            0 => Step::Reopen,
            1 => Step::Look,
            2 | 3 => Step::Wait(below(&mut self.chance, 5_000_000)),
            4 => Step::Scavenge(self.group(last, now)),
            _ => Step::Change(self.group(last, now)),
        }
    }

    /// Changes that go together.
    pub(crate) fn group(&mut self, last: u64, now: Timestamp) -> Vec<Change> {
        let count = 1 + self.chance.below(4) / 2 * self.chance.below(3);
        (0..count).map(|_| self.change(last, now)).collect()
    }

    fn change(&mut self, last: u64, now: Timestamp) -> Change {
        if !self.before.is_empty() && self.chance.below(8) == 0 {
            let back = 1 + self.chance.below(self.before.len().min(6));
            return self.before[self.before.len() - back].clone();
        }
        let stream = self.stream();
        let expected = self.expected();
        let id = self.id();
        let change = match self.chance.below(24) {
            0 => Change::Delete { stream, expected, id },
            1 => Change::SetMetadata { stream, expected, id, metadata: self.metadata().into() },
            2 if stream == "gone-1" => Change::Tombstone { stream, expected, id },
            _ => Change::Append(self.append(&stream, expected, last, now)),
        };
        self.before.push(change.clone());
        change
    }

    fn append(
        &mut self,
        stream: &StreamName,
        expected: ExpectedRevision,
        last: u64,
        now: Timestamp,
    ) -> Append {
        let most = if self.is_bulky { 16 } else { 3 };
        let mut append = Append::new().expect(stream.clone(), expected);
        for _ in 0..=self.chance.below(most) {
            let to = if self.chance.below(4) == 0 { self.stream() } else { stream.clone() };
            let event = self.event(now);
            append = append.event(to, event);
        }
        if self.chance.below(5) == 0 {
            let query = self.query();
            let after = match self.chance.below(3) {
                0 => None,
                1 => Some(Position::new(last)),
                _ => Some(Position::new(self.chance.below(last as usize + 1) as u64)),
            };
            append = append.fail_if(query, after);
        }
        append
    }

    fn event(&mut self, now: Timestamp) -> NewEvent {
        let size = match self.chance.below(40) {
            0 => 3_000 + self.chance.below(3_000),
            // Larger than a segment: it gets one of its own.
            1 if self.chance.below(6) == 0 => 20_000,
            2..=8 => 500 + self.chance.below(1_000),
            _ => self.chance.below(100),
        };
        let mut data = vec![0; size];
        self.chance.fill(&mut data);
        let event_type = TYPES[self.chance.below(TYPES.len())];
        let mut event = NewEvent::json(event_type, data).unwrap().with_id(self.id());
        for _ in 0..self.chance.below(3) {
            event = event.with_tag(self.tag()).unwrap();
        }
        if self.chance.below(4) == 0 {
            event = event.with_metadata(format!("{{\"n\":{}}}", self.chance.below(1_000)));
        }
        if self.chance.below(16) == 0 {
            let earlier = now.as_micros() - below(&mut self.chance, 2_000_000);
            event.recorded_at = Some(Timestamp::from_micros(earlier));
        }
        event
    }

    fn query(&mut self) -> Query {
        match self.chance.below(6) {
            0 => Query::all(),
            1 => Query::stream(self.stream()),
            2 => Query::nothing(),
            _ => Query::tags([self.tag().parse().unwrap()].into_iter().collect()),
        }
    }

    fn stream(&mut self) -> StreamName {
        StreamName::new(STREAMS[self.chance.below(STREAMS.len())]).unwrap()
    }

    fn tag(&mut self) -> &'static str {
        TAGS[self.chance.below(TAGS.len())]
    }

    fn expected(&mut self) -> ExpectedRevision {
        match self.chance.below(12) {
            0 => ExpectedRevision::NoStream,
            1 => ExpectedRevision::StreamExists,
            2 | 3 => ExpectedRevision::Exactly(Revision::new(self.chance.below(12) as u64)),
            4 => ExpectedRevision::Deleted,
            _ => ExpectedRevision::Any,
        }
    }

    fn metadata(&mut self) -> String {
        match self.chance.below(4) {
            0 => format!("{{\"$maxCount\":{}}}", 1 + self.chance.below(5)),
            1 => format!("{{\"$tb\":{}}}", self.chance.below(4)),
            2 => format!("{{\"$maxAge\":{}}}", 1 + self.chance.below(20)),
            _ => "{\"owner\":\"ada\"}".to_owned(),
        }
    }

    fn id(&mut self) -> EventId {
        let mut bytes = [0; 16];
        self.chance.fill(&mut bytes);
        EventId::from_bytes(bytes)
    }
}

/// So many microseconds, below a bound.
pub(crate) fn below(chance: &mut Chance, bound: usize) -> i64 {
    i64::try_from(chance.below(bound)).unwrap()
}
