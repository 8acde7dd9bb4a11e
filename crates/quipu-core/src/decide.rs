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

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;

use crate::append::{
    Append, AppendError, Appended, AppendedStream, Change, ExpectedRevision, InvalidAppend,
    Violation,
};
use crate::event::{EventId, NewEvent};
use crate::limits;
use crate::metadata::{METADATA_TYPE, StreamMetadata, TOMBSTONE_TYPE, TRUNCATE_BEFORE_DELETED};
use crate::name::{ContentType, EventType, StreamName};
use crate::place::{Position, Revision, Timestamp};
use crate::query::Query;
use crate::read::StreamState;
use crate::store::Rights;

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
    /// The events, each with the index of its stream.
    pub events: Vec<(usize, NewEvent)>,
    /// Which of the events the caller asked for. The others revive a stream; they take positions
    /// but are not part of the answer.
    pub own: Range<usize>,
}

/// Checks what can be checked of a change without looking at the log.
///
/// # Errors
///
/// What is wrong with it.
pub fn validate(change: &Change, rights: Rights, now: Timestamp) -> Result<(), InvalidAppend> {
    let system = rights == Rights::System;
    match change {
        Change::Append(append) => validate_append(append, system, now),
        Change::Delete { stream, .. }
        | Change::Tombstone { stream, .. }
        | Change::SetMetadata { stream, .. } => {
            if stream.is_metadata() {
                return Err(InvalidAppend::MetadataStream { stream: stream.clone() });
            }
            if stream.is_system() && !system {
                return Err(InvalidAppend::ReservedName { name: stream.to_string() });
            }
            if stream.as_str().len() + 2 > limits::RESERVED_STREAM_NAME_SIZE_MAX {
                return Err(InvalidAppend::NameTooLong { stream: stream.clone() });
            }
            if let Change::SetMetadata { metadata, .. } = change {
                if metadata.len() > limits::EVENT_SIZE_MAX {
                    let size_max = limits::EVENT_SIZE_MAX;
                    return Err(InvalidAppend::EventTooLarge {
                        index: 0,
                        size: metadata.len(),
                        size_max,
                    });
                }
                if StreamMetadata::parse_strictly(metadata).is_none() {
                    return Err(InvalidAppend::MalformedMetadata);
                }
            }
            Ok(())
        }
    }
}

fn validate_append(append: &Append, system: bool, now: Timestamp) -> Result<(), InvalidAppend> {
    let count = append.events.len();
    if count > limits::APPEND_COUNT_MAX {
        return Err(InvalidAppend::TooManyEvents { count, count_max: limits::APPEND_COUNT_MAX });
    }
    let mut total = 0;
    for (index, (stream, event)) in append.events.iter().enumerate() {
        let size = event.size();
        total += size;
        if size > limits::EVENT_SIZE_MAX {
            return Err(InvalidAppend::EventTooLarge {
                index,
                size,
                size_max: limits::EVENT_SIZE_MAX,
            });
        }
        let ordinary = event.tags.iter().filter(|tag| !tag.is_reserved()).count();
        if ordinary > limits::TAG_COUNT_MAX || event.tags.count() > limits::TAG_COUNT_TOTAL_MAX {
            let (count, count_max) = if ordinary > limits::TAG_COUNT_MAX {
                (ordinary, limits::TAG_COUNT_MAX)
            } else {
                (event.tags.count(), limits::TAG_COUNT_TOTAL_MAX)
            };
            return Err(InvalidAppend::TooManyTags { index, count, count_max });
        }
        if let Some(recorded_at) = event.recorded_at.filter(|at| *at > now) {
            return Err(InvalidAppend::RecordedInFuture { index, recorded_at });
        }
        if stream.is_metadata() && event.event_type == TOMBSTONE_TYPE {
            return Err(InvalidAppend::MetadataStream { stream: stream.clone() });
        }
        if !system {
            refuse_system_names(stream, event)?;
        }
    }
    if total > limits::APPEND_SIZE_MAX {
        return Err(InvalidAppend::TooLarge { size: total, size_max: limits::APPEND_SIZE_MAX });
    }
    let mut mentioned = NameIndex::default();
    for (stream, _) in &append.expectations {
        if mentioned.get(stream).is_some() {
            return Err(InvalidAppend::TwoExpectations { stream: stream.clone() });
        }
        mentioned.push(stream);
    }
    Ok(())
}

fn refuse_system_names(stream: &StreamName, event: &NewEvent) -> Result<(), InvalidAppend> {
    let reserved = |name: &str| Err(InvalidAppend::ReservedName { name: name.to_owned() });
    if stream.is_system() {
        return reserved(stream.as_str());
    }
    if event.event_type.is_system() {
        return reserved(event.event_type.as_str());
    }
    match event.tags.iter().find(|tag| tag.is_system()) {
        Some(tag) => reserved(tag.as_str()),
        None => Ok(()),
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
struct Target {
    stream: StreamName,
    expected: ExpectedRevision,
    facts: StreamFacts,
    /// The facts of the stream whose metadata this stream holds.
    base: Option<(StreamName, StreamFacts)>,
    /// Which of the append's events go there.
    events: Vec<usize>,
    /// Whether it has ids of the append, although the append as a whole is not in the log.
    is_part_found: bool,
}

fn decide_append<S: LogState>(state: &mut S, append: Append) -> Result<Decision, S::Error> {
    let frontier = state.frontier();
    for (index, condition) in append.conditions.iter().enumerate() {
        if let Some(after) = condition.after.filter(|after| *after > frontier) {
            let invalid = InvalidAppend::AfterBeyondFrontier { index, after, frontier };
            return Ok(Decision::Refuse(AppendError::Invalid(invalid)));
        }
    }
    let mut targets = find_targets(state, &append)?;
    let refused = targets.iter().any(Target::is_refused);
    if !refused
        && !targets.is_empty()
        && let Some(appended) = find_replay(state, &append, &mut targets)?
    {
        return Ok(Decision::Answer(appended));
    }
    let violations = find_violations(state, &append, &targets)?;
    if !violations.is_empty() {
        return Ok(Decision::Refuse(AppendError::Conflict { violations }));
    }
    if targets.is_empty() {
        return Ok(Decision::Answer(Appended::default()));
    }
    plan(state, append, &targets).map(Decision::Write)
}

/// Names in the order they were mentioned, found again without looking at each: an append may
/// mention 65,536 of them. Most mention one, and are spared the hash.
#[derive(Default)]
struct NameIndex<'a> {
    names: Vec<&'a StreamName>,
    by_name: HashMap<&'a StreamName, usize>,
}

impl<'a> NameIndex<'a> {
    const HASHED_FROM: usize = 8;

    fn get(&self, name: &StreamName) -> Option<usize> {
        if self.names.len() < Self::HASHED_FROM {
            self.names.iter().position(|own| *own == name)
        } else {
            self.by_name.get(name).copied()
        }
    }

    /// Adds a name that is not there and answers its place.
    fn push(&mut self, name: &'a StreamName) -> usize {
        let place = self.names.len();
        self.names.push(name);
        if self.names.len() == Self::HASHED_FROM {
            self.by_name = self.names.iter().copied().zip(0..).collect();
        } else if self.names.len() > Self::HASHED_FROM {
            self.by_name.insert(name, place);
        }
        place
    }
}

impl<'a> FromIterator<&'a StreamName> for NameIndex<'a> {
    fn from_iter<I: IntoIterator<Item = &'a StreamName>>(names: I) -> Self {
        let mut index = Self::default();
        for name in names {
            index.push(name);
        }
        index
    }
}

/// What is known of a stream, whichever it is: a metadata stream has no metadata of its own.
fn look_at<S: LogState>(state: &mut S, stream: &StreamName) -> Result<StreamFacts, S::Error> {
    let mut facts = state.stream(stream)?;
    if stream.is_metadata() {
        facts.metadata = None;
    }
    Ok(facts)
}

fn find_targets<S: LogState>(state: &mut S, append: &Append) -> Result<Vec<Target>, S::Error> {
    let mentioned: NameIndex<'_> = append.expectations.iter().map(|(stream, _)| stream).collect();
    let mut targets: Vec<Target> = Vec::new();
    let mut names = NameIndex::default();
    for (index, (stream, _)) in append.events.iter().enumerate() {
        let target = if let Some(target) = names.get(stream) {
            target
        } else {
            let expected = mentioned.get(stream).and_then(|at| append.expectations.get(at));
            let expected = expected.map_or(ExpectedRevision::Any, |(_, expected)| *expected);
            targets.push(Target::new(state, stream, expected)?);
            names.push(stream)
        };
        if let Some(target) = targets.get_mut(target) {
            target.events.push(index);
        }
    }
    Ok(targets)
}

impl Target {
    fn new<S: LogState>(
        state: &mut S,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Self, S::Error> {
        let base = match stream.metadata_of() {
            Some(base) => Some((base.clone(), look_at(state, &base)?)),
            None => None,
        };
        let facts = look_at(state, stream)?;
        let stream = stream.clone();
        Ok(Self { stream, expected, facts, base, events: Vec::new(), is_part_found: false })
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
            None => (&self.stream, &self.facts),
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
                stream: self.stream.clone(),
                expected: self.expected,
                found: self.facts.state(),
            },
        }
    }
}

enum Found {
    All(Vec<(Position, Revision)>),
    Some,
    None,
}

/// Where the append is in the log already. If only a part of it is, marks the targets that have it.
fn find_replay<S: LogState>(
    state: &mut S,
    append: &Append,
    targets: &mut [Target],
) -> Result<Option<Appended>, S::Error> {
    let only_target = targets.len() == 1;
    let mut places = Vec::new();
    let mut is_whole = true;
    for target in targets.iter_mut() {
        let ids: Vec<EventId> =
            target.events.iter().filter_map(|i| append.events.get(*i)).map(|(_, e)| e.id).collect();
        let found = find_ids(state, target, &ids, only_target)?;
        target.is_part_found = !matches!(found, Found::None);
        if let Found::All(own) = found
            && let (Some(first), Some(last)) = (own.iter().min(), own.last())
        {
            places.push((target.stream.clone(), first.0, last.0, last.1));
        } else {
            is_whole = false;
        }
    }
    Ok(is_whole.then(|| replayed(places)))
}

/// Looks the ids of an append to one stream up, where they would be had it succeeded before.
fn find_ids<S: LogState>(
    state: &mut S,
    target: &Target,
    ids: &[EventId],
    only_target: bool,
) -> Result<Found, S::Error> {
    let Some(last) = target.facts.last else { return Ok(Found::None) };
    match target.expected {
        ExpectedRevision::Exactly(revision) if revision < last => {
            compare_ids(state, &target.stream, revision.next(), ids)
        }
        // "The current revision" always appends, and no append to a tombstoned stream was written.
        ExpectedRevision::Exactly(_) | ExpectedRevision::Tombstoned => Ok(Found::None),
        ExpectedRevision::NoStream => {
            let found = compare_ids(state, &target.stream, Revision::FIRST, ids)?;
            // "No stream" also holds on a soft-deleted stream, whose next events then begin where
            // the revived stream does.
            let revived = target.facts.metadata.as_ref().and_then(StreamMetadata::truncate_before);
            match (found, revived) {
                (Found::None, Some(first)) if first <= last.get() => {
                    compare_ids(state, &target.stream, Revision::new(first), ids)
                }
                (found, _) => Ok(found),
            }
        }
        ExpectedRevision::Any | ExpectedRevision::StreamExists | ExpectedRevision::Deleted => {
            look_ids_up(state, &target.stream, ids, only_target)
        }
    }
}

fn compare_ids<S: LogState>(
    state: &mut S,
    stream: &StreamName,
    from: Revision,
    ids: &[EventId],
) -> Result<Found, S::Error> {
    let mut places = Vec::with_capacity(ids.len());
    let mut revision = from;
    for id in ids {
        match state.id_at(stream, revision)? {
            Some((own, position)) if own == *id => places.push((position, revision)),
            _ if places.is_empty() => return Ok(Found::None),
            _ => return Ok(Found::Some),
        }
        revision = revision.next();
    }
    Ok(Found::All(places))
}

fn look_ids_up<S: LogState>(
    state: &mut S,
    stream: &StreamName,
    ids: &[EventId],
    only_target: bool,
) -> Result<Found, S::Error> {
    let mut places = Vec::with_capacity(ids.len());
    for (index, id) in ids.iter().enumerate() {
        match state.find_id(stream, *id)? {
            Some(place) => places.push(place),
            None if index == 0 && only_target => return Ok(Found::None),
            None => {}
        }
    }
    Ok(match places.len() {
        0 => Found::None,
        count if count == ids.len() => Found::All(places),
        _ => Found::Some,
    })
}

fn replayed(
    streams: impl IntoIterator<Item = (StreamName, Position, Position, Revision)>,
) -> Appended {
    let mut appended = Appended { replayed: true, ..Appended::default() };
    for (stream, first, position, revision) in streams {
        appended.first = Some(appended.first.map_or(first, |earlier| earlier.min(first)));
        appended.last = Some(appended.last.map_or(position, |later| later.max(position)));
        appended.streams.push(AppendedStream { stream, position, revision });
    }
    appended
}

fn find_violations<S: LogState>(
    state: &mut S,
    append: &Append,
    targets: &[Target],
) -> Result<Vec<Violation>, S::Error> {
    let mut violations = Vec::new();
    let names: NameIndex<'_> = targets.iter().map(|target| &target.stream).collect();
    for (stream, expected) in &append.expectations {
        if let Some(target) = names.get(stream).and_then(|index| targets.get(index)) {
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
    let mentioned: NameIndex<'_> = append.expectations.iter().map(|(stream, _)| stream).collect();
    for target in targets {
        if mentioned.get(&target.stream).is_none()
            && (target.is_part_found || !target.is_writable())
        {
            violations.push(target.violation());
        }
        violations.extend(write_behind_tombstone(append, target));
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
fn write_behind_tombstone(append: &Append, target: &Target) -> Option<Violation> {
    let is_tombstone = |index: &usize| {
        append.events.get(*index).is_some_and(|(_, event)| event.event_type == TOMBSTONE_TYPE)
    };
    let place = target.events.iter().position(is_tombstone)?;
    (place + 1 < target.events.len()).then(|| Violation::Stream {
        stream: target.stream.clone(),
        expected: target.expected,
        found: StreamState::Tombstoned {
            last: Revision::new(target.facts.next().get() + place as u64),
        },
    })
}

fn plan<S: LogState>(state: &mut S, append: Append, targets: &[Target]) -> Result<Plan, S::Error> {
    let (before, after) = find_revivals(&append, targets);
    let mut streams: Vec<(StreamName, Revision)> =
        targets.iter().map(|target| (target.stream.clone(), target.facts.next())).collect();
    let mut stream_of = vec![0; append.events.len()];
    for (index, target) in targets.iter().enumerate() {
        for event in &target.events {
            if let Some(stream) = stream_of.get_mut(*event) {
                *stream = index;
            }
        }
    }
    let before = place_revivals(state, &mut streams, before)?;
    let after = place_revivals(state, &mut streams, after)?;
    let own = before.len()..before.len() + append.events.len();
    let mut events = before;
    events.extend(stream_of.into_iter().zip(append.events.into_iter().map(|(_, event)| event)));
    events.extend(after);
    Ok(Plan { streams, events, own })
}

fn place_revivals<S: LogState>(
    state: &mut S,
    streams: &mut Vec<(StreamName, Revision)>,
    revivals: StreamEvents,
) -> Result<Vec<(usize, NewEvent)>, S::Error> {
    if revivals.is_empty() {
        return Ok(Vec::new());
    }
    let known: HashMap<StreamName, usize> =
        streams.iter().map(|(stream, _)| stream.clone()).zip(0..).collect();
    let mut events = Vec::with_capacity(revivals.len());
    for (stream, event) in revivals {
        let index = if let Some(index) = known.get(&stream) {
            *index
        } else {
            let next = look_at(state, &stream)?.next();
            streams.push((stream, next));
            streams.len() - 1
        };
        events.push((index, event));
    }
    Ok(events)
}

type StreamEvents = Vec<(StreamName, NewEvent)>;

/// The metadata events that revive the soft-deleted streams an append touches: before its events,
/// or behind them where it brings metadata of its own, so that the latest metadata always says
/// what is hidden. At most one for each stream.
fn find_revivals(append: &Append, targets: &[Target]) -> (StreamEvents, StreamEvents) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let is_deleted =
        |target: &&Target| matches!(target.revivable().1.state(), StreamState::Deleted { .. });
    let mut deleted = targets.iter().filter(is_deleted).peekable();
    if deleted.peek().is_none() {
        return (before, after);
    }
    let own: HashMap<&StreamName, &NewEvent> = append
        .events
        .iter()
        .filter(|(stream, event)| stream.is_metadata() && event.event_type == METADATA_TYPE)
        .map(|(stream, event)| (stream, event))
        .collect();
    let mut revived = HashSet::new();
    for target in deleted {
        let (base, facts) = target.revivable();
        let metadata_stream = base.metadata_stream();
        let first = facts.next().get();
        match own.get(&metadata_stream) {
            Some(event) => {
                let metadata = StreamMetadata::parse(&event.data);
                let hidden = metadata.truncate_before().is_some_and(|own| own >= first);
                if !hidden && revived.insert(metadata_stream.clone()) {
                    let last = append.events.last();
                    after.push(revival(metadata_stream, &metadata, first, last));
                }
            }
            None if target.base.is_some() || is_only_tombstone(append, target) => {}
            None => {
                let metadata = facts.metadata.clone().unwrap_or_default();
                before.push(revival(metadata_stream, &metadata, first, append.events.first()));
            }
        }
    }
    (before, after)
}

/// The event that hides what is before revision `first`. Its id follows from that of the event
/// `beside` it, so that the same appends always make the same log; so does a given time, which
/// would otherwise be raised to that of this event.
fn revival(
    metadata_stream: StreamName,
    metadata: &StreamMetadata,
    first: u64,
    beside: Option<&(StreamName, NewEvent)>,
) -> (StreamName, NewEvent) {
    let (_, beside) = beside.expect("an append that revives a stream has events");
    let name = metadata_stream.as_str().as_bytes();
    let id = EventId::from_uuid(Uuid::new_v5(&beside.id.as_uuid(), name));
    let json = metadata.json_with_truncate_before(first);
    let mut event = system_event(id, METADATA_TYPE, json);
    event.recorded_at = beside.recorded_at;
    (metadata_stream, event)
}

fn is_only_tombstone(append: &Append, target: &Target) -> bool {
    target.events.iter().all(|index| {
        append.events.get(*index).is_some_and(|(_, event)| event.event_type == TOMBSTONE_TYPE)
    })
}
