//! Commands: a pure decision on a model, and the events that come of it.

use std::any::type_name;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quipu_core::{
    ContentType, EventId, EventType, InvalidAppend, NameError, NewEvent, Query, StreamName, Tags,
    Timestamp,
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::codec::{Codec, CodecError};
use crate::event::Event;
use crate::metadata::Metadata;
use crate::model::Model;

/// Something that is asked for and may be refused.
///
/// `decide` is pure: it sees the state, the command and the context, and answers events or a
/// refusal. It runs again, on newer state, whenever another append came first; so what it needs
/// from outside goes into the command before.
///
/// ```
/// use quipu::{Aggregate, Command, Ctx, Event, Events, Evolve, Quipu, events};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "door.opened")]
/// struct Opened { #[tag] door: String }
///
/// #[derive(Aggregate, Clone, Debug)]
/// #[aggregate(events = Opened)]
/// struct Door { #[key] door: String, is_open: bool }
///
/// impl Evolve for Door {
///     fn evolve(&mut self, _opened: &Opened) {
///         self.is_open = true;
///     }
/// }
///
/// #[derive(Debug, PartialEq, thiserror::Error)]
/// #[error("the door is open already")]
/// struct AlreadyOpen;
///
/// struct Open { door: String }
///
/// impl Command for Open {
///     type Model = Door;
///     type Error = AlreadyOpen;
///
///     fn model(&self) -> Door {
///         Door::of(self.door.clone())
///     }
///
///     fn decide(&self, door: &Door, _ctx: &Ctx) -> Result<Events, AlreadyOpen> {
///         if door.is_open {
///             return Err(AlreadyOpen);
///         }
///         Ok(events![Opened { door: self.door.clone() }])
///     }
/// }
///
/// # futures_lite::future::block_on(async {
/// let app = Quipu::in_memory();
/// app.execute(Open { door: "front".into() }).await?;
/// let again = app.execute(Open { door: "front".into() }).await;
/// assert_eq!(again.unwrap_err().rejection(), Some(&AlreadyOpen));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub trait Command: Send + Sync + 'static {
    /// What the decision rests on. All of it is read, and all of it is guarded.
    type Model: Model;
    /// Why it may be refused.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The model to decide on, before any event.
    fn model(&self) -> Self::Model;

    /// Decides: events to append, perhaps none, or a refusal.
    ///
    /// # Errors
    ///
    /// The refusal. Nothing is appended and nothing is remembered; it may succeed later.
    fn decide(&self, model: &Self::Model, ctx: &Ctx) -> Result<Events, Self::Error>;

    /// Guards less than what was read: only an event that matches this query is a conflict.
    /// [`Query::nothing`] guards nothing. By default, all that was read is guarded.
    fn guard(&self) -> Option<Query> {
        None
    }

    /// What tells this command from another one that comes with the same idempotency key.
    ///
    /// By default the name of its type; what its model reads is compared in any case. To have all
    /// fields compared, answer [`fingerprint_of(self)`](fingerprint_of).
    fn fingerprint(&self) -> String {
        let path = type_name::<Self>();
        let path = path.split('<').next().unwrap_or(path);
        path.rsplit("::").next().unwrap_or(path).to_owned()
    }
}

/// A short text that two values have in common only if their JSON is the same.
///
/// ```
/// assert_eq!(quipu::fingerprint_of(&(1, "a")), quipu::fingerprint_of(&(1, "a")));
/// assert_ne!(quipu::fingerprint_of(&(1, "a")), quipu::fingerprint_of(&(2, "a")));
/// ```
pub fn fingerprint_of<T: Serialize>(value: &T) -> String {
    // A value without a JSON form has no fields to compare: all such values count as one.
    let json = serde_json::to_vec(value).unwrap_or_default();
    digest(&json)
}

/// A short text of bytes, the same in every program.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, bytes).simple().to_string()
}

/// The circumstances of a decision. They are the same whenever it is decided again.
#[derive(Debug)]
pub struct Ctx {
    now: Timestamp,
    metadata: Metadata,
    seed: Uuid,
    id_count: AtomicU64,
}

impl Ctx {
    pub(crate) fn new(now: Timestamp, metadata: Metadata, seed: Uuid) -> Self {
        Self { now, metadata, seed, id_count: AtomicU64::new(0) }
    }

    /// When the command was asked for.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Who asked.
    pub fn actor(&self) -> Option<&str> {
        self.metadata.actor.as_deref()
    }

    /// For whom.
    pub fn tenant(&self) -> Option<&str> {
        self.metadata.tenant.as_deref()
    }

    /// As part of what.
    pub fn correlation(&self) -> Option<&str> {
        self.metadata.correlation.as_deref()
    }

    /// A new id. The first, second, ... of a command are the same each time it is decided, and,
    /// where it has an idempotency key, each time it is sent.
    pub fn new_id(&self) -> Uuid {
        let index = self.id_count.fetch_add(1, Ordering::Relaxed);
        Uuid::new_v5(&self.seed, &index.to_le_bytes())
    }
}

/// What a decision came to: events of any types, in order, and perhaps a value to answer.
///
/// [`events!`](crate::events) makes them.
#[derive(Debug, Default)]
pub struct Events {
    pending: Vec<Result<PendingEvent, InvalidCommand>>,
    value: Option<Result<Value, InvalidCommand>>,
}

/// An event that was decided and has no place yet.
#[derive(Clone, Debug)]
pub(crate) struct PendingEvent {
    pub(crate) event_type: EventType,
    pub(crate) version: u32,
    pub(crate) content_type: ContentType,
    pub(crate) stream: StreamName,
    pub(crate) tags: Tags,
    pub(crate) data: Bytes,
}

impl Events {
    /// No events.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same events and one more.
    #[must_use]
    pub fn and<E: Event>(mut self, event: E) -> Self {
        self.push(event);
        self
    }

    /// Adds an event.
    #[expect(clippy::needless_pass_by_value, reason = "an event is decided once, and given away")]
    pub fn push<E: Event>(&mut self, event: E) {
        self.pending.push(PendingEvent::new(&event));
    }

    /// Adds all events of another decision.
    pub fn extend(&mut self, other: Self) {
        self.pending.extend(other.pending);
    }

    /// The same events, with a value that [`Done::value`](crate::Done::value) answers: also to
    /// those who send the command again with the same idempotency key.
    #[must_use]
    pub fn returning<T: Serialize>(mut self, value: &T) -> Self {
        let value = serde_json::to_value(value);
        self.value = Some(value.map_err(|cause| InvalidCommand::Value(CodecError::new(cause))));
        self
    }

    /// How many events there are.
    pub fn count(&self) -> usize {
        self.pending.len()
    }

    /// Whether nothing was decided.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The events and the value, if all of them have a form.
    pub(crate) fn into_parts(self) -> Result<(Vec<PendingEvent>, Option<Value>), InvalidCommand> {
        let pending = self.pending.into_iter().collect::<Result<_, _>>()?;
        Ok((pending, self.value.transpose()?))
    }
}

/// A list of events of any types, as a command decides them.
///
/// ```
/// use quipu::{Event, events};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "door.opened")]
/// struct Opened { #[tag] door: String }
///
/// assert!(events![].is_empty());
/// assert_eq!(events![Opened { door: "a".into() }, Opened { door: "b".into() }].count(), 2);
/// ```
#[macro_export]
macro_rules! events {
    ($($event:expr),* $(,)?) => {
        $crate::Events::new()$(.and($event))*
    };
}

impl PendingEvent {
    fn new<E: Event>(event: &E) -> Result<Self, InvalidCommand> {
        let data = E::Codec::encode(event)
            .map_err(|cause| InvalidCommand::Encode { event_type: E::TYPE, cause })?;
        Ok(Self {
            event_type: EventType::new(E::TYPE)?,
            version: E::VERSION,
            content_type: ContentType::new(E::Codec::CONTENT_TYPE)?,
            stream: event.stream()?,
            tags: event.tags()?,
            data: data.into(),
        })
    }

    /// The event as it is appended.
    pub(crate) fn to_new(&self, metadata: &Metadata) -> (StreamName, NewEvent) {
        let event = NewEvent {
            id: EventId::generate(),
            event_type: self.event_type.clone(),
            tags: self.tags.clone(),
            content_type: self.content_type.clone(),
            data: self.data.clone(),
            metadata: metadata.to_bytes(self.version),
            recorded_at: None,
        };
        (self.stream.clone(), event)
    }
}

/// What is wrong with a command, whatever the log holds. It will never succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCommand {
    /// A key or a tag makes a name that is too long or unprintable.
    #[error("a key or a tag cannot be part of a name")]
    Name(#[from] NameError),
    /// An event has no form in its codec.
    #[error("an event of type \"{event_type}\" cannot be encoded")]
    Encode {
        /// The event's type.
        event_type: &'static str,
        /// What the codec says.
        #[source]
        cause: CodecError,
    },
    /// The value to answer has no JSON form.
    #[error("the value to answer cannot be encoded")]
    Value(#[source] CodecError),
    /// The store does not take such an append.
    #[error("the append is not valid")]
    Append(#[source] InvalidAppend),
}
