//! Decision models: state folded from the events that a query finds.

use std::any::Any;

use quipu_core::{EventRef, NameError, Query, StreamName};

use crate::codec::CodecError;
use crate::decode::{DecodeProblem, Part, decode_selected};
use crate::event::EventSet;
use crate::snapshot::SnapshotPolicy;

/// What a decision rests on: which events, and the state they add up to. Derive it, and implement
/// [`Evolve`].
///
/// The query that is read is the query that is guarded: a command that was decided on a model is
/// appended only if no event that the model reads came in between.
///
/// ```
/// use quipu::{DecisionModel, Event, EventSet, Evolve};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "seat.taken")]
/// struct SeatTaken { #[tag] course: String, #[tag] student: String }
///
/// #[derive(DecisionModel, Clone, Debug)]
/// #[model(events = SeatTaken)]
/// struct Seats { #[key] course: String, taken: u32 }
///
/// impl Evolve for Seats {
///     fn evolve(&mut self, _taken: &SeatTaken) {
///         self.taken += 1;
///     }
/// }
///
/// let seats = Seats::of("maths".to_owned());
/// assert!(seats.query()?.items[0].tags.contains("course:maths"));
/// # Ok::<(), quipu::NameError>(())
/// ```
pub trait DecisionModel: Clone + Send + Sync + 'static {
    /// The events it folds.
    type Event: EventSet;
    /// Its name in the keys of snapshots.
    const NAME: &'static str;
    /// When to keep snapshots of it, and how many.
    const SNAPSHOTS: SnapshotPolicy = SnapshotPolicy::never();

    /// Which events it reads.
    ///
    /// # Errors
    ///
    /// A [`NameError`] if a key makes a tag or a stream's name too long or unprintable.
    fn query(&self) -> Result<Query, NameError>;

    /// The stream that has all its events, if it is an aggregate.
    ///
    /// # Errors
    ///
    /// A [`NameError`] if the key makes the name too long or unprintable.
    fn stream(&self) -> Result<Option<StreamName>, NameError> {
        Ok(None)
    }

    /// The state as bytes; `None` where no snapshots are kept.
    fn to_snapshot(&self) -> Option<Result<Vec<u8>, CodecError>> {
        None
    }

    /// The state of bytes that [`to_snapshot`](Self::to_snapshot) made; `None` is a miss.
    fn from_snapshot(data: &[u8]) -> Option<Self> {
        let _ = data;
        None
    }
}

/// How a model changes with each event. History cannot be refused: there is no error.
///
/// The same events must give the same state, whenever they are folded; so no clock, no chance. When
/// it comes to give another state, raise the model's snapshot version.
pub trait Evolve: DecisionModel {
    /// Takes one event into the state.
    fn evolve(&mut self, event: &Self::Event);

    /// Takes an event into the state whose data was erased. By default it changes nothing.
    fn evolve_erased(&mut self, event_type: &str) {
        let _ = event_type;
    }
}

/// A model with one id and a stream of its own: what domain-driven design calls an aggregate.
/// Derive it instead of [`DecisionModel`].
///
/// Its stream is `category-id`, the category being the name of its key unless it says otherwise;
/// events whose first tag is that key are in it. It is read by stream and guarded by revision. An
/// event that has its key as a further tag is in another stream, and not read.
///
/// ```
/// use quipu::{Aggregate, Event, Evolve, Revision};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "counter.raised")]
/// struct Raised { #[tag] counter: String, by: u32 }
///
/// #[derive(Aggregate, Clone, Debug)]
/// #[aggregate(events = Raised)]
/// struct Counter { #[key] counter: String, total: u32 }
///
/// impl Evolve for Counter {
///     fn evolve(&mut self, raised: &Raised) {
///         self.total += raised.by;
///     }
/// }
///
/// let raised = |by| Raised { counter: "a".into(), by };
/// let mut counter = Counter::from_history("a".to_owned(), [raised(1), raised(2)]);
/// assert_eq!((counter.total, counter.revision()), (3, Some(Revision::new(1))));
///
/// counter.apply(raised(4));
/// assert_eq!((counter.total, counter.revision()), (7, Some(Revision::new(2))));
/// ```
pub trait Aggregate: Evolve {
    /// What tells it from the others of its kind.
    type Id;

    /// The aggregate of that id, before any event.
    fn of_id(id: &Self::Id) -> Self;
}

/// What a command decides on: a [`DecisionModel`], an [`Aggregate`], or a tuple of up to six.
///
/// A tuple is one boundary: one read, one frontier, and an append condition that is the union of
/// the members' queries. It is implemented; there is nothing to write.
pub trait Model: Clone + Send + Sync + 'static {
    #[doc(hidden)]
    fn members(&mut self) -> Vec<&mut dyn Member>;
}

impl<M: Evolve> Model for M {
    fn members(&mut self) -> Vec<&mut dyn Member> {
        vec![self]
    }
}

macro_rules! tuple_model {
    ($($name:ident $index:tt),*) => {
        impl<$($name: Evolve),*> Model for ($($name,)*) {
            fn members(&mut self) -> Vec<&mut dyn Member> {
                vec![$(&mut self.$index as &mut dyn Member),*]
            }
        }
    };
}

tuple_model!(A 0);
tuple_model!(A 0, B 1);
tuple_model!(A 0, B 1, C 2);
tuple_model!(A 0, B 1, C 2, D 3);
tuple_model!(A 0, B 1, C 2, D 3, E 4);
tuple_model!(A 0, B 1, C 2, D 3, E 4, F 5);

/// How a state becomes bytes, away from who loaded it.
pub type SnapshotJob = Box<dyn FnOnce() -> Option<Vec<u8>> + Send>;

/// A part of a [`Model`] with its type erased: what loading works with.
#[doc(hidden)]
pub trait Member: Send {
    fn name(&self) -> &'static str;
    fn policy(&self) -> SnapshotPolicy;
    fn query(&self) -> Result<Query, NameError>;
    fn stream(&self) -> Result<Option<StreamName>, NameError>;
    fn fold(
        &mut self,
        event: EventRef<'_>,
        part: &Part<'_>,
        query: &Query,
        own_names: bool,
    ) -> Result<bool, DecodeProblem>;
    fn restore(&mut self, data: &[u8]) -> bool;
    fn restore_cached(&mut self, state: &(dyn Any + Send + Sync)) -> bool;
    fn to_cached(&self) -> Box<dyn Any + Send + Sync>;
    fn snapshot_job(&self) -> SnapshotJob;
}

impl<M: Evolve> Member for M {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn policy(&self) -> SnapshotPolicy {
        M::SNAPSHOTS
    }

    fn query(&self) -> Result<Query, NameError> {
        DecisionModel::query(self)
    }

    fn stream(&self) -> Result<Option<StreamName>, NameError> {
        DecisionModel::stream(self)
    }

    fn fold(
        &mut self,
        event: EventRef<'_>,
        part: &Part<'_>,
        query: &Query,
        own_names: bool,
    ) -> Result<bool, DecodeProblem> {
        if part.is_erased() {
            let is_own = M::Event::SHAPES.iter().any(|shape| shape.event_type == part.event_type());
            if is_own {
                self.evolve_erased(part.event_type());
            }
            return Ok(is_own);
        }
        let event = decode_selected::<M::Event>(event, part, query, own_names)?;
        if let Some(event) = &event {
            self.evolve(event);
        }
        Ok(event.is_some())
    }

    fn restore(&mut self, data: &[u8]) -> bool {
        let Some(restored) = M::from_snapshot(data) else { return false };
        *self = restored;
        true
    }

    fn restore_cached(&mut self, state: &(dyn Any + Send + Sync)) -> bool {
        let Some(state) = state.downcast_ref::<M>() else { return false };
        self.clone_from(state);
        true
    }

    fn to_cached(&self) -> Box<dyn Any + Send + Sync> {
        Box::new(self.clone())
    }

    fn snapshot_job(&self) -> SnapshotJob {
        let state = self.clone();
        Box::new(move || state.to_snapshot()?.ok())
    }
}
