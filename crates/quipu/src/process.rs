//! Processes: what happens next, across aggregates and over time.
//!
//! The way of one input, an event, a fired timer or a refusal:
//!
//! 1. [`Process::route`] says which instance it is for;
//! 2. the instance is folded from its own stream, `$quipu.process-NAME-INSTANCE`;
//! 3. [`Process::evolve`] takes the input into the state, [`Process::react`] answers effects;
//! 4. one append records the input, the names of the effects, and the timers;
//! 5. the commands are executed, each under a key of its own;
//! 6. a second append records that they are done.
//!
//! # Invariants
//!
//! - An input is recorded once: its record demands the revision that the instance was folded to.
//! - A command of an input happens once or is refused once, never both: success lies in the ledger
//!   under the effect's key, and its append demands the revision too; a refusal's append demands
//!   that the ledger has nothing under the key.
//! - An instance takes no further input before the effects of the last one are done.
//! - Folding only evolves. Effects come of an input that is taken, or whose record says that it is
//!   not done.

mod effects;
mod handler;
mod instance;
mod load;
mod record;
mod run;
mod wheel;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::EventSet;
use crate::recorded::Recorded;

pub use effects::Effects;
pub(crate) use effects::ErasedCommand;
pub(crate) use instance::{Instance, Pending, Planned, Taken, TimerChange};
pub(crate) use record::{InputRef, ScheduledTimer};
pub use run::{RunProcess, RunningProcess, TimerStatus};

/// What goes on across aggregates and over time: it waits for events and timers, and answers with
/// commands. Also known as a process manager or a saga.
///
/// Each thing it looks after, an order for example, is an instance with a stream of its own, in
/// which its inputs are recorded: its state is a fold, like everything else. `evolve` and `react`
/// are pure; what is to be done is data, which the framework carries out effectively once, however
/// often it crashes. When history is folded nothing is done again.
///
/// ```
/// use std::time::Duration;
/// use quipu::testing::process;
/// use quipu::{Effects, EventSet, Input, Process, Route, events};
/// # use quipu::{Command, Ctx, DecisionModel, Event, Events, Evolve};
/// use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "shop.order-placed")]
/// # struct OrderPlaced { #[tag] order: String }
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "shop.order-paid")]
/// # struct OrderPaid { #[tag] order: String }
/// # #[derive(DecisionModel, Clone)]
/// # #[model(events = OrderPaid)]
/// # struct Order { #[key] order: String }
/// # impl Evolve for Order { fn evolve(&mut self, _: &OrderPaid) {} }
/// # #[derive(Debug, PartialEq)]
/// # struct CancelOrder { order: String }
/// # impl Command for CancelOrder {
/// #     type Model = Order;
/// #     type Error = std::convert::Infallible;
/// #     fn model(&self) -> Order { Order::of(self.order.clone()) }
/// #     fn decide(&self, _: &Order, _: &Ctx) -> Result<Events, Self::Error> { Ok(events![]) }
/// # }
///
/// #[derive(EventSet)]
/// enum PaymentInput { Placed(OrderPlaced), Paid(OrderPaid) }
///
/// #[derive(Serialize, Deserialize)]
/// enum Deadline { PaymentDue }
///
/// #[derive(Default)]
/// struct Payment { order: String, is_paid: bool }
///
/// impl Process for Payment {
///     type Event = PaymentInput;
///     type Timer = Deadline;
///     const NAME: &'static str = "payment";
///
///     fn route(event: &PaymentInput) -> Route {
///         match event {
///             PaymentInput::Placed(placed) => Route::start(&placed.order),
///             PaymentInput::Paid(paid) => Route::continue_with(&paid.order),
///         }
///     }
///
///     fn evolve(&mut self, input: &Input<'_, PaymentInput, Deadline>) {
///         if let Input::Event(recorded) = input {
///             match &recorded.event {
///                 PaymentInput::Placed(placed) => self.order = placed.order.clone(),
///                 PaymentInput::Paid(_) => self.is_paid = true,
///             }
///         }
///     }
///
///     fn react(&self, input: &Input<'_, PaymentInput, Deadline>, effects: &mut Effects<Deadline>) {
///         match input {
///             Input::Event(_) if self.is_paid => { effects.complete(); }
///             Input::Event(_) => {
///                 effects.schedule("due", Duration::from_mins(15), Deadline::PaymentDue);
///             }
///             Input::Timer(Deadline::PaymentDue) => {
///                 effects.execute("cancel", CancelOrder { order: self.order.clone() }).complete();
///             }
///             Input::Rejected { .. } => {}
///         }
///     }
/// }
///
/// process::<Payment>()
///     .given(events![OrderPlaced { order: "7".into() }])
///     .advance(Duration::from_mins(15))
///     .then_executes("cancel", &CancelOrder { order: "7".into() })
///     .then_completed("7");
/// ```
pub trait Process: Default + Send + Sync + 'static {
    /// The events that it waits for.
    type Event: EventSet;
    /// What its timers carry. It is in the log: it only grows, like an event. `()` for none.
    type Timer: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Its name, which never changes: its lease, checkpoints, streams and keys have it. It has no
    /// `-`, which ends it in the names of streams.
    const NAME: &'static str;

    /// Which instance an event is for. The same event must always be for the same instance.
    fn route(event: &Self::Event) -> Route;

    /// Takes an input into the state. It cannot be refused.
    ///
    /// The same inputs must give the same state, whenever they are folded; so no clock, no chance.
    fn evolve(&mut self, input: &Input<'_, Self::Event, Self::Timer>);

    /// Says what to do about an input, which the state has taken in already.
    ///
    /// The names of the steps are recorded. Where a crash leaves effects undone, it is asked again;
    /// if it then answers other steps, since the code was changed meanwhile, the instance stops,
    /// and says so.
    fn react(
        &self,
        input: &Input<'_, Self::Event, Self::Timer>,
        effects: &mut Effects<Self::Timer>,
    );

    /// Says what undoes a step that was executed: asked for each one, the last first, where an
    /// input's effects have [`compensate`](Effects::compensate). By default nothing does.
    fn undo(&self, step: &str, effects: &mut Effects<Self::Timer>) {
        let _ = (step, effects);
    }
}

/// Which instance of a process an event is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum Route {
    /// This one, which begins with it unless it has begun.
    Start(String),
    /// This one, if it has begun; otherwise the event means nothing to the process.
    Continue(String),
    /// None: the event means nothing to the process.
    Ignore,
}

impl Route {
    /// [`Route::Start`] for the instance of an id.
    pub fn start(id: &(impl crate::event::TagValue + ?Sized)) -> Self {
        Self::Start(id.tag_value().into_owned())
    }

    /// [`Route::Continue`] for the instance of an id.
    pub fn continue_with(id: &(impl crate::event::TagValue + ?Sized)) -> Self {
        Self::Continue(id.tag_value().into_owned())
    }

    pub(crate) fn into_instance(self) -> Option<(String, Begin)> {
        match self {
            Self::Start(instance) => Some((instance, Begin::Allowed)),
            Self::Continue(instance) => Some((instance, Begin::NotAllowed)),
            Self::Ignore => None,
        }
    }
}

/// Whether an input may be an instance's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    Allowed,
    NotAllowed,
}

/// What a process has to take in.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a process must think of each of them")]
pub enum Input<'a, E, T> {
    /// An event that it waits for.
    Event(&'a Recorded<E>),
    /// A timer of its own that has come due.
    Timer(&'a T),
    /// A command of its own that was refused.
    Rejected {
        /// The step whose command it was.
        step: &'a str,
        /// Why, in the words of the command's error.
        reason: &'a str,
    },
}

/// Refuses, as the code is compiled, a name that cannot be told from its instances'.
pub(crate) const fn assert_name(name: &str) {
    let bytes = name.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() <= 100, "a process's name has 1 to 100 bytes");
    let mut i = 0;
    while i < bytes.len() {
        assert!(bytes[i] != b'-', "a process's name has no '-': use '_' or '.'");
        i += 1;
    }
}
