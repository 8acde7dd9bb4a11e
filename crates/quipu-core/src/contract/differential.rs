//! Random appends and reads, compared with a list of events and the plainest possible rules.

use crate::append::{Append, ExpectedRevision, Violation};
use crate::event::{EventId, NewEvent};
use crate::place::{Position, Revision};
use crate::query::{Query, QueryItem};
use crate::read::{Direction, ReadAll, ReadStream, StreamState};

use super::random::{Random, seed};
use super::subject::{Subject, conflict_of, item, name, tagged};

cases!(
    "differential",
    random_appends_pass_and_conflict_as_the_plain_rules_say,
    random_queries_find_what_the_plain_rules_find,
    random_stream_reads_show_what_the_plain_rules_show,
    random_conditions_name_the_event_that_the_plain_rules_name,
);

const STREAMS: [&str; 6] = ["a-1", "a-2", "b-1", "b-2", "c", "c-1-2"];
const CATEGORIES: [&str; 4] = ["a", "b", "c", "d"];
const TYPES: [&str; 4] = ["A", "B", "C", "D"];
const TAGS: [&str; 6] = ["t:1", "t:2", "t:3", "u:1", "u:2", "v"];

/// An event as the plain rules see it.
#[derive(Clone, Debug)]
struct Plain {
    id: EventId,
    stream: &'static str,
    event_type: &'static str,
    tags: Vec<&'static str>,
    position: Position,
}

/// One alternative of a query as the plain rules see it.
#[derive(Clone, Debug, Default)]
struct PlainItem {
    types: Vec<&'static str>,
    tags: Vec<&'static str>,
    stream: Option<&'static str>,
    category: Option<&'static str>,
}

impl PlainItem {
    fn random(random: &mut Random) -> Self {
        let some = |random: &mut Random, from: &[&'static str], most: u64| {
            (0..random.below(most + 1)).map(|_| *random.pick(from)).collect::<Vec<_>>()
        };
        Self {
            types: some(random, &TYPES, 2),
            tags: some(random, &TAGS, 2),
            stream: random.once_in(4).then(|| *random.pick(&STREAMS)),
            category: random.once_in(4).then(|| *random.pick(&CATEGORIES)),
        }
    }

    fn matches(&self, event: &Plain) -> bool {
        let is_type = self.types.is_empty() || self.types.contains(&event.event_type);
        let has_tags = self.tags.iter().all(|tag| event.tags.contains(tag));
        let is_stream = self.stream.is_none_or(|it| it == event.stream);
        let category = event.stream.split('-').next();
        is_type && has_tags && is_stream && (self.category.is_none() || self.category == category)
    }

    fn to_item(&self) -> QueryItem {
        let types = (!self.types.is_empty()).then(|| format!("type:{}", self.types.join(",")));
        let tags = self.tags.iter().map(|tag| format!("tag:{tag}"));
        let stream = self.stream.map(|stream| format!("stream:{stream}"));
        let category = self.category.map(|category| format!("category:{category}"));
        let terms: Vec<String> =
            types.into_iter().chain(tags).chain(stream).chain(category).collect();
        item(&terms.join(" "))
    }
}

type PlainQuery = Vec<PlainItem>;

fn random_query(random: &mut Random) -> PlainQuery {
    (0..random.below(4)).map(|_| PlainItem::random(random)).collect()
}

fn to_query(plain: &PlainQuery) -> Query {
    Query { items: plain.iter().map(PlainItem::to_item).collect() }
}

fn matches(query: &PlainQuery, event: &Plain) -> bool {
    query.iter().any(|item| item.matches(event))
}

/// A list of events, beside the store that has to agree with it.
struct Model<'a> {
    subject: &'a Subject<'a>,
    random: Random,
    log: Vec<Plain>,
}

impl<'a> Model<'a> {
    fn new(subject: &'a Subject<'a>, seed: u64) -> Self {
        Self { subject, random: Random::new(seed), log: Vec::new() }
    }

    fn last(&self, stream: &str) -> Option<u64> {
        let count = self.log.iter().filter(|event| event.stream == stream).count() as u64;
        count.checked_sub(1)
    }

    fn random_event(&mut self) -> (&'static str, &'static str, Vec<&'static str>) {
        let tags = (0..self.random.below(4)).map(|_| *self.random.pick(&TAGS)).collect();
        (*self.random.pick(&STREAMS), *self.random.pick(&TYPES), tags)
    }

    fn random_expectation(&mut self, stream: &str) -> ExpectedRevision {
        let last = self.last(stream);
        match self.random.below(6) {
            0 => ExpectedRevision::Any,
            1 => ExpectedRevision::NoStream,
            2 => ExpectedRevision::StreamExists,
            3 => ExpectedRevision::Exactly(Revision::new(self.random.below(20))),
            _ => last.map_or(ExpectedRevision::NoStream, |last| {
                ExpectedRevision::Exactly(Revision::new(last))
            }),
        }
    }

    fn holds(&self, stream: &str, expected: ExpectedRevision) -> bool {
        let last = self.last(stream);
        match expected {
            ExpectedRevision::Any => true,
            ExpectedRevision::NoStream => last.is_none(),
            ExpectedRevision::StreamExists => last.is_some(),
            ExpectedRevision::Exactly(revision) => last == Some(revision.get()),
            ExpectedRevision::Deleted | ExpectedRevision::Tombstoned => false,
        }
    }

    /// A place that a condition may be after: at most that of the last event.
    fn random_after(&mut self) -> Option<Position> {
        let index = self.random.below(self.log.len() as u64 + 2) as usize;
        self.log.get(index).map(|event| event.position)
    }

    /// Appends something random and checks that it passes or conflicts as it should.
    fn append(&mut self, condition_count: u64) {
        let events: Vec<_> = (0..self.random.below(4)).map(|_| self.random_event()).collect();
        let mut streams: Vec<&'static str> = Vec::new();
        for _ in 0..self.random.below(3) {
            let stream = *self.random.pick(&STREAMS);
            if !streams.contains(&stream) {
                streams.push(stream);
            }
        }
        let mut append = Append::new();
        let mut violations = Vec::new();
        for (stream, event_type, tags) in &events {
            append = append.event(name(stream), tagged(event_type, tags));
        }
        for stream in streams {
            let expected = self.random_expectation(stream);
            append = append.expect(name(stream), expected);
            if !self.holds(stream, expected) {
                let last = self.last(stream).map(Revision::new);
                let found = last.map_or(StreamState::Absent, |last| StreamState::Live { last });
                violations.push(Violation::Stream { stream: name(stream), expected, found });
            }
        }
        for index in 0..self.random.below(condition_count + 1) as usize {
            let (query, after) = (random_query(&mut self.random), self.random_after());
            append = append.fail_if(to_query(&query), after);
            let is_later = |event: &&Plain| after.is_none_or(|after| event.position > after);
            let mut later = self.log.iter().filter(is_later);
            if let Some(event) = later.find(|event| matches(&query, event)) {
                violations.push(Violation::Query { index, position: event.position });
            }
        }
        self.check_append(append, &events, &violations);
    }

    fn check_append(
        &mut self,
        append: Append,
        events: &[(&'static str, &'static str, Vec<&'static str>)],
        violations: &[Violation],
    ) {
        let ids: Vec<EventId> = append.events.iter().map(|(_, event)| event.id).collect();
        let answer = self.subject.try_append(append);
        if !violations.is_empty() {
            assert_eq!(conflict_of(answer), violations);
            return;
        }
        let appended = answer.expect("every demand holds");
        let after = self.log.last().map_or(Position::START, |event| event.position);
        let read = ReadAll::new(Query::all()).from(after.next());
        let places = super::subject::positions_of(&self.subject.read_all(read));
        assert_eq!(places.len(), events.len());
        assert_eq!(
            (appended.first, appended.last),
            (places.first().copied(), places.last().copied())
        );
        for (((stream, event_type, tags), id), position) in events.iter().zip(ids).zip(places) {
            let tags = tags.clone();
            self.log.push(Plain { id, stream, event_type, tags, position });
        }
    }

    fn fill(&mut self, count: usize) {
        while self.log.len() < count {
            let (stream, event_type, tags) = self.random_event();
            let event: NewEvent = tagged(event_type, &tags);
            let append = Append::new().event(name(stream), event);
            self.check_append(append, &[(stream, event_type, tags)], &[]);
        }
    }

    /// Reads the log at random and checks what comes.
    fn read_log(&mut self) {
        let query = random_query(&mut self.random);
        let from = self.random.once_in(2).then(|| self.random_after()).flatten();
        let limit = self.random.once_in(2).then(|| self.random.below(10));
        let direction =
            if self.random.once_in(2) { Direction::Forward } else { Direction::Backward };
        let read = ReadAll { query: to_query(&query), from, direction, limit, as_of: None };

        let found = self.subject.read_all(read);

        let in_range = |event: &&Plain| match (from, direction) {
            (None, _) => true,
            (Some(from), Direction::Forward) => event.position >= from,
            (Some(from), Direction::Backward) => event.position <= from,
        };
        let matching = self.log.iter().filter(in_range).filter(|event| matches(&query, event));
        let expected = ids_in(matching.collect(), direction, limit);
        let found: Vec<EventId> = found.iter().map(|event| event.id).collect();
        assert_eq!(found, expected, "{query:?} from {from:?} {direction:?} limit {limit:?}");
    }

    /// Reads a stream at random and checks what comes.
    fn read_stream(&mut self) {
        let stream = *self.random.pick(&STREAMS);
        let from = self.random.once_in(2).then(|| Revision::new(self.random.below(30)));
        let limit = self.random.once_in(2).then(|| self.random.below(10));
        let direction =
            if self.random.once_in(2) { Direction::Forward } else { Direction::Backward };
        let read = ReadStream { stream: name(stream), from, direction, limit, as_of: None };

        let found = self.subject.read(read);

        let own = self.log.iter().filter(|event| event.stream == stream);
        let in_range = |(revision, _): &(Revision, &Plain)| match (from, direction) {
            (None, _) => true,
            (Some(from), Direction::Forward) => *revision >= from,
            (Some(from), Direction::Backward) => *revision <= from,
        };
        let numbered = (0..).map(Revision::new).zip(own).filter(in_range);
        let expected = ids_in(numbered.map(|(_, event)| event).collect(), direction, limit);
        let found: Vec<EventId> = found.iter().map(|event| event.id).collect();
        assert_eq!(found, expected, "{stream} from {from:?} {direction:?} limit {limit:?}");
    }
}

fn ids_in(mut events: Vec<&Plain>, direction: Direction, limit: Option<u64>) -> Vec<EventId> {
    if direction == Direction::Backward {
        events.reverse();
    }
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    events.iter().take(limit).map(|event| event.id).collect()
}

/// Tells the seed when a case that rests on it fails.
struct TellSeed(u64);

impl Drop for TellSeed {
    #[expect(clippy::print_stderr, reason = "a failing case has to tell its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with QUIPU_SEED={}", self.0);
        }
    }
}

fn with_seed(run: impl FnOnce(u64)) {
    let seed = seed();
    let _tell = TellSeed(seed);
    run(seed);
}

fn random_appends_pass_and_conflict_as_the_plain_rules_say(subject: &Subject<'_>) {
    with_seed(|seed| {
        let mut model = Model::new(subject, seed);
        for _ in 0..150 {
            model.append(1);
        }
        let log = subject.read_all(ReadAll::new(Query::all()));
        let ids: Vec<EventId> = log.iter().map(|event| event.id).collect();
        assert_eq!(ids, model.log.iter().map(|event| event.id).collect::<Vec<_>>());
    });
}

fn random_queries_find_what_the_plain_rules_find(subject: &Subject<'_>) {
    with_seed(|seed| {
        let mut model = Model::new(subject, seed);
        model.fill(80);
        for _ in 0..150 {
            model.read_log();
        }
    });
}

fn random_stream_reads_show_what_the_plain_rules_show(subject: &Subject<'_>) {
    with_seed(|seed| {
        let mut model = Model::new(subject, seed);
        model.fill(80);
        for _ in 0..100 {
            model.read_stream();
        }
    });
}

fn random_conditions_name_the_event_that_the_plain_rules_name(subject: &Subject<'_>) {
    with_seed(|seed| {
        let mut model = Model::new(subject, seed);
        model.fill(60);
        for _ in 0..100 {
            model.append(4);
        }
    });
}
