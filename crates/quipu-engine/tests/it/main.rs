//! The engine, seen from outside.

mod basics;
#[cfg(test)]
mod sim;
