//! What happened: the events of a model, each with who, when and why.

use std::collections::VecDeque;
use std::future::IntoFuture;

use quipu_core::{AsOf, Batches, BoxFuture, Direction, Position, ReadAll, Timestamp};

use crate::app::Quipu;
use crate::decode::decode_where;
use crate::error::LoadError;
use crate::model::{DecisionModel, Evolve};
use crate::recorded::Recorded;

/// An event of a model's history; `None` for its event where the data was erased.
pub type Change<M> = Recorded<Option<<M as DecisionModel>::Event>>;

/// A read of what happened to a model. Await it for all of it at once, or go on event by event
/// with [`read`](Self::read), which holds one batch in memory.
///
/// ```
/// # use quipu::{Aggregate, Command, Ctx, Event, Events, Evolve, Quipu, events};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "counter.raised")]
/// # struct Raised { #[tag] counter: String }
/// # #[derive(Aggregate, Clone)]
/// # #[aggregate(events = Raised)]
/// # struct Counter { #[key] counter: String }
/// # impl Evolve for Counter {
/// #     fn evolve(&mut self, _raised: &Raised) {}
/// # }
/// # struct Raise;
/// # impl Command for Raise {
/// #     type Model = Counter;
/// #     type Error = std::convert::Infallible;
/// #     fn model(&self) -> Counter { Counter::of("a".to_owned()) }
/// #     fn decide(&self, _: &Counter, _: &Ctx) -> Result<Events, Self::Error> {
/// #         Ok(events![Raised { counter: "a".into() }])
/// #     }
/// # }
/// # futures_lite::future::block_on(async {
/// let app = Quipu::in_memory();
/// app.execute(Raise).actor("ana").correlation("request 7").await?;
///
/// let history = app.history(Counter::of("a".to_owned())).await?;
///
/// assert_eq!(history.len(), 1);
/// assert_eq!((history[0].actor(), history[0].correlation()), (Some("ana"), Some("request 7")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a history is read when this is awaited"]
pub struct History<M> {
    app: Quipu,
    model: M,
    since: Position,
    as_of: Option<AsOf>,
    direction: Direction,
}

impl<M: Evolve> History<M> {
    pub(crate) fn new(app: Quipu, model: M) -> Self {
        let (since, direction) = (Position::START, Direction::Forward);
        Self { app, model, since, as_of: None, direction }
    }

    /// Only events after this place.
    pub fn since(mut self, position: Position) -> Self {
        self.since = position;
        self
    }

    /// Only events at or before this place.
    pub fn as_of(mut self, position: Position) -> Self {
        self.as_of = Some(AsOf::Position(position));
        self
    }

    /// Only events recorded at or before this time.
    pub fn as_of_time(mut self, time: Timestamp) -> Self {
        self.as_of = Some(AsOf::Time(time));
        self
    }

    /// The latest event first.
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// Begins to read, one batch at a time.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn read(self) -> Result<Changes<M>, LoadError> {
        let query = self.app.upcasters().widen(self.model.query()?);
        let mut read = ReadAll::new(query);
        read.direction = self.direction;
        read.as_of = self.as_of;
        if self.direction == Direction::Forward {
            read.from = Some(self.since.next());
        }
        let batches = self.app.store().read_all(read).await?.batches;
        Ok(Changes {
            app: self.app,
            model: self.model,
            since: self.since,
            batches,
            ready: VecDeque::new(),
        })
    }

    /// Reads all of it.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn collect(self) -> Result<Vec<Change<M>>, LoadError> {
        let mut changes = self.read().await?;
        let mut all = Vec::new();
        while let Some(change) = changes.next().await? {
            all.push(change);
        }
        Ok(all)
    }
}

impl<M: Evolve> IntoFuture for History<M> {
    type Output = Result<Vec<Change<M>>, LoadError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.collect())
    }
}

/// A model's events on their way from the store.
pub struct Changes<M: Evolve> {
    app: Quipu,
    model: M,
    since: Position,
    batches: Box<dyn Batches>,
    ready: VecDeque<Change<M>>,
}

impl<M: Evolve> Changes<M> {
    /// The next event, or `None` at the end.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn next(&mut self) -> Result<Option<Change<M>>, LoadError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(Some(change));
            }
            let Some(batch) = self.batches.next().await? else { return Ok(None) };
            let query = self.app.upcasters().widen(self.model.query()?);
            for event in batch.iter().filter(|event| event.position() > self.since) {
                let changes = decode_where(event, self.app.upcasters(), Some(&query))?;
                self.ready.extend(changes);
            }
        }
    }
}

impl<M: Evolve> std::fmt::Debug for Changes<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("model", &M::NAME).finish_non_exhaustive()
    }
}
