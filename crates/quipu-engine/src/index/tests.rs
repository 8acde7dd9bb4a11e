//! The index against a model of it.

mod model;
