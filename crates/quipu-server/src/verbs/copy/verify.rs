//! Two logs side by side: whether every event of one is in the other, the same and in order.

use std::collections::VecDeque;

use futures_lite::future::block_on;
use quipu_core::{Batches, EventStore, Query, ReadAll, ReadError, RecordedEvent};

use crate::output::Bar;

/// What comparing found.
pub(super) struct Compared {
    pub(super) same_count: u64,
    /// The first difference, if there is one.
    pub(super) difference: Option<String>,
}

/// Compares all events of a log with those of its copy, which may have others between them.
pub(super) fn compare(
    source: &dyn EventStore,
    copy: &dyn EventStore,
) -> Result<Compared, ReadError> {
    let read = block_on(source.read_all(ReadAll::new(Query::all())))?;
    let end = read.frontier.get();
    let mut events = Events::new(read.batches);
    let mut copies = Events::new(block_on(copy.read_all(ReadAll::new(Query::all())))?.batches);
    let bar = Bar::new();
    let mut compared = Compared { same_count: 0, difference: None };
    while let Some(event) = events.next()? {
        let found = loop {
            match copies.next()? {
                Some(copy) if copy.id == event.id && copy.stream == event.stream => {
                    break (!is_same(&event, &copy)).then_some("is not the same");
                }
                Some(_) => {}
                None => break Some("is missing, or comes in another order"),
            }
        };
        if let Some(what) = found {
            let RecordedEvent { position, stream, .. } = &event;
            let difference = format!("the event at position {position} of {stream} {what}");
            compared.difference = Some(difference);
            return Ok(compared);
        }
        compared.same_count += 1;
        if compared.same_count.is_multiple_of(1_000) {
            bar.advance(event.position.get(), end, "positions compared");
        }
    }
    Ok(compared)
}

fn is_same(event: &RecordedEvent, copy: &RecordedEvent) -> bool {
    let RecordedEvent { event_type, tags, content_type, data, metadata, recorded_at, .. } = event;
    copy.event_type == *event_type
        && copy.tags == *tags
        && copy.content_type == *content_type
        && copy.data == *data
        && copy.metadata == *metadata
        // It is raised where a log's times never go back.
        && copy.recorded_at >= *recorded_at
}

/// The events of a read, one after the other.
pub(super) struct Events {
    batches: Box<dyn Batches>,
    ready: VecDeque<RecordedEvent>,
}

impl Events {
    pub(super) fn new(batches: Box<dyn Batches>) -> Self {
        Self { batches, ready: VecDeque::new() }
    }

    pub(super) fn next(&mut self) -> Result<Option<RecordedEvent>, ReadError> {
        if self.ready.is_empty()
            && let Some(batch) = block_on(self.batches.next())?
        {
            self.ready.extend(batch.to_vec());
        }
        Ok(self.ready.pop_front())
    }
}
