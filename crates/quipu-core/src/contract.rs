//! The suite of cases that every store must pass.
