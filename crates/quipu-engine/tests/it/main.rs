//! The engine, seen from outside.

mod basics;
mod contract;
#[cfg(test)]
mod sim;
