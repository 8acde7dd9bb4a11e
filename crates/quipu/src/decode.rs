//! The decode point: the one way from a stored event to the events that application code sees.
//!
//! Loading, history, projections, processes, the relay and the test kit all come through here, so
//! that no reader can miss an upcaster. It goes in steps:
//!
//! 1. the metadata tells the schema version;
//! 2. [`Upcasters`] turn the stored event into its [`Part`]s: none where it is dropped, one mostly,
//!    several where it is split;
//! 3. a set takes the parts whose types it has, and each becomes an event, if its version is the
//!    one that the code knows.

use std::borrow::Cow;

use quipu_core::{EventRef, Position, Query, RecordedEvent};
use serde_json::Value;

use crate::codec::{Codec, CodecError, Json};
use crate::event::{Event, EventSet};
use crate::metadata::{Metadata, MetadataError, schema_version};
use crate::recorded::Recorded;
use crate::upcast::Upcasters;

/// What upcasters made of a stored event: a type, its schema version, and data.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    event_type: Cow<'a, str>,
    version: u32,
    data: PartData<'a>,
    index: u32,
    is_split: bool,
}

/// Where a part's data is.
#[derive(Clone, Debug)]
pub(crate) enum PartData<'a> {
    /// In the log, as it was appended.
    Stored { bytes: &'a [u8], content_type: &'a str },
    /// In memory, as an upcaster made it.
    Value(Value),
    /// Nowhere any more.
    Erased,
}

impl<'a> Part<'a> {
    pub(crate) fn new(event_type: Cow<'a, str>, version: u32, data: PartData<'a>) -> Self {
        Self { event_type, version, data, index: 0, is_split: false }
    }

    pub(crate) fn numbered(mut self, index: u32) -> Self {
        self.index = index;
        self.is_split = true;
        self
    }

    /// The type.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The schema version of the data.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Which part of its event it is, counted from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether the event's data was erased.
    pub fn is_erased(&self) -> bool {
        matches!(self.data, PartData::Erased)
    }

    pub(crate) fn into_data(self) -> PartData<'a> {
        self.data
    }

    /// The event that this part is.
    ///
    /// # Errors
    ///
    /// See [`DecodeProblem`].
    pub fn decode<E: Event>(&self) -> Result<E, DecodeProblem> {
        let found = self.version;
        if found > E::VERSION {
            return Err(DecodeProblem::FutureVersion { found, known: E::VERSION });
        }
        if found < E::VERSION {
            return Err(DecodeProblem::MissingUpcaster { found, known: E::VERSION });
        }
        match &self.data {
            PartData::Stored { bytes, content_type } if *content_type == E::Codec::CONTENT_TYPE => {
                E::Codec::decode(bytes).map_err(DecodeProblem::Data)
            }
            PartData::Stored { bytes, content_type } if is_json(content_type) => {
                Json::decode(bytes).map_err(DecodeProblem::Data)
            }
            PartData::Stored { content_type, .. } => {
                let content_type = (*content_type).to_owned();
                Err(DecodeProblem::UnknownContentType { content_type })
            }
            PartData::Value(value) => {
                E::deserialize(value).map_err(|cause| DecodeProblem::Data(CodecError::new(cause)))
            }
            PartData::Erased => Err(DecodeProblem::Erased),
        }
    }
}

pub(crate) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence == "application/json" || essence.ends_with("+json")
}

/// The parts of one stored event. Almost all events have one, which takes no allocation.
#[derive(Debug)]
pub(crate) enum Parts<'a> {
    One(Part<'a>),
    Many(Vec<Part<'a>>),
}

impl<'a> Parts<'a> {
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Part<'a>> {
        match self {
            Parts::One(part) => std::slice::from_ref(part).iter(),
            Parts::Many(parts) => parts.iter(),
        }
    }
}

/// Takes a stored event through the upcasters.
pub(crate) fn parts<'a>(
    event: EventRef<'a>,
    upcasters: &Upcasters,
) -> Result<Parts<'a>, DecodeError> {
    let failed = |problem| DecodeError::new(event, problem);
    let version = schema_version(event.metadata_bytes())
        .map_err(|cause| failed(DecodeProblem::Metadata(cause)))?;
    let data = if event.is_erased() {
        PartData::Erased
    } else {
        PartData::Stored { bytes: event.data_bytes(), content_type: event.content_type() }
    };
    let part = Part::new(Cow::Borrowed(event.event_type()), version, data);
    upcasters.apply(part).map_err(failed)
}

/// Decodes a stored event to the events of a set that it holds: none where its type is not in the
/// set or was dropped, one mostly, several where it was split.
///
/// An erased event is there with `None` for its event.
///
/// ```
/// use quipu::{Event, Upcasters};
/// use quipu::core::{EventBatch, EventData, EventType, ContentType, EventId, Position, Revision};
/// use quipu::core::{RecordedEvent, StreamName, Tags, Timestamp};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Debug, PartialEq, Serialize, Deserialize)]
/// #[event(type = "door.opened")]
/// struct Opened { #[tag] door: String }
///
/// let stored = RecordedEvent {
///     id: EventId::generate(),
///     stream: StreamName::new("door-1")?,
///     event_type: EventType::new("door.opened")?,
///     tags: Tags::parse(["door:1"])?,
///     content_type: ContentType::json(),
///     data: EventData::Present(r#"{"door":"1"}"#.into()),
///     metadata: r#"{"$actor":"ana"}"#.into(),
///     recorded_at: Timestamp::from_micros(0),
///     position: Position::FIRST,
///     revision: Revision::FIRST,
/// };
/// let batch: EventBatch = [&stored].into_iter().collect();
/// let event = batch.first().ok_or("no event")?;
///
/// let decoded = quipu::decode::<Opened>(event, &Upcasters::new())?;
///
/// assert_eq!(decoded[0].event, Some(Opened { door: "1".into() }));
/// assert_eq!(decoded[0].actor(), Some("ana"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// A [`DecodeError`] that names the event and says why. Nothing is skipped.
pub fn decode<E: EventSet>(
    event: EventRef<'_>,
    upcasters: &Upcasters,
) -> Result<Vec<Recorded<Option<E>>>, DecodeError> {
    decode_where(event, upcasters, None)
}

/// As [`decode`], without the parts of a split event that the query does not mean.
pub(crate) fn decode_where<E: EventSet>(
    event: EventRef<'_>,
    upcasters: &Upcasters,
    query: Option<&Query>,
) -> Result<Vec<Recorded<Option<E>>>, DecodeError> {
    let failed = |problem| DecodeError::new(event, problem);
    let mut decoded = Vec::new();
    for part in parts(event, upcasters)?.iter() {
        let own = if part.is_erased() {
            let is_in_set = E::SHAPES.iter().any(|shape| shape.event_type == part.event_type());
            is_in_set.then_some(None)
        } else {
            let own = match query {
                Some(query) => decode_selected(event, part, query, false),
                None => E::decode(part).transpose(),
            };
            own.map_err(failed)?.map(Some)
        };
        if let Some(own) = own {
            decoded.push(recorded(event, part, own).map_err(failed)?);
        }
    }
    Ok(decoded)
}

/// As [`decode`], for an event in its owned form.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_recorded<E: EventSet>(
    event: &RecordedEvent,
    upcasters: &Upcasters,
) -> Result<Vec<Recorded<Option<E>>>, DecodeError> {
    let batch: quipu_core::EventBatch = [event].into_iter().collect();
    batch.first().map_or(Ok(Vec::new()), |event| decode(event, upcasters))
}

fn recorded<E: EventSet>(
    event: EventRef<'_>,
    part: &Part<'_>,
    own: Option<E>,
) -> Result<Recorded<Option<E>>, DecodeProblem> {
    let RecordedEvent { id, stream, tags, recorded_at, position, revision, .. } =
        event.to_recorded();
    let tags = match &own {
        Some(own) if part.is_split => own.event_tags().map_err(DecodeProblem::Names)?,
        _ => tags,
    };
    Ok(Recorded {
        event: own,
        id,
        event_type: part.event_type().to_owned(),
        stream,
        tags,
        revision,
        position,
        recorded_at,
        part: part.index(),
        metadata: Metadata::parse(event.metadata_bytes()).map_err(DecodeProblem::Metadata)?,
    })
}

/// The event of a part, if it is one that a query means. The parts of a split event have tags and
/// streams of their own, which the stored event, that the query found, had together.
pub(crate) fn decode_selected<E: EventSet>(
    event: EventRef<'_>,
    part: &Part<'_>,
    query: &Query,
    own_names: bool,
) -> Result<Option<E>, DecodeProblem> {
    let Some(own) = E::decode(part).transpose()? else { return Ok(None) };
    if !part.is_split && !own_names {
        return Ok(Some(own));
    }
    let tags = own.event_tags().map_err(DecodeProblem::Names)?;
    let stream = own.event_stream().map_err(DecodeProblem::Names)?;
    let is_meant = query.items.iter().any(|item| {
        item.matches_names(stream.as_str(), event.event_type(), |tag| tags.contains(tag))
    });
    Ok(is_meant.then_some(own))
}

/// A stored event that cannot be read, and why. It is never skipped: what rests on it stops.
#[derive(Debug, thiserror::Error)]
#[error(
    "the event at position {position} (type \"{event_type}\", stream \"{stream}\") cannot be read"
)]
#[non_exhaustive]
pub struct DecodeError {
    /// Its place in the log.
    pub position: Position,
    /// The stream it is in.
    pub stream: String,
    /// The type in the log.
    pub event_type: String,
    /// What is wrong.
    #[source]
    pub problem: DecodeProblem,
}

impl DecodeError {
    pub(crate) fn new(event: EventRef<'_>, problem: DecodeProblem) -> Self {
        Self {
            position: event.position(),
            stream: event.stream().to_owned(),
            event_type: event.event_type().to_owned(),
            problem,
        }
    }
}

/// What is wrong with an event that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeProblem {
    /// Newer code appended it. Deploy that code here first; until then nothing may be decided on
    /// data that this code would misread.
    #[error("its schema version is {found}, this program knows {known}: deploy the newer one")]
    FutureVersion {
        /// The event's version.
        found: u32,
        /// The version that the code has.
        known: u32,
    },
    /// The code has a higher version than the data, and no upcaster leads there. Add one.
    #[error("its schema version is {found}, and no upcaster leads from there to version {known}")]
    MissingUpcaster {
        /// The version that upcasters brought it to.
        found: u32,
        /// The version that the code has.
        known: u32,
    },
    /// The data is not what the struct says.
    #[error("its data does not fit")]
    Data(#[source] CodecError),
    /// The data has a content type that neither the event's codec nor an upcaster's reads.
    #[error("its content type \"{content_type}\" is not one that the event's codec reads")]
    UnknownContentType {
        /// The content type.
        content_type: String,
    },
    /// The metadata has reserved keys with values that cannot be.
    #[error("its metadata does not fit")]
    Metadata(#[source] MetadataError),
    /// An upcaster failed.
    #[error("the upcaster of \"{event_type}\" version {version} failed")]
    Upcast {
        /// The type it was for.
        event_type: String,
        /// The version it was for.
        version: u32,
        /// What it said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part of a split event has values that cannot be part of a name.
    #[error("its values cannot be part of a name")]
    Names(#[source] quipu_core::NameError),
    /// The data was erased, and something asked for it all the same.
    #[error("its data was erased")]
    Erased,
}
