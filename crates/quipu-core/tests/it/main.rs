//! The contract suite and its proof: the store in memory passes it, wrong stores do not.

mod harness;
mod memory_store;
mod wrong_stores;
