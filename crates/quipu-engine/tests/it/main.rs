//! The engine, seen from outside.

mod basics;
mod sample;
mod scavenge;
mod verify;
