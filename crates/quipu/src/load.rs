//! Loading models: now, or as of an earlier moment.

use std::future::IntoFuture;

use quipu_core::{BoxFuture, Position, Timestamp};

use crate::app::Quipu;
use crate::error::LoadError;
use crate::fold::Fold;
use crate::loaded::Loaded;
use crate::model::Model;

/// A model that is about to be loaded. Await it.
///
/// # Example: the state as it was
///
/// ```
/// # use quipu::{Aggregate, Command, Ctx, Event, Events, Evolve, Quipu, events};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "counter.raised")]
/// # struct Raised { #[tag] counter: String }
/// # #[derive(Aggregate, Clone)]
/// # #[aggregate(events = Raised)]
/// # struct Counter { #[key] counter: String, total: u32 }
/// # impl Evolve for Counter {
/// #     fn evolve(&mut self, _raised: &Raised) { self.total += 1; }
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
/// let first = app.execute(Raise).await?;
/// app.execute(Raise).await?;
///
/// let now = app.load(Counter::of("a".to_owned())).await?;
/// let then = app.load(Counter::of("a".to_owned())).as_of(first.position).await?;
///
/// assert_eq!((now.total, then.total), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a model is loaded when this is awaited"]
pub struct Load<M> {
    app: Quipu,
    model: M,
    as_of: Moment,
}

/// The moment whose state is asked for.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Now,
    Position(Position),
    Time(Timestamp),
}

impl<M: Model> Load<M> {
    pub(crate) fn new(app: Quipu, model: M) -> Self {
        Self { app, model, as_of: Moment::Now }
    }

    /// The state as it was when `position` was the log's last event.
    pub fn as_of(mut self, position: Position) -> Self {
        self.as_of = Moment::Position(position);
        self
    }

    /// The state as it was at that time: with every event recorded at or before it.
    ///
    /// The time is turned into a position once, so the same time gives the same answer for ever.
    pub fn as_of_time(mut self, time: Timestamp) -> Self {
        self.as_of = Moment::Time(time);
        self
    }

    async fn run(self) -> Result<Loaded<M>, LoadError> {
        let as_of = match self.as_of {
            Moment::Now => None,
            Moment::Position(position) => Some(position),
            Moment::Time(time) => Some(self.app.store().position_at(time).await?),
        };
        let mut fold = Fold::new(&self.app, self.model, as_of)?;
        fold.read(&self.app).await?;
        fold.keep(&self.app);
        let (position, revision) = (fold.position(), fold.revision());
        Ok(Loaded::new(fold.model, position, revision))
    }
}

impl<M: Model> IntoFuture for Load<M> {
    type Output = Result<Loaded<M>, LoadError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
