//! The engine, seen from outside.

mod backup;
mod basics;
mod decoders;
mod follow;
mod golden;
