//! The log in memory: its events in order, and what is looked up in them.
//!
//! # Invariants
//!
//! - Positions and times of `events` rise with the index; positions strictly.
//! - Entry `r` of a stream is the index of its event with revision `r`, scavenged ones included.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use crate::append::{Appended, AppendedStream};
use crate::checkpoint::Lives;
use crate::decide::{LogState, Plan, StreamFacts};
use crate::event::{EventData, EventId, NewEvent, RecordedEvent};
use crate::metadata::{METADATA_TYPE, Retention, StreamMetadata, TOMBSTONE_TYPE};
use crate::name::StreamName;
use crate::place::{Position, Revision, Timestamp};
use crate::query::Query;
use crate::read::{
    AsOf, Direction, IndexEntry, IndexRead, ListStreams, ReadAll, ReadError, ReadIndex, ReadStream,
    StreamInfo, StreamState, Term,
};
use crate::store::{LogId, LogIdentity};

use super::beside::Beside;

/// The most entries in one answer to a listing or an index read.
const PAGE_COUNT_MAX: usize = 65_536;

pub(super) struct Log {
    events: Vec<Stored>,
    streams: BTreeMap<StreamName, Vec<usize>>,
    ids: HashMap<(StreamName, EventId), usize>,
    terms: HashMap<Term, Vec<usize>>,
    lives: Lives,
    id: LogId,
    step: u64,
    now: Timestamp,
    pub(super) beside: Beside,
}

struct Stored {
    event: RecordedEvent,
    is_scavenged: bool,
}

/// What the log was at some time: so many events, looked at by that clock.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) count: usize,
    pub(super) time: Timestamp,
}

impl Log {
    pub(super) fn new() -> Self {
        let id = LogId::generate();
        Self {
            events: Vec::new(),
            streams: BTreeMap::new(),
            ids: HashMap::new(),
            terms: HashMap::new(),
            lives: Lives::first(id),
            id,
            step: 1,
            now: Timestamp::from_micros(i64::MIN),
            beside: Beside::default(),
        }
    }

    pub(super) fn identity(&self) -> LogIdentity {
        let incarnation = self.lives.current();
        LogIdentity { log: self.id, incarnation, name: "memory".to_owned() }
    }

    pub(super) fn lives(&self) -> &Lives {
        &self.lives
    }

    pub(super) fn begin_life(&mut self) {
        self.lives.begin(self.last_position());
    }

    pub(super) fn set_step(&mut self, step: u64) {
        self.step = step;
    }

    /// Takes note of the clock. The store's time never goes back.
    pub(super) fn see_time(&mut self, time: Timestamp) {
        self.now = self.now.max(time);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn count(&self) -> usize {
        self.events.len()
    }

    pub(super) fn last_position(&self) -> Position {
        self.position_before(self.events.len())
    }

    /// The event at an index, unless it was scavenged.
    pub(super) fn event(&self, index: usize) -> Option<&RecordedEvent> {
        self.events.get(index).filter(|stored| !stored.is_scavenged).map(|stored| &stored.event)
    }

    /// The place of the last of the first `count` events.
    pub(super) fn position_before(&self, count: usize) -> Position {
        let last = count.checked_sub(1).and_then(|index| self.events.get(index));
        last.map_or(Position::START, |stored| stored.event.position)
    }

    /// How many events are at or before a place.
    pub(super) fn count_up_to(&self, position: Position) -> usize {
        self.events.partition_point(|stored| stored.event.position <= position)
    }

    pub(super) fn write(&mut self, plan: &Plan) -> Appended {
        let own = plan.own();
        let mut streams = plan.streams.clone();
        let mut appended = Appended::default();
        let mut order = Vec::new();
        let mut last_of = HashMap::new();
        for (place, (stream, event)) in plan.events().enumerate() {
            let (name, next) = streams.get_mut(stream).expect("a plan's events name its streams");
            let (name, revision) = (name.clone(), *next);
            *next = revision.next();
            let was_clamped = event.recorded_at.is_some_and(|at| at < self.last_time());
            let position = self.push(name.clone(), revision, event.clone());
            if own.contains(&place) {
                appended.first.get_or_insert(position);
                appended.last = Some(position);
                appended.clamped_count += usize::from(was_clamped);
                if last_of
                    .insert(stream, AppendedStream { stream: name, position, revision })
                    .is_none()
                {
                    order.push(stream);
                }
            }
        }
        appended.streams = order.iter().filter_map(|stream| last_of.remove(stream)).collect();
        appended
    }

    fn last_time(&self) -> Timestamp {
        self.events
            .last()
            .map_or(Timestamp::from_micros(i64::MIN), |stored| stored.event.recorded_at)
    }

    fn push(&mut self, stream: StreamName, revision: Revision, event: NewEvent) -> Position {
        let index = self.events.len();
        let position = Position::new(self.last_position().get() + self.step);
        let recorded_at = event.recorded_at.unwrap_or(self.now).max(self.last_time());
        self.streams.entry(stream.clone()).or_default().push(index);
        self.ids.insert((stream.clone(), event.id), index);
        let mut terms = vec![
            Term::Category(stream.category().to_owned()),
            Term::Type(event.event_type.clone()),
        ];
        if revision == Revision::FIRST {
            terms.push(Term::StreamNames);
        }
        for term in terms {
            self.terms.entry(term).or_default().push(index);
        }
        let event = RecordedEvent {
            id: event.id,
            stream,
            event_type: event.event_type,
            tags: event.tags,
            content_type: event.content_type,
            data: EventData::Present(event.data),
            metadata: event.metadata,
            recorded_at,
            position,
            revision,
        };
        self.events.push(Stored { event, is_scavenged: false });
        position
    }

    pub(super) fn position_at(&self, time: Timestamp) -> Result<Position, ReadError> {
        let moment = self.moment(Some(AsOf::Time(time)))?;
        Ok(self.position_before(moment.count))
    }

    pub(super) fn present(&self) -> Moment {
        Moment { count: self.events.len(), time: self.now }
    }

    fn moment(&self, as_of: Option<AsOf>) -> Result<Moment, ReadError> {
        let frontier = self.last_position();
        match as_of {
            None => Ok(self.present()),
            Some(AsOf::Position(position)) if position > frontier => {
                Err(ReadError::AsOfInFuture { frontier })
            }
            Some(AsOf::Time(time)) if time > self.now => Err(ReadError::AsOfInFuture { frontier }),
            Some(AsOf::Position(position)) => {
                let count = self.count_up_to(position);
                let last = count.checked_sub(1).and_then(|index| self.events.get(index));
                let time = last.map_or(self.now, |stored| stored.event.recorded_at);
                Ok(Moment { count, time })
            }
            Some(AsOf::Time(time)) => {
                let count = self.events.partition_point(|stored| stored.event.recorded_at <= time);
                Ok(Moment { count, time })
            }
        }
    }

    /// The indexes of a stream's events among the first `count` of the log, by revision.
    fn revisions(&self, stream: &StreamName, count: usize) -> &[usize] {
        let all = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        all.split_at(all.partition_point(|index| *index < count)).0
    }

    /// How many events the log had before the stream's last one.
    pub(super) fn count_before_last(&self, stream: &StreamName) -> usize {
        self.revisions(stream, self.events.len()).last().copied().unwrap_or(0)
    }

    fn metadata(&self, stream: &StreamName, count: usize) -> Option<StreamMetadata> {
        if stream.is_metadata() {
            return None;
        }
        let revisions = self.revisions(&stream.metadata_stream(), count);
        let mut latest_first = revisions.iter().rev().filter_map(|index| self.event(*index));
        let latest = latest_first.find(|event| event.event_type == METADATA_TYPE)?;
        Some(latest.data.present().map(|json| StreamMetadata::parse(json)).unwrap_or_default())
    }

    pub(super) fn facts(&self, stream: &StreamName, count: usize) -> StreamFacts {
        let revisions = self.revisions(stream, count);
        let last = revisions.last().and_then(|index| self.events.get(*index));
        StreamFacts {
            last: last.map(|stored| stored.event.revision),
            tombstoned: last.is_some_and(|stored| stored.event.event_type == TOMBSTONE_TYPE),
            metadata: self.metadata(stream, count).map(Arc::new),
        }
    }

    /// What a stream is like at a moment, and the indexes of the events that it shows then.
    pub(super) fn shown(
        &self,
        stream: &StreamName,
        moment: Moment,
        from: Revision,
    ) -> (StreamState, Vec<usize>) {
        let facts = self.facts(stream, moment.count);
        let state = facts.state();
        let StreamState::Live { last } = state else { return (state, Vec::new()) };
        let retention = if stream.is_metadata() {
            Retention::of_metadata_stream(last)
        } else {
            let metadata = facts.metadata.unwrap_or_default();
            Retention::new(&metadata, last, moment.time)
        };
        let first = retention.first().max(from).get();
        let revisions = self.revisions(stream, moment.count);
        let shown = revisions.iter().skip(usize::try_from(first).unwrap_or(usize::MAX)).copied();
        let is_shown = |index: &usize| {
            self.event(*index).is_some_and(|it| retention.shows(it.revision, it.recorded_at))
        };
        (state, shown.filter(is_shown).collect())
    }

    pub(super) fn find_stream_events(
        &self,
        read: &ReadStream,
    ) -> Result<(StreamState, Vec<usize>), ReadError> {
        let (state, mut shown) =
            self.shown(&read.stream, self.moment(read.as_of)?, Revision::FIRST);
        let revision_of = |index: &usize| self.events.get(*index).map(|it| it.event.revision);
        shown.retain(|index| match (read.from, read.direction) {
            (None, _) => true,
            (Some(from), Direction::Forward) => revision_of(index) >= Some(from),
            (Some(from), Direction::Backward) => revision_of(index) <= Some(from),
        });
        Ok((state, cut(shown, read.direction, read.limit)))
    }

    pub(super) fn find_log_events(
        &self,
        read: &ReadAll,
    ) -> Result<(Position, Vec<usize>), ReadError> {
        let moment = self.moment(read.as_of)?;
        let frontier = match read.as_of {
            Some(AsOf::Position(position)) => position,
            Some(AsOf::Time(_)) | None => self.position_before(moment.count),
        };
        let range = match (read.from, read.direction) {
            (None, _) => 0..moment.count,
            (Some(from), Direction::Forward) => self.count_up_to(from.previous())..moment.count,
            (Some(from), Direction::Backward) => 0..self.count_up_to(from).min(moment.count),
        };
        let matching = range
            .filter(|index| self.event(*index).is_some_and(|it| read.query.matches_recorded(it)))
            .collect();
        Ok((frontier, cut(matching, read.direction, read.limit)))
    }

    pub(super) fn read_index(&self, read: &ReadIndex) -> IndexRead {
        let entries = self.terms.get(&read.term).map_or(&[][..], Vec::as_slice);
        let limit = usize::try_from(read.limit).unwrap_or(usize::MAX).min(PAGE_COUNT_MAX);
        let ordinals = 0..entries.len() as u64;
        let ordinals: Vec<u64> = match read.direction {
            Direction::Forward => {
                ordinals.skip_while(|it| *it < read.from.unwrap_or(0)).take(limit).collect()
            }
            Direction::Backward => {
                let from = read.from.unwrap_or(u64::MAX);
                ordinals.rev().skip_while(|it| *it > from).take(limit).collect()
            }
        };
        let mut events = Vec::new();
        let mut found = Vec::with_capacity(ordinals.len());
        for (ordinal, index) in
            ordinals.into_iter().filter_map(|it| Some((it, *entries.get(it as usize)?)))
        {
            let event = self.event(index).map(|event| {
                events.push(event);
                events.len() - 1
            });
            found.push(IndexEntry { ordinal, position: self.position_before(index + 1), event });
        }
        IndexRead {
            frontier: self.last_position(),
            count: entries.len() as u64,
            entries: found,
            events: events.into_iter().collect(),
        }
    }

    pub(super) fn list_streams(&self, list: &ListStreams) -> Vec<StreamName> {
        let from = match &list.after {
            Some(after) if *after.as_str() >= *list.prefix => Bound::Excluded(after.as_str()),
            Some(_) | None => Bound::Included(list.prefix.as_str()),
        };
        self.streams
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(stream, _)| stream)
            .take_while(|stream| stream.as_str().starts_with(&list.prefix))
            .filter(|stream| list.category.as_ref().is_none_or(|own| own == stream.category()))
            .take(list.limit.min(PAGE_COUNT_MAX))
            .cloned()
            .collect()
    }

    pub(super) fn stream_info(&self, stream: StreamName) -> StreamInfo {
        let (state, shown) = self.shown(&stream, self.present(), Revision::FIRST);
        let shown: Vec<&RecordedEvent> = shown.iter().filter_map(|it| self.event(*it)).collect();
        let size_of = |it: &&RecordedEvent| {
            (it.metadata.len() + it.data.present().map_or(0, bytes::Bytes::len)) as u64
        };
        let metadata_stream = (!stream.is_metadata()).then(|| stream.metadata_stream());
        let count = self.count();
        StreamInfo {
            state,
            first: shown.first().map(|event| event.revision),
            metadata: self.metadata(&stream, count).unwrap_or_default(),
            metadata_revision: metadata_stream.and_then(|it| self.facts(&it, count).last),
            count: shown.len() as u64,
            size: shown.iter().map(size_of).sum(),
            stream,
        }
    }

    pub(super) fn scavenge(&mut self) -> usize {
        let mut gone: Vec<usize> = Vec::new();
        for (stream, revisions) in &self.streams {
            let (_, shown) = self.shown(stream, self.present(), Revision::FIRST);
            // The last event keeps the stream's numbering; of a tombstoned stream it is the
            // tombstone. The latest metadata may have other events behind it.
            let latest_metadata = revisions.iter().rev().find(|index| {
                stream.is_metadata()
                    && self.event(**index).is_some_and(|it| it.event_type == METADATA_TYPE)
            });
            gone.extend(revisions.iter().filter(|index| {
                shown.binary_search(index).is_err()
                    && Some(*index) != revisions.last()
                    && Some(*index) != latest_metadata
                    && self.event(**index).is_some()
            }));
        }
        for index in &gone {
            if let Some(stored) = self.events.get_mut(*index) {
                stored.is_scavenged = true;
            }
        }
        gone.len()
    }
}

/// The first `limit` of the indexes, in the direction asked for.
fn cut(mut indexes: Vec<usize>, direction: Direction, limit: Option<u64>) -> Vec<usize> {
    if direction == Direction::Backward {
        indexes.reverse();
    }
    indexes
        .truncate(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
    indexes
}

impl LogState for Log {
    type Error = Infallible;

    fn frontier(&self) -> Position {
        self.last_position()
    }

    fn stream(&mut self, stream: &StreamName) -> Result<StreamFacts, Infallible> {
        Ok(self.facts(stream, self.events.len()))
    }

    fn id_at(
        &mut self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<(EventId, Position)>, Infallible> {
        let revisions = self.revisions(stream, self.events.len());
        let index = usize::try_from(revision.get()).ok().and_then(|it| revisions.get(it));
        let stored = index.and_then(|index| self.events.get(*index));
        Ok(stored.map(|stored| (stored.event.id, stored.event.position)))
    }

    fn find_id(
        &mut self,
        stream: &StreamName,
        id: EventId,
    ) -> Result<Option<(Position, Revision)>, Infallible> {
        let index = self.ids.get(&(stream.clone(), id));
        let stored = index.and_then(|index| self.events.get(*index));
        Ok(stored.map(|stored| (stored.event.position, stored.event.revision)))
    }

    fn first_match(
        &mut self,
        query: &Query,
        after: Position,
    ) -> Result<Option<Position>, Infallible> {
        let mut later = (self.count_up_to(after)..self.count()).filter_map(|it| self.event(it));
        Ok(later.find(|event| query.matches_recorded(event)).map(|event| event.position))
    }
}
