//! What the contract says, as messages. The only place that makes them.

use bytes::{BufMut, Bytes, BytesMut};
use quipu_core::{
    Append, AppendCondition, Appended, AsOf, Change, Checkpoint, ComponentKey, ComponentKind,
    ComponentRequest, ComponentStatus, Direction, EventBatch, EventRef, ExpectedRevision,
    IndexEntry, IndexRead, Lease, ListStreams, LogIdentity, NewEvent, Query, ReadAll, ReadIndex,
    ReadStream, Snapshot, StreamInfo, StreamName, StreamState, Subscribe, SubscribeFrom, Term,
    Violation,
};

use crate::proto;

mod groups;
pub(crate) use groups::nack;
pub use groups::{dispatches, group_config, group_status, parked_item};

/// The events of a batch in messages of at most `size_max` bytes, but with one event at least.
///
/// The messages come one by one, so that a batch is not in memory twice.
pub fn events(batch: &EventBatch, size_max: usize) -> impl Iterator<Item = proto::Events> {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let mut page = Page::new(size_max);
        let rest = batch.iter().skip(begin);
        let fits = |event: &EventRef<'_>| page.takes(parts_size(*event) + COLUMNS_SIZE);
        let count = rest.take_while(fits).count();
        let taken: Vec<EventRef<'_>> = batch.iter().skip(begin).take(count).collect();
        begin += count;
        (count > 0).then(|| encode_events(&taken))
    })
}

/// How full a message is.
struct Page {
    used: usize,
    size_max: usize,
}

/// What an event takes in a message beside its parts, at most.
const COLUMNS_SIZE: usize = 16 + 3 * 8 + 7 * 5;
/// What an entry of a term takes in a message beside its event, at most.
const ENTRY_SIZE: usize = 32;

impl Page {
    const fn new(size_max: usize) -> Self {
        Self { used: 0, size_max }
    }

    /// Whether what takes so many bytes is still to be in the message. The first always is.
    fn takes(&mut self, size: usize) -> bool {
        let fits = self.used == 0 || self.used + size <= self.size_max;
        self.used += size;
        fits
    }
}

fn parts_size(event: EventRef<'_>) -> usize {
    let tags: usize = event.tags().map(|tag| tag.len() + 1).sum();
    event.stream().len()
        + event.event_type().len()
        + content_type(event).len()
        + tags
        + event.metadata_bytes().len()
        + event.data_bytes().len()
}

/// The content type as it travels: nothing for the usual one.
fn content_type(event: EventRef<'_>) -> &str {
    match event.content_type() {
        "application/json" => "",
        other => other,
    }
}

fn encode_events(events: &[EventRef<'_>]) -> proto::Events {
    let size = events.iter().copied().map(parts_size).sum();
    let mut parts = BytesMut::with_capacity(size);
    let mut ids = BytesMut::with_capacity(events.len() * 16);
    let mut message = proto::Events::default();
    for (index, event) in events.iter().copied().enumerate() {
        ids.put_slice(event.id().as_bytes());
        message.positions.push(event.position().get());
        message.revisions.push(event.revision().get());
        message.recorded_at.push(event.recorded_at().as_micros());
        message.stream_sizes.push(put(&mut parts, event.stream().as_bytes()));
        message.type_sizes.push(put(&mut parts, event.event_type().as_bytes()));
        message.content_type_sizes.push(put(&mut parts, content_type(event).as_bytes()));
        let mut tags_size = 0;
        for tag in event.tags() {
            parts.put_u8(u8::try_from(tag.len()).expect("a tag has at most 255 bytes"));
            tags_size += 1 + put(&mut parts, tag.as_bytes());
        }
        message.tags_sizes.push(tags_size);
        message.metadata_sizes.push(put(&mut parts, event.metadata_bytes()));
        message.data_sizes.push(put(&mut parts, event.data_bytes()));
        if event.is_erased() {
            message.erased.push(narrow(index));
        }
    }
    message.bytes = parts.freeze();
    message.ids = ids.freeze();
    message
}

fn put(buffer: &mut BytesMut, bytes: &[u8]) -> u32 {
    buffer.put_slice(bytes);
    narrow(bytes.len())
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("limits bound sizes and counts far below 4 G")
}

fn id(id: quipu_core::EventId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

/// Which log it is.
pub fn identity(identity: LogIdentity) -> proto::IdentifyResponse {
    proto::IdentifyResponse {
        log: log_id(identity.log),
        incarnation: identity.incarnation.get(),
        name: identity.name,
    }
}

pub(crate) fn log_id(log: quipu_core::LogId) -> Bytes {
    Bytes::copy_from_slice(log.as_uuid().as_bytes())
}

/// A change.
pub fn change(change: Change) -> proto::Change {
    use proto::change::Change as Message;
    let message = match change {
        Change::Append(it) => Message::Append(append(it)),
        Change::Delete { stream, expected, id } => {
            Message::Delete(stream_change(&stream, expected, id))
        }
        Change::Tombstone { stream, expected, id } => {
            Message::Tombstone(stream_change(&stream, expected, id))
        }
        Change::SetMetadata { stream, expected, id: of, metadata } => {
            Message::SetMetadata(proto::SetMetadata {
                stream: stream.to_string(),
                expected: Some(expected_revision(expected)),
                id: id(of),
                metadata,
            })
        }
    };
    proto::Change { change: Some(message) }
}

fn stream_change(
    stream: &StreamName,
    expected: ExpectedRevision,
    of: quipu_core::EventId,
) -> proto::StreamChange {
    let expected = Some(expected_revision(expected));
    proto::StreamChange { stream: stream.to_string(), expected, id: id(of) }
}

fn append(append: Append) -> proto::Append {
    let Append { events, expectations, conditions } = append;
    let mut last: Option<StreamName> = None;
    let events = events.into_iter().map(|(stream, event)| {
        let is_same = last.as_ref() == Some(&stream);
        let name = if is_same { String::new() } else { stream.to_string() };
        last = Some(stream);
        new_event(name, event)
    });
    proto::Append {
        events: events.collect(),
        expectations: expectations
            .into_iter()
            .map(|(stream, expected)| proto::Expectation {
                stream: stream.to_string(),
                expected: Some(expected_revision(expected)),
            })
            .collect(),
        conditions: conditions
            .into_iter()
            .map(|AppendCondition { query: of, after }| proto::Condition {
                query: Some(query(&of)),
                after: after.map(quipu_core::Position::get),
            })
            .collect(),
    }
}

fn new_event(stream: String, event: NewEvent) -> proto::NewEvent {
    let content_type = match event.content_type.as_str() {
        "application/json" => String::new(),
        other => other.to_owned(),
    };
    proto::NewEvent {
        id: id(event.id),
        stream,
        r#type: event.event_type.to_string(),
        tags: event.tags.iter().map(ToString::to_string).collect(),
        content_type,
        data: event.data,
        metadata: event.metadata,
        recorded_at: event.recorded_at.map(quipu_core::Timestamp::as_micros),
    }
}

fn expected_revision(expected: ExpectedRevision) -> proto::ExpectedRevision {
    use proto::expected_revision::Kind;
    let (kind, revision) = match expected {
        ExpectedRevision::Any => (Kind::Any, 0),
        ExpectedRevision::NoStream => (Kind::NoStream, 0),
        ExpectedRevision::StreamExists => (Kind::StreamExists, 0),
        ExpectedRevision::Exactly(revision) => (Kind::Exactly, revision.get()),
        ExpectedRevision::Deleted => (Kind::Deleted, 0),
        ExpectedRevision::Tombstoned => (Kind::Tombstoned, 0),
    };
    proto::ExpectedRevision { kind: kind.into(), revision }
}

/// A query.
pub fn query(query: &Query) -> proto::Query {
    let item = |item: &quipu_core::QueryItem| proto::QueryItem {
        types: item.types.iter().map(ToString::to_string).collect(),
        tags: item.tags.iter().map(ToString::to_string).collect(),
        stream: item.stream.as_ref().map(ToString::to_string),
        category: item.category.clone(),
    };
    proto::Query { items: query.items.iter().map(item).collect() }
}

/// What a change answers.
pub fn appended(appended: Appended) -> proto::Appended {
    proto::Appended {
        streams: appended
            .streams
            .into_iter()
            .map(|it| proto::AppendedStream {
                stream: it.stream.to_string(),
                position: it.position.get(),
                revision: it.revision.get(),
            })
            .collect(),
        first: appended.first.map(quipu_core::Position::get),
        last: appended.last.map(quipu_core::Position::get),
        replayed: appended.replayed,
        clamped_count: appended.clamped_count as u64,
    }
}

/// What a stream is like.
pub fn stream_state(state: StreamState) -> proto::StreamState {
    use proto::stream_state::Kind;
    let kind = match state {
        StreamState::Absent => Kind::Absent,
        StreamState::Live { .. } => Kind::Live,
        StreamState::Deleted { .. } => Kind::Deleted,
        StreamState::Tombstoned { .. } => Kind::Tombstoned,
    };
    proto::StreamState { kind: kind.into(), last: state.last().map(quipu_core::Revision::get) }
}

/// A demand that does not hold.
pub(crate) fn violation(violation: &Violation) -> proto::Violation {
    use proto::violation::Demand;
    let demand = match violation {
        Violation::Stream { stream, expected, found } => Demand::Stream(proto::StreamViolation {
            stream: stream.to_string(),
            expected: Some(expected_revision(*expected)),
            found: Some(stream_state(*found)),
        }),
        Violation::Query { index, position } => Demand::Condition(proto::ConditionViolation {
            index: narrow(*index),
            position: position.get(),
        }),
    };
    proto::Violation { demand: Some(demand) }
}

fn direction(direction: Direction) -> i32 {
    match direction {
        Direction::Forward => proto::Direction::Forward.into(),
        Direction::Backward => proto::Direction::Backward.into(),
    }
}

fn as_of(as_of: AsOf) -> proto::AsOf {
    use proto::as_of::Moment;
    let moment = match as_of {
        AsOf::Position(position) => Moment::Position(position.get()),
        AsOf::Time(time) => Moment::Time(time.as_micros()),
    };
    proto::AsOf { moment: Some(moment) }
}

/// A read of a stream.
pub fn read_stream(read: &ReadStream) -> proto::ReadStreamRequest {
    proto::ReadStreamRequest {
        stream: read.stream.to_string(),
        from: read.from.map(quipu_core::Revision::get),
        direction: direction(read.direction),
        limit: read.limit,
        as_of: read.as_of.map(as_of),
    }
}

/// A read of the log.
pub fn read_all(read: &ReadAll) -> proto::ReadAllRequest {
    proto::ReadAllRequest {
        query: Some(query(&read.query)),
        from: read.from.map(quipu_core::Position::get),
        direction: direction(read.direction),
        limit: read.limit,
        as_of: read.as_of.map(as_of),
    }
}

/// A read of a term.
pub fn read_index(read: ReadIndex) -> proto::ReadIndexRequest {
    use proto::read_index_request::Term as Message;
    let term = match read.term {
        Term::Category(category) => Message::Category(category),
        Term::Type(event_type) => Message::Type(event_type.to_string()),
        Term::StreamNames => Message::StreamNames(true),
    };
    proto::ReadIndexRequest {
        term: Some(term),
        from: read.from,
        direction: direction(read.direction),
        limit: read.limit,
    }
}

/// What is known of a term.
pub fn index_head(read: &IndexRead) -> proto::IndexHead {
    proto::IndexHead { frontier: read.frontier.get(), count: read.count }
}

/// The entries of a term in messages of at most `size_max` bytes, but with one entry at least.
pub fn index_entries(
    read: &IndexRead,
    size_max: usize,
) -> impl Iterator<Item = proto::IndexEntries> {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let mut page = Page::new(size_max);
        let event_of = |entry: &IndexEntry| entry.event.and_then(|index| read.events.get(index));
        let rest = read.entries.get(begin..).unwrap_or_default();
        let fits = |entry: &&IndexEntry| {
            let event_size = event_of(entry).map_or(0, |event| parts_size(event) + COLUMNS_SIZE);
            page.takes(ENTRY_SIZE + event_size)
        };
        let count = rest.iter().take_while(fits).count();
        let taken = rest.get(..count).unwrap_or_default();
        begin += count;
        (!taken.is_empty()).then(|| proto::IndexEntries {
            entries: taken.iter().map(index_entry).collect(),
            events: Some(encode_events(&taken.iter().filter_map(event_of).collect::<Vec<_>>())),
        })
    })
}

fn index_entry(entry: &IndexEntry) -> proto::IndexEntry {
    proto::IndexEntry {
        ordinal: entry.ordinal,
        position: entry.position.get(),
        has_event: entry.event.is_some(),
    }
}

/// Which streams to list.
pub fn list_streams(list: ListStreams) -> proto::ListStreamsRequest {
    proto::ListStreamsRequest {
        prefix: list.prefix,
        category: list.category,
        after: list.after.map(|stream| stream.to_string()),
        limit: list.limit as u64,
    }
}

/// As many names as a message of `size_max` bytes holds, but one at least.
pub fn stream_names(names: &[StreamName], size_max: usize) -> proto::ListStreamsResponse {
    /// What a name takes in a message beside its bytes, at most.
    const NAME_SIZE: usize = 4;
    let mut page = Page::new(size_max);
    let fits = |name: &&StreamName| page.takes(name.as_str().len() + NAME_SIZE);
    let streams: Vec<String> = names.iter().take_while(fits).map(ToString::to_string).collect();
    proto::ListStreamsResponse { is_cut: streams.len() < names.len(), streams }
}

/// What is known of a stream.
pub fn stream_info(info: &StreamInfo) -> proto::StreamInfoResponse {
    let metadata = serde_json::Value::Object(info.metadata.object().clone());
    proto::StreamInfoResponse {
        state: Some(stream_state(info.state)),
        first: info.first.map(quipu_core::Revision::get),
        metadata: metadata.to_string().into(),
        metadata_revision: info.metadata_revision.map(quipu_core::Revision::get),
        count: info.count,
        size: info.size,
    }
}

/// What to subscribe to, and from where.
pub fn subscribe(subscribe: &Subscribe) -> proto::SubscribeRequest {
    use proto::subscribe_request::To;
    match subscribe {
        Subscribe::Stream { stream, from } => proto::SubscribeRequest {
            to: Some(To::Stream(stream.to_string())),
            from: subscribe_from(*from, quipu_core::Revision::get),
        },
        Subscribe::All { query: of, from } => proto::SubscribeRequest {
            to: Some(To::Query(query(of))),
            from: subscribe_from(*from, quipu_core::Position::get),
        },
    }
}

fn subscribe_from<P>(
    from: SubscribeFrom<P>,
    number: fn(P) -> u64,
) -> Option<proto::subscribe_request::From> {
    use proto::subscribe_request::From;
    match from {
        SubscribeFrom::Start => None,
        SubscribeFrom::After(place) => Some(From::After(number(place))),
        SubscribeFrom::End => Some(From::End(true)),
    }
}

/// Where a subscription begins.
pub fn begun(after: Option<u64>, identity: &LogIdentity) -> proto::SubscriptionBegun {
    let incarnation = identity.incarnation.get();
    proto::SubscriptionBegun { after, log: log_id(identity.log), incarnation }
}

/// A snapshot.
pub fn snapshot(snapshot: Snapshot) -> proto::Snapshot {
    proto::Snapshot { position: snapshot.position.get(), data: snapshot.data }
}

/// A checkpoint.
pub fn checkpoint(checkpoint: Checkpoint) -> proto::Checkpoint {
    proto::Checkpoint {
        position: checkpoint.position.get(),
        log: log_id(checkpoint.log),
        incarnation: checkpoint.incarnation.get(),
    }
}

/// A lease.
pub fn lease(lease: &Lease) -> proto::Lease {
    proto::Lease {
        name: lease.name.clone(),
        owner: lease.owner.clone(),
        epoch: lease.epoch,
        expires_at: lease.expires_at.as_micros(),
    }
}

/// How long a lease lasts. Longer than half a million years is for ever.
pub(crate) fn ttl_micros(ttl: std::time::Duration) -> u64 {
    u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX)
}

/// Which component.
pub fn component_key(key: &ComponentKey) -> proto::ComponentKey {
    use proto::component_key::Kind;
    let kind = match key.kind {
        ComponentKind::Projection => Kind::Projection,
        ComponentKind::Process => Kind::Process,
        ComponentKind::Relay => Kind::Relay,
        ComponentKind::Group => Kind::Group,
    };
    proto::ComponentKey { kind: kind.into(), name: key.name.clone(), version: key.version }
}

/// How a component is.
pub fn component_status(status: ComponentStatus) -> proto::ComponentStatus {
    let parked = status.parked.into_iter().map(parked_item);
    proto::ComponentStatus {
        key: Some(component_key(&status.key)),
        owner: status.owner,
        epoch: status.epoch,
        state: groups::component_state(status.state).into(),
        position: status.position.get(),
        lag: status.lag,
        last_error: status.last_error,
        parked_count: status.parked_count,
        parked: parked.collect(),
        reported_at: status.reported_at.as_micros(),
    }
}

/// What a component is asked to do.
pub fn component_request(request: ComponentRequest) -> proto::ComponentRequest {
    use proto::component_request::Kind;
    let (kind, position) = match request {
        ComponentRequest::Pause => (Kind::Pause, None),
        ComponentRequest::Resume => (Kind::Resume, None),
        ComponentRequest::Retry(position) => (Kind::Retry, position),
        ComponentRequest::Drop(position) => (Kind::Drop, position),
        ComponentRequest::Promote => (Kind::Promote, None),
        ComponentRequest::ReplayFrom(position) => (Kind::ReplayFrom, Some(position)),
    };
    let position = position.map(quipu_core::Position::get);
    proto::ComponentRequest { kind: kind.into(), position }
}
