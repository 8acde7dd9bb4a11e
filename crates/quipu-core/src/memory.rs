//! The in-memory store: the shortest store that keeps every promise of the contract.

/// A log in memory.
#[derive(Debug)]
pub struct MemoryStore;
