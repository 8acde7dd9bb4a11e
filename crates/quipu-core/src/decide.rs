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

mod layout;
mod names;
mod plan;
mod replay;
mod validate;

use std::ops::Range;
use std::sync::Arc;

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

pub use layout::Layout;
use layout::Part;
use plan::{find_revivals, make_plan};
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
    pub metadata: Option<Arc<StreamMetadata>>,
}

impl StreamFacts {
    /// A stream that never had anything.
    pub const ABSENT: Self = Self { last: None, tombstoned: false, metadata: None };

    /// What the stream is like.
    pub fn state(&self) -> StreamState {
        let deleted = self.metadata.as_ref().is_some_and(|metadata| metadata.is_deleted());
        match self.last {
            Some(last) if self.tombstoned => StreamState::Tombstoned { last },
            last if deleted => StreamState::Deleted { last },
            Some(last) => StreamState::Live { last },
            None => StreamState::Absent,
        }
    }

    /// Where a subscription that was at `next` goes on once all that the stream shows is delivered:
    /// what is hidden now is passed over, though it may be shown again later.
    #[must_use]
    pub fn pass_over(&self, next: Revision) -> Revision {
        self.last.map_or(next, |last| last.next().max(next))
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

    /// What is known of a stream. A metadata stream has no metadata of its own.
    ///
    /// # Errors
    ///
    /// Whatever kept the store from looking.
    fn stream(&mut self, stream: &StreamName) -> Result<StreamFacts, Self::Error>;

    /// What is known of the streams of a change's [`Layout`], in their order. A store may have
    /// ways to answer for all of them that cost less than asking for one after the other.
    ///
    /// # Errors
    ///
    /// Whatever kept the store from looking.
    fn streams(&mut self, streams: &[StreamName]) -> Result<Vec<StreamFacts>, Self::Error> {
        streams.iter().map(|stream| self.stream(stream)).collect()
    }

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

    /// By event, the index of its stream.
    pub fn stream_indexes(&self) -> impl Iterator<Item = usize> {
        let [before, after] =
            [&self.before, &self.after].map(|events| events.iter().map(|(at, _)| *at));
        before.chain(self.stream_of.iter().copied()).chain(after)
    }

    /// Which of the events the caller asked for.
    pub fn own(&self) -> Range<usize> {
        self.before.len()..self.before.len() + self.append.events.len()
    }
}

/// Decides a valid change, with the layout that [`validate`] made of it.
///
/// # Errors
///
/// Whatever kept the store from looking at its log.
pub fn decide<S: LogState>(
    state: &mut S,
    change: Change,
    layout: Layout,
) -> Result<Decision, S::Error> {
    match change {
        Change::Append(append) => decide_append(state, append, layout),
        Change::Delete { stream, expected, id } => decide_delete(state, stream, expected, id),
        Change::Tombstone { stream, expected, id } => {
            // The tombstone check comes first for all else; here it may be the caller's own.
            if state.stream(&stream)?.tombstoned
                && let Some((position, revision)) = state.find_id(&stream, id)?
            {
                return Ok(Decision::Answer(replayed([(stream, position, position, revision)])));
            }
            let event = system_event(id, TOMBSTONE_TYPE, Bytes::from_static(b"{}"));
            decide_made(state, Append::to_stream(stream, expected, [event]))
        }
        Change::SetMetadata { stream, expected, id, metadata } => {
            let event = system_event(id, METADATA_TYPE, metadata);
            let append = Append::to_stream(stream.metadata_stream(), expected, [event]);
            decide_made(state, append)
        }
    }
}

/// Decides an append that was made from another change.
fn decide_made<S: LogState>(state: &mut S, append: Append) -> Result<Decision, S::Error> {
    let layout = Layout::of(&append).expect("these have one expectation each");
    decide_append(state, append, layout)
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
    decide_made(state, append)
}

fn system_event(id: EventId, event_type: &str, data: Bytes) -> NewEvent {
    let event_type = EventType::new(event_type).expect("the store's own types are names");
    NewEvent::new(event_type, ContentType::json(), data).with_id(id)
}

/// A stream that an append writes to.
struct Target<'a> {
    stream: &'a StreamName,
    part: &'a Part,
    facts: StreamFacts,
    /// The facts of the stream whose metadata this stream holds.
    base: Option<Box<(StreamName, StreamFacts)>>,
    /// Whether it has ids of the append, although the append as a whole is not in the log.
    is_part_found: bool,
}

fn decide_append<S: LogState>(
    state: &mut S,
    append: Append,
    layout: Layout,
) -> Result<Decision, S::Error> {
    assert_eq!(append.events.len(), layout.stream_of.len(), "a layout is that of its append");
    let frontier = state.frontier();
    for (index, condition) in append.conditions.iter().enumerate() {
        if let Some(after) = condition.after.filter(|after| *after > frontier) {
            let invalid = InvalidAppend::AfterBeyondFrontier { index, after, frontier };
            return Ok(Decision::Refuse(AppendError::Invalid(invalid)));
        }
    }
    let mut targets = find_targets(state, &layout)?;
    let refused = targets.iter().any(Target::is_refused);
    if !refused
        && !targets.is_empty()
        && let Some(appended) = find_replay(state, &append, &layout, &mut targets)?
    {
        return Ok(Decision::Answer(appended));
    }
    let violations = find_violations(state, &append, &layout, &targets)?;
    if !violations.is_empty() {
        return Ok(Decision::Refuse(AppendError::Conflict { violations }));
    }
    if targets.is_empty() {
        return Ok(Decision::Answer(Appended::default()));
    }
    let revivals = find_revivals(&append, &layout, &targets);
    let next: Vec<Revision> = targets.iter().map(|target| target.facts.next()).collect();
    drop(targets);
    Ok(Decision::Write(make_plan(state, append, layout, next, revivals)?))
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
    layout: &'a Layout,
) -> Result<Vec<Target<'a>>, S::Error> {
    let facts = state.streams(&layout.streams)?;
    assert_eq!(facts.len(), layout.streams.len(), "a store answers for every stream");
    let target = |((stream, part), facts)| Target::new(state, stream, part, facts);
    layout.streams.iter().zip(&layout.parts).zip(facts).map(target).collect()
}

impl<'a> Target<'a> {
    fn new<S: LogState>(
        state: &mut S,
        stream: &'a StreamName,
        part: &'a Part,
        mut facts: StreamFacts,
    ) -> Result<Self, S::Error> {
        let mut base = None;
        if part.is_metadata {
            facts.metadata = None;
            if let Some(name) = stream.metadata_of() {
                let facts = look_at(state, &name)?;
                base = Some(Box::new((name, facts)));
            }
        }
        Ok(Self { stream, part, facts, base, is_part_found: false })
    }

    fn expected(&self) -> ExpectedRevision {
        self.part.expected.unwrap_or(ExpectedRevision::Any)
    }

    /// Whether it is refused before anyone asks whether the append is a retry.
    fn is_refused(&self) -> bool {
        let deleted = matches!(self.facts.state(), StreamState::Deleted { .. });
        !self.is_writable() || (deleted && self.expected() == ExpectedRevision::StreamExists)
    }

    fn is_writable(&self) -> bool {
        !self.facts.tombstoned && self.base.as_ref().is_none_or(|base| !base.1.tombstoned)
    }

    /// The stream that writing to this one would revive, were it deleted.
    fn revivable(&self) -> (&StreamName, &StreamFacts) {
        match self.base.as_deref() {
            Some((base, facts)) => (base, facts),
            None => (self.stream, &self.facts),
        }
    }

    fn violation(&self) -> Violation {
        match self.base.as_deref() {
            Some((base, facts)) if facts.tombstoned => Violation::Stream {
                stream: base.clone(),
                expected: ExpectedRevision::Any,
                found: facts.state(),
            },
            _ => Violation::Stream {
                stream: StreamName::clone(self.stream),
                expected: self.expected(),
                found: self.facts.state(),
            },
        }
    }
}

fn find_violations<S: LogState>(
    state: &mut S,
    append: &Append,
    layout: &Layout,
    targets: &[Target<'_>],
) -> Result<Vec<Violation>, S::Error> {
    let mut violations = Vec::new();
    for ((stream, expected), target) in append.expectations.iter().zip(&layout.target_of) {
        if let Some(target) = target.and_then(|index| targets.get(index as usize)) {
            if target.is_part_found
                || !target.is_writable()
                || !target.facts.meets(target.expected())
            {
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
    for target in targets {
        let is_mentioned = target.part.expected.is_some();
        if !is_mentioned && (target.is_part_found || !target.is_writable()) {
            violations.push(target.violation());
        }
        if target.part.has_tombstone {
            violations.extend(write_behind_tombstone(append, layout, target));
        }
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
    layout: &Layout,
    target: &Target<'_>,
) -> Option<Violation> {
    let mut events = layout.events(append, target.part);
    let place = events.position(|event| event.event_type == TOMBSTONE_TYPE)?;
    (place + 1 < target.part.events.len()).then(|| Violation::Stream {
        stream: target.stream.clone(),
        expected: target.expected(),
        found: StreamState::Tombstoned {
            last: Revision::new(target.facts.next().get() + place as u64),
        },
    })
}

#[cfg(test)]
mod tests;
