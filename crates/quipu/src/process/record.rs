//! What is in the log of a process: the events of an instance's stream.
//!
//! | type | when |
//! |---|---|
//! | `$quipu.process-input` | an input was taken: where it is, and what is to be done about it |
//! | `$quipu.process-rejected` | the command of a step was refused |
//! | `$quipu.process-done` | all commands of the last input were executed or refused |
//! | `$quipu.process-completed` | no further input is for the instance |
//! | `$quipu.timer-scheduled` | a timer was set |
//! | `$quipu.timer-cancelled` | a timer was taken back |
//! | `$quipu.timer-fired` | a timer came due |
//!
//! An event that was taken is not copied but referred to, so that its data is in one place and goes
//! through the upcasters each time. All have the tag `$quipu.process:NAME`.

use quipu_core::{
    ContentType, EventData, EventId, EventType, NameError, NewEvent, Position, RecordedEvent,
    Revision, StreamName, Tags, Timestamp,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::codec::CodecError;
use crate::metadata::Metadata;

pub(super) const INPUT: &str = "$quipu.process-input";
pub(super) const REJECTED: &str = "$quipu.process-rejected";
pub(super) const DONE: &str = "$quipu.process-done";
pub(super) const COMPLETED: &str = "$quipu.process-completed";
pub(super) const SCHEDULED: &str = "$quipu.timer-scheduled";
pub(super) const CANCELLED: &str = "$quipu.timer-cancelled";
pub(super) const FIRED: &str = "$quipu.timer-fired";

/// The version of all these events' data.
const VERSION: u32 = 1;

/// Where an input is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputRef {
    pub(crate) id: EventId,
    /// Which part, where an upcaster splits it.
    pub(crate) part: u32,
    pub(crate) position: Position,
    pub(crate) stream: StreamName,
    pub(crate) revision: Revision,
    pub(crate) recorded_at: Timestamp,
}

impl InputRef {
    pub(crate) fn new(event: &RecordedEvent, part: u32) -> Self {
        Self {
            id: event.id,
            part,
            position: event.position,
            stream: event.stream.clone(),
            revision: event.revision,
            recorded_at: event.recorded_at,
        }
    }

    /// The input in keys and metadata.
    pub(super) fn text(&self) -> String {
        if self.part == 0 { self.id.to_string() } else { format!("{}.{}", self.id, self.part) }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InputRecord {
    pub(super) input: Uuid,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) part: u32,
    pub(super) position: u64,
    pub(super) stream: String,
    pub(super) revision: u64,
    /// What is to be done, in order.
    pub(super) effects: Vec<String>,
    /// Whether nothing is left to do once this is recorded.
    pub(super) done: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(part: &u32) -> bool {
    *part == 0
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DoneRecord {
    pub(super) input: Uuid,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) part: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RejectedRecord {
    pub(super) input: Uuid,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) part: u32,
    pub(super) step: String,
    pub(super) reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CompletedRecord {}

/// A timer: its name, when it is due in microseconds since 1970, and what it carries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TimerRecord {
    pub(super) timer: String,
    pub(super) due: i64,
    pub(super) value: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FiredRecord {
    /// The event that set it.
    pub(super) scheduled: Uuid,
    #[serde(flatten)]
    pub(super) timer: TimerRecord,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CancelledRecord {
    /// The event that set it.
    pub(super) scheduled: Uuid,
    pub(super) timer: String,
}

/// A timer that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScheduledTimer {
    /// The event that set it.
    pub(crate) id: EventId,
    pub(crate) due: Timestamp,
}

/// The tag that everything of a process has.
pub(super) fn tags(process: &str) -> Result<Tags, NameError> {
    Tags::parse([format!("$quipu.process:{process}")])
}

/// The beginning of the names of a process's streams.
pub(super) fn stream_prefix(process: &str) -> String {
    format!("$quipu.process-{process}-")
}

/// One of the events above.
pub(super) fn event<T: Serialize>(
    process: &str,
    event_type: &str,
    data: &T,
    metadata: &Metadata,
) -> Result<NewEvent, NameError> {
    let data = serde_json::to_vec(data).expect("the records have texts and numbers only");
    let event_type = EventType::new(event_type)?;
    let mut event = NewEvent::new(event_type, ContentType::json(), data.into());
    event.tags = tags(process)?;
    event.metadata = metadata.to_bytes(VERSION);
    Ok(event)
}

/// The data of one of the events above.
pub(super) fn parse<T: DeserializeOwned>(event: &RecordedEvent) -> Result<T, RecordError> {
    let place = || (event.event_type.to_string(), event.stream.to_string(), event.position);
    let EventData::Present(data) = &event.data else {
        let (event_type, stream, position) = place();
        return Err(RecordError { event_type, stream, position, cause: None });
    };
    serde_json::from_slice(data).map_err(|cause| {
        let (event_type, stream, position) = place();
        let cause = Some(CodecError::new(cause));
        RecordError { event_type, stream, position, cause }
    })
}

/// A record of a process is not one, or its data was erased.
#[derive(Debug, thiserror::Error)]
#[error(
    "the record at position {position} (type \"{event_type}\", stream \"{stream}\") is not one"
)]
pub(super) struct RecordError {
    event_type: String,
    stream: String,
    position: Position,
    #[source]
    cause: Option<CodecError>,
}
