//! Folding an instance from its stream.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use quipu_core::{
    EventId, ExpectedRevision, Position, Query, ReadAll, ReadError, ReadStream, RecordedEvent,
    Revision, StreamName, StreamRead, Timestamp, collect,
};

use super::Process;
use super::instance::{Instance, Pending, Taken};
use super::record::{
    self, CancelledRecord, FiredRecord, InputRecord, InputRef, RejectedRecord, ScheduledTimer,
    TimerRecord,
};
use crate::app::Quipu;
use crate::decode::decode_recorded;

/// An instance as its stream has it, up to a revision.
pub(super) struct Loaded<P: Process> {
    pub(super) stream: StreamName,
    pub(super) instance: Instance<P>,
    pub(super) revision: Option<Revision>,
    /// Fired timers and refusals of the stream that were not taken yet.
    own: HashMap<EventId, RecordedEvent>,
}

/// Why an instance could not be folded.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoldError {
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    #[error("the process's stream cannot be read")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

impl FoldError {
    pub(super) fn broken(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken(cause.into())
    }
}

impl<P: Process> Loaded<P> {
    pub(super) fn new(stream: StreamName) -> Self {
        Self { stream, instance: Instance::default(), revision: None, own: HashMap::new() }
    }

    /// What the stream must still be like for a decision on this to hold.
    pub(super) fn expected(&self) -> ExpectedRevision {
        self.revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exactly)
    }

    /// Folds what is new in the stream; all of it where that is not what was folded before.
    pub(super) async fn catch_up(&mut self, app: &Quipu) -> Result<(), FoldError> {
        loop {
            let mut read = ReadStream::new(self.stream.clone());
            read.from = self.revision.map(Revision::next);
            let StreamRead { state, mut batches } = app.store().read_stream(read).await?;
            while let Some(batch) = batches.next().await? {
                for event in batch.iter() {
                    self.fold(app, event.to_recorded()).await?;
                }
            }
            // A stream that was deleted is not what was folded: begin anew, with what it shows.
            if self.revision.is_none() || state.last() >= self.revision {
                return Ok(());
            }
            *self = Self::new(self.stream.clone());
        }
    }

    /// Takes an event of the stream in.
    async fn fold(&mut self, app: &Quipu, event: RecordedEvent) -> Result<(), FoldError> {
        self.revision = Some(event.revision);
        match event.event_type.as_str() {
            record::INPUT => self.fold_input(app, &event).await?,
            record::DONE => self.instance.end_effects(),
            record::REJECTED => {
                let RejectedRecord { step, .. } = parse(&event)?;
                self.instance.refuse(&step);
                self.own.insert(event.id, event);
            }
            record::COMPLETED => self.instance.complete(),
            record::SCHEDULED => {
                let TimerRecord { timer, due, .. } = parse(&event)?;
                let due = Timestamp::from_micros(due);
                self.instance.set_timer(&timer, ScheduledTimer { id: event.id, due });
            }
            record::CANCELLED => {
                let CancelledRecord { scheduled, .. } = parse(&event)?;
                self.instance.unset_timer(EventId::from_uuid(scheduled));
            }
            record::FIRED => {
                self.own.insert(event.id, event);
            }
            // What a later version of the framework writes beside these is not for this one.
            _ => {}
        }
        Ok(())
    }

    async fn fold_input(&mut self, app: &Quipu, event: &RecordedEvent) -> Result<(), FoldError> {
        let record: InputRecord = parse(event)?;
        let source = match self.own.remove(&EventId::from_uuid(record.input)) {
            Some(own) => own,
            None => find(app, &record).await?,
        };
        let at = InputRef::new(&source, record.part);
        let taken = taken(app, &source, record.part)?.map(Arc::new);
        match &taken {
            Some(taken) => self.instance.take(&at, taken),
            None => self.instance.pass(&at),
        }
        self.instance.begin_effects(Pending { at, taken, effects: record.effects });
        if record.done {
            self.instance.end_effects();
        }
        Ok(())
    }

    /// Forgets an event of the stream that was taken.
    pub(super) fn drop_own(&mut self, id: EventId) {
        self.own.remove(&id);
    }

    /// Keeps an event of the stream that this process appended itself.
    pub(super) fn keep_own(&mut self, event: RecordedEvent) {
        self.own.insert(event.id, event);
    }
}

fn parse<T: serde::de::DeserializeOwned>(event: &RecordedEvent) -> Result<T, FoldError> {
    record::parse(event).map_err(FoldError::broken)
}

/// The input that an event is, or a part of it; none where it was erased or is dropped.
pub(super) fn taken<P: Process>(
    app: &Quipu,
    event: &RecordedEvent,
    part: u32,
) -> Result<Option<Taken<P>>, FoldError> {
    match event.event_type.as_str() {
        record::FIRED => {
            let FiredRecord { scheduled, timer } = parse(event)?;
            let value = serde_json::from_value(timer.value).map_err(FoldError::broken)?;
            let scheduled = EventId::from_uuid(scheduled);
            Ok(Some(Taken::Timer { timer: timer.timer, scheduled, value }))
        }
        record::REJECTED => {
            let RejectedRecord { step, reason, .. } = parse(event)?;
            Ok(Some(Taken::Rejected { step, reason }))
        }
        _ => {
            let parts = decode_recorded::<P::Event>(event, app.upcasters());
            let mut parts = parts.map_err(FoldError::broken)?.into_iter();
            let own = parts.find(|own| own.part == part);
            let own = own.and_then(|own| own.transpose().ok());
            Ok(own.map(|own| Taken::Event(Box::new(own))))
        }
    }
}

/// Finds an input again: by its position, or, in a log that was copied, by its place in its stream.
async fn find(app: &Quipu, record: &InputRecord) -> Result<RecordedEvent, FoldError> {
    let id = EventId::from_uuid(record.input);
    let at = Position::new(record.position);
    let read = ReadAll::new(Query::all()).from(at).limit(1);
    let read = app.store().read_all(read).await?;
    let found = collect(read.batches).await?.into_iter().find(|event| event.id == id);
    if let Some(found) = found {
        return Ok(found);
    }
    let stream = StreamName::new(&record.stream).map_err(FoldError::broken)?;
    let read = ReadStream::new(stream).from(Revision::new(record.revision)).limit(1);
    let read = app.store().read_stream(read).await?;
    let found = collect(read.batches).await?.into_iter().find(|event| event.id == id);
    found.ok_or_else(|| {
        let InputRecord { input, position, stream, .. } = record;
        let text =
            format!("the input {input} of stream \"{stream}\" is not at {position} any more");
        FoldError::broken(text)
    })
}
