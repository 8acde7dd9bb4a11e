//! The system projections: which there are, and whether they are enabled.

use quipu_core::{Append, EventType, ExpectedRevision, NewEvent, Position, ReadStream, StreamName};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::failure::Failure;

/// The type of the events that record it.
const UPDATED: &str = "$ProjectionUpdated";

/// One of KurrentDB's system projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Projection {
    ByCategory,
    ByEventType,
    ByCorrelationId,
    StreamByCategory,
    Streams,
}

/// Whether a projection is enabled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// Where the log was when it was disabled; `None` where it is enabled.
    pub(crate) stopped_at: Option<Position>,
}

impl Projection {
    pub(crate) const ALL: [Self; 5] = [
        Self::ByCategory,
        Self::ByEventType,
        Self::ByCorrelationId,
        Self::StreamByCategory,
        Self::Streams,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ByCategory => "$by_category",
            Self::ByEventType => "$by_event_type",
            Self::ByCorrelationId => "$by_correlation_id",
            Self::StreamByCategory => "$stream_by_category",
            Self::Streams => "$streams",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name() == name)
    }

    /// The stream that records whether it is enabled.
    fn stream(self) -> Option<StreamName> {
        StreamName::new(format!("$projections-{}", self.name())).ok()
    }

    /// Whether it is enabled now. Projections that nobody disabled are.
    pub(crate) async fn standing(self, caller: &dyn Caller) -> Result<Standing, Failure> {
        let Some(stream) = self.stream() else { return Ok(Standing::default()) };
        let read = ReadStream::new(stream).backward().limit(1);
        let read = caller.server_store().read_stream(read).await;
        let mut read = read.map_err(|error| Failure::of_read(caller, &error))?;
        let batch = read.batches.next().await.map_err(|error| Failure::of_read(caller, &error))?;
        let stopped_at = batch.and_then(|batch| {
            let update: Value = serde_json::from_slice(batch.first()?.data_bytes()).ok()?;
            update.get("stoppedAt")?.as_u64()
        });
        Ok(Standing { stopped_at: stopped_at.map(Position::new) })
    }

    /// Enables or disables it. On `Ok` that is durable.
    pub(crate) async fn set(self, caller: &dyn Caller, is_enabled: bool) -> Result<(), Failure> {
        let is_running = self.standing(caller).await?.stopped_at.is_none();
        let (Some(stream), Ok(updated)) = (self.stream(), EventType::new(UPDATED)) else {
            return Err(Failure::Storage);
        };
        if is_running == is_enabled {
            return Ok(());
        }
        let store = caller.server_store();
        let stopped_at = if is_enabled {
            None
        } else {
            let frontier = store.frontier().await;
            Some(frontier.map_err(|error| Failure::of_read(caller, &error))?.get())
        };
        let data = json!({ "enabled": is_enabled, "stoppedAt": stopped_at }).to_string();
        let event = NewEvent::new(updated, quipu_core::ContentType::json(), data.into());
        let append = Append::to_stream(stream, ExpectedRevision::Any, [event]);
        let appended = store.append(append).await;
        appended.map_err(|error| Failure::of_append(caller, &error))?;
        Ok(())
    }
}
