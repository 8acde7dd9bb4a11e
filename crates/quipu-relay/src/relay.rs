//! The relay: from the log through a mapping into a sink.

use std::error::Error;
use std::num::NonZeroU16;
use std::sync::Arc;

use quipu_core::{
    BoxFuture, ComponentKind, EventRef, EventStore, Query, RecordedEvent, SubscribeFrom, category,
};
use quipu_groups::{HandleError, Handler, OnError, Origin, PlaceKeeper, Runner, Running, Work};

use crate::cloud_event::CloudEvent;
use crate::deletion;
use crate::sink::{Batch, Sink, SinkError};

/// Why an event could not be mapped, in the words of the mapping.
pub type MapError = Box<dyn Error + Send + Sync>;

type Mapping = dyn Fn(&RecordedEvent) -> Result<Vec<CloudEvent>, MapError> + Send + Sync;
type KeyOf = dyn Fn(EventRef<'_>) -> Option<Arc<str>> + Send + Sync;

/// Publishes events of a log into a sink. See the crate.
pub struct Relay {
    store: Arc<dyn EventStore>,
    name: String,
    query: Query,
    runner: Box<dyn FnOnce(Runner) -> Runner + Send>,
    publisher: Publisher,
}

impl Relay {
    /// A relay of every event, as it is, from the log's beginning. Its name is its identity: under
    /// it are its lease, its checkpoints and its status.
    pub fn new(store: Arc<dyn EventStore>, name: &str, sink: Arc<dyn Sink>) -> Self {
        let publisher = Publisher {
            sink,
            source: format!("urn:uuid:{}", store.identity().log),
            map: Box::new(|event| Ok(vec![CloudEvent::of(event)])),
            key: Box::new(|event| {
                let stream = event.stream();
                (!stream.starts_with('$')).then(|| stream.into())
            }),
            tombstones: Vec::new(),
        };
        let runner = Box::new(|runner| runner);
        Self { store, name: name.to_owned(), query: Query::all(), runner, publisher }
    }

    /// The same relay, with its runner changed by `change`: batches, lease, owner, and so on.
    #[must_use]
    pub fn with_runner(mut self, change: impl FnOnce(Runner) -> Runner + Send + 'static) -> Self {
        let build = self.runner;
        self.runner = Box::new(move |runner| change(build(runner)));
        self
    }

    /// The same relay of the events that match `query`.
    #[must_use]
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// The same relay also publishing that streams of this category are deleted: a cloud event of the
    /// type `$streamDeleted`, without data, with the stream as its key. On a compacted topic it deletes
    /// the key. Deletes are published whether or not the query matches them, and are not mapped.
    #[must_use]
    pub fn tombstones(mut self, category: &str) -> Self {
        self.publisher.tombstones.push(category.to_owned());
        self
    }

    /// The same relay beginning there when it runs for the first time.
    #[must_use]
    pub fn from(self, from: SubscribeFrom<quipu_core::Position>) -> Self {
        self.with_runner(move |runner| runner.from(from))
    }

    /// The same relay with that many partitions, which publish side by side.
    #[must_use]
    pub fn partitions(self, count: NonZeroU16) -> Self {
        self.with_runner(move |runner| runner.partitions(count))
    }

    /// The same relay with this answer to cloud events that are refused and events that are not
    /// mapped.
    #[must_use]
    pub fn on_error(self, on_error: OnError) -> Self {
        self.with_runner(move |runner| runner.on_error(on_error))
    }

    /// The same relay with this `source` in cloud events that have none. By default it is the log's
    /// id, as a URN.
    #[must_use]
    pub fn source(mut self, source: &str) -> Self {
        source.clone_into(&mut self.publisher.source);
        self
    }

    /// The same relay publishing what `map` makes of an event; `None` is kept private. An error
    /// counts against the event, as a refusal does.
    #[must_use]
    pub fn map<M>(self, map: M) -> Self
    where
        M: Fn(&RecordedEvent) -> Result<Option<CloudEvent>, MapError> + Send + Sync + 'static,
    {
        self.map_many(move |event| Ok(map(event)?.into_iter().collect()))
    }

    /// The same relay publishing all that `map` makes of an event, in that order. Their ids must
    /// differ. After a crash they may all come again, also where only some of them went out.
    #[must_use]
    pub fn map_many<M>(mut self, map: M) -> Self
    where
        M: Fn(&RecordedEvent) -> Result<Vec<CloudEvent>, MapError> + Send + Sync + 'static,
    {
        self.publisher.map = Box::new(map);
        self
    }

    /// The same relay keeping the order within this key; `None` is of no interest. By default it is
    /// the event's stream, and events of reserved streams are of no interest. See [`Handler::key`].
    #[must_use]
    pub fn key(
        mut self,
        key: impl Fn(EventRef<'_>) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.publisher.key = Box::new(key);
        self
    }

    /// Starts to relay, in a task of the present tokio runtime, which must have timers.
    pub fn spawn(self) -> Running {
        let Self { store, name, mut query, runner, publisher } = self;
        publisher.sink.attach(&store, &name);
        for category in &publisher.tombstones {
            query.items.extend(deletion::items(category));
        }
        let own = Runner::new(store, ComponentKind::Relay, &name, Arc::new(publisher));
        runner(own.query(query)).spawn()
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("source", &self.publisher.source).finish_non_exhaustive()
    }
}

struct Publisher {
    sink: Arc<dyn Sink>,
    source: String,
    map: Box<Mapping>,
    key: Box<KeyOf>,
    /// The categories whose deleted streams are published.
    tombstones: Vec<String>,
}

/// A work's cloud events, as far as it could be mapped.
struct Mapped {
    cloud_events: Vec<CloudEvent>,
    /// For each cloud event, which of the work's events it is of.
    events: Vec<usize>,
    /// The event that could not be mapped, and why.
    error: Option<(usize, MapError)>,
}

impl Publisher {
    /// Whether it is published that the stream is deleted.
    fn is_told(&self, stream: &str) -> bool {
        self.tombstones.iter().any(|own| own == category(stream))
    }

    fn map_event(&self, event: &RecordedEvent, key: &str) -> Result<Vec<CloudEvent>, MapError> {
        let mut cloud_events = if deletion::is_one(event) && self.is_told(key) {
            vec![deletion::cloud_event(event, key)]
        } else {
            (self.map)(event)?
        };
        for cloud_event in &mut cloud_events {
            cloud_event.source.get_or_insert_with(|| self.source.clone());
            cloud_event.key.get_or_insert_with(|| key.to_owned());
            cloud_event.check()?;
        }
        Ok(cloud_events)
    }

    fn map_all(&self, work: &Work) -> Mapped {
        let mut mapped = Mapped { cloud_events: Vec::new(), events: Vec::new(), error: None };
        for (index, item) in work.events.iter().enumerate() {
            match self.map_event(&item.event, &item.key) {
                Ok(cloud_events) => {
                    mapped.events.extend(cloud_events.iter().map(|_| index));
                    mapped.cloud_events.extend(cloud_events);
                }
                Err(cause) => {
                    mapped.error = Some((index, cause));
                    break;
                }
            }
        }
        mapped
    }

    async fn publish(&self, work: &Work) -> Result<(), HandleError> {
        let Mapped { cloud_events, events, error } = self.map_all(work);
        let is_transactional = self.sink.places().is_some();
        if let Some((index, source)) = error {
            if is_transactional || cloud_events.is_empty() {
                let handled = if is_transactional { 0 } else { index };
                return Err(HandleError::Failed { handled, source });
            }
            // What comes before it is published; then the failure is this event's alone.
            self.hand_over(work, cloud_events, &events).await?;
            return Err(HandleError::Failed { handled: index, source });
        }
        if cloud_events.is_empty() && !(is_transactional && work.origin == Origin::Log) {
            return Ok(());
        }
        self.hand_over(work, cloud_events, &events).await
    }

    async fn hand_over(
        &self,
        work: &Work,
        cloud_events: Vec<CloudEvent>,
        events: &[usize],
    ) -> Result<(), HandleError> {
        let batch = Batch { epoch: work.epoch, cloud_events, moves: work.moves.clone() };
        // Events that were kept private do not hold back the ones around them.
        let handled = |published: usize| events.get(published).copied().unwrap_or_default();
        self.sink.publish(&batch).await.map_err(|error| match error {
            SinkError::Rejected { published, source } => {
                HandleError::Failed { handled: handled(published), source }
            }
            SinkError::Unavailable { published, retry_after, source } => {
                HandleError::Unavailable { handled: handled(published), retry_after, source }
            }
            SinkError::Fenced => HandleError::Fenced,
        })
    }
}

impl Handler for Publisher {
    fn key(&self, event: EventRef<'_>) -> Option<Arc<str>> {
        match deletion::stream_of(event).filter(|stream| self.is_told(stream)) {
            Some(stream) => Some(stream.into()),
            None => (self.key)(event),
        }
    }

    fn handle<'a>(&'a self, work: &'a Work) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(self.publish(work))
    }

    fn places(&self) -> Option<&dyn PlaceKeeper> {
        self.sink.places()
    }
}
