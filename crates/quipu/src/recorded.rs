//! An event as a consumer gets it: decoded, with its place and what travelled beside it.

use quipu_core::{EventId, Position, Revision, StreamName, Tags, Timestamp};

use crate::metadata::Metadata;

/// An event with the place that the store gave it.
///
/// Reads that must show erased events too give a `Recorded<Option<E>>`, whose event is `None` where
/// the data was erased; [`transpose`](Recorded::transpose) tells the two apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded<E> {
    /// The fact.
    pub event: E,
    /// The event's id in the log.
    pub id: EventId,
    /// The type, after upcasting.
    pub event_type: String,
    /// The stream it is in.
    pub stream: StreamName,
    /// What queries find it by. A part of a split event has the tags of its own data.
    pub tags: Tags,
    /// Its place in its stream.
    pub revision: Revision,
    /// Its place in the log.
    pub position: Position,
    /// When the store recorded it.
    pub recorded_at: Timestamp,
    /// Which part it is where an upcaster split the stored event: the first is 0. Parts share the
    /// position and the id.
    pub part: u32,
    /// Who, why, as part of what.
    pub metadata: Metadata,
}

/// An event whose data was erased: its place, type and tags are still known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing left to add")]
pub struct Erased;

impl<E> Recorded<E> {
    /// What everything that one cause set off has in common.
    pub fn correlation(&self) -> Option<&str> {
        self.metadata.correlation.as_deref()
    }

    /// What directly led to the event.
    pub fn causation(&self) -> Option<&str> {
        self.metadata.causation.as_deref()
    }

    /// Who did it.
    pub fn actor(&self) -> Option<&str> {
        self.metadata.actor.as_deref()
    }

    /// For whom it was done.
    pub fn tenant(&self) -> Option<&str> {
        self.metadata.tenant.as_deref()
    }

    /// The same place with another event.
    pub fn map<T>(self, change: impl FnOnce(E) -> T) -> Recorded<T> {
        Recorded {
            event: change(self.event),
            id: self.id,
            event_type: self.event_type,
            stream: self.stream,
            tags: self.tags,
            revision: self.revision,
            position: self.position,
            recorded_at: self.recorded_at,
            part: self.part,
            metadata: self.metadata,
        }
    }
}

impl<E> Recorded<Option<E>> {
    /// The event, or the fact that its data was erased.
    #[expect(clippy::missing_errors_doc, reason = "neither of the two is an error")]
    #[expect(clippy::result_large_err, reason = "both are the event, with its place")]
    pub fn transpose(mut self) -> Result<Recorded<E>, Recorded<Erased>> {
        match self.event.take() {
            Some(event) => Ok(self.map(|_| event)),
            None => Err(self.map(|_| Erased)),
        }
    }
}
