//! Events: what a struct must say to be a fact in the log, and sets of them.

use std::borrow::Cow;

use quipu_core::{NameError, StreamName, Tags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::Codec;
use crate::decode::{DecodeProblem, Part};

/// A fact: one struct, one type in the log. Derive it.
///
/// ```
/// use quipu::{Event, TagValue};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(TagValue, Clone, Debug, PartialEq, Serialize, Deserialize)]
/// struct AccountId(String);
///
/// #[derive(Event, Clone, Debug, PartialEq, Serialize, Deserialize)]
/// #[event(type = "bank.account-opened")]
/// struct AccountOpened {
///     #[tag]
///     account: AccountId,
///     owner: String,
/// }
///
/// let opened = AccountOpened { account: AccountId("42".into()), owner: "Ana".into() };
/// assert_eq!(AccountOpened::TYPE, "bank.account-opened");
/// assert!(opened.tags()?.contains("account:42"), "queries find it by its tag");
/// assert_eq!(opened.stream()?, "account-42", "its stream is that of its first tag");
/// # Ok::<(), quipu::NameError>(())
/// ```
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The type in the log. It never changes; the struct may be renamed.
    const TYPE: &'static str;
    /// The schema version of the data. Data of a lower one goes through upcasters.
    const VERSION: u32;
    /// What `events.lock` compares.
    const SHAPE: EventShape;
    /// How the data is encoded.
    type Codec: Codec;

    /// What queries find it by.
    ///
    /// # Errors
    ///
    /// A [`NameError`] if a value makes a tag too long or unprintable.
    fn tags(&self) -> Result<Tags, NameError>;

    /// The stream it belongs to.
    ///
    /// # Errors
    ///
    /// A [`NameError`] if a value makes the name too long or unprintable.
    fn stream(&self) -> Result<StreamName, NameError>;
}

/// The events that one consumer reads: an enum with a variant for each. Derive it.
///
/// The set is both the `match` that must be exhaustive and the types of the query, so that events
/// a consumer does not read never conflict with its decisions. A single [`Event`] is a set of one.
///
/// ```
/// use quipu::{Event, EventSet};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "door.opened")]
/// struct Opened { #[tag] door: String }
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "door.closed")]
/// struct Closed { #[tag] door: String }
///
/// #[derive(EventSet)]
/// enum DoorEvent { Opened(Opened), Closed(Closed) }
///
/// let types: Vec<&str> = DoorEvent::SHAPES.iter().map(|shape| shape.event_type).collect();
/// assert_eq!(types, ["door.opened", "door.closed"]);
/// ```
pub trait EventSet: Sized + Send + Sync + 'static {
    /// The shape of each event of the set.
    const SHAPES: &'static [EventShape];

    /// The event that `part` is, or `None` if its type is not in the set.
    fn decode(part: &Part<'_>) -> Option<Result<Self, DecodeProblem>>;

    /// What queries find the event by.
    ///
    /// # Errors
    ///
    /// A [`NameError`] as [`Event::tags`].
    fn event_tags(&self) -> Result<Tags, NameError>;

    /// The stream that the event belongs to.
    ///
    /// # Errors
    ///
    /// A [`NameError`] as [`Event::stream`].
    fn event_stream(&self) -> Result<StreamName, NameError>;
}

impl<E: Event> EventSet for E {
    const SHAPES: &'static [EventShape] = &[E::SHAPE];

    fn decode(part: &Part<'_>) -> Option<Result<Self, DecodeProblem>> {
        (part.event_type() == E::TYPE).then(|| part.decode())
    }

    fn event_tags(&self) -> Result<Tags, NameError> {
        Event::tags(self)
    }

    fn event_stream(&self) -> Result<StreamName, NameError> {
        Event::stream(self)
    }
}

/// What an event's data looks like, as far as its struct tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "derives build it")]
pub struct EventShape {
    /// The type in the log.
    pub event_type: &'static str,
    /// The schema version.
    pub version: u32,
    /// The codec's content type.
    pub content_type: &'static str,
    /// What the struct's `#[serde(...)]` attributes say.
    pub serde: &'static str,
    /// The fields, in order.
    pub fields: &'static [FieldShape],
}

/// One field of an [`EventShape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "derives build it")]
pub struct FieldShape {
    /// The field's name.
    pub name: &'static str,
    /// The field's type, as written.
    pub ty: &'static str,
    /// The name of its tag; empty where it is none.
    pub tag: &'static str,
    /// What its `#[serde(...)]` attributes say.
    pub serde: &'static str,
    /// Whether data without it can be read.
    pub optional: bool,
}

/// A value that can stand in a tag and in the name of a stream: ids, mostly.
///
/// Derive it on a struct around one such value. Two values that differ must give texts that differ,
/// and a value must give the same text for ever: it is in the log.
///
/// ```
/// use quipu::TagValue;
///
/// #[derive(TagValue)]
/// struct OrderId(u64);
///
/// assert_eq!(OrderId(4711).tag_value(), "4711");
/// ```
#[diagnostic::on_unimplemented(
    message = "the type `{Self}` of a tag or key has no text of its own",
    label = "this field cannot be a tag or a key",
    note = "give the field an id type: `#[derive(TagValue)] struct Id(String);`, or implement \
            TagValue for `{Self}`"
)]
pub trait TagValue {
    /// The value as text.
    fn tag_value(&self) -> Cow<'_, str>;
}

impl TagValue for str {
    fn tag_value(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
}

impl TagValue for String {
    fn tag_value(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
}

impl<T: TagValue + ?Sized> TagValue for &T {
    fn tag_value(&self) -> Cow<'_, str> {
        (**self).tag_value()
    }
}

macro_rules! tag_value_by_display {
    ($($ty:ty),*) => {
        $(impl TagValue for $ty {
            fn tag_value(&self) -> Cow<'_, str> {
                Cow::Owned(self.to_string())
            }
        })*
    };
}

tag_value_by_display!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, bool, char);
tag_value_by_display!(uuid::Uuid);
