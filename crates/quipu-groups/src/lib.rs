//! Runs what consumes a log: projections, processes, relays, consumer groups.
//!
//! A [`Handler`] says what to do with events; a [`Runner`] sees to everything else:
//!
//! - **Ownership.** Of several instances one runs, under a lease whose epoch goes with everything
//!   that is written. One that lost it is refused, and steps down.
//! - **Order.** Every event has a key. Events of one key are handled in the order of the log; keys are
//!   divided into [`SLICE_COUNT`] fixed slices and slices into partitions, which run side by side.
//!   The number of partitions may be another one at each start.
//! - **Checkpoints.** Each partition has its own, saved after the work or, by a handler with a database
//!   of its own, together with it. After a crash nothing is missing.
//! - **Errors.** An event that cannot be handled is tried again; then it stops its partition, is parked
//!   with the later events of its key behind it, or is skipped on record. See [`OnError`].
//! - **Operation.** The store's registry tells how it is, and requests left there are carried out:
//!   pause, resume, retry, drop, promote, replay.
//!
//! Consumers elsewhere share events as members of a [`group`]: pushed to them, each acknowledged.
//!
//! Neither makes effects happen once by itself: only a handler whose checkpoints are in the transaction
//! of its work does.
//!
//! [`machine`] decides, [`Runner`] carries out. Bounds: each partition queues
//! [`queue_max`](machine::Settings::queue_max) events and one delivery of the subscription.

pub mod group;
pub mod machine;

mod checkpoints;
mod handler;
mod ownership;
mod parking;
mod places;
mod policy;
mod runner;
mod slice;

pub use checkpoints::StorePlaces;
pub use handler::{HandleError, Handler, Origin, Work};
pub use ownership::Ownership;
pub use parking::{Parking, StreamParking, UnparkReason};
pub use places::{KeepError, Move, PlaceKeeper, SlicePlace, SlicePlaces};
pub use policy::{Backoff, GiveUp, OnError};
pub use runner::{Phase, RunError, Runner, RunnerStatus, Running};
pub use slice::{SLICE_COUNT, SliceRange, divide, slice_of};
