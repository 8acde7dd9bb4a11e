//! The framework, used as an application uses it, on the store in memory and on the engine.

#![expect(
    clippy::unwrap_used,
    clippy::struct_field_names,
    reason = "a test that cannot go on panics, and an account's key is its account"
)]

mod bank;
mod breaking;
mod codecs;
mod execute;
mod faulty;
mod keys;
mod kit;
mod lock;
mod outcomes;
mod process_kit;
mod processes;
#[cfg(feature = "sqlite")]
mod projections;
mod races;
mod relaying;
mod sets;
mod shop;
mod snapshots;
mod stores;
mod temporal;
mod upcasters;
