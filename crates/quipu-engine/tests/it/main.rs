//! The engine, seen from outside.

mod basics;
mod contract;
