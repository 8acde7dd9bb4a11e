//! The simulation: the engine on a disk that tears, loses, refuses and fills up, held against the
//! store in memory.
//!
//! - [`world`] is one store through all its lives: the disk, the engine on it, and a
//!   `MemoryStore` that was told everything that the engine acknowledged.
//! - [`view`] is everything that can be read of a store; a world compares the two.
//! - [`workload`] makes up what is done to it.
//! - The loops: [`power`], [`exhaustive`], [`errors`], [`full`], [`damage`], [`model`], [`kill`].
//! - [`bugs`] proves them: each seeded bug must be caught by one of them.
//!
//! Everything follows from a seed. A failure prints it, and `QUIPU_SEED` runs it again.

mod bugs;
mod damage;
mod errors;
mod exhaustive;
mod full;
mod kill;
mod model;
mod power;
pub(crate) mod runs;
mod view;
mod workload;
mod world;
