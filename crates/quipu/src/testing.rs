//! The test kit: given these events, when this command comes, then this is decided. No runtime, no
//! database.
//!
//! [`given`] takes events as they were decided, [`given_stored`] as they lie in an old log. Both go
//! through the codec, the upcasters and the model's own query, as they would in production; a
//! failure shows the events that were given but that the query does not select.
//!
//! # Example
//!
//! ```
//! use quipu::testing::given;
//! # use quipu::{Aggregate, Command, Ctx, Event, Events, Evolve, events};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Event, Serialize, Deserialize)]
//! # #[event(type = "door.opened")]
//! # struct Opened { #[tag] door: String }
//! # #[derive(Aggregate, Clone)]
//! # #[aggregate(events = Opened)]
//! # struct Door { #[key] door: String, is_open: bool }
//! # impl Evolve for Door {
//! #     fn evolve(&mut self, _opened: &Opened) { self.is_open = true; }
//! # }
//! # #[derive(Debug, PartialEq, thiserror::Error)]
//! # #[error("the door is open already")]
//! # struct AlreadyOpen;
//! # struct Open { door: String }
//! # impl Command for Open {
//! #     type Model = Door;
//! #     type Error = AlreadyOpen;
//! #     fn model(&self) -> Door { Door::of(self.door.clone()) }
//! #     fn decide(&self, door: &Door, _: &Ctx) -> Result<Events, AlreadyOpen> {
//! #         if door.is_open { return Err(AlreadyOpen); }
//! #         Ok(events![Opened { door: self.door.clone() }])
//! #     }
//! # }
//!
//! let opened = || events![Opened { door: "front".into() }];
//!
//! given(events![]).when(Open { door: "front".into() }).then(opened());
//! given(opened()).when(Open { door: "front".into() }).then_rejected(&AlreadyOpen);
//! given(opened()).then_state(Door::of("front".to_owned()), |door| door.is_open);
//! ```

mod clock;
mod outcome;
mod process;
#[cfg(feature = "sqlite")]
mod projection;
mod snapshots;
mod world;

use std::fmt;

use quipu_core::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::command::{Command, Ctx, Events};
use crate::metadata::Metadata;
use crate::model::Model;
use crate::upcast::Upcasters;

pub use clock::ManualClock;
pub use outcome::Outcome;
pub use process::{ProcessTest, process};
#[cfg(feature = "sqlite")]
pub use projection::{GivenProjection, ProjectionTest, project};
pub use snapshots::snapshot_matches_fold;
use world::{Boundary, World};

/// Begins a test with what has happened.
///
/// # Panics
///
/// If an event cannot be encoded.
pub fn given(events: Events) -> Given {
    Given::new(Upcasters::new(), World::of_events(events))
}

/// Begins a test with what lies in an old log: type, schema version and JSON data of each event.
///
/// The events have the tags and are in the streams that their data has today. The parts of a split
/// event therefore reach every model that they are for, also an aggregate in whose stream the stored
/// event is not; whether a split is read as meant is a test on a store.
///
/// # Panics
///
/// If the upcasters are refused.
///
/// ```
/// use quipu::testing::given_stored;
/// use quipu::{Aggregate, Event, Evolve, Upcasters};
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "bank.funds-deposited", version = 2)]
/// struct Deposited { #[tag] account: String, cents: u64, currency: String }
///
/// #[derive(Aggregate, Clone)]
/// #[aggregate(events = Deposited)]
/// struct Account { #[key] account: String, currency: String }
///
/// impl Evolve for Account {
///     fn evolve(&mut self, deposited: &Deposited) {
///         self.currency = deposited.currency.clone();
///     }
/// }
///
/// let upcasters = Upcasters::new().map("bank.funds-deposited", 1, |mut data| {
///     data["currency"] = "EUR".into();
///     Ok(data)
/// });
///
/// given_stored(upcasters, [("bank.funds-deposited", 1, json!({ "account": "a", "cents": 5 }))])
///     .then_state(Account::of("a".to_owned()), |account| account.currency == "EUR");
/// ```
pub fn given_stored(
    upcasters: Upcasters,
    stored: impl IntoIterator<Item = (&'static str, u32, Value)>,
) -> Given {
    if let Err(error) = upcasters.check() {
        panic!("the upcasters are refused: {error}");
    }
    Given::new(upcasters, World::of_stored(stored))
}

/// What has happened, in a test.
pub struct Given {
    upcasters: Upcasters,
    world: World,
    now: Timestamp,
    metadata: Metadata,
}

impl Given {
    fn new(upcasters: Upcasters, world: World) -> Self {
        let now = Timestamp::from_micros(0);
        Self { upcasters, world, now, metadata: Metadata::default() }
    }

    /// Reads the events through these upcasters.
    ///
    /// # Panics
    ///
    /// If they are refused.
    #[must_use]
    pub fn upcasters(mut self, upcasters: Upcasters) -> Self {
        if let Err(error) = upcasters.check() {
            panic!("the upcasters are refused: {error}");
        }
        self.upcasters = upcasters;
        self
    }

    /// The time that the command sees; 1970 otherwise.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// The actor that the command sees.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.metadata.actor = Some(actor.into());
        self
    }

    /// The tenant that the command sees.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.metadata.tenant = Some(tenant.into());
        self
    }

    /// Decides a command on what has happened.
    ///
    /// # Panics
    ///
    /// If an event cannot be read.
    #[expect(clippy::needless_pass_by_value, reason = "a test has no further use for a command")]
    pub fn when<C: Command>(self, command: C) -> Outcome<C::Error> {
        let (model, boundary) = self.fold(command.model());
        let ctx = Ctx::new(self.now, self.metadata, Uuid::nil());
        Outcome::new(command.decide(&model, &ctx), boundary)
    }

    /// Checks a model's state after what has happened.
    ///
    /// # Panics
    ///
    /// If `is_so` says no, or an event cannot be read.
    pub fn then_state<M: Model>(&self, model: M, is_so: impl FnOnce(&M) -> bool) {
        let (state, boundary) = self.fold(model);
        assert!(is_so(&state), "the state is not as expected\n{boundary}");
    }

    /// A model's state after what has happened.
    ///
    /// # Panics
    ///
    /// If an event cannot be read.
    pub fn state<M: Model>(&self, model: M) -> M {
        self.fold(model).0
    }

    /// Checks that an event cannot be read, and how it says so.
    ///
    /// # Panics
    ///
    /// If all of them can, or another reason is given.
    pub fn then_unreadable<M: Model>(&self, model: M, expected: &str) {
        match self.world.fold(model, &self.upcasters) {
            Ok(_) => panic!("every event could be read, expected: {expected}"),
            Err(error) => {
                let problem = error.problem.to_string();
                assert!(problem.contains(expected), "expected \"{expected}\", found: {problem}");
            }
        }
    }

    fn fold<M: Model>(&self, model: M) -> (M, Boundary) {
        match self.world.fold(model, &self.upcasters) {
            Ok(folded) => folded,
            Err(error) => panic!("{error}: {}", error.problem),
        }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("world", &self.world).finish_non_exhaustive()
    }
}
