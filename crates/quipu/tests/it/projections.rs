//! Read models: every event in them once, whatever happens.

mod basics;
mod batches;
mod crashes;
mod documents;
mod errors;
mod fencing;
mod kill;
#[cfg(feature = "postgres-store")]
mod on_postgres;
#[cfg(feature = "postgres")]
mod postgres;
mod sample;
mod versions;
