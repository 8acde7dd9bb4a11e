//! The framework, used as an application uses it, on the store in memory and on the engine.

mod bank;
mod codecs;
mod execute;
mod faulty;
mod keys;
mod kit;
mod lock;
mod outcomes;
mod races;
mod sets;
mod snapshots;
mod stores;
mod temporal;
mod upcasters;
