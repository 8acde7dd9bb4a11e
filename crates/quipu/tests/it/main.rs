//! The framework, used as an application uses it, on the store in memory and on the engine.

mod bank;
mod execute;
mod stores;
