//! The engine, seen from outside.

mod basics;
