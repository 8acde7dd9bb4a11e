//! The index against a model of it.

mod damage;
mod disk;
mod model;
mod names;
mod runs;
