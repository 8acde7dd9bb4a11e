//! tephra: its engine, with its default options.
//!
//! It has no streams, so a stream is one more tag, and no revisions, so that a stream is as the
//! caller left it is an append condition on that tag: in appends of one event. In batches of many
//! streams there is none, to its advantage. It has no event ids either.

use std::path::Path;

use tephra::{
    AppendCondition, AppendError, ConflictSite, EventType, Position, Query, QueryItem,
    SegmentConfig, SegmentSet, Tag, Tags, WriteCoordinator, WriteHandle, WriterConfig,
};

use super::{Error, Guard, Result, Segments, Store, Tally};
use crate::workload::Event;

/// tephra's engine.
pub(super) struct Tephra {
    handle: WriteHandle,
    coordinator: Option<WriteCoordinator>,
}

impl Tephra {
    /// Opens the store.
    pub(super) fn open(dir: &Path, segments: Segments) -> Result<Self> {
        let size = usize::try_from(segments.size())?;
        let set = SegmentSet::open(dir, SegmentConfig::new(size))?;
        let (coordinator, handle) = WriteCoordinator::start(set, WriterConfig::default())?;
        Ok(Self { handle, coordinator: Some(coordinator) })
    }

    fn append_all(&self, events: &[Event], condition: Option<&AppendCondition>) -> Result<u64> {
        loop {
            let events = events.iter().map(encode).collect::<Result<Vec<_>>>()?;
            match self.handle.append(events, condition.cloned()) {
                Ok(range) => return Ok(range.last.get()),
                // It may pass once the batch under way is done: its users are told to try again.
                Err(AppendError::Conflict { at: ConflictSite::SameBatch, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(&self, query: &Query) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut events = self.handle.read(query, Position::ZERO, None);
        while let Some(event) = events.next() {
            let event = event?.event;
            tally.add(event.event_type(), event.data());
        }
        Ok(tally)
    }
}

impl Drop for Tephra {
    fn drop(&mut self) {
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.shutdown();
        }
    }
}

impl Store for Tephra {
    fn append(&self, events: &[Event]) -> Result<u64> {
        let condition = match events {
            // The caller knows its stream up to the end of the log as it is now.
            [event] => Some(AppendCondition::new(tag(&event.stream)?).after(self.handle.head())),
            _ => None,
        };
        self.append_all(events, condition.as_ref())
    }

    fn append_guarded(&self, event: &Event, guard: &Guard) -> Result<u64> {
        let (query, after) = match guard {
            Guard::NoTag { tag: name, after } => (tag(name)?, after),
            Guard::NoType { event_type, after } => {
                let event_type = EventType::new(event_type.clone())?;
                (Query::item(QueryItem::of_types(vec![event_type])), after)
            }
        };
        let condition = AppendCondition::new(query).after(Position::new(*after));
        self.append_all(std::slice::from_ref(event), Some(&condition))
    }

    fn check_all(&self, _: &[Guard]) -> Result<()> {
        Err(Error::from("tephra checks conditions only with events to append"))
    }

    fn last(&self) -> Result<u64> {
        Ok(self.handle.head().get())
    }

    fn scan(&self) -> Result<Tally> {
        self.read(&Query::all())
    }

    fn read_stream(&self, stream: &str) -> Result<Tally> {
        self.read(&tag(stream)?)
    }
}

fn tag(name: &str) -> Result<Query> {
    Ok(Query::item(QueryItem::with_tags(Tags::new([Tag::new(name)?])?)))
}

fn encode(event: &Event) -> Result<tephra::Event> {
    let event_type = EventType::new(event.event_type.clone())?;
    let [a, b, c] = &event.tags;
    let tags = Tags::new([
        Tag::new(a.clone())?,
        Tag::new(b.clone())?,
        Tag::new(event.stream.clone())?,
        Tag::new(c.clone())?,
    ])?;
    Ok(tephra::Event::new(&event_type, &tags, &event.data)?)
}
