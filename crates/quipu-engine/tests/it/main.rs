//! The engine, seen from outside.

mod basics;
mod contract;
mod follow;
mod sample;
mod scavenge;
mod sim;
mod verify;
