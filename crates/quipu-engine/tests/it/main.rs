//! The engine, seen from outside.

mod basics;
mod contract;
mod follow;
mod sim;
mod sample;
mod scavenge;
mod verify;
