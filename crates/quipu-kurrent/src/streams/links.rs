//! Links: events that stand for another event, `<revision>@<stream>` in their data.

use quipu_core::{EventBatch, EventRef, EventStore, ReadError, ReadStream, Revision, StreamName};

use crate::caller::Caller;
use crate::convert::{IdForm, LINK_TYPE, recorded};
use crate::failure::Failure;
use crate::proto::event_store::client::RecordedEvent;
use crate::proto::event_store::client::streams::read_resp;
use read_resp::read_event::Position as WirePosition;

/// Whether links are shown as they are, or what they stand for beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Links {
    /// A link is an event like any other.
    Kept,
    /// What a link stands for is shown, with the link beside it.
    Resolved,
}

/// An event as it is shown: what a link stands for, and the link.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "readers take it apart")]
pub struct Shown {
    /// The event; `None` where a link leads nowhere any more.
    pub event: Option<RecordedEvent>,
    /// The link that led to it.
    pub link: Option<RecordedEvent>,
}

impl Shown {
    /// Shows an event of the log, and what it stands for where links are resolved.
    ///
    /// # Errors
    ///
    /// The store could not be read.
    pub async fn of(
        caller: &dyn Caller,
        event: EventRef<'_>,
        links: Links,
        form: IdForm,
    ) -> Result<Self, Failure> {
        let shown = recorded(event, form);
        if links == Links::Kept || event.event_type() != LINK_TYPE {
            return Ok(Self { event: Some(shown), link: None });
        }
        let Some((stream, revision)) = target(event.data_bytes()) else {
            return Ok(Self { event: None, link: Some(shown) });
        };
        let event = find(caller, stream, revision).await?;
        let event = event.first().map(|event| recorded(event, form));
        Ok(Self { event, link: Some(shown) })
    }

    /// The message that shows it, read at this place of the log.
    pub fn at(self, place: u64) -> read_resp::ReadEvent {
        let Self { event, link } = self;
        read_resp::ReadEvent { event, link, position: Some(WirePosition::CommitPosition(place)) }
    }
}

/// The message that shows an event of the log as it is, or what it stands for.
///
/// # Errors
///
/// The store could not be read.
pub async fn read_event(
    caller: &dyn Caller,
    event: EventRef<'_>,
    links: Links,
    form: IdForm,
) -> Result<read_resp::ReadEvent, Failure> {
    let shown = Shown::of(caller, event, links, form).await?;
    Ok(shown.at(event.position().get()))
}

/// What a link's data says.
pub(crate) fn target(data: &[u8]) -> Option<(StreamName, Revision)> {
    let text = std::str::from_utf8(data).ok()?;
    let (revision, stream) = text.split_once('@')?;
    Some((StreamName::new(stream).ok()?, Revision::new(revision.parse().ok()?)))
}

/// The event that a link stands for; none where its stream does not show it.
async fn find(
    caller: &dyn Caller,
    stream: StreamName,
    revision: Revision,
) -> Result<EventBatch, Failure> {
    let found = find_in(&*caller.store(), stream, revision).await;
    found.map_err(|error| Failure::of_read(caller, &error))
}

/// The event at this place of a stream; none where the stream does not show it.
pub(crate) async fn find_in(
    store: &dyn EventStore,
    stream: StreamName,
    revision: Revision,
) -> Result<EventBatch, ReadError> {
    let mut read = store.read_stream(ReadStream::new(stream).from(revision).limit(1)).await?;
    let mut batch = read.batches.next().await?.unwrap_or_default();
    // A read begins with what is still shown, which may be behind the place asked for.
    batch.retain(|event| event.revision() == revision);
    Ok(batch)
}
