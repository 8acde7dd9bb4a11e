//! Takes inputs and carries out what is to be done about them.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use quipu_core::{
    Append, AppendError, Appended, BoxFuture, EventBatch, EventData, EventId, EventRef, NameError,
    NewEvent, Position, Query, RecordedEvent, Revision, StreamName, Tags,
};
use quipu_groups::{HandleError, Handler, Work};
use uuid::Uuid;

use super::effects::{Sending, Sent};
use super::instance::{Pending, Planned, SameStep, Taken, TimerChange};
use super::load::{FoldError, Loaded, taken};
use super::record::{
    self, CancelledRecord, CompletedRecord, DoneRecord, InputRecord, InputRef, RejectedRecord,
    ScheduledTimer, TimerRecord,
};
use super::{Begin, Process};
use crate::app::Quipu;
use crate::codec::CodecError;
use crate::command::digest;
use crate::decode::{DecodeError, decode, decode_recorded};
use crate::error::ExecuteError;
use crate::metadata::Metadata;

/// How often an instance is folded again since somebody else appended to its stream.
const ATTEMPT_COUNT_MAX: usize = 16;

/// How many instances are kept in memory; their streams have them anyway.
const CACHE_COUNT_MAX: usize = 1_024;

/// Runs the instances of a process.
pub(super) struct Instances<P: Process> {
    app: Quipu,
    tags: Tags,
    prefix: String,
    /// Folded instances. Held only to take one out or put one back.
    cache: Mutex<HashMap<String, Loaded<P>>>,
}

/// Why an input could not be handled.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// Another one appended to the instance's stream: fold it again.
    #[error("the instance's stream moved on")]
    Moved,
    /// It may work later.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The input or the process is at fault.
    #[error("an input of a process could not be handled")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// What stops an instance.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(
        "instance \"{instance}\" of process \"{process}\" has effects of input {input} to finish, \
         recorded as [{recorded}], but react now answers [{found}]: let it answer what it did"
    )]
    Mismatch {
        process: &'static str,
        instance: String,
        input: String,
        recorded: String,
        found: String,
    },
    #[error(
        "instance \"{instance}\" of process \"{process}\" has effects of input {input} to finish, \
         and the input was erased or dropped"
    )]
    InputGone { process: &'static str, instance: String, input: String },
    #[error("the command of step \"{step}\" of instance \"{instance}\" cannot be executed")]
    Command {
        instance: String,
        step: String,
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
}

impl From<FoldError> for Trouble {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Read(error) => Self::Unavailable(error.into()),
            FoldError::Broken(cause) => Self::Failed(cause),
        }
    }
}

impl From<AppendError> for Trouble {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } => Self::Moved,
            AppendError::Invalid(invalid) => Self::Failed(invalid.into()),
            // An unknown outcome too: what is in the log tells, once it can be read.
            error => Self::Unavailable(error.into()),
        }
    }
}

impl From<NameError> for Trouble {
    fn from(error: NameError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SameStep> for Trouble {
    fn from(error: SameStep) -> Self {
        Self::Failed(error.into())
    }
}

impl From<DecodeError> for Trouble {
    fn from(error: DecodeError) -> Self {
        Self::Failed(error.into())
    }
}

/// An input on its way to an instance.
struct Incoming<P: Process> {
    instance: String,
    at: InputRef,
    taken: Arc<Taken<P>>,
    begin: Begin,
}

impl<P: Process> Instances<P> {
    pub(super) fn new(app: Quipu) -> Result<Self, NameError> {
        let (tags, prefix) = (record::tags(P::NAME)?, record::stream_prefix(P::NAME));
        Ok(Self { app, tags, prefix, cache: Mutex::default() })
    }

    fn is_own(&self, event: EventRef<'_>) -> bool {
        let is_input = matches!(event.event_type(), record::FIRED | record::REJECTED);
        is_input && self.tags.iter().all(|tag| event.has_tag(tag))
    }

    /// The instances that an event is for, and as what.
    fn incoming(&self, event: &RecordedEvent) -> Result<Vec<Incoming<P>>, Trouble> {
        let batch: EventBatch = [event].into_iter().collect();
        if batch.first().is_some_and(|event| self.is_own(event)) {
            let Some(instance) = event.stream.as_str().strip_prefix(&self.prefix) else {
                return Ok(Vec::new());
            };
            let taken = taken::<P>(&self.app, event, 0)?;
            let incoming = taken.map(|taken| Incoming {
                instance: instance.to_owned(),
                at: InputRef::new(event, 0),
                taken: Arc::new(taken),
                begin: Begin::NotAllowed,
            });
            return Ok(incoming.into_iter().collect());
        }
        let mut incoming = Vec::new();
        for own in decode_recorded::<P::Event>(event, self.app.upcasters())? {
            // Nobody can tell which instance erased data was for.
            let Ok(own) = own.transpose() else { continue };
            let Some((instance, begin)) = P::route(&own.event).into_instance() else { continue };
            let at = InputRef::new(event, own.part);
            let taken = Arc::new(Taken::Event(Box::new(own)));
            incoming.push(Incoming { instance, at, taken, begin });
        }
        Ok(incoming)
    }

    async fn handle_event(&self, event: &RecordedEvent) -> Result<(), Trouble> {
        for incoming in self.incoming(event)? {
            self.handle_input(&incoming).await?;
        }
        Ok(())
    }

    async fn handle_input(&self, incoming: &Incoming<P>) -> Result<(), Trouble> {
        for _ in 0..ATTEMPT_COUNT_MAX {
            let mut loaded = self.load(&incoming.instance).await?;
            match self.try_input(incoming, &mut loaded).await {
                Ok(()) => {
                    self.keep(&incoming.instance, loaded);
                    return Ok(());
                }
                Err(Trouble::Moved) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Err(Trouble::Unavailable(Trouble::Moved.into()))
    }

    async fn load(&self, instance: &str) -> Result<Loaded<P>, Trouble> {
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
        let mut loaded = match cached {
            Some(loaded) => loaded,
            None => Loaded::new(StreamName::new(format!("{}{instance}", self.prefix))?),
        };
        loaded.catch_up(&self.app).await?;
        Ok(loaded)
    }

    fn keep(&self, instance: &str, loaded: Loaded<P>) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_COUNT_MAX {
            cache.clear();
        }
        // Nothing more is for an instance that is completed, but late inputs, which are rare.
        if !loaded.instance.is_completed() {
            cache.insert(instance.to_owned(), loaded);
        }
    }

    async fn try_input(
        &self,
        incoming: &Incoming<P>,
        loaded: &mut Loaded<P>,
    ) -> Result<(), Trouble> {
        // What an earlier life of the runner left comes first, whatever this input is.
        self.finish(&incoming.instance, loaded).await?;
        let Incoming { instance, at, taken, begin } = incoming;
        if !loaded.instance.accepts(at, taken, *begin) {
            return Ok(());
        }
        loaded.instance.take(at, taken);
        let planned = loaded.instance.plan(at, taken)?;
        let has_commands = !planned.commands.is_empty();
        let effects = self.record_input(at, planned, loaded).await?;
        let pending = Pending { at: at.clone(), taken: Some(Arc::clone(taken)), effects };
        loaded.instance.begin_effects(pending);
        loaded.drop_own(at.id);
        if has_commands {
            return self.finish(instance, loaded).await;
        }
        loaded.instance.end_effects();
        Ok(())
    }

    /// Records that the state has taken an input in, and what is to be done about it. What needs no
    /// command is done by the same append.
    async fn record_input(
        &self,
        at: &InputRef,
        planned: Planned<P::Timer>,
        loaded: &mut Loaded<P>,
    ) -> Result<Vec<String>, Trouble> {
        let metadata = metadata(at, loaded);
        let done = planned.commands.is_empty();
        let record = InputRecord {
            input: at.id.as_uuid(),
            part: at.part,
            position: at.position.get(),
            stream: at.stream.to_string(),
            revision: at.revision.get(),
            effects: planned.effects,
            done,
        };
        let mut events = vec![own_event::<P, _>(record::INPUT, &record, &metadata)?];
        change_timers::<P>(planned.timers, loaded, &mut events, &metadata)?;
        if done && planned.completes {
            complete::<P>(loaded, &mut events, &metadata)?;
        }
        self.append(loaded, events).await?;
        Ok(record.effects)
    }

    /// Executes what is left to be executed of the pending input.
    async fn finish(&self, instance: &str, loaded: &mut Loaded<P>) -> Result<(), Trouble> {
        let Some(Pending { at, taken, effects }) = &loaded.instance.pending else { return Ok(()) };
        let input = at.text();
        let stop = |stop: Stop| Trouble::Failed(stop.into());
        let named = || (P::NAME, instance.to_owned(), input.clone());
        let Some(taken) = taken else {
            let (process, instance, input) = named();
            return Err(stop(Stop::InputGone { process, instance, input }));
        };
        let at = at.clone();
        let planned = loaded.instance.plan(&at, taken)?;
        if planned.effects != *effects {
            let (process, instance, input) = named();
            let (recorded, found) = (effects.join(", "), planned.effects.join(", "));
            return Err(stop(Stop::Mismatch { process, instance, input, recorded, found }));
        }
        for (step, command) in planned.commands {
            if loaded.instance.is_refused(&step) {
                continue;
            }
            let sending = Sending {
                key: format!("{}/{instance}/{input}/{step}", P::NAME),
                metadata: metadata(&at, loaded),
                expected: (loaded.stream.clone(), loaded.expected()),
            };
            let key = sending.key.clone();
            match command.execute(&self.app, sending).await {
                Ok(Sent::Executed) => {}
                Ok(Sent::Rejected { reason }) => {
                    self.record_rejection(&at, step, reason, &key, loaded).await?;
                }
                Err(error) => return Err(trouble_of(error, instance, step)),
            }
        }
        let metadata = metadata(&at, loaded);
        let record = DoneRecord { input: at.id.as_uuid(), part: at.part };
        let mut events = vec![own_event::<P, _>(record::DONE, &record, &metadata)?];
        if planned.completes {
            complete::<P>(loaded, &mut events, &metadata)?;
        }
        self.append(loaded, events).await?;
        loaded.instance.end_effects();
        Ok(())
    }

    /// Records that a command was refused; unless another runner has executed it meanwhile.
    async fn record_rejection(
        &self,
        at: &InputRef,
        step: String,
        reason: String,
        key: &str,
        loaded: &mut Loaded<P>,
    ) -> Result<(), Trouble> {
        let record = RejectedRecord { input: at.id.as_uuid(), part: at.part, step, reason };
        let mut event = own_event::<P, _>(record::REJECTED, &record, &metadata(at, loaded))?;
        event.id = EventId::from_uuid(Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()));
        let mut append =
            Append::to_stream(loaded.stream.clone(), loaded.expected(), [event.clone()]);
        let ledger = Tags::parse([format!("$quipu.key:{}", digest(key.as_bytes()))])?;
        append = append.fail_if(Query::tags(ledger), None);
        let appended = self.app.store().append(append).await?;
        let (position, revision) = end_of(&appended);
        loaded.revision = Some(revision);
        loaded.instance.refuse(&record.step);
        loaded.keep_own(RecordedEvent {
            id: event.id,
            stream: loaded.stream.clone(),
            event_type: event.event_type,
            tags: event.tags,
            content_type: event.content_type,
            data: EventData::Present(event.data),
            metadata: event.metadata,
            recorded_at: self.app.now(),
            position,
            revision,
        });
        Ok(())
    }

    async fn append(&self, loaded: &mut Loaded<P>, events: Vec<NewEvent>) -> Result<(), Trouble> {
        let append = Append::to_stream(loaded.stream.clone(), loaded.expected(), events);
        let appended = self.app.store().append(append).await?;
        loaded.revision = Some(end_of(&appended).1);
        Ok(())
    }

    async fn handle_work(&self, work: &Work) -> Result<(), HandleError> {
        for (handled, item) in work.events.iter().enumerate() {
            self.handle_event(&item.event).await.map_err(|trouble| match trouble {
                Trouble::Failed(source) => HandleError::Failed { handled, source },
                Trouble::Unavailable(source) => {
                    HandleError::Unavailable { handled, retry_after: None, source }
                }
                Trouble::Moved => {
                    let source = Trouble::Moved.into();
                    HandleError::Unavailable { handled, retry_after: None, source }
                }
            })?;
        }
        Ok(())
    }
}

/// Where an append to one stream ended.
fn end_of(appended: &Appended) -> (Position, Revision) {
    let last = appended.streams.first();
    last.map(|last| (last.position, last.revision)).unwrap_or_default()
}

fn trouble_of(
    error: ExecuteError<std::convert::Infallible>,
    instance: &str,
    step: String,
) -> Trouble {
    match error {
        // The command lost against others, or the instance moved on: either way, look again.
        ExecuteError::Conflict { .. } => Trouble::Moved,
        error @ (ExecuteError::Unavailable(_) | ExecuteError::OutcomeUnknown(_)) => {
            Trouble::Unavailable(error.into())
        }
        error => {
            let (instance, cause) = (instance.to_owned(), error.into());
            Trouble::Failed(Stop::Command { instance, step, cause }.into())
        }
    }
}

/// Who did it, why, as part of what.
fn metadata<P: Process>(at: &InputRef, loaded: &Loaded<P>) -> Metadata {
    Metadata {
        correlation: loaded.instance.correlation.clone(),
        causation: Some(at.id.to_string()),
        actor: Some(format!("process/{}", P::NAME)),
        tenant: loaded.instance.tenant.clone(),
        ..Metadata::default()
    }
}

fn own_event<P: Process, T: serde::Serialize>(
    event_type: &str,
    data: &T,
    metadata: &Metadata,
) -> Result<NewEvent, Trouble> {
    Ok(record::event(P::NAME, event_type, data, metadata)?)
}

/// Sets timers and takes them back, in order.
fn change_timers<P: Process>(
    changes: Vec<TimerChange<P::Timer>>,
    loaded: &mut Loaded<P>,
    events: &mut Vec<NewEvent>,
    metadata: &Metadata,
) -> Result<(), Trouble> {
    for change in changes {
        let (TimerChange::Schedule { timer, .. } | TimerChange::Cancel { timer }) = &change;
        // One that is replaced is taken back too, so that who serves timers needs no names.
        if let Some(set) = loaded.instance.timer(timer).cloned() {
            events.push(cancelled::<P>(timer, set.id, metadata)?);
            loaded.instance.unset_timer(set.id);
        }
        if let TimerChange::Schedule { timer, due, value } = change {
            let value = serde_json::to_value(value);
            let value = value.map_err(|cause| Trouble::Failed(CodecError::new(cause).into()))?;
            let record = TimerRecord { timer, due: due.as_micros(), value };
            let event = own_event::<P, _>(record::SCHEDULED, &record, metadata)?;
            loaded.instance.set_timer(&record.timer, ScheduledTimer { id: event.id, due });
            events.push(event);
        }
    }
    Ok(())
}

fn cancelled<P: Process>(
    timer: &str,
    scheduled: EventId,
    metadata: &Metadata,
) -> Result<NewEvent, Trouble> {
    let record = CancelledRecord { scheduled: scheduled.as_uuid(), timer: timer.to_owned() };
    own_event::<P, _>(record::CANCELLED, &record, metadata)
}

/// Ends the instance, and takes back the timers that are still set.
fn complete<P: Process>(
    loaded: &mut Loaded<P>,
    events: &mut Vec<NewEvent>,
    metadata: &Metadata,
) -> Result<(), Trouble> {
    for (timer, set) in loaded.instance.timers() {
        events.push(cancelled::<P>(timer, set.id, metadata)?);
    }
    events.push(own_event::<P, _>(record::COMPLETED, &CompletedRecord {}, metadata)?);
    loaded.instance.complete();
    Ok(())
}

impl<P: Process> Handler for Instances<P> {
    /// The instance. An event that cannot be read goes by its stream, and fails when it is handled.
    fn key(&self, event: EventRef<'_>) -> Option<Arc<str>> {
        if self.is_own(event) {
            return event.stream().strip_prefix(&self.prefix).map(Into::into);
        }
        match decode::<P::Event>(event, self.app.upcasters()) {
            Ok(parts) => parts.into_iter().find_map(|own| {
                let own = own.transpose().ok()?;
                P::route(&own.event).into_instance().map(|(instance, _)| instance.into())
            }),
            Err(_unreadable) => Some(event.stream().into()),
        }
    }

    fn handle<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(self.handle_work(work))
    }
}
