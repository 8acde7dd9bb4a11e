//! The engine, seen from outside.

mod basics;
mod contract;
mod follow;
mod sim;
