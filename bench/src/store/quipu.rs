//! Quipu, through its public API and nothing else.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_lite::future::{block_on, poll_once};
use quipu_core::{
    Append, Batches, ContentType, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    Position, Query, QueryItem, ReadAll, ReadError, ReadStream, Revision, StreamName, Tags,
};
use quipu_engine::OpenOptions;

use super::{Error, Guard, Result, Segments, Store, Tally};
use crate::workload::Event;

/// Any store that keeps the contract.
pub(super) struct Quipu(Arc<dyn EventStore>);

impl Quipu {
    /// Opens the store.
    pub(super) fn open(dir: &Path, segments: Segments) -> Result<Self> {
        let options = OpenOptions::new().create(true).segment_size(segments.size());
        Ok(Self(Arc::new(options.open(dir)?)))
    }

    /// The same adapter over any store that keeps the contract.
    #[cfg(test)]
    pub(super) fn over(store: Arc<dyn EventStore>) -> Self {
        Self(store)
    }

    fn append_all(&self, append: Append) -> Result<u64> {
        let appended = block_on(self.0.append(append))?;
        if appended.replayed {
            return Err(Error::from("the events were there already"));
        }
        Ok(appended.last.unwrap_or_default().get())
    }
}

impl Store for Quipu {
    fn append(&self, events: &[Event]) -> Result<u64> {
        let mut append = Append::new();
        append.events.reserve(events.len());
        for event in events {
            let stream = StreamName::new(&event.stream)?;
            if event.opens_stream {
                let expected = match u64::from(event.revision).checked_sub(1) {
                    Some(last) => ExpectedRevision::Exactly(Revision::new(last)),
                    None => ExpectedRevision::NoStream,
                };
                append.expectations.push((stream.clone(), expected));
            }
            append.events.push((stream, new_event(event)?));
        }
        self.append_all(append)
    }

    fn append_guarded(&self, event: &Event, guard: &Guard) -> Result<u64> {
        let (query, after) = condition(guard)?;
        let stream = StreamName::new(&event.stream)?;
        self.append_all(Append::new().event(stream, new_event(event)?).fail_if(query, after))
    }

    fn check_all(&self, guards: &[Guard]) -> Result<()> {
        block_on(async {
            let mut asked = Vec::with_capacity(guards.len());
            for guard in guards {
                let (query, after) = condition(guard)?;
                let mut asking = self.0.append(Append::new().fail_if(query, after));
                match poll_once(&mut asking).await {
                    Some(answer) => drop(answer?),
                    None => asked.push(asking),
                }
            }
            for asking in asked {
                asking.await?;
            }
            Ok(())
        })
    }

    fn last(&self) -> Result<u64> {
        Ok(block_on(self.0.frontier())?.get())
    }

    fn scan(&self) -> Result<Tally> {
        block_on(async { tally(self.0.read_all(ReadAll::new(Query::all())).await?.batches).await })
    }

    fn read_stream(&self, stream: &str) -> Result<Tally> {
        let stream = StreamName::new(stream)?;
        block_on(async { tally(self.0.read_stream(ReadStream::new(stream)).await?.batches).await })
    }
}

fn new_event(event: &Event) -> Result<NewEvent> {
    Ok(NewEvent {
        id: EventId::from_bytes(event.id),
        event_type: EventType::new(&event.event_type)?,
        tags: Tags::parse(&event.tags)?,
        content_type: ContentType::json(),
        data: Bytes::copy_from_slice(&event.data),
        metadata: Bytes::new(),
        recorded_at: None,
    })
}

fn condition(guard: &Guard) -> Result<(Query, Option<Position>)> {
    let (item, after) = match guard {
        Guard::NoTag { tag, after } => {
            (QueryItem { tags: Tags::parse([tag])?, ..QueryItem::default() }, *after)
        }
        Guard::NoType { event_type, after } => {
            let types = vec![EventType::new(event_type)?];
            (QueryItem { types, ..QueryItem::default() }, *after)
        }
    };
    Ok((item.into(), (after > 0).then(|| Position::new(after))))
}

async fn tally(mut batches: Box<dyn Batches>) -> std::result::Result<Tally, Error> {
    let mut tally = Tally::default();
    while let Some(batch) = batches.next().await.map_err(|error: ReadError| error)? {
        for event in batch.iter() {
            tally.add(event.event_type(), event.data_bytes());
        }
    }
    Ok(tally)
}
