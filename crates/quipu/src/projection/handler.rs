//! Applies events: one work is one transaction, with the checkpoint in it.

use std::sync::Arc;
use std::{fmt, slice};

use quipu_core::{BoxFuture, EventBatch, EventRef, Position, Query};
use quipu_groups::{HandleError, Handler, KeepError, Origin, Parking, PlaceKeeper, Work};

use super::books::{ReadModel, explain};
use super::database::{Connection, is_outage_inside};
use super::{ApplyError, Projection};
use crate::decode::{DecodeError, decode_where};
use crate::recorded::{Erased, Recorded};
use crate::upcast::Upcasters;

/// A step of a work, at which tests let it crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The transaction has begun.
    Begun,
    /// One event was applied.
    Applied(Position),
    /// The checkpoint was moved; only the end of the transaction is missing.
    Moved(Position),
    /// It is durable; only the runner does not know it yet.
    Committed(Position),
}

/// What a test does at a step. A future that never ends is a crash.
pub(crate) type Watch = Arc<dyn Fn(Step) -> BoxFuture<'static, ()> + Send + Sync>;

/// Applies events to a read model.
pub(super) struct ProjectionHandler<P: Projection> {
    pub(super) model: Arc<ReadModel<P>>,
    pub(super) upcasters: Arc<Upcasters>,
    pub(super) query: Query,
    /// The name of the tag by whose value events are kept in order, with a colon behind it.
    pub(super) tag_prefix: Option<String>,
    pub(super) watch: Option<Watch>,
}

/// Events that could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("{which} could not be applied to \"{name}\" version {version}")]
struct NotApplied {
    which: Which,
    name: &'static str,
    version: u32,
    #[source]
    cause: ApplyError,
}

/// The event that is at fault, or those of which one is.
#[derive(Debug)]
enum Which {
    Event { position: Position, event_type: String, stream: String },
    OneOf { first: Position, last: Position },
}

impl Which {
    fn of<E>(events: &[Recorded<E>]) -> Self {
        match events {
            [event] => Self::Event {
                position: event.position,
                event_type: event.event_type.clone(),
                stream: event.stream.to_string(),
            },
            events => Self::OneOf {
                first: events.first().map(|event| event.position).unwrap_or_default(),
                last: events.last().map(|event| event.position).unwrap_or_default(),
            },
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { position, event_type, stream } => write!(
                f,
                "the event at position {position} (type \"{event_type}\", stream \"{stream}\")"
            ),
            Self::OneOf { first, last } => {
                write!(f, "one of the events from position {first} to {last}")
            }
        }
    }
}

/// A read model cannot go back by a part.
#[derive(Debug, thiserror::Error)]
#[error("a read model is built again from the log's first event on: replay from position 0")]
struct NotFromThere;

impl<P: Projection> ProjectionHandler<P> {
    async fn work(&self, work: &Work) -> Result<(), HandleError> {
        let events = self.decode(work).map_err(HandleError::failed)?;
        let model = &*self.model;
        let mut open = model.begin_fenced(work.epoch).await.map_err(undone)?;
        self.step(Step::Begun).await;
        let mut last = Position::START;
        for item in &*work.events {
            last = item.position;
            // An attempt before this one may have come through without being known.
            if work.origin == Origin::Parked
                && !model.forget_parked(&mut open, last).await.map_err(undone)?
            {
                return Ok(());
            }
        }
        for run in runs(events) {
            let position = self.apply(run, &mut open).await?;
            self.step(Step::Applied(position)).await;
        }
        model.move_places(&mut open, &work.moves).await.map_err(undone)?;
        self.step(Step::Moved(last)).await;
        P::Conn::commit(open).await.map_err(|error| undone(explain::<P>(error)))?;
        self.step(Step::Committed(last)).await;
        Ok(())
    }

    fn decode(&self, work: &Work) -> Result<Vec<Recorded<Option<P::Event>>>, DecodeError> {
        let batch: EventBatch = work.events.iter().map(|item| &*item.event).collect();
        let mut events = Vec::with_capacity(batch.count());
        for event in batch.iter() {
            events.extend(decode_where(event, &self.upcasters, Some(&self.query))?);
        }
        Ok(events)
    }

    /// Applies a run of events. Answers the last one's position.
    async fn apply(&self, run: Run<P::Event>, conn: &mut P::Conn) -> Result<Position, HandleError> {
        let (projection, generation) = (&self.model.projection, &self.model.generation);
        let (applied, last) = match &run {
            Run::Events(events) => {
                let applied = projection.apply_batch(events, conn, generation).await;
                (applied, events.last().map(|event| event.position))
            }
            Run::Erased(erased) => {
                let applied = projection.apply_erased(erased, conn, generation).await;
                (applied, Some(erased.position))
            }
        };
        applied.map_err(|cause| {
            let is_outage = is_outage_inside::<P::Conn>(&*cause);
            let which = match &run {
                Run::Events(events) => Which::of(events),
                Run::Erased(erased) => Which::of(slice::from_ref(&**erased)),
            };
            let error = NotApplied { which, name: P::NAME, version: P::VERSION, cause };
            if is_outage { HandleError::unavailable(error) } else { HandleError::failed(error) }
        })?;
        Ok(last.unwrap_or_default())
    }

    async fn step(&self, step: Step) {
        if let Some(watch) = &self.watch {
            watch(step).await;
        }
    }
}

/// Events that are applied together.
enum Run<E> {
    /// At least one.
    Events(Vec<Recorded<E>>),
    Erased(Box<Recorded<Erased>>),
}

/// Puts events together that can be applied together: those between two that were erased.
fn runs<E>(events: Vec<Recorded<Option<E>>>) -> Vec<Run<E>> {
    let mut runs = Vec::new();
    for event in events {
        match (event.transpose(), runs.last_mut()) {
            (Ok(event), Some(Run::Events(run))) => run.push(event),
            (Ok(event), _) => runs.push(Run::Events(vec![event])),
            (Err(erased), _) => runs.push(Run::Erased(Box::new(erased))),
        }
    }
    runs
}

/// What a keeper's answer means for the work.
fn undone(error: KeepError) -> HandleError {
    match error {
        KeepError::Fenced | KeepError::Moved => HandleError::Fenced,
        other => HandleError::unavailable(other),
    }
}

impl<P: Projection> Handler for ProjectionHandler<P> {
    fn key(&self, event: EventRef<'_>) -> Option<Arc<str>> {
        let tag = self.tag_prefix.as_deref().and_then(|prefix| {
            let mut tags = event.tags();
            tags.find(|tag| tag.starts_with(prefix))
        });
        Some(tag.unwrap_or_else(|| event.stream()).into())
    }

    fn handle<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(self.work(work))
    }

    fn places(&self) -> Option<&dyn PlaceKeeper> {
        Some(&*self.model)
    }

    fn parking(&self) -> Option<&dyn Parking> {
        Some(&*self.model)
    }

    fn promote(&self, epoch: u64) -> BoxFuture<'_, Result<(), HandleError>> {
        Box::pin(async move { self.model.promote(epoch).await.map_err(undone) })
    }

    fn replay_from(
        &self,
        epoch: u64,
        position: Position,
    ) -> BoxFuture<'_, Result<(), HandleError>> {
        Box::pin(async move {
            if position != Position::START {
                return Err(HandleError::failed(NotFromThere));
            }
            self.model.rebuild(epoch).await.map_err(undone)
        })
    }
}

impl<P: Projection> fmt::Debug for ProjectionHandler<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionHandler").field("model", &self.model).finish_non_exhaustive()
    }
}
