//! The engine, seen from outside.

mod backup;
mod basics;
mod contract;
mod decoders;
mod follow;
mod golden;
mod sample;
mod scavenge;
mod sim;
mod verify;
