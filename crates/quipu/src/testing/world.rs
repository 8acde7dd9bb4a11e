//! What was given, as a log would hold it.

use std::collections::BTreeMap;
use std::fmt;

use quipu_core::{
    ContentType, EventBatch, EventData, EventId, EventRef, EventType, Position, Query,
    RecordedEvent, Revision, StreamName, Tags, Timestamp,
};
use serde_json::Value;
use uuid::Uuid;

use crate::command::{Events, PendingEvent};
use crate::decode::{DecodeError, parts};
use crate::metadata::Metadata;
use crate::model::Model;
use crate::upcast::Upcasters;

/// The stream that events are in which were given as stored data.
const STORED_STREAM: &str = "stored";

/// The events of a test.
#[derive(Debug)]
pub(super) struct World {
    events: Vec<RecordedEvent>,
    batch: EventBatch,
    /// Whether tags and streams are those of the decoded data, since nobody gave others.
    own_names: bool,
}

/// Which of the given events a model's query selects.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    inside: Vec<String>,
    outside: Vec<String>,
}

impl World {
    pub(super) fn of_events(events: Events) -> Self {
        let (pending, _) = match events.into_parts() {
            Ok(parts) => parts,
            Err(error) => panic!("a given event cannot be appended: {error}"),
        };
        let mut revisions: BTreeMap<String, u64> = BTreeMap::new();
        let place = |(position, event): (u64, &PendingEvent)| {
            let next = revisions.entry(event.stream.to_string()).or_default();
            let revision = Revision::new(*next);
            *next += 1;
            record(event, Position::new(position), revision)
        };
        Self::new((1..).zip(&pending).map(place).collect(), false)
    }

    pub(super) fn of_stored(stored: impl IntoIterator<Item = (&'static str, u32, Value)>) -> Self {
        let record = |(place, (event_type, version, data)): (u64, (&str, u32, Value))| {
            let pending = PendingEvent {
                event_type: EventType::new(event_type).expect("a test gives types that are names"),
                version,
                content_type: ContentType::json(),
                stream: StreamName::new(STORED_STREAM).expect("the name is a valid constant"),
                tags: Tags::EMPTY,
                data: data.to_string().into(),
            };
            record(&pending, Position::new(place + 1), Revision::new(place))
        };
        Self::new((0..).zip(stored).map(record).collect(), true)
    }

    fn new(events: Vec<RecordedEvent>, own_names: bool) -> Self {
        let batch = events.iter().collect();
        Self { events, batch, own_names }
    }

    /// The model after the events that its query selects.
    pub(super) fn fold<M: Model>(
        &self,
        model: M,
        upcasters: &Upcasters,
    ) -> Result<(M, Boundary), DecodeError> {
        self.fold_range(model, upcasters, 0..self.events.len())
    }

    pub(super) fn fold_range<M: Model>(
        &self,
        mut model: M,
        upcasters: &Upcasters,
        range: std::ops::Range<usize>,
    ) -> Result<(M, Boundary), DecodeError> {
        let mut boundary = Boundary::default();
        let members = model.members();
        let mut planned: Vec<_> = members
            .into_iter()
            .map(|member| {
                let query = match member.query() {
                    Ok(query) => upcasters.widen(query),
                    Err(error) => panic!("a key of the model cannot be part of a name: {error}"),
                };
                (member, query)
            })
            .collect();
        for event in self.batch.iter().skip(range.start).take(range.len()) {
            let parts = parts(event, upcasters)?;
            let mut is_selected = false;
            for (member, query) in &mut planned {
                if !self.is_meant(event, query) {
                    continue;
                }
                for part in parts.iter() {
                    is_selected |= member
                        .fold(event, part, query, self.own_names)
                        .map_err(|problem| DecodeError::new(event, problem))?;
                }
            }
            let list = if is_selected { &mut boundary.inside } else { &mut boundary.outside };
            list.push(describe(event));
        }
        drop(planned);
        Ok((model, boundary))
    }

    pub(super) fn count(&self) -> usize {
        self.events.len()
    }

    fn is_meant(&self, event: EventRef<'_>, query: &Query) -> bool {
        if self.own_names {
            let is_type = |types: &[EventType]| {
                types.is_empty() || types.iter().any(|own| own == event.event_type())
            };
            return query.items.iter().any(|item| is_type(&item.types));
        }
        query.matches(event)
    }
}

pub(super) fn record(
    event: &PendingEvent,
    position: Position,
    revision: Revision,
) -> RecordedEvent {
    RecordedEvent {
        id: EventId::from_uuid(Uuid::from_u64_pair(0, position.get())),
        stream: event.stream.clone(),
        event_type: event.event_type.clone(),
        tags: event.tags.clone(),
        content_type: event.content_type.clone(),
        data: EventData::Present(event.data.clone()),
        metadata: Metadata::default().to_bytes(event.version),
        recorded_at: Timestamp::from_micros(0),
        position,
        revision,
    }
}

/// An event on one line: type, tags, stream and data.
fn describe(event: EventRef<'_>) -> String {
    let tags: Vec<&str> = event.tags().collect();
    let data = String::from_utf8_lossy(event.data_bytes());
    let (event_type, stream) = (event.event_type(), event.stream());
    format!("{event_type} [{}] in {stream}: {data}", tags.join(", "))
}

/// A decided event on one line, as far as it is compared.
pub(super) fn describe_pending(event: &PendingEvent) -> String {
    let tags: Vec<&str> = event.tags.iter().collect();
    let data = if event.content_type.is_json() {
        String::from_utf8_lossy(&event.data).into_owned()
    } else {
        format!("{:?}", event.data)
    };
    format!("{} [{}]: {data}", event.event_type, tags.join(", "))
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = |title: &str, events: &[String]| {
            if events.is_empty() {
                return Ok(());
            }
            writeln!(f, "{title}:")?;
            events.iter().try_for_each(|event| writeln!(f, "  {event}"))
        };
        list("given, and read by the model", &self.inside)?;
        list("given, but outside the boundary (check types and tags)", &self.outside)
    }
}
