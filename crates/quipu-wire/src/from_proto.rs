//! What messages say, in the contract's words. The only place that parses them: nothing that comes
//! in is trusted, and nothing makes it panic.

use std::time::Duration;

use bytes::Bytes;
use quipu_core::{
    Append, AppendCondition, Appended, AppendedStream, AsOf, Change, Checkpoint, ComponentKey,
    ComponentKind, ComponentRequest, ComponentState, ComponentStatus, ContentType, Direction,
    EventBatch, EventId, EventSpan, EventType, ExpectedRevision, Incarnation, IndexEntry, Lease,
    ListStreams, LogId, LogIdentity, NewEvent, Position, Query, QueryItem, ReadAll, ReadIndex,
    ReadStream, Revision, Snapshot, StreamInfo, StreamMetadata, StreamName, StreamState, Subscribe,
    SubscribeFrom, SwapCheckpoint, Tags, Term, Timestamp, Violation,
};
use uuid::Uuid;

use crate::proto;

mod groups;
pub(crate) use groups::parked_item;
pub use groups::{
    CAPACITY_MAX, Dispatched, dispatches, group_config, group_status, join_group, nack,
};

/// A message that says nothing valid. It does not succeed however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message's field `{field}` is not valid: {reason}")]
pub struct Malformed {
    field: &'static str,
    reason: String,
}

impl Malformed {
    /// What is wrong with which field.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }

    fn missing(field: &'static str) -> Self {
        Self::new(field, "it is missing")
    }
}

/// Recorded events. They share the message's bytes.
///
/// # Errors
///
/// [`Malformed`] if the columns differ in length, or the sizes do not add up, or a name is none.
pub fn events(message: proto::Events) -> Result<EventBatch, Malformed> {
    let columns = Columns::of(&message)?;
    let mut offset: u64 = 0;
    let mut spans = Vec::with_capacity(columns.count);
    for index in 0..columns.count {
        let (span, size) = columns.span(index, offset)?;
        offset += size;
        if offset > message.bytes.len() as u64 || !span.is_valid(&message.bytes) {
            return Err(Malformed::new("bytes", "an event is not where its sizes say"));
        }
        spans.push(span);
    }
    if offset != message.bytes.len() as u64 {
        return Err(Malformed::new("bytes", "there are more bytes than the sizes say"));
    }
    for index in &message.erased {
        let span = spans.get_mut(*index as usize);
        let span = span.filter(|span| span.data_size == 0);
        span.ok_or_else(|| Malformed::new("erased", "no such event without data"))?.erased = true;
    }
    Ok(EventBatch::from_spans(message.bytes, spans))
}

/// The columns of a message of events: all of one length.
struct Columns<'a> {
    message: &'a proto::Events,
    count: usize,
}

impl<'a> Columns<'a> {
    fn of(message: &'a proto::Events) -> Result<Self, Malformed> {
        let count = message.positions.len();
        let is_even = message.ids.len() == count.saturating_mul(16)
            && message.revisions.len() == count
            && message.recorded_at.len() == count
            && message.stream_sizes.len() == count
            && message.type_sizes.len() == count
            && message.content_type_sizes.len() == count
            && message.tags_sizes.len() == count
            && message.metadata_sizes.len() == count
            && message.data_sizes.len() == count;
        if is_even {
            Ok(Self { message, count })
        } else {
            Err(Malformed::new("positions", "the columns differ in length"))
        }
    }

    /// The span of an event that begins at `offset`, and the bytes it takes.
    fn span(&self, index: usize, offset: u64) -> Result<(EventSpan, u64), Malformed> {
        let message = self.message;
        let uneven = || Malformed::new("positions", "the columns differ in length");
        let large = || Malformed::new("bytes", "a size is over its limit");
        let size = |column: &[u32]| column.get(index).copied().ok_or_else(uneven);
        let stream_size = size(&message.stream_sizes)?;
        let type_size = size(&message.type_sizes)?;
        let content_type_size = size(&message.content_type_sizes)?;
        let tags_size = size(&message.tags_sizes)?;
        let metadata_size = size(&message.metadata_sizes)?;
        let data_size = size(&message.data_sizes)?;
        let id = message.ids.get(index * 16..(index + 1) * 16).ok_or_else(uneven)?;
        let sizes =
            [stream_size, type_size, content_type_size, tags_size, metadata_size, data_size];
        let span = EventSpan {
            position: Position::new(*message.positions.get(index).ok_or_else(uneven)?),
            revision: Revision::new(*message.revisions.get(index).ok_or_else(uneven)?),
            recorded_at: Timestamp::from_micros(
                *message.recorded_at.get(index).ok_or_else(uneven)?,
            ),
            id: event_id(id)?,
            offset: u32::try_from(offset).map_err(|_| large())?,
            data_size,
            metadata_size,
            stream_size: u16::try_from(stream_size).map_err(|_| large())?,
            tags_size: u16::try_from(tags_size).map_err(|_| large())?,
            type_size: u8::try_from(type_size).map_err(|_| large())?,
            content_type_size: u8::try_from(content_type_size).map_err(|_| large())?,
            erased: false,
        };
        Ok((span, sizes.into_iter().map(u64::from).sum()))
    }
}

fn uuid(field: &'static str, bytes: &[u8]) -> Result<Uuid, Malformed> {
    Uuid::from_slice(bytes).map_err(|_| Malformed::new(field, "an id has 16 bytes"))
}

fn event_id(bytes: &[u8]) -> Result<EventId, Malformed> {
    Ok(EventId::from_uuid(uuid("id", bytes)?))
}

pub(crate) fn log_id(bytes: &[u8]) -> Result<LogId, Malformed> {
    Ok(LogId::from_uuid(uuid("log", bytes)?))
}

/// The name of a stream.
///
/// # Errors
///
/// [`Malformed`] if the text is not one.
pub fn stream_name(text: String) -> Result<StreamName, Malformed> {
    StreamName::new(text).map_err(|error| Malformed::new("stream", error.to_string()))
}

fn tags(texts: &[String]) -> Result<Tags, Malformed> {
    Tags::parse(texts).map_err(|error| Malformed::new("tags", error.to_string()))
}

fn event_type(text: &str) -> Result<EventType, Malformed> {
    EventType::new(text).map_err(|error| Malformed::new("type", error.to_string()))
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// A number of things in memory. One that does not fit is more than there can be.
pub(crate) fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Which log it is.
///
/// # Errors
///
/// [`Malformed`] if the id is none.
pub fn identity(message: proto::IdentifyResponse) -> Result<LogIdentity, Malformed> {
    Ok(LogIdentity {
        log: log_id(&message.log)?,
        incarnation: Incarnation::new(message.incarnation),
        name: message.name,
    })
}

/// A change.
///
/// # Errors
///
/// [`Malformed`] if anything in it is missing or not a name.
pub fn change(message: Option<proto::Change>) -> Result<Change, Malformed> {
    use proto::change::Change as Message;
    let missing = || Malformed::missing("change");
    match message.ok_or_else(missing)?.change.ok_or_else(missing)? {
        Message::Append(it) => Ok(Change::Append(append(it)?)),
        Message::Delete(it) => {
            let (stream, expected, id) = stream_change(it)?;
            Ok(Change::Delete { stream, expected, id })
        }
        Message::Tombstone(it) => {
            let (stream, expected, id) = stream_change(it)?;
            Ok(Change::Tombstone { stream, expected, id })
        }
        Message::SetMetadata(it) => Ok(Change::SetMetadata {
            stream: stream_name(it.stream)?,
            expected: expected_revision(it.expected)?,
            id: event_id(&it.id)?,
            metadata: it.metadata,
        }),
    }
}

fn stream_change(
    message: proto::StreamChange,
) -> Result<(StreamName, ExpectedRevision, EventId), Malformed> {
    let stream = stream_name(message.stream)?;
    Ok((stream, expected_revision(message.expected)?, event_id(&message.id)?))
}

fn append(message: proto::Append) -> Result<Append, Malformed> {
    let mut append = Append::new();
    let mut stream: Option<StreamName> = None;
    for mut event in message.events {
        let name = std::mem::take(&mut event.stream);
        if !name.is_empty() {
            stream = Some(stream_name(name)?);
        }
        let own = stream.clone().ok_or_else(|| Malformed::missing("stream"))?;
        append.events.push((own, new_event(event)?));
    }
    for it in message.expectations {
        let expected = expected_revision(it.expected)?;
        append.expectations.push((stream_name(it.stream)?, expected));
    }
    for it in message.conditions {
        let after = it.after.map(Position::new);
        append.conditions.push(AppendCondition { query: query(it.query)?, after });
    }
    Ok(append)
}

fn new_event(message: proto::NewEvent) -> Result<NewEvent, Malformed> {
    let content_type = match message.content_type.as_str() {
        "" => ContentType::json(),
        text => ContentType::new(text)
            .map_err(|error| Malformed::new("content_type", error.to_string()))?,
    };
    Ok(NewEvent {
        id: event_id(&message.id)?,
        event_type: event_type(&message.r#type)?,
        tags: tags(&message.tags)?,
        content_type,
        data: message.data,
        metadata: message.metadata,
        recorded_at: message.recorded_at.map(time),
    })
}

fn expected_revision(
    message: Option<proto::ExpectedRevision>,
) -> Result<ExpectedRevision, Malformed> {
    use proto::expected_revision::Kind;
    let message = message.ok_or_else(|| Malformed::missing("expected"))?;
    match Kind::try_from(message.kind) {
        Ok(Kind::Any) => Ok(ExpectedRevision::Any),
        Ok(Kind::NoStream) => Ok(ExpectedRevision::NoStream),
        Ok(Kind::StreamExists) => Ok(ExpectedRevision::StreamExists),
        Ok(Kind::Exactly) => Ok(ExpectedRevision::Exactly(Revision::new(message.revision))),
        Ok(Kind::Deleted) => Ok(ExpectedRevision::Deleted),
        Ok(Kind::Tombstoned) => Ok(ExpectedRevision::Tombstoned),
        Ok(Kind::Unspecified) | Err(_) => Err(Malformed::new("kind", "no such expectation")),
    }
}

/// A query.
///
/// # Errors
///
/// [`Malformed`] if it is missing, or something in it is not a name.
pub fn query(message: Option<proto::Query>) -> Result<Query, Malformed> {
    let message = message.ok_or_else(|| Malformed::missing("query"))?;
    let item = |item: proto::QueryItem| {
        Ok(QueryItem {
            types: item.types.iter().map(|it| event_type(it)).collect::<Result<_, _>>()?,
            tags: tags(&item.tags)?,
            stream: item.stream.map(stream_name).transpose()?,
            category: item.category,
        })
    };
    Ok(Query { items: message.items.into_iter().map(item).collect::<Result<_, _>>()? })
}

/// What a change answers.
///
/// # Errors
///
/// [`Malformed`] if it is missing or names no stream.
pub fn appended(message: Option<proto::Appended>) -> Result<Appended, Malformed> {
    let message = message.ok_or_else(|| Malformed::missing("appended"))?;
    let stream = |it: proto::AppendedStream| {
        Ok(AppendedStream {
            stream: stream_name(it.stream)?,
            position: Position::new(it.position),
            revision: Revision::new(it.revision),
        })
    };
    Ok(Appended {
        streams: message.streams.into_iter().map(stream).collect::<Result<_, _>>()?,
        first: message.first.map(Position::new),
        last: message.last.map(Position::new),
        replayed: message.replayed,
        clamped_count: count(message.clamped_count),
    })
}

/// What a stream is like.
///
/// # Errors
///
/// [`Malformed`] if it is missing, of no known kind, or without the revision that its kind has.
pub fn stream_state(message: Option<proto::StreamState>) -> Result<StreamState, Malformed> {
    use proto::stream_state::Kind;
    let message = message.ok_or_else(|| Malformed::missing("state"))?;
    let last = message.last.map(Revision::new);
    let present = || last.ok_or_else(|| Malformed::missing("last"));
    match Kind::try_from(message.kind) {
        Ok(Kind::Absent) => Ok(StreamState::Absent),
        Ok(Kind::Live) => Ok(StreamState::Live { last: present()? }),
        Ok(Kind::Deleted) => Ok(StreamState::Deleted { last }),
        Ok(Kind::Tombstoned) => Ok(StreamState::Tombstoned { last: present()? }),
        Ok(Kind::Unspecified) | Err(_) => Err(Malformed::new("kind", "no such state")),
    }
}

/// A demand that does not hold.
pub(crate) fn violation(message: proto::Violation) -> Result<Violation, Malformed> {
    use proto::violation::Demand;
    match message.demand.ok_or_else(|| Malformed::missing("demand"))? {
        Demand::Stream(it) => Ok(Violation::Stream {
            stream: stream_name(it.stream)?,
            expected: expected_revision(it.expected)?,
            found: stream_state(it.found)?,
        }),
        Demand::Condition(it) => {
            Ok(Violation::Query { index: it.index as usize, position: Position::new(it.position) })
        }
    }
}

fn direction(message: i32) -> Result<Direction, Malformed> {
    match proto::Direction::try_from(message) {
        Ok(proto::Direction::Unspecified | proto::Direction::Forward) => Ok(Direction::Forward),
        Ok(proto::Direction::Backward) => Ok(Direction::Backward),
        Err(_) => Err(Malformed::new("direction", "no such direction")),
    }
}

fn as_of(message: Option<proto::AsOf>) -> Result<Option<AsOf>, Malformed> {
    use proto::as_of::Moment;
    let Some(message) = message else { return Ok(None) };
    match message.moment.ok_or_else(|| Malformed::missing("moment"))? {
        Moment::Position(position) => Ok(Some(AsOf::Position(Position::new(position)))),
        Moment::Time(micros) => Ok(Some(AsOf::Time(time(micros)))),
    }
}

/// A read of a stream.
///
/// # Errors
///
/// [`Malformed`] if the stream's name is none, or a choice is not known.
pub fn read_stream(message: proto::ReadStreamRequest) -> Result<ReadStream, Malformed> {
    Ok(ReadStream {
        stream: stream_name(message.stream)?,
        from: message.from.map(Revision::new),
        direction: direction(message.direction)?,
        limit: message.limit,
        as_of: as_of(message.as_of)?,
    })
}

/// A read of the log.
///
/// # Errors
///
/// [`Malformed`] if the query is missing or not valid, or a choice is not known.
pub fn read_all(message: proto::ReadAllRequest) -> Result<ReadAll, Malformed> {
    Ok(ReadAll {
        query: query(message.query)?,
        from: message.from.map(Position::new),
        direction: direction(message.direction)?,
        limit: message.limit,
        as_of: as_of(message.as_of)?,
    })
}

/// A read of a term.
///
/// # Errors
///
/// [`Malformed`] if the term is missing or no name, or a choice is not known.
pub fn read_index(message: proto::ReadIndexRequest) -> Result<ReadIndex, Malformed> {
    use proto::read_index_request::Term as Message;
    let term = match message.term.ok_or_else(|| Malformed::missing("term"))? {
        Message::Category(category) => Term::Category(category),
        Message::Type(text) => Term::Type(event_type(&text)?),
        Message::StreamNames(_) => Term::StreamNames,
    };
    let direction = direction(message.direction)?;
    Ok(ReadIndex { term, from: message.from, direction, limit: message.limit })
}

/// Entries of a term with their events. Each entry's event is its place among these events.
///
/// # Errors
///
/// [`Malformed`] if there are not as many events as the entries say.
pub fn index_entries(
    message: proto::IndexEntries,
) -> Result<(Vec<IndexEntry>, EventBatch), Malformed> {
    let events = events(message.events.unwrap_or_default())?;
    let mut event_count = 0;
    let entries: Vec<IndexEntry> = message
        .entries
        .into_iter()
        .map(|it| {
            let event = it.has_event.then_some(event_count);
            event_count += usize::from(it.has_event);
            IndexEntry { ordinal: it.ordinal, position: Position::new(it.position), event }
        })
        .collect();
    if event_count == events.count() {
        Ok((entries, events))
    } else {
        Err(Malformed::new("entries", "there are not as many events as they say"))
    }
}

/// Which streams to list.
///
/// # Errors
///
/// [`Malformed`] if the stream to begin after is not a name.
pub fn list_streams(message: proto::ListStreamsRequest) -> Result<ListStreams, Malformed> {
    Ok(ListStreams {
        prefix: message.prefix,
        category: message.category,
        after: message.after.map(stream_name).transpose()?,
        limit: count(message.limit),
    })
}

/// Names of streams.
///
/// # Errors
///
/// [`Malformed`] if one is not a name.
pub fn stream_names(names: Vec<String>) -> Result<Vec<StreamName>, Malformed> {
    names.into_iter().map(stream_name).collect()
}

/// What is known of `stream`.
///
/// # Errors
///
/// [`Malformed`] if its state is not valid.
pub fn stream_info(
    stream: StreamName,
    message: &proto::StreamInfoResponse,
) -> Result<StreamInfo, Malformed> {
    Ok(StreamInfo {
        stream,
        state: stream_state(message.state)?,
        first: message.first.map(Revision::new),
        metadata: StreamMetadata::parse(&message.metadata),
        metadata_revision: message.metadata_revision.map(Revision::new),
        count: message.count,
        size: message.size,
    })
}

/// What to subscribe to, and from where.
///
/// # Errors
///
/// [`Malformed`] if what to follow is missing or not valid.
pub fn subscribe(message: proto::SubscribeRequest) -> Result<Subscribe, Malformed> {
    use proto::subscribe_request::To;
    let from = message.from;
    match message.to.ok_or_else(|| Malformed::missing("to"))? {
        To::Stream(stream) => Ok(Subscribe::Stream {
            stream: stream_name(stream)?,
            from: subscribe_from(from, Revision::new),
        }),
        To::Query(it) => Ok(Subscribe::All {
            query: query(Some(it))?,
            from: subscribe_from(from, Position::new),
        }),
    }
}

fn subscribe_from<P>(
    from: Option<proto::subscribe_request::From>,
    place: fn(u64) -> P,
) -> SubscribeFrom<P> {
    use proto::subscribe_request::From;
    match from {
        None => SubscribeFrom::Start,
        Some(From::After(number)) => SubscribeFrom::After(place(number)),
        Some(From::End(_)) => SubscribeFrom::End,
    }
}

/// A snapshot.
///
/// # Errors
///
/// [`Malformed`] if it is missing.
pub fn snapshot(message: Option<proto::Snapshot>) -> Result<Snapshot, Malformed> {
    let message = message.ok_or_else(|| Malformed::missing("snapshot"))?;
    let data: Bytes = message.data;
    Ok(Snapshot { position: Position::new(message.position), data })
}

/// A checkpoint.
///
/// # Errors
///
/// [`Malformed`] if its log's id is none.
pub fn checkpoint(message: &proto::Checkpoint) -> Result<Checkpoint, Malformed> {
    Ok(Checkpoint {
        position: Position::new(message.position),
        log: log_id(&message.log)?,
        incarnation: Incarnation::new(message.incarnation),
    })
}

/// A request to move a checkpoint.
///
/// # Errors
///
/// [`Malformed`] if the new one is missing or its log's id is none.
pub fn swap_checkpoint(message: proto::SwapCheckpointRequest) -> Result<SwapCheckpoint, Malformed> {
    let new = message.new.ok_or_else(|| Malformed::missing("new"))?;
    Ok(SwapCheckpoint {
        name: message.name,
        epoch: message.epoch,
        old: message.old.map(Position::new),
        new: checkpoint(&new)?,
    })
}

/// A lease.
///
/// # Errors
///
/// [`Malformed`] if it is missing.
pub fn lease(message: Option<proto::Lease>) -> Result<Lease, Malformed> {
    let message = message.ok_or_else(|| Malformed::missing("lease"))?;
    Ok(Lease {
        name: message.name,
        owner: message.owner,
        epoch: message.epoch,
        expires_at: time(message.expires_at),
    })
}

/// How long a lease lasts.
pub fn ttl(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// Which component.
///
/// # Errors
///
/// [`Malformed`] if it is missing or of no known kind.
pub fn component_key(message: Option<proto::ComponentKey>) -> Result<ComponentKey, Malformed> {
    use proto::component_key::Kind;
    let message = message.ok_or_else(|| Malformed::missing("key"))?;
    let kind = match Kind::try_from(message.kind) {
        Ok(Kind::Projection) => ComponentKind::Projection,
        Ok(Kind::Process) => ComponentKind::Process,
        Ok(Kind::Relay) => ComponentKind::Relay,
        Ok(Kind::Group) => ComponentKind::Group,
        Ok(Kind::Unspecified) | Err(_) => {
            return Err(Malformed::new("kind", "no such kind of component"));
        }
    };
    Ok(ComponentKey { kind, name: message.name, version: message.version })
}

/// How a component is.
///
/// # Errors
///
/// [`Malformed`] if it is missing, or its key or its state is not known.
pub fn component_status(
    message: Option<proto::ComponentStatus>,
) -> Result<ComponentStatus, Malformed> {
    let message = message.ok_or_else(|| Malformed::missing("status"))?;
    let state = component_state(message.state)?;
    let parked = message.parked.into_iter().map(parked_item);
    Ok(ComponentStatus {
        key: component_key(message.key)?,
        owner: message.owner,
        epoch: message.epoch,
        state,
        position: Position::new(message.position),
        lag: message.lag,
        last_error: message.last_error,
        parked_count: message.parked_count,
        parked: parked.collect(),
        reported_at: time(message.reported_at),
    })
}

fn component_state(state: i32) -> Result<ComponentState, Malformed> {
    use proto::component_status::State;
    match State::try_from(state) {
        Ok(State::CatchingUp) => Ok(ComponentState::CatchingUp),
        Ok(State::Live) => Ok(ComponentState::Live),
        Ok(State::Paused) => Ok(ComponentState::Paused),
        Ok(State::Stopped) => Ok(ComponentState::Stopped),
        Ok(State::Retrying) => Ok(ComponentState::Retrying),
        Ok(State::Unspecified) | Err(_) => {
            Err(Malformed::new("state", "no such state of a component"))
        }
    }
}

/// What a component is asked to do.
///
/// # Errors
///
/// [`Malformed`] if it is missing, or not known, or lacks its place.
pub fn component_request(
    message: Option<proto::ComponentRequest>,
) -> Result<ComponentRequest, Malformed> {
    use proto::component_request::Kind;
    let message = message.ok_or_else(|| Malformed::missing("request"))?;
    let position = message.position.map(Position::new);
    match Kind::try_from(message.kind) {
        Ok(Kind::Pause) => Ok(ComponentRequest::Pause),
        Ok(Kind::Resume) => Ok(ComponentRequest::Resume),
        Ok(Kind::Retry) => Ok(ComponentRequest::Retry(position)),
        Ok(Kind::Drop) => Ok(ComponentRequest::Drop(position)),
        Ok(Kind::Promote) => Ok(ComponentRequest::Promote),
        Ok(Kind::ReplayFrom) => {
            let place = position.ok_or_else(|| Malformed::missing("position"))?;
            Ok(ComponentRequest::ReplayFrom(place))
        }
        Ok(Kind::Unspecified) | Err(_) => Err(Malformed::new("kind", "no such request")),
    }
}

#[cfg(test)]
mod tests;
