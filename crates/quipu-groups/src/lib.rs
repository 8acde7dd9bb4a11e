//! Runs what consumes a log.
pub mod machine;
mod places;
mod policy;
mod slice;

pub use places::{KeepError, Move, PlaceKeeper, SlicePlace, SlicePlaces};
pub use policy::{Backoff, GiveUp, OnError};
pub use slice::{SLICE_COUNT, SliceRange, divide, slice_of};
