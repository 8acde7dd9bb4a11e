//! Read models: every event in them once, whatever happens.

mod basics;
mod crashes;
mod errors;
mod fencing;
mod kill;
mod sample;
mod versions;
