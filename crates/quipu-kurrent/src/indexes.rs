//! Streams that are indexes: what KurrentDB's system projections write as links is read here from
//! the store's own indexes, exact with the log, and nothing is written for it.
//!
//! | stream | what it shows | numbered by |
//! |---|---|---|
//! | `$ce-CATEGORY` | links to the category's events | the store's index |
//! | `$et-TYPE` | links to the type's events | the store's index |
//! | `$streams` | links to the first event of every stream | the store's index |
//! | `$category-CATEGORY` | references to the category's streams | counting |
//! | `$bc-ID` | links to the events with that `$correlationId` | counting, along the whole log |
//!
//! Revisions are ordinals: they begin at 0, have no gaps and never change. An entry whose event was
//! scavenged is not shown; its number stays its own. A projection that is disabled shows what was
//! there when that happened; enabled again, everything.

mod entries;
mod projection;

use std::collections::VecDeque;
use std::sync::Arc;

use futures_lite::stream;
use quipu_core::{
    Direction, EventRef, EventType, Position, Query, QueryItem, StreamName, Subscribe,
    SubscribeFrom, Term, Timestamp,
};
use tonic::Status;
use uuid::Uuid;

use crate::caller::Caller;
use crate::convert::{IdForm, LINK_TYPE, properties, recorded, stream_identifier, timestamp};
use crate::failure::Failure;
use crate::proto::event_store::client::RecordedEvent;
use crate::proto::event_store::client::streams::{ReadResp, read_resp};
use crate::streams::{Answers, Links, Shown, confirmation};
pub(crate) use entries::Entries;
pub(crate) use projection::Projection;
use read_resp::Content;

/// The type of events that name a stream.
const REFERENCE_TYPE: &str = "$@";

/// A stream that is an index, as it is shown now.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// The stream's own name.
    name: StreamName,
    kind: Kind,
    projection: Projection,
    /// The last place that is shown, where the projection is disabled.
    end: Option<Position>,
}

/// What an index has entries for.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Category(String),
    Type(EventType),
    StreamNames,
    CategoryStreams(String),
    Correlation(String),
}

impl Kind {
    /// The index that a stream of this name is, and the projection that it is of.
    pub(crate) fn of(stream: &str) -> Option<(Self, Projection)> {
        if stream == "$streams" {
            return Some((Self::StreamNames, Projection::Streams));
        }
        let (prefix, rest) = stream.split_once('-')?;
        if rest.is_empty() {
            return None;
        }
        match prefix {
            "$ce" => Some((Self::Category(rest.to_owned()), Projection::ByCategory)),
            "$et" => Some((Self::Type(EventType::new(rest).ok()?), Projection::ByEventType)),
            "$category" => {
                Some((Self::CategoryStreams(rest.to_owned()), Projection::StreamByCategory))
            }
            "$bc" => Some((Self::Correlation(rest.to_owned()), Projection::ByCorrelationId)),
            _ => None,
        }
    }

    /// The store's index that has the entries with their ordinals, if there is one.
    pub(crate) fn term(&self) -> Option<Term> {
        match self {
            Self::Category(name) => Some(Term::Category(name.clone())),
            Self::Type(name) => Some(Term::Type(name.clone())),
            Self::StreamNames => Some(Term::StreamNames),
            Self::CategoryStreams(_) | Self::Correlation(_) => None,
        }
    }

    /// A query that every event of the index matches. Others may match it too.
    pub(crate) fn query(&self) -> Query {
        match self {
            Self::Category(name) | Self::CategoryStreams(name) => {
                Query::from(QueryItem { category: Some(name.clone()), ..QueryItem::default() })
            }
            Self::Type(name) => {
                Query::from(QueryItem { types: vec![name.clone()], ..QueryItem::default() })
            }
            Self::StreamNames | Self::Correlation(_) => Query::all(),
        }
    }

    /// Whether an event that matches the query is an entry, where entries are counted.
    pub(crate) fn counts(&self, event: EventRef<'_>) -> bool {
        match self {
            Self::CategoryStreams(_) => event.revision().get() == 0,
            Self::Correlation(id) => has_correlation(event.metadata_bytes(), id),
            Self::Category(_) | Self::Type(_) | Self::StreamNames => true,
        }
    }

    /// Whether entries name streams, and do not stand for events.
    pub(crate) fn names_streams(&self) -> bool {
        matches!(self, Self::CategoryStreams(_))
    }

    /// The entry for an event, as an event of the index's own stream.
    pub(crate) fn record(
        &self,
        stream: &str,
        event: EventRef<'_>,
        ordinal: u64,
        form: IdForm,
    ) -> RecordedEvent {
        let (event_type, data) = if self.names_streams() {
            (REFERENCE_TYPE, event.stream().to_owned())
        } else {
            (LINK_TYPE, format!("{}@{}", event.revision(), event.stream()))
        };
        let place = event.position().get();
        RecordedEvent {
            id: Some(form.to_proto(entry_id(stream, event))),
            stream_identifier: Some(stream_identifier(stream)),
            stream_revision: ordinal,
            prepare_position: place,
            commit_position: place,
            metadata: properties(event_type, event.recorded_at(), false),
            custom_metadata: bytes::Bytes::new(),
            data: data.into(),
        }
    }
}

fn has_correlation(metadata: &[u8], id: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Correlated<'a> {
        #[serde(rename = "$correlationId", borrow)]
        id: std::borrow::Cow<'a, str>,
    }
    // Most metadata does not have the key, and is not parsed to find that out.
    const KEY: &[u8] = b"$correlationId";
    metadata.windows(KEY.len()).any(|part| part == KEY)
        && serde_json::from_slice::<Correlated<'_>>(metadata).is_ok_and(|own| own.id == id)
}

/// The index that a stream is, if it is one.
pub(crate) async fn of_stream(
    caller: &dyn Caller,
    stream: &StreamName,
) -> Result<Option<Index>, Failure> {
    if !stream.is_reserved() {
        return Ok(None);
    }
    let Some((kind, projection)) = Kind::of(stream.as_str()) else { return Ok(None) };
    let end = projection.standing(caller).await?.stopped_at;
    Ok(Some(Index { name: stream.clone(), kind, projection, end }))
}

impl Index {
    /// The entry that stands for an event, which is there no more for those whose stream hides it.
    fn shown(&self, event: EventRef<'_>, entry: &Entry, links: Links, form: IdForm) -> Shown {
        let link = self.kind.record(self.name.as_str(), event, entry.ordinal, form);
        if links == Links::Kept || self.kind.names_streams() {
            return Shown { event: Some(link), link: None };
        }
        let event = (!entry.is_hidden).then(|| recorded(event, form));
        Shown { event, link: Some(link) }
    }

    fn not_found(&self) -> Content {
        Content::StreamNotFound(read_resp::StreamNotFound {
            stream_identifier: Some(stream_identifier(self.name.as_str())),
        })
    }
}

/// An entry's id: the same one whenever it is read.
pub(crate) fn entry_id(stream: &str, event: EventRef<'_>) -> Uuid {
    Uuid::new_v5(&event.id().as_uuid(), stream.as_bytes())
}

/// What is known of an entry beside its event.
struct Entry {
    ordinal: u64,
    /// Whether the event's stream does not show it any more.
    is_hidden: bool,
}

/// A read of an index: from an ordinal on, `None` for the end.
pub(crate) async fn read(
    caller: Arc<dyn Caller>,
    index: Index,
    from: Option<u64>,
    direction: Direction,
    count: u64,
    shape: Shape,
) -> Result<Answers<ReadResp>, Status> {
    let entries = Entries::begin(&*caller, index, from, direction).await?;
    let Some(last) = entries.last() else {
        let content = Some(entries.index().not_found());
        return Ok(Box::pin(stream::iter([Ok(ReadResp { content })])));
    };
    let tail = shape.wants_places.then_some(Content::LastStreamPosition(last));
    let state = (caller, entries, tail, count, VecDeque::new());
    let answers = stream::unfold(state, move |mut state| async move {
        let (caller, entries, tail, left, ready) = &mut state;
        loop {
            if let Some(content) = ready.pop_front() {
                return Some((Ok(ReadResp { content: Some(content) }), state));
            }
            if *left == 0 {
                let content = tail.take()?;
                return Some((Ok(ReadResp { content: Some(content) }), state));
            }
            match entries.page(&**caller, *left, shape.links, shape.form).await {
                Ok(page) if page.is_empty() => *left = 0,
                Ok(page) => {
                    *left -= page.len() as u64;
                    ready.extend(page);
                }
                Err(failure) => {
                    (*left, *tail) = (0, None);
                    return Some((Err(failure.into()), state));
                }
            }
        }
    });
    Ok(Box::pin(answers))
}

/// How a client wants what it reads.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) links: Links,
    pub(crate) form: IdForm,
    pub(crate) wants_places: bool,
}

/// A subscription to an index: what is there, then what comes.
pub(crate) async fn subscribe(
    caller: Arc<dyn Caller>,
    index: Index,
    from: SubscribeFrom<u64>,
    shape: Shape,
) -> Result<Answers<ReadResp>, Status> {
    // Begun before the entries are read, so that nothing between is missed.
    let store = caller.store();
    let query = index.kind.query();
    let begin = store.frontier().await.map_err(|error| Failure::of_read(&*caller, &error))?;
    let wake = Subscribe::All { query, from: SubscribeFrom::After(begin) };
    let wake = store.subscribe(wake).await;
    let wake = wake.map_err(|error| Failure::of_subscribe(&*caller, &error))?;
    let next = match from {
        SubscribeFrom::Start => Some(0),
        SubscribeFrom::After(ordinal) => Some(ordinal.saturating_add(1)),
        SubscribeFrom::End => None,
    };
    let entries = Entries::begin(&*caller, index, next, Direction::Forward).await?;
    let stopping = caller.stopping();
    let ready = VecDeque::from([confirmation()]);
    let feed = Feed { caller, entries, wake, stopping, ready, shape, has_caught_up: false };
    Ok(Box::pin(stream::unfold(Some(Box::new(feed)), |feed| async {
        let mut feed = feed?;
        match feed.next().await {
            Ok(content) => Some((Ok(ReadResp { content: Some(content) }), Some(feed))),
            Err(failure) => Some((Err(failure.into()), None)),
        }
    })))
}

/// A subscription under way.
struct Feed {
    caller: Arc<dyn Caller>,
    entries: Entries,
    /// Delivers something whenever the index may have more.
    wake: Box<dyn quipu_core::Subscription>,
    stopping: quipu_core::BoxFuture<'static, ()>,
    ready: VecDeque<Content>,
    shape: Shape,
    has_caught_up: bool,
}

impl Feed {
    async fn next(&mut self) -> Result<Content, Failure> {
        loop {
            if let Some(content) = self.ready.pop_front() {
                return Ok(content);
            }
            let Shape { links, form, .. } = self.shape;
            let page = self.entries.page(&*self.caller, u64::MAX, links, form).await?;
            if !page.is_empty() {
                self.ready.extend(page);
                continue;
            }
            if !self.has_caught_up {
                self.has_caught_up = true;
                let reached = self.entries.reached();
                return Ok(Content::CaughtUp(read_resp::CaughtUp {
                    timestamp: Some(timestamp(Timestamp::now())),
                    stream_revision: reached.and_then(|it| i64::try_from(it).ok()),
                    position: None,
                }));
            }
            tokio::select! {
                biased;
                () = &mut self.stopping => return Err(Failure::NotReady),
                woken = self.wake.next() => {
                    woken.map_err(|error| Failure::of_subscribe(&*self.caller, &error))?;
                }
            }
            self.entries.refresh(&*self.caller).await?;
        }
    }
}
