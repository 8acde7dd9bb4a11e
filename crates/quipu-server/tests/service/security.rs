//! Who gets in, and what they may do there.

mod audit;
mod gate;
mod groups;
mod guarded;
mod operations;
mod support;
mod tls;
