//! What a change does, given what the log holds: the one home of the rules that every store shares.
//!
//! A store hands in the change and a view of its log ([`LogState`]); the answer is a [`Decision`]:
//! write these events, or answer this. It goes in steps:
//!
//! 1. every kind of change becomes an append: deletes and metadata are events;
//! 2. a tombstoned stream refuses everything, a soft-deleted one does not "exist";
//! 3. an append whose ids are in the log already is answered with their places;
//! 4. the demands are checked, all of them, so that a conflict lists every violation;
//! 5. a soft-deleted stream that is written to is revived.

mod names;
mod plan;
mod replay;
mod validate;

use std::ops::Range;

use bytes::Bytes;

use crate::append::{
    Append, AppendError, Appended, Change, ExpectedRevision, InvalidAppend, Violation,
};
use crate::event::{EventId, NewEvent};
use crate::metadata::{METADATA_TYPE, StreamMetadata, TOMBSTONE_TYPE, TRUNCATE_BEFORE_DELETED};
use crate::name::{ContentType, EventType, StreamName};
use crate::place::{Position, Revision};
use crate::query::Query;
use crate::read::StreamState;

use names::NameIndex;
use plan::{Outline, outline};
use replay::{find_replay, replayed};
pub use validate::validate;

/// What a log knows of one stream.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "stores build it")]
pub struct StreamFacts {
    /// The revision of the last event the stream ever got.
    pub last: Option<Revision>,
    /// Whether that event is a tombstone.
    pub tombstoned: bool,
    /// The stream's metadata, if it ever had any.
    pub metadata: Option<StreamMetadata>,
}

impl StreamFacts {
    /// A stream that never had anything.
    pub const ABSENT: Self = Self { last: None, tombstoned: false, metadata: None };

    /// What the stream is like.
    pub fn state(&self) -> StreamState {
        let deleted = self.metadata.as_ref().is_some_and(StreamMetadata::is_deleted);
        match self.last {
            Some(last) if self.tombstoned => StreamState::Tombstoned { last },
            last if deleted => StreamState::Deleted { last },
            Some(last) => StreamState::Live { last },
            None => StreamState::Absent,
        }
    }

    /// Whether `expected` holds of the stream, apart from whether it can be written to.
    pub fn meets(&self, expected: ExpectedRevision) -> bool {
        let state = self.state();
        match expected {
            ExpectedRevision::Any => true,
            // A tombstoned stream has no events that anyone could read.
            ExpectedRevision::NoStream => !matches!(state, StreamState::Live { .. }),
            ExpectedRevision::StreamExists => match state {
                StreamState::Absent => self.metadata.is_some(),
                StreamState::Live { .. } => true,
                StreamState::Deleted { .. } | StreamState::Tombstoned { .. } => false,
            },
            ExpectedRevision::Exactly(revision) => {
                !self.tombstoned && state.last() == Some(revision)
            }
            ExpectedRevision::Deleted => matches!(state, StreamState::Deleted { .. }),
            ExpectedRevision::Tombstoned => self.tombstoned,
        }
    }

    fn next(&self) -> Revision {
        self.last.map_or(Revision::FIRST, Revision::next)
    }
}

/// What a store's log holds, as deciding needs to see it. Retention and scavenging do not hide
/// anything here, but for queries, which do not see what was scavenged.
pub trait LogState {
    /// Why the log could not be looked at.
    type Error;

    /// The last place of the log.
    fn frontier(&self) -> Position;

    /// These streams are about to be asked for. A store may use the time to fetch what it knows of
    /// them.
    fn expect(&mut self, _streams: &[&StreamName]) {}

    /// What is known of a stream. A metadata stream has no metadata of its own.
    ///
    /// # Errors
    ///
    /// Whatever kept the store from looking.
    fn stream(&mut self, stream: &StreamName) -> Result<StreamFacts, Self::Error>;

    /// The event at a revision of a stream.
    ///
    /// # Errors
    ///
    /// Whatever kept the store from looking.
    fn id_at(
        &mut self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<(EventId, Position)>, Self::Error>;

    /// Where the event with this id is in a stream; the latest, should there be several.
    ///
    /// # Errors
    ///
    /// Whatever kept the store from looking.
    fn find_id(
        &mut self,
        stream: &StreamName,
        id: EventId,
    ) -> Result<Option<(Position, Revision)>, Self::Error>;

    /// The first event after a place that matches a query.
    ///
    /// # Errors
    ///
    /// Whatever kept the store from looking.
    fn first_match(
        &mut self,
        query: &Query,
        after: Position,
    ) -> Result<Option<Position>, Self::Error>;
}

/// What to do about a change.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "stores must do each of them")]
pub enum Decision {
    /// Append these events.
    Write(Plan),
    /// Append nothing and answer this: a replay, or an append that only checks.
    Answer(Appended),
    /// Append nothing and fail with this: a conflict, or an invalid append.
    Refuse(AppendError),
}

/// Events to append, in the order the log gets them.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "stores take it apart")]
pub struct Plan {
    /// The streams written to, each with the revision of its next event.
    pub streams: Vec<(StreamName, Revision)>,
    /// Events that revive streams, before the caller's own, each with the index of its stream. They
    /// take positions but are not part of the answer.
    pub before: Vec<(usize, NewEvent)>,
    /// The append with the events that the caller asked for, as it was given.
    pub append: Append,
    /// By event of the append, the index of its stream.
    pub stream_of: Vec<usize>,
    /// Events like those before the caller's own, behind them.
    pub after: Vec<(usize, NewEvent)>,
}

impl Plan {
    /// The events, each with the index of its stream.
    pub fn events(&self) -> impl Iterator<Item = (usize, &NewEvent)> {
        let own = self.append.events.iter().map(|(_, event)| event);
        let own = self.stream_of.iter().copied().zip(own);
        let [before, after] =
            [&self.before, &self.after].map(|events| events.iter().map(|(at, event)| (*at, event)));
        before.chain(own).chain(after)
    }

    /// Which of the events the caller asked for.
    pub fn own(&self) -> Range<usize> {
        self.before.len()..self.before.len() + self.append.events.len()
    }
}

/// Decides a valid change.
///
/// # Errors
///
/// Whatever kept the store from looking at its log.
pub fn decide<S: LogState>(state: &mut S, change: Change) -> Result<Decision, S::Error> {
    match change {
        Change::Append(append) => decide_append(state, append),
        Change::Delete { stream, expected, id } => decide_delete(state, stream, expected, id),
        Change::Tombstone { stream, expected, id } => {
            // The tombstone check comes first for all else; here it may be the caller's own.
            if state.stream(&stream)?.tombstoned
                && let Some((position, revision)) = state.find_id(&stream, id)?
            {
                return Ok(Decision::Answer(replayed([(stream, position, position, revision)])));
            }
            let event = system_event(id, TOMBSTONE_TYPE, Bytes::from_static(b"{}"));
            decide_append(state, Append::to_stream(stream, expected, [event]))
        }
        Change::SetMetadata { stream, expected, id, metadata } => {
            let event = system_event(id, METADATA_TYPE, metadata);
            let append = Append::to_stream(stream.metadata_stream(), expected, [event]);
            decide_append(state, append)
        }
    }
}

fn decide_delete<S: LogState>(
    state: &mut S,
    stream: StreamName,
    expected: ExpectedRevision,
    id: EventId,
) -> Result<Decision, S::Error> {
    let facts = state.stream(&stream)?;
    let never_existed = facts.state() == StreamState::Absent && facts.metadata.is_none();
    if never_existed || facts.tombstoned {
        let violation = Violation::Stream { stream, expected, found: facts.state() };
        return Ok(Decision::Refuse(AppendError::Conflict { violations: vec![violation] }));
    }
    let metadata = facts.metadata.unwrap_or_default();
    let json = metadata.json_with_truncate_before(TRUNCATE_BEFORE_DELETED);
    let append = Append::new()
        .event(stream.metadata_stream(), system_event(id, METADATA_TYPE, json))
        .expect(stream, expected);
    decide_append(state, append)
}

fn system_event(id: EventId, event_type: &str, data: Bytes) -> NewEvent {
    let event_type = EventType::new(event_type).expect("the store's own types are names");
    NewEvent::new(event_type, ContentType::json(), data).with_id(id)
}

/// A stream that an append writes to.
struct Target<'a> {
    stream: &'a StreamName,
    expected: ExpectedRevision,
    facts: StreamFacts,
    /// The facts of the stream whose metadata this stream holds.
    base: Option<(StreamName, StreamFacts)>,
    /// Which of the append's events go there: a range of [`Targets::order`].
    events: Range<usize>,
    /// Whether it has ids of the append, although the append as a whole is not in the log.
    is_part_found: bool,
}

/// The streams that an append writes to, in the order in which it mentions them.
struct Targets<'a> {
    list: Vec<Target<'a>>,
    /// By event, its target.
    of_event: Vec<usize>,
    /// The events by target: those of the first one, then those of the second one, ...
    order: Vec<usize>,
}

impl Targets<'_> {
    /// The append's events that go to a target, in their order.
    fn events<'b>(
        &self,
        append: &'b Append,
        target: &Target<'_>,
    ) -> impl Iterator<Item = &'b NewEvent> {
        let indexes = self.order.get(target.events.clone()).unwrap_or_default();
        indexes.iter().filter_map(|index| append.events.get(*index)).map(|(_, event)| event)
    }
}

fn decide_append<S: LogState>(state: &mut S, append: Append) -> Result<Decision, S::Error> {
    let frontier = state.frontier();
    for (index, condition) in append.conditions.iter().enumerate() {
        if let Some(after) = condition.after.filter(|after| *after > frontier) {
            let invalid = InvalidAppend::AfterBeyondFrontier { index, after, frontier };
            return Ok(Decision::Refuse(AppendError::Invalid(invalid)));
        }
    }
    let mut mentioned: NameIndex<'_> =
        append.expectations.iter().map(|(stream, _)| stream).collect();
    let mut targets = find_targets(state, &append, &mut mentioned)?;
    let refused = targets.list.iter().any(Target::is_refused);
    if !refused
        && !targets.list.is_empty()
        && let Some(appended) = find_replay(state, &append, &mut targets)?
    {
        return Ok(Decision::Answer(appended));
    }
    let violations = find_violations(state, &append, &targets, &mut mentioned)?;
    if !violations.is_empty() {
        return Ok(Decision::Refuse(AppendError::Conflict { violations }));
    }
    if targets.list.is_empty() {
        return Ok(Decision::Answer(Appended::default()));
    }
    let Outline { streams, before, stream_of, after } = outline(state, &append, targets)?;
    Ok(Decision::Write(Plan { streams, before, append, stream_of, after }))
}

/// What is known of a stream, whichever it is: a metadata stream has no metadata of its own.
fn look_at<S: LogState>(state: &mut S, stream: &StreamName) -> Result<StreamFacts, S::Error> {
    let mut facts = state.stream(stream)?;
    if stream.is_metadata() {
        facts.metadata = None;
    }
    Ok(facts)
}

fn find_targets<'a, S: LogState>(
    state: &mut S,
    append: &'a Append,
    mentioned: &mut NameIndex<'_>,
) -> Result<Targets<'a>, S::Error> {
    let mut names = NameIndex::with_room(append.events.len());
    let place = |(stream, _): &'a (StreamName, NewEvent)| {
        names.get(stream).unwrap_or_else(|| names.push(stream))
    };
    let of_event: Vec<usize> = append.events.iter().map(place).collect();
    let streams = names.into_names();
    let (order, ends) = group(&of_event, streams.len());
    state.expect(&streams);
    let mut list = Vec::with_capacity(streams.len());
    let mut begin = 0;
    for (stream, end) in streams.into_iter().zip(ends) {
        let expected = mentioned.get(stream).and_then(|at| append.expectations.get(at));
        let expected = expected.map_or(ExpectedRevision::Any, |(_, expected)| *expected);
        list.push(Target::new(state, stream, expected, begin..end)?);
        begin = end;
    }
    Ok(Targets { list, of_event, order })
}

/// Indexes by the group they are in, each group's in order, and where each group ends.
fn group(group_of: &[usize], count: usize) -> (Vec<usize>, Vec<usize>) {
    let mut ends = vec![0; count];
    for group in group_of {
        ends[*group] += 1;
    }
    let mut begin = 0;
    for end in &mut ends {
        // Where the group begins, for now: filling it moves this to where it ends.
        begin += std::mem::replace(end, begin);
    }
    let mut order = vec![0; group_of.len()];
    for (index, group) in group_of.iter().enumerate() {
        order[ends[*group]] = index;
        ends[*group] += 1;
    }
    (order, ends)
}

impl<'a> Target<'a> {
    fn new<S: LogState>(
        state: &mut S,
        stream: &'a StreamName,
        expected: ExpectedRevision,
        events: Range<usize>,
    ) -> Result<Self, S::Error> {
        let base = match stream.metadata_of() {
            Some(base) => {
                let facts = look_at(state, &base)?;
                Some((base, facts))
            }
            None => None,
        };
        let facts = look_at(state, stream)?;
        Ok(Self { stream, expected, facts, base, events, is_part_found: false })
    }

    /// Whether it is refused before anyone asks whether the append is a retry.
    fn is_refused(&self) -> bool {
        let deleted = matches!(self.facts.state(), StreamState::Deleted { .. });
        !self.is_writable() || (deleted && self.expected == ExpectedRevision::StreamExists)
    }

    fn is_writable(&self) -> bool {
        !self.facts.tombstoned && self.base.as_ref().is_none_or(|(_, facts)| !facts.tombstoned)
    }

    /// The stream that writing to this one would revive, were it deleted.
    fn revivable(&self) -> (&StreamName, &StreamFacts) {
        match &self.base {
            Some((base, facts)) => (base, facts),
            None => (self.stream, &self.facts),
        }
    }

    fn violation(&self) -> Violation {
        match &self.base {
            Some((base, facts)) if facts.tombstoned => Violation::Stream {
                stream: base.clone(),
                expected: ExpectedRevision::Any,
                found: facts.state(),
            },
            _ => Violation::Stream {
                stream: StreamName::clone(self.stream),
                expected: self.expected,
                found: self.facts.state(),
            },
        }
    }
}

fn find_violations<S: LogState>(
    state: &mut S,
    append: &Append,
    targets: &Targets<'_>,
    mentioned: &mut NameIndex<'_>,
) -> Result<Vec<Violation>, S::Error> {
    let mut violations = Vec::new();
    let mut names: NameIndex<'_> = targets.list.iter().map(|target| target.stream).collect();
    for (stream, expected) in &append.expectations {
        if let Some(target) = names.get(stream).and_then(|index| targets.list.get(index)) {
            if target.is_part_found || !target.is_writable() || !target.facts.meets(*expected) {
                violations.push(target.violation());
            }
        } else {
            let facts = look_at(state, stream)?;
            if !facts.meets(*expected) {
                let found = facts.state();
                violations.push(Violation::Stream {
                    stream: stream.clone(),
                    expected: *expected,
                    found,
                });
            }
        }
    }
    for target in &targets.list {
        if mentioned.get(target.stream).is_none() && (target.is_part_found || !target.is_writable())
        {
            violations.push(target.violation());
        }
        violations.extend(write_behind_tombstone(append, targets, target));
    }
    for (index, condition) in append.conditions.iter().enumerate() {
        let after = condition.after.unwrap_or(Position::START);
        if let Some(position) = state.first_match(&condition.query, after)? {
            violations.push(Violation::Query { index, position });
        }
    }
    Ok(violations)
}

/// An append may carry a tombstone (an import does), but nothing behind it in its stream.
fn write_behind_tombstone(
    append: &Append,
    targets: &Targets<'_>,
    target: &Target<'_>,
) -> Option<Violation> {
    let place =
        targets.events(append, target).position(|event| event.event_type == TOMBSTONE_TYPE)?;
    (place + 1 < target.events.len()).then(|| Violation::Stream {
        stream: target.stream.clone(),
        expected: target.expected,
        found: StreamState::Tombstoned {
            last: Revision::new(target.facts.next().get() + place as u64),
        },
    })
}

#[cfg(test)]
mod tests;
