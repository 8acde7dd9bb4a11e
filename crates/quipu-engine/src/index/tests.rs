//! The index against a model of it.

mod candidates;
mod damage;
mod disk;
mod model;
mod names;
mod runs;
