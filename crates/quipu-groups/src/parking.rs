//! Where events are kept that a consumer set aside.

use std::error::Error;

use quipu_core::{
    Append, AppendError, BoxFuture, EventStore, ExpectedRevision, NewEvent, ParkedItem, Position,
    ReadStream, Revision, StreamName, collect,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Mutex;

use crate::places::KeepError;

/// The most bytes of a cause that are kept.
const CAUSE_SIZE_MAX: usize = 2_000;

/// Keeps what a consumer set aside. Only places, keys and causes: the events are in the log.
///
/// Everything may be asked for twice, as crashes have it: parking what is parked and forgetting what
/// is not are no errors.
pub trait Parking: Send + Sync {
    /// Everything that is parked.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn load(&self) -> BoxFuture<'_, Result<Vec<ParkedItem>, KeepError>>;

    /// Keeps these as parked. On `Ok` that is durable: their checkpoint passes them then.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn park<'a>(
        &'a self,
        epoch: u64,
        items: &'a [ParkedItem],
    ) -> BoxFuture<'a, Result<(), KeepError>>;

    /// Forgets that the event at this position was parked: it was handled, or is dropped.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn unpark(
        &self,
        epoch: u64,
        position: Position,
        reason: UnparkReason,
    ) -> BoxFuture<'_, Result<(), KeepError>>;

    /// Puts on record that this event is left out.
    ///
    /// # Errors
    ///
    /// See [`KeepError`].
    fn skip<'a>(&'a self, epoch: u64, item: &'a ParkedItem)
    -> BoxFuture<'a, Result<(), KeepError>>;
}

/// Why an event is not parked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "keepers write each of them")]
pub enum UnparkReason {
    /// It was handled.
    Handled,
    /// An operator dropped it.
    Dropped,
    /// It comes from the log again, since an operator asked for a replay.
    Replayed,
}

impl UnparkReason {
    /// The reason's name: `handled`, `dropped`, `replayed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Dropped => "dropped",
            Self::Replayed => "replayed",
        }
    }
}

/// Keeps what is parked in a reserved stream of the store: who set aside or dropped what, and why, is
/// history like everything else.
///
/// Types are `$quipu.parked`, `$quipu.unparked` and `$quipu.skipped`; the data is JSON. Only the
/// instance that loaded last writes: another one's append in between is a conflict, which fences it.
pub struct StreamParking {
    store: Arc<dyn EventStore>,
    stream: StreamName,
    /// The stream's revision as this instance knows it. Held across an append, so that each one
    /// builds on the one before.
    known: Mutex<Known>,
}

#[derive(Clone, Copy)]
enum Known {
    /// Not read yet, or an append's outcome is not known.
    Unknown,
    /// The stream is at this revision.
    At(ExpectedRevision),
}

impl StreamParking {
    /// Parks in this stream, whose name begins with `$quipu.` unless the store is open with system
    /// rights.
    pub fn new(store: Arc<dyn EventStore>, stream: StreamName) -> Self {
        Self { store, stream, known: Mutex::new(Known::Unknown) }
    }

    /// Reads the stream: what is parked, the highest epoch that wrote, and where it ends.
    async fn read(&self) -> Result<(Vec<ParkedItem>, u64, ExpectedRevision), KeepError> {
        let read = self.store.read_stream(ReadStream::new(self.stream.clone())).await;
        let read = read.map_err(unavailable)?;
        let mut end = ExpectedRevision::NoStream;
        let (mut items, mut newest_epoch) = (Vec::<ParkedItem>::new(), 0);
        for event in collect(read.batches).await.map_err(unavailable)? {
            end = ExpectedRevision::Exactly(event.revision);
            let bytes = event.data.present().map(|data| &data[..]).unwrap_or_default();
            let note = Note::parse(bytes, event.revision)?;
            newest_epoch = newest_epoch.max(note.epoch);
            match event.event_type.as_str() {
                PARKED => {
                    items.retain(|item| item.position != note.item.position);
                    items.push(note.item);
                }
                UNPARKED => items.retain(|item| item.position != note.item.position),
                _ => {}
            }
        }
        Ok((items, newest_epoch, end))
    }

    /// Forgets that the events at these places were parked.
    pub(crate) async fn unpark_all(
        &self,
        epoch: u64,
        places: &[Position],
        reason: UnparkReason,
    ) -> Result<(), KeepError> {
        let data = |place: &Position| json!({ "epoch": epoch, "position": place.get(), "reason": reason.as_str() });
        let notes = places.iter().map(|place| note(UNPARKED, &data(place)));
        self.append(epoch, notes.collect::<Result<_, _>>()?).await
    }

    /// Puts on record that these events are left out.
    pub(crate) async fn skip_all(&self, epoch: u64, items: &[ParkedItem]) -> Result<(), KeepError> {
        let notes = items.iter().map(|item| note(SKIPPED, &item_data(epoch, item)));
        self.append(epoch, notes.collect::<Result<_, _>>()?).await
    }

    async fn append(&self, epoch: u64, notes: Vec<NewEvent>) -> Result<(), KeepError> {
        let mut known = self.known.lock().await;
        let expected = match *known {
            Known::At(expected) => expected,
            Known::Unknown => {
                let (_, newest_epoch, end) = self.read().await?;
                if newest_epoch > epoch {
                    return Err(KeepError::Fenced);
                }
                end
            }
        };
        *known = Known::Unknown;
        let append = Append::to_stream(self.stream.clone(), expected, notes);
        match self.store.append(append).await {
            Ok(appended) => {
                if let Some(last) = appended.streams.first() {
                    *known = Known::At(ExpectedRevision::Exactly(last.revision));
                }
                Ok(())
            }
            Err(AppendError::Conflict { .. }) => Err(KeepError::Fenced),
            Err(refused @ (AppendError::Invalid(_) | AppendError::ReadOnly)) => {
                Err(KeepError::Refused(refused.into()))
            }
            Err(other) => Err(unavailable(other)),
        }
    }
}

impl std::fmt::Debug for StreamParking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamParking").field("stream", &self.stream).finish_non_exhaustive()
    }
}

const PARKED: &str = "$quipu.parked";
const UNPARKED: &str = "$quipu.unparked";
const SKIPPED: &str = "$quipu.skipped";

fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> KeepError {
    KeepError::Unavailable(cause.into())
}

/// One event of the stream.
struct Note {
    epoch: u64,
    item: ParkedItem,
}

impl Note {
    fn parse(bytes: &[u8], revision: Revision) -> Result<Self, KeepError> {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (Some(epoch), Some(position)) = (number("epoch"), number("position")) else {
            let reason = format!("the note at revision {revision} has no epoch and position");
            return Err(KeepError::Refused(reason.into()));
        };
        let position = Position::new(position);
        Ok(Self { epoch, item: ParkedItem { position, key: text("key"), cause: text("cause") } })
    }
}

fn note(event_type: &'static str, data: &Value) -> Result<NewEvent, KeepError> {
    NewEvent::json(event_type, data.to_string()).map_err(|error| KeepError::Refused(error.into()))
}

fn item_data(epoch: u64, item: &ParkedItem) -> Value {
    let end = item.cause.floor_char_boundary(CAUSE_SIZE_MAX);
    let cause = item.cause.get(..end).unwrap_or_default();
    json!({ "epoch": epoch, "position": item.position.get(), "key": item.key, "cause": cause })
}

impl Parking for StreamParking {
    fn load(&self) -> BoxFuture<'_, Result<Vec<ParkedItem>, KeepError>> {
        Box::pin(async move {
            let mut known = self.known.lock().await;
            let (items, _, end) = self.read().await?;
            *known = Known::At(end);
            Ok(items)
        })
    }

    fn park<'a>(
        &'a self,
        epoch: u64,
        items: &'a [ParkedItem],
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let notes = items.iter().map(|item| note(PARKED, &item_data(epoch, item)));
            self.append(epoch, notes.collect::<Result<_, _>>()?).await
        })
    }

    fn unpark(
        &self,
        epoch: u64,
        position: Position,
        reason: UnparkReason,
    ) -> BoxFuture<'_, Result<(), KeepError>> {
        Box::pin(async move { self.unpark_all(epoch, &[position], reason).await })
    }

    fn skip<'a>(
        &'a self,
        epoch: u64,
        item: &'a ParkedItem,
    ) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(self.skip_all(epoch, std::slice::from_ref(item)))
    }
}
